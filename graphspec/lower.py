"""Lowering: a typed graph becomes tensor IR.

:class:`Lowering` is the builder that records emit into.  It knows the parameters, the random counters, the mode, and which
uses of modules inference found; everything a module needs from outside its block reaches a scan's body as a const, an x or a carry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Union

from graphspec.errors import Origin, fail
from graphspec.graph import GModule, Module, Node, gathered
from graphspec.ir.builder import Builder
from graphspec.ir.core import Block, Value, tensor
from graphspec.shapes.cells import FLOAT, Cell
from graphspec.shapes.infer import Types, Use
from graphspec.sizes import Size, SizeLike

Tree = Union[Value, tuple["Tree", ...]]
"""The value of a node: a tensor, or a nested table of tensors."""


def flatten(tree: Tree) -> list[Value]:
    """The tensors of a tree, in order."""
    if isinstance(tree, Value):
        return [tree]
    return [leaf for item in tree for leaf in flatten(item)]


def _alike(y: Any, wanted: Any) -> bool:
    """Whether values are of these types, as far as their sizes are numbers."""
    if isinstance(wanted, tuple):
        return isinstance(y, tuple) and len(y) == len(wanted) and all(map(_alike, y, wanted))
    if not isinstance(y, Value) or y.type.dtype != wanted.dtype or y.type.rank != wanted.rank:
        return False
    return all(m.value is None or n.value is None or m == n for m, n in zip(y.shape, wanted.shape, strict=True))


def _types(tree: Any) -> str:
    if isinstance(tree, tuple):
        return f"{{{', '.join(map(_types, tree))}}}"
    return str(tree.type if isinstance(tree, Value) else "nothing" if tree is None else tree)


def unflatten(like: Any, values: Iterable[Any]) -> Any:
    """Values put in the place of the leaves of ``like`` (a nested tuple)."""
    supply = iter(values)

    def build(node: Any) -> Any:
        return tuple(build(item) for item in node) if isinstance(node, tuple) else next(supply)

    return build(like)


def map_tree(function: Callable[[Value], Value], tree: Tree) -> Tree:
    return function(tree) if isinstance(tree, Value) else tuple(map_tree(function, item) for item in tree)


@dataclass(frozen=True)
class Draw:
    """A sample that a module drew: the logarithm of its probability, ``[rows]``."""

    module: Module
    log_probability: Value
    origin: Origin


@dataclass(frozen=True)
class Reward:
    """What a criterion pays for each row, ``[rows]``, to all that is drawn inside ``module``."""

    module: Module
    values: Value
    origin: Origin


@dataclass(frozen=True)
class Answers:
    """A criterion's predictions, row by row: 1.0 where one is ``right``, and where one is ``counted``; ``target`` is what they are compared
    with, None for what a loop hands out."""

    right: Value
    counted: Value
    target: Value | None


@dataclass
class Scope:
    """What code in one block can see: parameters and buffers as values of this block, random counters, injected noise.

    ``captured`` collects the values of nodes that were asked for by name (``model.node``).
    """

    parameters: dict[int, Value] = field(default_factory=dict)
    buffers: dict[int, Value] = field(default_factory=dict)
    noise: dict[str, Value] = field(default_factory=dict)
    seed: Value | None = None
    step: Value | None = None
    indices: list[Value] = field(default_factory=list)
    captured: dict[str, Value] = field(default_factory=dict)
    states: dict[int, list[Value]] = field(default_factory=dict)
    """In a loop over recurrent modules: the state of each use of one, by the use's id."""
    handed: dict[int, dict[int, Value]] = field(default_factory=dict)
    """What loops that are in no other begin with where they would with zeros, by the id of the use they run and the carry's number; once
    they are lowered, what they leave (:mod:`graphspec.states`)."""
    made: dict[tuple[int, str], Value] = field(default_factory=dict)
    """What a decorator computes in place of a module's own parameter, by module and name."""
    places: dict[int, Value] = field(default_factory=dict)
    """Where a pooling found its maxima, by the id of its use, for an unpooling further on."""
    terms: list[Value] = field(default_factory=list)
    """What is minimised beside the outputs, tensors to be summed; a loop hands on the sum over its steps."""
    draws: list[Draw] = field(default_factory=list)
    rewards: list[Reward] = field(default_factory=list)
    answers: list[Answers] = field(default_factory=list)


