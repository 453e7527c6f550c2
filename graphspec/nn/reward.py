"""Criterions that are rewards: what modules drew is paid for them (:mod:`graphspec.nn.reinforce`)."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from graphspec.errors import Origin, error, fail
from graphspec.graph import Argument, Leaf, Make, Module, Record, Sample, Walk, new_module, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import DPNN, impossible, mean_of, only, with_gradient_of
from graphspec.nn.criterion import BY_CONSTRUCTOR, SIZE_AVERAGE, labels_like
from graphspec.nn.reinforce import Reinforce
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size


class ClassReward(Record):
    """Base of criterions of ``{{prediction, baseline}, target}`` that reward what modules inside ``module`` drew.

    The loss is minus the sum (with sizeAverage the mean) of the rewards, scale for a row that is right and 0 for another.  What was
    drawn is paid the reward less the baseline, over the number of rows with sizeAverage; the baseline learns from ``criterion``, whose
    target is the reward; the prediction gets no gradient.
    """

    kind = "criterion"
    differs: ClassVar[str] = (
        f"{BY_CONSTRUCTOR}; in evaluation nothing that was drawn is paid; rewards of several "
        "criterions for one module add up; in a loop it is refused"
    )
    arguments: ClassVar[tuple[Argument, ...]] = (
        Argument("module", "module"), Argument("scale", "number", 1.0), Argument("criterion", "module", None), SIZE_AVERAGE,
    )  # fmt: skip

    def construct(self, args: Sequence[Any], origin: Origin) -> Module:
        made = super().construct(args, origin)
        made.children = [made.args.criterion]  # the module stands elsewhere in the graph: here it is only told its reward
        return made

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if not abs(a.scale) < float("inf"):
            raise fail("E0422", f"nn.{self.name}: scale must be a finite number, got {a.scale:g}", origin)
        a.criterion = a.criterion if a.criterion is not None else new_module("MSECriterion", [], origin)
        if a.criterion.record.kind != "criterion":
            raise fail("E0422", f"nn.{self.name}: criterion must be a criterion, got nn.{a.criterion.record.name}", origin)

    def predictions(self, s: Types, prediction: Cell, target: Cell) -> Size | None:
        """State the types of both; returns how many rows there are."""
        raise NotImplementedError

    def right(self, b: Lowering, prediction: Value, target: Value) -> Value:
        """Of each row (bool)."""
        raise NotImplementedError

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        drawing = {id(inner) for inner in m.args.module.walk() if isinstance(inner.record, Reinforce)}
        if not drawing:
            raise impossible(s, m, "nothing in its module draws, so that there is nothing to reward", "no nn.Reinforce... in it", "E0320")
        if not any(id(use.module) in drawing for use in s.uses):
            s.warn(error("W0320", f"nn.{self.name} rewards a module that is not in the graph: nothing learns from it", s.current.origin,
                         severity="warning", others=[(m.args.module.origin, "this is the module")]))
        given, target = s.table(x, 2)
        prediction, baseline = s.table(given, 2)
        s.set(y, (), FLOAT)
        s.set(baseline, dtype=FLOAT)
        use = s.child("criterion", m.args.criterion, s.tree([baseline, Cell()]), Cell())
        s.set(use.y, (), FLOAT)
        rows = self.predictions(s, prediction, target)
        s.same(s.table(use.x, 2)[1], baseline)
        if rows is None:
            return
        dims = s.dims(baseline)
        if dims is None:
            s.guess(lambda: s.set(baseline, [rows, 1]))
        elif len(dims) > 2:
            raise Mismatch(f"a baseline of [{rows}] or [{rows}, 1] is wanted, got {s.show(baseline)}")
        elif dims:
            s.set(baseline, [rows, Size.const(1)][: len(dims)])
        else:
            s.equate(rows, 1, 0)

    def inside(self, w: Walk, m: Module, x: Any) -> Any:
        given, target = w.items(x, 2)
        prediction, baseline = w.items(given, 2)
        reward = w.own("the reward", prediction, target)
        return w.own("minus the mean", reward, w.child("criterion", (baseline, reward)))

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        assert isinstance(x, tuple) and isinstance(x[0], tuple)
        (prediction, baseline), target = map(only, x[0]), only(x[1])
        reward = b.scale(b.cast(self.right(b, prediction, target), prediction.dtype), m.args.scale)
        (rows,) = reward.shape
        total = b.reduce_sum(reward, [0])
        spared = b.sub(reward, b.reshape(baseline, reward.shape))
        if m.args.sizeAverage:
            total, spared = mean_of(b, total, rows), mean_of(b, spared, rows)
        b.pay(m.args.module, spared)
        return with_gradient_of(b, b.neg(total), only(b.child("criterion", (baseline, b.hold(b.reshape(reward, baseline.shape))))))


AGENT = Make("ReinforceCategorical")
SCORES = Leaf((4, 3), values=(0.9, 0.1, 0.2, 0.3, 0.1, 0.8, 0.2, 0.6, 0.4, 0.7, 0.5, 0.1))
CLASSES = Leaf((4,), index=True, high=3, values=(1, 2, 2, 3))


@register
class VRClassReward(ClassReward):
    """Rewards what was drawn inside ``module`` where the largest of ``prediction [B, n]`` is that of the class ``target [B]`` (int32).

    ``baseline [B]`` or ``[B, 1]`` is what reward was to be expected: less variance.  Without a batch axis: ``[n]``, ``[1]`` and a class.
    The module is one that stands in the graph; rewards go to everything in it that draws, at each step of a loop too.
    """

    name = "VRClassReward"
    doc = "minus the mean reward of right classes, which modules that draw learn from"
    source = DPNN + "VRClassReward.lua"
    samples = (
        Sample((AGENT,), ((SCORES, (4, 1)), CLASSES)),
        Sample((AGENT, 2.5, Make("AbsCriterion"), False), ((SCORES, (4,)), CLASSES)),
        Sample((AGENT, 2), ((Leaf((3,), values=(0.1, 0.8, 0.2)), (1,)), Leaf((), index=True, values=(2,)))),
        Sample((AGENT,), ((SCORES, (4, 1)), CLASSES), evaluate=True),
    )

    def predictions(self, s: Types, prediction: Cell, target: Cell) -> Size | None:
        s.set(prediction, dtype=FLOAT)
        s.set(target, dtype="int32")
        s.wish(prediction, 2)
        dims, given = s.dims(prediction), s.dims(target)
        if dims is None:
            return given[0] if given else None
        if len(dims) not in (1, 2):
            raise Mismatch(f"a prediction of [B, n] or [n] is wanted, got {s.show(prediction)}")
        if len(dims) == 2:
            s.set(target, dims[:1])
            return dims[0]
        if given:
            s.set(target, [1])
        elif given is None:
            s.guess(lambda: s.set(target, ()))
        return Size.const(1)

    def right(self, b: Lowering, prediction: Value, target: Value) -> Value:
        if prediction.type.rank == 1:
            prediction = b.unsqueeze(prediction, 0)
        found = b.argmax(prediction)
        return b.compare(found, b.zero_based(b.reshape(target, found.shape), prediction.shape[1]), "eq")


@register
class BinaryClassReward(ClassReward):
    """Rewards what was drawn inside ``module`` where ``prediction [B]`` is above 0.5 and ``target [B]`` is 1, or neither is.

    ``baseline [B]`` or ``[B, 1]`` is what reward was to be expected: less variance.  Targets are 0 or 1, of any dtype.  The module is one
    that stands in the graph; rewards go to everything in it that draws, at each step of a loop too.
    """

    name = "BinaryClassReward"
    doc = "minus the mean reward of right answers to a question, which modules that draw learn from"
    source = DPNN + "BinaryClassReward.lua"
    samples = (
        Sample((AGENT,), ((Leaf((4,), values=(0.9, 0.2, 0.7, 0.4)), (4,)), Leaf((4,), values=(1.0, 0.0, 0.0, 1.0)))),
        Sample((AGENT, 2.5, Make("AbsCriterion"), False),
               ((Leaf((3,), values=(0.9, 0.2, 0.7)), (3, 1)), Leaf((3,), index=True, values=(1, 1, 1)))),
    )  # fmt: skip

    def predictions(self, s: Types, prediction: Cell, target: Cell) -> Size | None:
        s.set(prediction, dtype=FLOAT)
        s.wish(prediction, 1)
        labels_like(s, prediction, target)
        dims = s.dims(prediction)
        if dims is not None and len(dims) != 1:
            raise Mismatch(f"a prediction of [B] is wanted, got {s.show(prediction)}")
        return dims[0] if dims else None

    def right(self, b: Lowering, prediction: Value, target: Value) -> Value:
        target = b.cast(b.reshape(target, prediction.shape), prediction.dtype)
        said = b.cast(b.compare(prediction, b.full_like(prediction, 0.5), "gt"), prediction.dtype)
        return b.compare(said, target, "eq")
