"""The training step as one program: forward, gradients, clipping, optimizer, carried state and running statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphspec.autodiff import gradients
from graphspec.build import ExperimentSpec
from graphspec.errors import SpecError, fail
from graphspec.graph import GModule, Node, gmodule, name_parameters
from graphspec.ir.builder import Builder
from graphspec.ir.core import Port, Program, TensorType, Value, tensor
from graphspec.lower import flatten
from graphspec.open import Opened, with_tried_fixes
from graphspec.program import Frame, Typed, buffer_updates, infer, leaf_names, leaves, lower_module, open_frame, pack, unpack
from graphspec.states import Memory, hand_in, handed_out, kept, remembered
from graphspec.training.feeding import Feeding
from graphspec.training.fields import check_fields
from graphspec.training.measures import ACCURACY, COUNTED, RIGHT
from graphspec.training.optimizers import OPTIMIZERS, Optimizer, Update, check_optimizer


@dataclass
class Setup:
    """An experiment typed: which leaves of the graph's inputs the data feed, which are carried, and how the carried ones go on."""

    spec: ExperimentSpec
    graph: GModule
    typed: Typed
    carried: dict[str, TensorType]
    """Input port name to type, for every carried tensor, in order."""
    memories: dict[str, Memory]
    """Of those the ones that are states of loops, which the graph has no inputs for."""
    feeding: Feeding
    judged: bool = False
    """Programs say how many predictions are right."""

    @property
    def optimizer(self) -> Optimizer:
        kind = self.spec.optimizer.kind.partition(".")[2] if self.spec.optimizer else "adam"
        return OPTIMIZERS[kind]

    @property
    def optimizer_fields(self) -> Mapping[str, Any]:
        return self.spec.optimizer.fields if self.spec.optimizer else self.optimizer.fields

    @property
    def optimizer_state(self) -> tuple[str, ...]:
        """The inputs that hold the optimizer's state."""
        return tuple(f"optimizer.{name}" for name in self.optimizer.state(self.optimizer_fields))

    @property
    def accumulate(self) -> int:
        """Batches that make one step."""
        return int(self.spec.fields["accumulate"])


def set_up(spec: ExperimentSpec, dtype: str) -> Setup:
    """Type the experiment's graph; E0608 when the loss is no scalar, E0609 when a carried state changes its type, E0606 and E0616 for
    fields that are out of range."""
    check_fields(spec)
    if spec.optimizer:
        check_optimizer(spec.optimizer)
    ins = [*spec.inputs, *spec.carry]
    if not ins:
        raise fail("E0606", "experiment: no inputs, so there is nothing to train on", spec.origin)
    graph = gmodule(ins, [spec.loss, *spec.carry.values()], spec.origin, closed=False)
    typed = infer(graph, dtype)
    inputs = typed.inputs if len(ins) > 1 else (typed.inputs,)
    outputs = typed.outputs if spec.carry else (typed.outputs,)
    if not isinstance(outputs[0], TensorType) or outputs[0].rank or not outputs[0].is_float:
        raise fail(
            "E0608",
            f"experiment: the loss must be one number, it is {outputs[0]}",
            spec.loss.origin,
            helps=_one_number(outputs[0]),
        )
    data: dict[str, Node] = {}
    types: dict[str, TensorType] = {}
    carried: dict[str, TensorType] = {}
    stems = [f"input.{i}" for i in range(1, len(ins) + 1)] if len(ins) > 1 else ["input"]
    for stem, node, type in zip(stems, ins, inputs, strict=True):
        if node in spec.inputs:
            if isinstance(type, tuple):
                raise fail("E0606", "experiment: a stream feeds one tensor, this input is a table", node.origin)
            data[stem] = node
            types[stem] = type
        else:
            carried.update(zip(leaf_names(stem, type), leaves(type), strict=True))
    ends = [leaf for type in outputs[1:] for leaf in leaves(type)]
    if list(carried.values()) != ends:
        raise fail(
            "E0609",
            "experiment: a carried state must come out as it goes in",
            spec.origin,
            notes=[f"in: {', '.join(map(str, carried.values()))}", f"out: {', '.join(map(str, ends))}"],
        )
    read = {letter for type in types.values() for n in type.shape for letter in n.letters}
    for node, type in zip(ins, inputs, strict=True):
        for leaf in leaves(type) if node in spec.carry else ():
            if unknown := sorted({letter for n in leaf.shape for letter in n.letters} - read):
                text = f"experiment: a carried state begins as zeros, and nothing says how many: {leaf}"
                told = f"no stream has {', '.join(unknown)}: write a number where the state is made, such as `nn.Identity{{'B', 8}}()`"
                raise fail("E0313", text, node.origin, helps=[told])
    memories = remembered(typed)
    carried.update({name: memory.type for name, memory in memories.items()})
    return Setup(spec, graph, typed, carried, memories, Feeding(spec, data, types))


