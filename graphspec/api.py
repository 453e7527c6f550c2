"""The Python API: compile a spec, call it, differentiate it, save it.

>>> import numpy as np, graphspec
>>> model = graphspec.compile('''
... local x = nn.Identity{'B', 3}()
... return nn.gModule({x}, {nn.Tanh()(nn.Linear(3, 2)(x))})''')
>>> model(np.zeros((4, 3))).shape
(4, 2)
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.arguments import Argument, arrays_of, as_one, check_shapes, converted, leaves_of, named_arguments, ranks_refused
from graphspec.arguments import show_types as show_types
from graphspec.engine import Engine, device_named
from graphspec.errors import Diagnostic, SpecError, fail
from graphspec.graph import GModule, Module, initial_value, initial_values, views
from graphspec.ir.core import Program
from graphspec.lower import unflatten
from graphspec.open import SAVED, Opened, open_spec, pick_module
from graphspec.program import (
    Signature,
    Typed,
    backward_program,
    forward_program,
    infer,
    leaves,
    named_parameters,
    noise_types,
)  # fmt: skip
from graphspec.settings import check_seed, check_settings
from graphspec.states import warnings_of
from graphspec.suggest import did_you_mean, no_attribute
from graphspec.views import Kept, Views, check_matching, on_host, put, resident

Array = np.ndarray[Any, Any]


def compile(
    path_or_text: str | Path,
    entry: str | None = None,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    precision: str = "float32",
    lenient: bool = False,
    roots: Sequence[str | Path] = (),
    index_base: int = 1,
    threads: int | None = None,
    seed: int = 1,
    **options: Any,
) -> Model:
    """A spec as a model.

    ``path_or_text``: a path, or the text of a spec (anything with a newline, or that is no path and is valid Lua).
    ``entry``: a Lua expression over the fields of the table that a library returns, such as ``"network({rnn_size=5})"``.
    ``precision="bf16"``: matrix products of numbers rounded to bf16, sums and all else in float32 (native, with AVX-512 BF16).
    ``index_base=0``: class indices in inputs count from 0.  ``options``: the spec's own, and fields such as ``**{"data.path": p}``.
    Raises SpecError for whatever is wrong with the spec, before anything runs.
    """
    check_settings(dtype, precision, index_base)
    check_seed(seed)
    opened = open_spec(path_or_text, entry, lenient=lenient, roots=roots, options=options, seed=seed)
    module = pick_module(opened)
    return Model(opened, module, dtype=dtype, device=device, precision=precision, index_base=index_base, threads=threads, seed=seed)


class Model:
    """A compiled gModule.

    Called with its inputs, nested as in the spec (a table is a tuple or list), it returns arrays nested as in the spec. For inputs
    of other ranks than those inferred it compiles anew, by itself. ``parameters`` and ``gradients`` map canonical names to views of
    ``flat_parameters`` and ``flat_gradients``; writing to them, or assigning to their items, is how to set them. As in Torch a new
    model is in training mode. Only a model in evaluate mode may be called from several threads.
    """

    flat_parameters: Kept[Any] = Kept()
    flat_gradients: Kept[Any] = Kept()
    parameters: Kept[Views] = Kept()
    """Canonical name to array, in canonical order."""
    gradients: Kept[Views] = Kept()
    buffers: Kept[Views] = Kept()
    """Running statistics by name."""

    def __init__(
        self, opened: Opened, module: GModule, *, dtype: str = "float32", device: str = "cpu", precision: str = "float32",
        index_base: int = 1, threads: int | None = None, seed: int = 1,
    ) -> None:  # fmt: skip
        self.opened = opened
        self.module: Module = module
        self.dtype = dtype
        self.device_name = device
        self.seed = seed
        self.index_base = index_base
        self.mode_training = True
        self.steps = 0
        self.noise: dict[str, Array] = {}
        self._device = device_named(device, threads, precision)
        order = named_parameters(module)
        self._typed: dict[Signature, Typed] = {None: infer(module, dtype, None, index_base)}
        self._engines: dict[Any, Engine] = {}
        self._arguments: dict[int, list[Argument]] = {}
        self._lock = threading.Lock()
        self.flat_parameters = resident(initial_values(order, seed, dtype), self._device)
        self.flat_gradients = resident(np.zeros(self.flat_parameters.size, dtype), self._device)
        self.parameters = Views(views(self.flat_parameters, order), "parameter", self._device)
        self.gradients = Views(views(self.flat_gradients, order), "gradient", self._device)
        buffers = {p.name: resident(initial_value(p, seed, dtype), self._device) for p in module.all_parameters(buffers=True)}
        self.buffers = Views(buffers, "running statistic", self._device)

    # -- what it is ------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        types = f"{show_types(self.inputs)} -> {show_types(self.outputs)}"
        return f"<Model of {self.opened.source.path}: {types}, {self.flat_parameters.size:,} parameters, {self.device_name}>"

    def __getattr__(self, name: str) -> Any:
        raise no_attribute(self, "Model", name)

    def __getstate__(self) -> Any:
        raise TypeError("a Model is neither pickled nor copied: save(path) keeps it, graphspec.load(path) makes another of it")

    @property
    def warnings(self) -> list[Diagnostic]:
        """Of evaluating the spec, and of typing it without any input."""
        return [*self.opened.warnings, *warnings_of(self._typed[None], trained=False)]

    @property
    def inputs(self) -> Any:
        """Types of the inputs as inferred, nested as in the spec."""
        return self._typed[None].inputs

    @property
    def outputs(self) -> Any:
        """Types of the outputs."""
        return self._typed[None].outputs

    def program(self, kind: str = "forward") -> Program:
        """The unoptimised IR: ``forward`` or ``backward``."""
        typed = self._typed[None]
        return backward_program(typed, self.mode_training) if kind == "backward" else forward_program(typed, self.mode_training)

    # -- running -----------------------------------------------------------------------------------------------------

    def forward(self, /, *inputs: Any, **named: Any) -> Any:
        """Outputs for inputs, by place or by the names that the spec has for them; one argument may be the table of all of them.

        E0307 and E0312 for arguments that do not fit the spec's types."""
        return self._forward(inputs, named, frozenset())[0]

    __call__ = forward

    def _forward(self, given: tuple[Any, ...], named: Mapping[str, Any], wanted: frozenset[str]) -> tuple[Any, dict[str, Array]]:
        typed, arrays = self._bind(given, named)
        if self.mode_training:
            self.steps += 1
        with self._lock:  # results lie in the plan's arena until the next run
            engine = self._engine("forward", typed, wanted)
            results = engine.run({**arrays, **self._common(engine.program)})
            found = {name: on_host(results[name], self._device) for name in results if name.startswith(("output", "node:"))}
        outputs = unflatten(typed.outputs, (found[name] for name in typed.output_names))
        return outputs, {name: a for name, a in found.items() if name.startswith("node:")}

    def backward(self, inputs: Any, output_gradients: Any) -> Any:
        """Gradients of the inputs (None for index inputs), given those of the outputs; adds to ``gradients``.  ``inputs``: the only one, a
        table of all, or a dict by their names.

        Random masks are those of the last ``forward``; running statistics are left alone.  What modules minimise beside their outputs
        (nn.L1Penalty, what nn.VRClassReward pays) counts once in training, whatever the gradients given.
        """
        typed, arrays = self._bind((inputs,), {})
        outputs = named_arguments(self.module, "output", typed.outputs, "the gradient of {}")
        given = dict(zip(typed.output_names, leaves(arrays_of(output_gradients, outputs, "output gradients")), strict=True))
        check_shapes(leaves_of([*self._taken(typed), *outputs]), [*arrays.values(), *given.values()])
        engine = self._engine("backward", typed, frozenset())
        wanted = {p.name: v.type for p, v in zip(engine.program.inputs, engine.program.block.params, strict=True)}
        for name, value in given.items():
            if f"gradient:{name}" in wanted:
                arrays[f"gradient:{name}"] = np.asarray(value, self.dtype)
        results = engine.run({**arrays, **self._common(engine.program), "gradients": self.flat_gradients})
        found = [on_host(results[f"gradient:{n}"], self._device) if f"gradient:{n}" in results else None for n in typed.input_names]
        return unflatten(typed.inputs, found)

    def node(self, name: str) -> NodeProbe:
        """The value of a node (named by its local variable) beside the outputs; E0319 when there is none of that name."""
        known = set(self._typed[None].node_names.values())
        if name not in known:
            raise fail("E0319", f"there is no node named {name}", helps=did_you_mean(name, known))
        return NodeProbe(self, name)

    def zero_gradients(self) -> None:
        """Forget what ``backward`` has added up."""
        put(self.flat_gradients, 0, self._device)

    def training(self) -> Model:
        """Training mode: dropout drops, batch normalisation uses the batch."""
        self.mode_training = True
        return self

    def evaluate(self) -> Model:
        """Evaluate mode: nothing is random, running statistics are used."""
        self.mode_training = False
        return self

    def set_noise(self, node_name: str, array: Any) -> None:
        """Inject a dropout mask (scaled, as Torch's ``noise``), or what an ``nn.Reinforce...`` drew; inside a Scan with a leading time
        axis; None takes it back."""
        self.node(node_name)
        if array is None:
            self.noise.pop(node_name, None)
        else:
            self.noise[node_name] = np.asarray(array, self.dtype)

    # -- saving ------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Parameters, running statistics, the spec's copy and its options in one safetensors file."""
        from graphspec.tensorfile import write_tensors

        tensors = {name: on_host(a, self._device) for name, a in (*self.parameters.items(), *self.buffers.items())}
        settings = {
            "dtype": self.dtype,
            "index_base": self.index_base,
            "seed": self.seed,
            "steps": self.steps,
            "training": self.mode_training,
        }
        write_tensors(Path(path), tensors, {"model": {**self.opened.to_json(), "settings": settings}})

    def draw(self, path: str | Path) -> None:
        """Write a picture of the graph: a page to explore where ``path`` ends in ``.html``, else SVG.

        E0805, E0510, E0820 (no igraph), E0837 for the ending of another kind of picture.
        """
        from graphspec.draw import is_page, picture, write

        write(picture(self._typed[None], self.opened.source.path, self.opened.entry, is_page(path)), path)

    def _repr_html_(self) -> str:
        """The picture, for notebooks; where it cannot be drawn, the reason."""
        from graphspec.draw import notebook_html

        return notebook_html(self._typed[None], self.opened.source.path, self.opened.entry)

    def load_weights(self, path: str | Path, mapping: str | Path | Mapping[str, str] | None = None) -> None:
        """Take parameters from a file of PyTorch or Torch, as a mapping says: :func:`graphspec.weights.load`."""
        from graphspec.weights import load as load_weights

        load_weights(self, path, mapping)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _bind(self, given: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Typed, dict[str, Array]]:
        known = self._taken(self._typed[None])
        tree = arrays_of(as_one(given, named, known), known, "inputs")
        typed = self._type_for(tree)
        wanted = leaves_of(self._taken(typed))
        arrays = [converted(array, one) for array, one in zip(leaves(tree), wanted, strict=True)]
        check_shapes(wanted, arrays)
        return typed, dict(zip(typed.input_names, arrays, strict=True))

    def _taken(self, typed: Typed) -> list[Argument]:
        """What the model takes where it has these types."""
        if id(typed) not in self._arguments:
            self._arguments[id(typed)] = named_arguments(self.module, "input", typed.inputs)
        return self._arguments[id(typed)]

    def _type_for(self, tree: Any) -> Typed:
        default, arrays = self._typed[None], leaves(tree)
        if not default.assumed and all(a.ndim == t.rank for a, t in zip(arrays, leaves(default.inputs), strict=True)):
            return default
        signature = _ranks(tree)
        if signature not in self._typed:
            try:
                self._typed[signature] = infer(self.module, self.dtype, signature, self.index_base)
            except SpecError as failure:
                raise ranks_refused(failure, leaves_of(self._taken(default)), arrays) from None
        return self._typed[signature]

    def _common(self, program: Program) -> dict[str, Any]:
        known = {
            "parameters": self.flat_parameters, "seed": np.asarray(self.seed, np.int64), "step": np.asarray(self.steps, np.int64),
            **self.buffers, **{f"noise:{name}": a for name, a in self.noise.items()},
        }  # fmt: skip
        return {port.name: known[port.name] for port in program.inputs if port.name in known}

    def _engine(self, kind: str, typed: Typed, wanted: frozenset[str]) -> Engine:
        key = (kind, id(typed), self.mode_training, wanted, tuple(sorted(self.noise)))
        if key not in self._engines:
            noise = noise_types(typed, self.noise) if self.noise else {}
            if kind == "forward":
                program = forward_program(typed, self.mode_training, wanted, noise)
            else:
                program = backward_program(typed, self.mode_training, noise)
            self._engines[key] = Engine(program, self._device)
        return self._engines[key]


