"""A recurrent module that learns which operations to mix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Node, Sample, Table, register
from graphspec.nn.common import RNN
from graphspec.nn.recurrent import ONE_STEP, RHO, Gates, node, plus, times
from graphspec.suggest import did_you_mean

Operation = Callable[[Node, Node, Origin], Node]


def scaled(x: Node, factor: float, origin: Origin) -> Node:
    return node("MulConstant", (factor,), x, origin)


def minus(a: Node, b: Node, origin: Origin) -> Node:
    return node("CSubTable", (), [a, b], origin)


OPERATIONS: dict[str, Operation] = {
    "keep": lambda h, v, origin: h,
    "replace": lambda h, v, origin: v,
    "mul": times,
    "diff": minus,
    "forget": lambda h, v, origin: scaled(h, 0, origin),
    "sqrt_diff": lambda h, v, origin: scaled(node("Sqrt", (), node("Abs", (), minus(h, v, origin), origin), origin), 0.25, origin),
    "max": lambda h, v, origin: node("CMaxTable", (), [h, v], origin),
    "min": lambda h, v, origin: node("CMinTable", (), [h, v], origin),
}
"""What each makes of the old state h and the new features v."""


@register
class MuFuRu(Gates):
    """``r = sig(W x + U h + b)``, ``v = sig(V [x, r * h] + c)``, ``y = h = sum_k p_k * op_k(h, v)``, p a softmax over the operations of
    ``L [x, h] + d``, for each element.

    ``[..., inputSize] -> [..., outputSize]``; the state is h.  ``ops`` are names of: keep (h), replace (v), mul (h v), diff (h - v), forget
    (0), sqrt_diff (sqrt|h - v| / 4), max, min; all of them in this order unless given.  Weissenborn and Rocktäschel (2016).
    """

    name = "MuFuRu"
    doc = "one step of a multi-function recurrent unit"
    source = RNN + "MuFuRu"
    differs = ONE_STEP + "; other inputs than [B, n] are taken too"
    arguments = (Argument("inputSize"), Argument("outputSize", "size", None), Argument("ops", "table", None), RHO)
    samples = (Sample((3, 2), (2, 3)), Sample((2, 2, Table(("keep", "replace")), 5), (2,)), Sample((2, 1, Table(("diff",))), (2, 2, 2)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        a.ops = a.ops if a.ops is not None else Table(tuple(OPERATIONS))
        if a.ops.fields or not a.ops.items:
            raise fail("E0422", f"nn.{self.name}: ops must be a list of names", origin)
        for name in a.ops.items:
            if name not in OPERATIONS:
                helps = did_you_mean(name, OPERATIONS) if isinstance(name, str) else []
                raise fail("E0422", f"nn.{self.name}: ops must be of {', '.join(OPERATIONS)}", origin, helps=helps)

    def graph(self, a: SimpleNamespace, x: Node, state: list[Node], origin: Origin) -> list[Node]:
        (h,) = state
        n, ops = a.outputSize, a.ops.items

        def linear(inputs: Sequence[Node], outputs: int, title: str) -> Node:
            joined = node("JoinTable", (-1,), list(inputs), origin)
            return node("Linear", (a.inputSize + n, outputs), joined, origin, title)

        parts = [node("Linear", (a.inputSize, n), x, origin, "resetGate.input"), node("Linear", (n, n), h, origin, "resetGate.output")]
        reset = node("Sigmoid", (), node("CAddTable", (), parts, origin), origin)
        v = node("Sigmoid", (), linear([x, times(h, reset, origin)], n, "featureVec"), origin)
        logits = linear([x, h], len(ops) * n, "opWeights")
        each = [node("Narrow", (-1, k * n + 1, n), logits, origin) for k in range(len(ops))]
        largest = node("CMaxTable", (), each, origin) if len(ops) > 1 else node("Identity", (), each[0], origin)
        powers = [node("Exp", (), minus(one, largest, origin), origin) for one in each]
        total = powers[0]
        mixed = times(powers[0], OPERATIONS[ops[0]](h, v, origin), origin)
        for power, name in zip(powers[1:], ops[1:], strict=True):
            total = plus(total, power, origin)
            mixed = plus(mixed, times(power, OPERATIONS[name](h, v, origin), origin), origin)
        return [node("CDivTable", (), [mixed, total], origin)]
