"""From a graph to whole programs: typing it for given inputs, and the forward, backward and training programs.

A program's inputs are, in order: the leaves of the model's inputs (``input``, ``input.1``, ``input.2.1`` ... by their place in the
nested table), ``parameters`` (the flat buffer, canonical order), each buffer by name, ``seed`` and ``step``, and
``noise:<node>`` for injected masks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from graphspec.autodiff import gradients
from graphspec.errors import Diagnostic, SpecError, error, fail
from graphspec.graph import Module, Parameter, ill_fed, name_parameters
from graphspec.ir.core import Guard, Port, Program, TensorType, Value, tensor
from graphspec.ir.rewrite import erase_stops
from graphspec.lower import Lowering, Scope, Session, Tree, flatten, name_nodes, unflatten
from graphspec.nn.sequencer import forgetting_uses
from graphspec.shapes.cells import Cell
from graphspec.shapes.infer import Types, Use, merge_repeats, name_letters
from graphspec.shapes.letters import merged_letters
from graphspec.shapes.ranks import MAX_TRIES, Attempt, search
from graphspec.sizes import Size, product

Signature = Union[int, tuple["Signature", ...], None]
"""Ranks in the nesting of the inputs; None leaves everything to inference."""


@dataclass(frozen=True)
class Assumed:
    """A shape that nothing says: of an input, by its place among the leaves, or (None) of a value at the module ``at``."""

    shape: str
    place: int | None
    at: str

    def __str__(self) -> str:
        return self.shape if self.place is not None else f"{self.shape} at nn.{self.at}"


@dataclass
class Typed:
    """A module with every type known."""

    module: Module
    types: Types
    use: Use
    inputs: Any
    """Nested tuple of TensorType (float leaves in ``dtype``)."""
    outputs: Any
    dtype: str
    assumed: list[Assumed]
    node_names: dict[tuple[int, ...], str]
    index_base: int = 1

    @property
    def input_names(self) -> list[str]:
        return leaf_names("input", self.inputs)

    @property
    def output_names(self) -> list[str]:
        return leaf_names("output", self.outputs)


def leaf_names(stem: str, tree: Any) -> list[str]:
    """``input``, or ``input.1``, ``input.2.1`` ... for the leaves of a nested tuple."""
    if not isinstance(tree, tuple):
        return [stem]
    return [name for position, item in enumerate(tree, 1) for name in leaf_names(f"{stem}.{position}", item)]


def infer(module: Module, dtype: str = "float32", signature: Signature = None, index_base: int = 1, tries: int = MAX_TRIES) -> Typed:
    """Type every use in ``module``; SpecError with all that does not fit.  ``tries`` of 1 assumes nothing but the usual ranks."""
    return search(lambda choices: _infer(module, dtype, signature, index_base, choices), tries)


def _infer(module: Module, dtype: str, signature: Signature, index_base: int, choices: tuple[int, ...]) -> Attempt[Typed]:
    """One attempt, with assumed ranks by ``choices``."""
    types = Types(choices)
    use = Use(module, Cell(), Cell(), module.origin)
    try:
        if signature is not None:
            types.current = use
            _impose(types, use.x, signature)
        types.run(use)
        name_letters(types, [use.x])
        assumed = _assumed(types, use)
        lowering = Lowering(Session(types, dtype, False), use, Scope())
        typed = Typed(module, types, use, lowering.type_of(use.x), lowering.type_of(use.y), dtype, assumed, name_nodes(use), index_base)
        _check_letters(typed)
    except SpecError as failure:
        failure.typed = Typed(module, types, use, (), (), dtype, [], {}, index_base)
        return Attempt(failure, len(types.assumed), len(types.uses))
    fixed = any(n.value is not None for cell, _ in types.assumed for n in (types.dims(cell) or ())[:1])
    return Attempt(typed, len(types.assumed), len(types.uses), doubtful=fixed or bool(types.pending))


def _assumed(types: Types, top: Use) -> list[Assumed]:
    places = {cell: place for place, cell in enumerate(types.leaves(top.x))}
    return [
        Assumed(types.show(cell), places.get(types.find(cell)), use.module.record.name if use.module is not None else "gModule")
        for cell, use in types.assumed
    ]


def _impose(types: Types, cell: Cell, signature: Signature) -> None:
    assert signature is not None
    if isinstance(signature, int):
        hints = ["B", "n", "m", "k", "l"]
        types.set(cell, [types.letter(hints[i % 5]) for i in range(signature)])
        return
    for item, inner in zip(types.table(cell, len(signature)), signature, strict=True):
        _impose(types, item, inner)


def _check_letters(typed: Typed) -> None:
    """Every size letter must be fixed by some input (E0305)."""
    known = {letter for t in leaves(typed.inputs) for n in t.shape for letter in n.letters}
    for use in typed.types.uses:
        for leaf in typed.types.leaves(use.y):
            for n in typed.types.dims(leaf) or ():
                for letter in sorted(n.letters - known):
                    raise fail(
                        "E0305",
                        f"nothing that is given to the model fixes the size {letter}",
                        use.origin,
                        typed.types.show(leaf),
                        helps=[
                            f"declare an input that has it, as in `nn.Identity{{'{letter}', 'B'}}()`",
                            "or say how large it is on the way, as in `nn.Identity{'B', 4}(node)`",
                        ],
                    )


def leaves(tree: Any) -> list[Any]:
    """The leaves of a nested tuple, in order."""
    return [leaf for item in tree for leaf in leaves(item)] if isinstance(tree, tuple) else [tree]


@dataclass
class Frame:
    """A program in the making: its builder, its inputs by name, and the module's parameters and buffers inside it."""

    typed: Typed
    b: Lowering
    ports: list[Port] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)

    def input(self, name: str, type: TensorType, role: Any) -> Value:
        value = self.b.param(type, name)
        self.ports.append(Port(name, role))
        self.values[name] = value
        return value

    def finish(self, name: str, outputs: Sequence[tuple[Port, Value]], holding: bool = False) -> Program:
        """The program with these results.  ``holding``: the stop_gradients of what records hold constant stay."""
        self.b.block.results = [value for _, value in outputs]
        erase_stops(self.b.block, self.b.session.held if holding else ())
        types = self.typed.types
        guards = [Guard(types.resolve(p.left), types.resolve(p.right), "sizes must be equal", p.origin) for p in types.pending]
        guards += [Guard(p.left, p.right, "this axis is too short", p.origin, at_most=True) for p in types.open_bounds()]
        return Program(self.b.block, self.ports, [port for port, _ in outputs], guards, name)