@dataclass
class Session:
    """What is the same for all blocks of one lowering."""

    types: Types
    dtype: str
    training: bool
    wanted: frozenset[str] = frozenset()
    """Node names whose values are to be captured."""
    node_names: dict[tuple[int, ...], str] = field(default_factory=dict)
    index_base: int = 1
    sites: int = 0
    watched: Mapping[int, str] = field(default_factory=dict)
    """Uses whose values are to be captured, by id, and under which name."""
    loops: list[Any] | None = None
    """The loops over time that are in no other, as they are lowered, if anybody asks (:class:`graphspec.nn.loop.Ran`)."""
    held: set[Value] = field(default_factory=set)
    """What records take for constants (:meth:`Lowering.hold`)."""
    judged: bool = False  # whether anybody asks which predictions are right


class Lowering(Builder):
    """The builder handed to ``record.lower``."""

    def __init__(self, session: Session, use: Use, scope: Scope, block: Block | None = None) -> None:
        super().__init__(block, session.dtype)
        self.session = session
        self.use = use
        self.scope = scope
        self.path: tuple[int, ...] = ()

    # -- for records -----------------------------------------------------------------------------------------------

    @property
    def training(self) -> bool:
        """Whether the module being lowered is in training mode."""
        return self.session.training and (self.use.module is None or self.use.module.training)

    def parameter(self, m: Module, key: str) -> Value:
        """The value of a parameter of ``m``, of its own shape."""
        made = self.scope.made.get((id(m), key))
        return made if made is not None else self.scope.parameters[id(m.parameters[key])]

    @contextmanager
    def with_parameter(self, m: Module, key: str, value: Value) -> Iterator[None]:
        """Inside, ``value`` stands for a parameter of ``m``."""
        before = self.scope.made
        self.scope.made = {**before, (id(m), key): value}
        yield
        self.scope.made = before

    def buffer(self, m: Module, key: str) -> Value:
        return self.scope.buffers[id(m.buffers[key])]

    def set_buffer(self, m: Module, key: str, value: Value) -> None:
        """The new value of a running statistic: a result of the program (and a carry of the scans around)."""
        self.scope.buffers[id(m.buffers[key])] = value

    def size(self, value: SizeLike) -> Size:
        """A constructor's size argument with its letters resolved."""
        self.session.types.current = self.use
        return self.session.types.one_form(self.session.types.size(value))

    def unknown(self, name: str) -> Size:
        """The size that the record's ``shapes`` called by this name, as inferred."""
        return self.session.types.one_form(self.use.fresh[name])

    def type_of(self, cell: Cell) -> Any:
        """The types on a cell: a TensorType, or a tuple of them for a table."""
        types = self.session.types
        found = types.find(cell)
        if found.items is not None:
            return tuple(self.type_of(item) for item in found.items)
        dims = types.dims(found)
        assert dims is not None, "inference left a tensor untyped"
        return tensor(dims, self.dtype if found.dtype == FLOAT else found.dtype or self.dtype)

    def draw(self, kind: str, shape: Sequence[SizeLike]) -> Value:
        """A random tensor: fresh for every step of training and every turn of the scans around, the same when asked again."""
        scope = self.scope
        assert scope.seed is not None and scope.step is not None
        self.session.sites += 1
        return self.random(kind, scope.seed, scope.step, scope.indices, self.session.sites, shape)

    @property
    def injected(self) -> Value | None:
        """The noise that the caller injects for the node being lowered, if any."""
        name = self.session.node_names.get(self.path)
        return self.scope.noise.get(name) if name else None

    # -- gradients that are not those of the output ------------------------------------------------------------------

    def hold(self, x: Value) -> Value:
        """x, a constant by the module's definition (a sample, a reward): no gradient goes through, and finite differences leave it as it
        is.  :meth:`stop_gradient` is for what has no gradient anyway, which they test."""
        held = self.stop_gradient(x)
        self.session.held.add(held)
        return held

    def also_minimise(self, values: Value) -> None:
        """Add the sum of these to what is differentiated, with factor 1 and to no output; in evaluation nothing.

        A leading axis of rows lets nn.Scan leave out those whose sequence has ended.
        """
        if self.training:
            self.scope.terms.append(values)

    def drew(self, log_probability: Value) -> None:
        """The module being lowered drew a sample, with this logarithm of the probability of each element, rows first.  A criterion that has
        the module inside pays for it."""
        if self.training:
            assert self.use.module is not None
            rows = self.reduce_sum(log_probability, range(1, log_probability.type.rank))
            self.scope.draws.append(Draw(self.use.module, rows if rows.type.rank else self.unsqueeze(rows, 0), self.origin))

    def pay(self, module: Module, values: Value) -> None:
        """Reward each row, ``[rows]``, of whatever is drawn inside that module; E0320 in a loop, where draws of other steps have no part in
        the reward."""
        if self.scope.indices:
            name = self.use.module.record.name if self.use.module else ""
            raise fail("E0320", f"nn.{name} stands in a loop, where it cannot tell which draws its reward is for", self.use.origin,
                       helps=["give it the outputs of the last step, after the loop"])
        self.scope.rewards.append(Reward(module, self.hold(values), self.origin))

    def payments(self) -> list[tuple[Draw, Reward]]:
        """Which reward is for what was drawn; E0320 where one has other rows than the other."""
        found = []
        for reward in self.scope.rewards:
            inside = set(map(id, reward.module.walk()))
            for draw in self.scope.draws:
                if id(draw.module) in inside:
                    rows, paid = (self.session.types.one_form(v.shape[0]) for v in (draw.log_probability, reward.values))
                    if rows != paid and paid.value != 1:
                        raise fail("E0320", f"there are rewards for {paid} rows, and nn.{draw.module.record.name} drew {rows}",
                                   draw.origin, others=[(reward.origin, "rewarded here")])
                    found.append((draw, reward))
        return found

    def objective(self, alone: bool = False) -> Value | None:
        """What is minimised beside the outputs, a scalar; None for nothing: the terms, and for each draw minus its reward times the
        logarithm of its probability.  ``alone``: where nobody pays, draws are paid 1, so that they can be proved."""
        parts = [self.reduce_sum(term, range(term.type.rank)) for term in self.scope.terms]
        parts += [self._paid(draw, reward) for draw, reward in self.payments()]
        if alone and not self.scope.rewards:
            parts += [self.neg(self.reduce_sum(draw.log_probability, [0])) for draw in self.scope.draws]
        whole: Value | None = None
        for part in parts:
            whole = part if whole is None else self.add(whole, part)
        return whole

    def _paid(self, draw: Draw, reward: Reward) -> Value:
        rows, values = draw.log_probability, reward.values
        with self.at(draw.origin):
            if values.shape[0].value == 1:  # one reward, for a sample without a batch axis too
                rows = self.reshape(self.reduce_sum(rows, [0]), (1,))
            values = self.reshape(values, rows.shape)
            return self.neg(self.reduce_sum(self.mul(values, rows), [0]))

    # -- for records -------------------------------------------------------------------------------------------------

    def answered(self, right: Value, without: Value | None, target: Value) -> None:
        """Which predictions of a criterion are right, and which do not count (None: all do); both bool, of one shape, rows first."""
        one, none = self.full(1, right.shape), self.full(0, right.shape)
        counted = one if without is None else self.where(without, none, one)
        self.scope.answers.append(Answers(self.where(right, counted, none), counted, target))

    def zero_based(self, index: Value, n: SizeLike, base_shift: int = 0) -> Value:
        """A 1-based index input (0-based under ``index_base=0``) as positions from 0, checked against n at run time.

        ``base_shift=-1`` is for inputs with one more value below the first index, such as 0 for "none".
        """
        base = self.session.index_base + base_shift
        checked = self.check_index(index, n, base=base)
        return self.sub(checked, self.full_like(checked, base)) if base else checked

    def classes_or_none(self, index: Value, n: SizeLike) -> tuple[Value, Value]:
        """Positions from 0 of an index input whose 0 (-1 under ``index_base=0``) stands for "none", and which of them are some."""
        found = self.zero_based(index, n + 1, base_shift=-1)
        some = self.compare(found, self.full_like(found, 0), "gt")
        return self.maximum(self.sub(found, self.full_like(found, 1)), self.full_like(found, 0)), some

    # -- uses --------------------------------------------------------------------------------------------------------

    def child(self, key: Any, x: Tree) -> Tree:
        """Lower an inner use (of a container's child)."""
        return self._enter(self.use.subs[key], x)

    def items(self, x: Tree, count: int) -> Sequence[Tree]:
        """The elements of a table."""
        assert isinstance(x, tuple) and len(x) == count
        return x

    def own(self, what: str, *xs: Tree, gain: float = 0) -> Tree:
        assert self.use.module is not None
        raise NotImplementedError(f"nn.{self.use.module.record.name} computes something itself, so its record says how, in `lower`")

    def _enter(self, use: Use, x: Tree) -> Tree:
        assert use.module is not None
        x = self._fit(use.x, x)
        outer, path = self.use, self.path
        self.use, self.path = use, (*path, *([use.node.serial] if use.node else []))
        origin = use.origin if use.origin.span else self.origin
        with self.at(origin):
            y = use.module.record.lower(self, use.module, x)
        self._as_typed(use, y)
        name = self.session.node_names.get(self.path)
        asked = [self.session.watched.get(id(use)), name if name in self.session.wanted and use.node is not None else None]
        leaves = flatten(y)
        for title in filter(None, asked):
            for number, leaf in enumerate(leaves, 1):
                self.scope.captured[title if len(leaves) == 1 else f"{title}[{number}]"] = leaf
        self.use, self.path = outer, path
        return y

    def _as_typed(self, use: Use, y: Tree) -> None:
        """E0823 where a record lowers to something else than its ``shapes`` said.  Letters are left to the run."""
        assert use.module is not None
        wanted, record = self.type_of(use.y), use.module.record
        if not _alike(y, wanted):
            found = f"{_types(y)} comes of `lower`, and its `shapes` says {_types(wanted)}"
            raise fail("E0823", f"a mistake in the record of nn.{record.name}, in {type(record).__module__}: {found}", use.origin)

    def _fit(self, cell: Cell, x: Tree) -> Tree:
        """The values with one form for each size.  There are several where two forms are equal by a guard only (``2*N`` and ``T*B``,
        ``n + m`` and 10)."""
        if isinstance(x, Value):
            return self.reshape(x, [self.session.types.one_form(n) for n in self.type_of(cell).shape])
        return tuple(self._fit(inner, item) for inner, item in zip(self.session.types.find(cell).items or (), x, strict=False))

    def graph(self, m: GModule, x: Tree) -> Tree:
        """Lower every node of a gModule, in order."""
        outer = self.use
        given: Sequence[Tree] = (x,) if len(m.inputs) == 1 else x if isinstance(x, tuple) else ()
        values: dict[Node, Tree] = {}

        for node in m.nodes:
            if node.piece is not None:
                whole = gathered(node.inputs, values)
                values[node] = whole[node.piece[0]] if isinstance(whole, tuple) else whole
            else:
                argument = given[m.inputs.index(node)] if node in m.inputs else gathered(node.inputs, values)
                values[node] = self._enter(outer.subs[node], argument)
            for leaf in flatten(values[node]):
                leaf.name = leaf.name or node.name or ""
        outs = tuple(values[node] for node in m.outputs)
        return outs[0] if len(outs) == 1 else outs

    def inner(self, builder: Builder, use: Use, scope: Scope) -> Lowering:
        """A lowering into a scan's body, for the cell's use."""
        body = Lowering(self.session, use, scope, builder.block)
        body.origin, body.path = self.origin, self.path
        return body

    def run_cell(self, x: Tree) -> Tree:
        """Lower the module of the current use itself (a scan's cell)."""
        assert self.use.module is not None
        return self.use.module.record.lower(self, self.use.module, x)


def name_nodes(use: Use) -> dict[tuple[int, ...], str]:
    """Names of all nodes by their path of serials: the user's own, numbered (``h``, ``h[2]``) when they repeat."""
    names: dict[tuple[int, ...], str] = {}
    counts: dict[str, int] = {}

    def visit(current: Use, path: tuple[int, ...]) -> None:
        for sub in current.subs.values():
            where = (*path, sub.node.serial) if sub.node else path
            if sub.node is not None:
                title = str(sub.node.annotations.get("name") or sub.node.name or "")
                if title:
                    counts[title] = counts.get(title, 0) + 1
                    names[where] = title if counts[title] == 1 else f"{title}[{counts[title]}]"
            visit(sub, where)

    visit(use, ())
    return names