def training_setup(opened: Opened, dtype: str) -> Setup:
    """The experiment of a spec typed, its parameters named; errors come with fixes that were tried."""
    try:
        setup = set_up(opened.result, dtype)
    except SpecError as failure:
        raise with_tried_fixes(opened, failure) from None
    name_parameters([setup.graph, *opened.result.models])
    return setup


def _one_number(loss: Any) -> list[str]:
    """How what is no number becomes one."""
    helps = ["a criterion gives one number: `nn.ClassNLLCriterion()({log_p, targets})`"]
    if isinstance(loss, TensorType) and loss.is_float:
        one = [n.value for n in loss.shape] == [1]
        helps.append("of a vector of one: `nn.Select(1, 1)`" if one else "the mean of it: `nn.Select(1, 1)(nn.Mean(1)(nn.View(-1)(...)))`")
    return helps


def _forward(setup: Setup, training: bool, judged: bool) -> tuple[Frame, Value, list[tuple[Port, Value]]]:
    """The program up to the loss, and its results beside it: how many predictions are right, and what carries state on."""
    frame, x = open_frame(setup.typed, training, roles=dict.fromkeys(setup.carried, "state"), judged=judged)
    given = {name: frame.input(name, memory.type, "state") for name, memory in setup.memories.items()}
    memories = {name: memory for name, memory in setup.memories.items() if kept(memory, training)}
    hand_in(frame.b, memories.values(), [given[name] for name in memories])
    loss, *state = flatten(lower_module(frame, x))
    names = [name for name in setup.carried if name not in setup.memories or name in memories]
    state += handed_out(frame.b, memories.values())
    on = [(Port(f"new {name}", "state", name), v) for name, v in zip(names, state, strict=True)]
    with frame.b.at(setup.spec.loss.origin):
        return frame, loss, [*answer_ports(frame, {port: stream.name for port, stream in setup.feeding.streams.items()}), *on]


def answer_ports(frame: Frame, streams: Mapping[str, str]) -> list[tuple[Port, Value]]:
    """How many predictions are right, and how many count, of each criterion that says so.

    A criterion that is the only one says ``accuracy``; of several each ``accuracy_<stream>``, by the stream that its targets are
    (``streams``: by the names of their ports), or all are numbered, if there is one whose targets are no stream or that of another.
    """
    b, answers = frame.b, frame.b.scope.answers
    ports = {id(value): streams[name] for name, value in frame.values.items() if name in streams}
    titles = [ports.get(id(answer.target), "") for answer in answers]
    if "" in titles or len(set(titles)) < len(titles):
        titles = [str(number) for number in range(1, len(titles) + 1)]
    names = [f"{ACCURACY}_{title}" for title in titles] if len(titles) > 1 else [ACCURACY]
    return [
        (Port(f"{kind}{name}", "output"), b.reduce_sum(value, range(value.type.rank)))
        for name, answer in zip(names, answers, strict=False)
        for kind, value in ((RIGHT, answer.right), (COUNTED, answer.counted))
    ]


def evaluation_program(setup: Setup) -> Program:
    """Loss and right answers only, in evaluate mode; the state is carried on."""
    frame, loss, on = _forward(setup, False, setup.judged)
    return frame.finish("evaluate", [(Port("loss", "loss"), loss), *on])


def gradient_program(setup: Setup) -> Program:
    """Forward and backward of a training step, without clipping and optimizer: what a benchmark times.

    Results: ``loss``, ``gradients`` (flat, of this batch's own), and the new values of running statistics and carried states, donated.
    """
    frame, loss, on = _forward(setup, True, False)
    gradient = _flat(setup, frame, _gradients(setup, frame, loss))
    outputs = [(Port("loss", "loss"), loss), (Port("gradients", "output"), gradient)]
    return frame.finish("gradient", [*outputs, *buffer_updates(frame), *on])