class NodeProbe:
    """``model.node(name)``: called like the model, returns (outputs, value of the node)."""

    def __init__(self, model: Model, name: str) -> None:
        self.model = model
        self.name = name

    def __call__(self, /, *inputs: Any, **named: Any) -> tuple[Any, Any]:
        """The node's value is an array, or a tuple of arrays for a table; inside a Scan it has a leading time axis."""
        outputs, found = self.model._forward(inputs, named, frozenset([self.name]))
        values = tuple(found.values())
        return outputs, values[0] if len(values) == 1 else values


def load(path: str | Path, *, device: str = "cpu", threads: int | None = None) -> Model:
    """A model that :meth:`Model.save` wrote: the spec is compiled again from its copy, then its tensors are put in.

    E0801 for a file that cannot be read, E0705 for one that is damaged or no model.
    """
    from graphspec.tensorfile import read_tensors

    if Path(path).is_dir():
        raise fail("E0801", f"{path} is a folder, not a saved model", helps=[SAVED])
    tensors, header = read_tensors(Path(path))
    saved = header.get("model")
    if not isinstance(saved, dict):
        raise fail("E0705", f"{path} holds no model", helps=[SAVED])
    settings = saved["settings"]
    opened = Opened.from_json(saved)
    model = Model(
        opened, pick_module(opened), dtype=settings["dtype"], device=device, index_base=settings["index_base"], threads=threads,
        seed=settings["seed"],
    )  # fmt: skip
    fill(model, tensors)
    model.steps, model.mode_training = settings["steps"], settings["training"]
    return model


def fill(model: Model, tensors: Mapping[str, Array]) -> None:
    """Put tensors into parameters and buffers by name; E0706 for names or shapes that do not match."""
    check_matching({**model.parameters, **model.buffers}, tensors, "the model", "the file")
    for held in (model.parameters, model.buffers):
        held.update({name: tensors[name] for name in held})


def _ranks(tree: Any) -> Signature:
    return tuple(_ranks(item) for item in tree) if isinstance(tree, tuple) else tree.ndim
