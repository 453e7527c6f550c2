"""An experiment's step, typed to be run in a loop: what its state, context and extras are, and where their batch axes lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphspec.api import show_types
from graphspec.build import ExperimentSpec
from graphspec.errors import Diagnostic, SpecError, fail
from graphspec.graph import Module, Parameter
from graphspec.ir.core import TensorType
from graphspec.program import Typed, infer, leaves
from graphspec.sizes import Size
from graphspec.training.decoding.stepwise import one_step, resolved


@dataclass(frozen=True)
class StepModel:
    """``{token, state[, context]} -> {y, state}`` with y the log-probabilities ``[rows, symbols]``, or a table that begins with them and
    goes on with extras (such as attention's weights)."""

    typed: Typed
    rows: Size
    """The size of the batch axis: a letter, or sentences times the width of a beam."""
    sentences: Size
    symbols: int
    state: tuple[TensorType, ...]
    context: tuple[TensorType, ...]
    extras: tuple[TensorType, ...]
    has_context: bool

    @property
    def state_names(self) -> list[str]:
        """The names of the program's inputs that hold the state."""
        return self.typed.input_names[1 : 1 + len(self.state)]

    @property
    def context_names(self) -> list[str]:
        return self.typed.input_names[1 + len(self.state) :]

    def batch_axis(self, t: TensorType) -> int:
        """Where a leaf has its rows."""
        return t.shape.index(self.rows)


def step_model(spec: ExperimentSpec, dtype: str, width: int = 1) -> StepModel:
    """The step for beams of ``width``; E0607 when there is none, or it is no step; E0622 when something in it has no batch axis."""
    module = spec.step
    if module is None:
        raise fail(
            "E0607",
            "the experiment has no step to generate with",
            spec.origin,
            helps=["give it `step = ...`, one step {token, state} -> {log_p, state}, or a model of sequences, tokens -> log_p"],
        )
    typed = infer(module, dtype)
    if isinstance(typed.inputs, TensorType) and spec.encode is None:
        typed = one_step(spec, typed) or typed
    inputs, outputs = typed.inputs, typed.outputs
    fits = (
        isinstance(inputs, tuple) and isinstance(outputs, tuple) and len(inputs) in (2, 3) and len(outputs) == 2 and inputs[1] == outputs[1]
        and _is_tensor(inputs[0], 1, "int32") and _is_tensor(leaves(outputs[0])[0], 2, dtype)
    )  # fmt: skip
    if not fits:
        raise fail(
            "E0607",
            "the experiment's step is not {token, state} -> {log_p, state}, nor {token, state, context} -> {log_p, state}, nor a model of "
            "sequences, tokens -> log_p",
            module.origin,
            notes=[f"it is {show_types(inputs)} -> {show_types(outputs)}"],
        )
    letter, symbols = inputs[0].shape[0].lone, leaves(outputs[0])[0].shape[1].value
    if letter is None or symbols is None:
        raise fail("E0622", "the experiment's step must take any number of rows, and give a fixed number of symbols", module.origin,
                   notes=[f"it is {show_types(inputs)} -> {show_types(outputs)}"])  # fmt: skip
    rows = sentences = Size.letter(letter)
    if width > 1:
        sentences = Size.letter(_free(f"{letter}s", typed))
        rows = sentences * width
        typed.types.bindings[letter] = rows
        typed = resolved(typed)
    extras = tuple(leaves(typed.outputs[0])[1:])
    model = StepModel(
        typed, rows, sentences, symbols, tuple(leaves(typed.inputs[1])), tuple(leaves(typed.inputs[2:])), extras, len(typed.inputs) == 3
    )
    _check_rows(model, module, zeros=spec.encode is None)
    return model


def cannot_generate(spec: ExperimentSpec, dtype: str) -> list[Diagnostic]:
    """W0622 for what is wrong with an experiment's step, to be told before it is trained; nothing where there is none."""
    try:
        model = step_model(spec, dtype) if spec.step is not None else None
        if model is not None and spec.encode is not None:
            encoder_types(spec, dtype, model)
    except SpecError as failure:
        said = "this can be trained, and not be generated with"
        return [replace(p, code="W0622", severity="warning", message=f"{said}: {p.message}") for p in failure.diagnostics]
    return []


def check_trained(spec: ExperimentSpec, trained: Sequence[Parameter]) -> None:
    """What generates must share its parameters with what is trained (E0606)."""
    known = {id(p) for p in trained}
    for module in spec.models:
        for parameter in module.all_parameters():
            if id(parameter) not in known:
                raise fail(
                    "E0606", f"experiment: {parameter.name} is used to generate, but the loss does not train it", parameter.origin,
                    helps=["call the same module objects in the step and under the loss"],
                )  # fmt: skip


def is_shared(t: TensorType) -> bool:
    """Whether a state is a number that all rows have in common: a count of steps, or whether one was the first."""
    return not t.rank and not t.is_float


def _is_tensor(t: Any, rank: int, dtype: str) -> bool:
    return isinstance(t, TensorType) and t.rank == rank and t.dtype == dtype


def _free(name: str, typed: Typed) -> str:
    """A letter that the model does not use."""
    taken = {letter for t in leaves(typed.inputs) for n in t.shape for letter in n.letters} | typed.types.bindings.keys()
    while name in taken:
        name += "s"
    return name


def _check_rows(model: StepModel, module: Module, zeros: bool) -> None:
    """Every leaf needs its rows; a state that begins as ``zeros`` also sizes that are known."""
    for t in model.state if zeros else ():
        if any(n != model.rows and n.value is None for n in t.shape):
            raise fail(
                "E0622", "the experiment's step begins with zeros, and nothing says how many", module.origin,
                notes=[f"a state is {t}; the batch is {model.rows}"],
            )  # fmt: skip
    for what, types in (("state", model.state), ("context", model.context), ("output", model.extras)):
        for t in types:
            if model.rows not in t.shape and not (zeros and is_shared(t)):
                raise fail(
                    "E0622", f"a {what} of the experiment's step has no batch axis, so it cannot be generated with", module.origin,
                    notes=[f"it is {t}; the batch is {model.rows}"],
                )  # fmt: skip


def encoder_types(spec: ExperimentSpec, dtype: str, model: StepModel) -> Typed:
    """The encoder typed; E0623 unless it gives what the step wants: ``{state, context}``, or the state alone."""
    assert spec.encode is not None
    typed = infer(spec.encode, dtype)
    wanted = model.typed.inputs[1:] if model.has_context else model.typed.inputs[1]
    if len(typed.input_names) != len(spec.encode_inputs) or not _alike(wanted, typed.outputs):
        raise _misfit(spec, wanted, typed)
    return typed


def _misfit(spec: ExperimentSpec, wanted: Any, typed: Typed) -> SpecError:
    assert spec.encode is not None
    return fail(
        "E0623",
        "experiment: the encoder does not give what the step takes",
        spec.encode.origin,
        notes=[
            f"it takes {show_types(typed.inputs)}, and generate.inputs names {', '.join(stream.name for stream in spec.encode_inputs)}",
            f"it gives {show_types(typed.outputs)}, the step takes {show_types(wanted)} after its token",
        ],
        helps=["it gives `{state, context}` where the step takes a context, else the state"],
    )  # fmt: skip


def _alike(wanted: Any, found: Any) -> bool:
    """Whether two types have the same nesting, ranks and dtypes, and the same sizes where both are numbers."""
    if isinstance(wanted, tuple) or isinstance(found, tuple):
        both: Sequence[Any] = (wanted, found)
        return all(isinstance(t, tuple) for t in both) and len(wanted) == len(found) and all(map(_alike, wanted, found))
    return (wanted.rank, wanted.dtype) == (found.rank, found.dtype) and all(
        a.value is None or b.value is None or a == b for a, b in zip(wanted.shape, found.shape, strict=True)
    )