def training_program(setup: Setup) -> Program:
    """One step of training.

    Inputs beside the graph's own: ``learning_rate`` (scalar), the optimizer's state ``optimizer.<name>`` and, where a step has several
    batches, ``gradients``: the sum of those of the batches before this one (:func:`accumulation_program`).  ``step`` counts batches, from
    1.  Results: ``loss``, ``gradient_norm`` (before clipping), how many predictions are right (:func:`answer_ports`), and the new values of
    parameters, optimizer state, running statistics and carried states, all donated.
    """
    frame, loss, on = _forward(setup, True, setup.judged)
    b, optimizer, fields = frame.b, setup.optimizer, setup.optimizer_fields
    flat = frame.values["parameters"]
    rate = frame.input("learning_rate", tensor((), setup.typed.dtype), "input")
    state = {name: frame.input(f"optimizer.{name}", flat.type, "state") for name in optimizer.state(fields)}
    before = frame.input("gradients", flat.type, "gradient") if setup.accumulate > 1 else None
    found = _gradients(setup, frame, loss)
    with b.at(setup.spec.origin):
        gradient = _flat(setup, frame, found)
        step = b.cast(frame.values["step"], "float64")
        if before is not None:
            gradient = b.scale(b.add(before, gradient), 1 / setup.accumulate)
            step = b.div(step, b.full_like(step, setup.accumulate))
        norm = gradient_norm(b, gradient)
        gradient = clipped(b, gradient, norm, setup.spec.fields)
        new, new_state = optimizer.rule(Update(b, flat, gradient, state, rate, step, fields))
        if fields["weightDecay"] and None in found:  # decay leaves what no gradient reaches as it is, as torch.optim's does
            before_and_after = zip(_tensors(setup, frame), unpack(b, new, setup.graph.all_parameters()), found, strict=True)
            new = pack(b, [old if g is None else moved for old, moved, g in before_and_after])
    outputs = [
        (Port("loss", "loss"), loss),
        (Port("gradient_norm", "output"), norm),
        (Port("new parameters", "parameter", "parameters"), new),
    ]
    outputs += [(Port(f"new optimizer.{name}", "state", f"optimizer.{name}"), new_state[name]) for name in state]
    return frame.finish("train", [*outputs, *buffer_updates(frame), *on])


def accumulation_program(setup: Setup) -> Program:
    """A batch of a step that has several, and is not its last: its gradients are added to ``gradients``.

    Results: ``loss``, ``gradient_norm`` (of this batch's own), how many predictions are right, and the new values of gradients, running
    statistics and carried states, all donated.
    """
    frame, loss, on = _forward(setup, True, setup.judged)
    before = frame.input("gradients", frame.values["parameters"].type, "gradient")
    gradient = _flat(setup, frame, _gradients(setup, frame, loss))
    with frame.b.at(setup.spec.origin):
        norm, total = gradient_norm(frame.b, gradient), frame.b.add(before, gradient)
    outputs = [
        (Port("loss", "loss"), loss),
        (Port("gradient_norm", "output"), norm),
        (Port("new gradients", "gradient", "gradients"), total),
    ]
    return frame.finish("accumulate", [*outputs, *buffer_updates(frame), *on])


def _tensors(setup: Setup, frame: Frame) -> list[Value]:
    """The parameters, in the order of the flat buffer."""
    return [frame.b.scope.parameters[id(p)] for p in setup.graph.all_parameters()]


def _gradients(setup: Setup, frame: Frame, loss: Value) -> list[Value | None]:
    """For each parameter the gradient of the loss, and of what is minimised beside it; None where there is no way from one to the other."""
    b, tensors = frame.b, _tensors(setup, frame)
    if not tensors:
        raise fail("E0606", "experiment: the model has no parameters, so there is nothing to train", setup.spec.origin)
    with b.at(setup.spec.origin):
        results = [loss] if (terms := b.objective()) is None else [loss, terms]
        return gradients(b, {result: b.full_like(result, 1.0) for result in results}, tensors)


def _flat(setup: Setup, frame: Frame, found: list[Value | None]) -> Value:
    """Gradients of the parameters as one flat buffer."""
    b = frame.b
    with b.at(setup.spec.origin):
        return pack(b, [b.zeros(v.type) if g is None else g for g, v in zip(found, _tensors(setup, frame), strict=True)])


def gradient_norm(b: Builder, gradient: Value) -> Value:
    """The length of a flat gradient, a scalar."""
    return b.sqrt(b.reduce_sum(b.mul(gradient, gradient), [0]))


def clipped(b: Builder, gradient: Value, norm: Value, fields: Mapping[str, Any]) -> Value:
    """By value, then by norm (as ``torch.nn.utils.clip_grad_value_`` and ``clip_grad_norm_``); 0 means not at all.  NaN stays NaN."""
    if fields["clip_value"]:
        bound = fields["clip_value"]
        gradient = b.minimum(b.maximum(gradient, b.full_like(gradient, -bound)), b.full_like(gradient, bound))
        norm = gradient_norm(b, gradient)
    if fields["clip_norm"]:
        scale = b.minimum(b.div(b.full_like(norm, fields["clip_norm"]), b.shift_by(norm, 1e-6)), b.full_like(norm, 1.0))
        gradient = b.mul(gradient, b.broadcast(scale, gradient.shape, ()))
    return gradient