def open_frame(
    typed: Typed, training: bool, wanted: frozenset[str] = frozenset(), noise: Mapping[str, TensorType] | None = None,
    roles: Mapping[str, Any] | None = None, judged: bool = False,
) -> tuple[Frame, Tree]:  # fmt: skip
    """A program with the inputs declared; returns it with the tree of input values.  ``roles`` are those of inputs that
    are not the caller's (a carried state).  ``judged``: criterions are asked which predictions are right."""
    session = Session(typed.types, typed.dtype, training, wanted, typed.node_names, typed.index_base, judged=judged)
    scope = Scope()
    frame = Frame(typed, Lowering(session, typed.use, scope))
    given = [
        frame.input(name, t, (roles or {}).get(name, "input")) for name, t in zip(typed.input_names, leaves(typed.inputs), strict=True)
    ]
    parameters = typed.module.all_parameters()
    total = sum(p.size for p in parameters)
    flat = frame.input("parameters", tensor([total], typed.dtype), "parameter")
    scope.parameters = {id(p): v for p, v in zip(parameters, unpack(frame.b, flat, parameters), strict=True)}
    for buffer in typed.module.all_parameters(buffers=True):
        scope.buffers[id(buffer)] = frame.input(buffer.name, tensor(buffer.shape, typed.dtype), "buffer")
    scope.seed = frame.input("seed", tensor((), "int64"), "seed")
    scope.step = frame.input("step", tensor((), "int64"), "step")
    for name, t in (noise or {}).items():
        scope.noise[name] = frame.input(f"noise:{name}", t, "noise")
    return frame, unflatten(typed.inputs, given)


def unpack(b: Lowering, flat: Value, parameters: Sequence[Parameter]) -> list[Value]:
    """The parameters as views of the flat buffer."""
    found, offset = [], 0
    for parameter in parameters:
        piece = b.slice(flat, 0, offset, parameter.size)
        value = b.reshape(piece, [Size.const(n) for n in parameter.shape])
        value.name = parameter.name
        found.append(value)
        offset += parameter.size
    return found


def pack(b: Lowering, values: Sequence[Value]) -> Value:
    """Tensors one after another in one flat buffer."""
    return b.concat([b.reshape(v, (product(v.shape),)) for v in values], 0)


def lower_module(frame: Frame, x: Tree) -> Tree:
    """The module's own ops."""
    b = frame.b
    with b.at(frame.typed.module.origin):
        y = frame.typed.module.record.lower(b, frame.typed.module, x)
    b.payments()  # that do not fit are told by every program
    return y


def buffer_updates(frame: Frame) -> list[tuple[Port, Value]]:
    """Running statistics that the program changed, as donated results."""
    changed = []
    for buffer in frame.typed.module.all_parameters(buffers=True):
        value = frame.b.scope.buffers[id(buffer)]
        if value is not frame.values[buffer.name]:
            changed.append((Port(f"new {buffer.name}", "buffer", buffer.name), value))
    return changed


def forward_program(
    typed: Typed, training: bool, wanted: frozenset[str] = frozenset(), noise: Mapping[str, TensorType] | None = None,
    proving: bool = False,
) -> Program:  # fmt: skip
    """Inputs to outputs (and the values of ``wanted`` nodes, as ``node:<name>``).

    ``proving``: what is minimised beside the outputs is one more of them, ``terms``, if there is any, and values that records hold
    constant are marked by a stop_gradient.
    """
    frame, x = open_frame(typed, training, wanted, noise)
    y = lower_module(frame, x)
    outputs = [(Port(name, "output"), value) for name, value in zip(typed.output_names, flatten(y), strict=True)]
    outputs += [(Port(f"node:{name}", "output"), value) for name, value in frame.b.scope.captured.items()]
    if training:
        outputs += buffer_updates(frame)
    if proving and (terms := frame.b.objective(alone=True)) is not None:
        outputs.append((Port("terms", "output"), terms))
    return frame.finish("forward", outputs, holding=proving)


def backward_program(typed: Typed, training: bool, noise: Mapping[str, TensorType] | None = None, proving: bool = False) -> Program:
    """Inputs and ``gradient:<output>`` to ``gradient:<input>`` and the flat ``gradients``, added to what is there already.

    The forward values are part of it: with the same seed and step, random masks come out the same.  What is minimised beside the outputs
    counts once; in a program for ``proving`` it is an output ``terms`` like the others, with a gradient that is given.
    """
    frame, x = open_frame(typed, training, frozenset(), noise)
    b = frame.b
    accumulated = frame.input("gradients", frame.values["parameters"].type, "gradient")
    y = flatten(lower_module(frame, x))
    given: dict[Value, Value] = {}
    for name, value in zip(typed.output_names, y, strict=True):
        if value.type.is_float:
            cotangent = frame.input(f"gradient:{name}", value.type, "input")
            given[value] = b.add(given[value], cotangent) if value in given else cotangent
    if (terms := b.objective(alone=proving)) is not None:
        given[terms] = frame.input("gradient:terms", terms.type, "input") if proving else b.full_like(terms, 1)
    inputs = [(name, v) for name, v in zip(typed.input_names, flatten(x), strict=True) if v.type.is_float]
    parameters = typed.module.all_parameters()
    tensors = [b.scope.parameters[id(p)] for p in parameters]
    found = gradients(b, given, [*tensors, *(v for _, v in inputs)])
    parts = [g if g is not None else b.zeros(v.type) for g, v in zip(found, [*tensors, *(v for _, v in inputs)], strict=True)]
    outputs = [(Port(f"gradient:{name}", "output"), g) for (name, _), g in zip(inputs, parts[len(tensors) :], strict=True)]
    if tensors:
        outputs.append((Port("new gradients", "gradient", "gradients"), b.add(accumulated, pack(b, parts[: len(tensors)]))))
    return frame.finish("backward", outputs)


def noise_types(typed: Typed, names: Iterable[str]) -> dict[str, TensorType]:
    """Types of the noise that can be injected for nodes: that of the node's value, with a leading axis for each loop around it."""
    found: dict[str, TensorType] = {}
    lowering = Lowering(Session(typed.types, typed.dtype, False), typed.use, Scope())
    wanted = set(names)

    def visit(use: Use, path: tuple[int, ...], trips: tuple[Size, ...]) -> None:
        if use.module is not None and use.module.record.loops:
            trips = (*trips, typed.types.resolve(use.fresh["T"]))
        for sub in use.subs.values():
            where = (*path, sub.node.serial) if sub.node else path
            name = typed.node_names.get(where) if sub.node else None
            if name in wanted:
                value = lowering.type_of(sub.y)
                if sub.module is None or not sub.module.record.stochastic or not isinstance(value, TensorType):
                    raise fail("E0314", f"the node {name} draws no noise", sub.origin, helps=["noise is for nodes such as nn.Dropout's"])
                found[str(name)] = value.with_shape([*trips, *sub.module.record.noise_shape(value.shape)])
            visit(sub, where, trips)

    visit(typed.use, (), ())
    return found


def assumptions(typed: Typed) -> list[Diagnostic]:
    """The warnings of inference, those of letters that became one, of recurrent modules that are in no loop and of criterions that are
    given what they do not take, and one for shapes that nobody stated."""
    told = [_forgetting(use) for use in forgetting_uses(typed.use)]
    told += [warning for use in typed.types.uses if use.node is not None for warning in ill_fed(use.node)]
    found = [*typed.types.warnings, *merged_letters(typed.types), *merge_repeats(told)]
    if typed.assumed:
        kind = "batch-major " if all("[B" in one.shape for one in typed.assumed) else ""
        shown = ", ".join(dict.fromkeys(map(str, typed.assumed)))
        what = "inputs" if all(one.place is not None for one in typed.assumed) else "values"
        text = f"nothing says what shape some {what} have: assumed {kind}{shown}"
        found.append(error("W0306", text, typed.module.origin, severity="warning"))
    return found


def _forgetting(use: Use) -> Diagnostic:
    name = use.module.record.name if use.module is not None else ""
    helps = [f"over the steps of a sequence: `nn.Sequencer(nn.{name}(...))`; a state that is an input: `nn.Scan`"]
    return error("W0308", f"nn.{name} makes one step from a state of zeros here: no nn.Sequencer is around it", use.origin,
                 severity="warning", helps=helps)  # fmt: skip


def named_parameters(module: Module) -> list[Parameter]:
    """Names given, parameters (no buffers) in canonical order."""
    name_parameters([module])
    return module.all_parameters()
