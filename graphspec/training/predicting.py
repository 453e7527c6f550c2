"""What a trained model says of new data: the value of a node on the way to the loss, for which nobody needs to know the targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphspec.api import Model
from graphspec.build import ExperimentSpec
from graphspec.errors import fail
from graphspec.graph import GModule, Node, Parameter, gmodule, leading_to, leaves
from graphspec.graph.module import copy_module
from graphspec.ir.core import TensorType
from graphspec.lower import unflatten
from graphspec.nn.criterion import Criterion
from graphspec.open import Opened
from graphspec.program import leaves as leaves_of
from graphspec.suggest import did_you_mean, one_of

AT_ONCE = 1024
"""Examples of arrays that go through the model together: memory is that of so many, however many are given."""


class Predictor:
    """The part of an experiment's graph that leads to a node, as a model of its own in evaluate mode."""

    def __init__(self, opened: Opened, spec: ExperimentSpec, node: str | None, **settings: Any) -> None:
        """``node``: by its local variable; else what the loss's criterion compares with its target.  ``settings`` are a Model's."""
        wanted = [_named(spec, node)] if node is not None else _predictions(spec)
        reached = leading_to(wanted)
        ins = [source for source in (*spec.inputs, *spec.carry) if source in reached]
        self.streams = [spec.inputs[source].name if source in spec.inputs else None for source in ins]
        """By inputs, in order: the stream that feeds it in training; None where a state is carried."""
        trained = gmodule(ins, wanted, spec.origin, closed=False)
        copies: dict[int, Parameter] = {}
        copy = copy_module(trained, (), spec.origin, {}, copies)  # with names and numbers of its own
        assert isinstance(copy, GModule)
        self._model = Model(opened, copy, **settings).evaluate()
        self._of_arrays = all(source in spec.inputs and spec.inputs[source].description.kind == "data.arrays" for source in ins)
        self._taken = [{copies[id(p)].name: p.name for p in trained.all_parameters(buffers)} for buffers in (False, True)]

    def ordered(self, arrays: Mapping[str, Any], whose: str) -> list[Any]:
        """The inputs among arrays that are named like streams of the data; E0807 where one is missing."""
        for name in self.streams:
            if name is None:
                raise fail("E0807", "predict: this node reads a carried state, which no file of arrays has", helps=["in Python: `predict`"])
            if name not in arrays:
                raise fail("E0807", f"{whose} has no array {name}", helps=one_of(name, arrays))
        return [arrays[name] for name in self.streams if name is not None]

    def __call__(self, arrays: Mapping[str, Any], inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """The value for inputs as a Model takes them, with an experiment's parameters and running statistics ``arrays``, by name."""
        for held, taken in zip((self._model.parameters, self._model.buffers), self._taken, strict=True):
            held.update({mine: arrays[name] for mine, name in taken.items()})
        model, examples, axes = self._model, self._examples([*inputs, *named.values()]), self._axes()
        model.steps = 0
        if examples <= AT_ONCE or None in axes:
            return model(*inputs, **named)
        pieces = []
        for start in range(0, examples, AT_ONCE):
            cut = slice(start, start + AT_ONCE)
            pieces.append(leaves_of(model(*(x[cut] for x in inputs), **{name: x[cut] for name, x in named.items()})))
            model.steps += 1  # what is drawn differs from piece to piece
        return unflatten(model.outputs, [np.concatenate(parts, axis) for parts, axis in zip(zip(*pieces, strict=True), axes, strict=True)])

    def _examples(self, given: list[Any]) -> int:
        """How many examples the arrays have, if they can be cut into pieces of fewer; else 0."""
        types = leaves_of(self._model.inputs)
        if not self._of_arrays or len(given) != len(types) or not all(isinstance(x, np.ndarray) for x in given):
            return 0
        sizes = {x.shape[0] if x.ndim and x.ndim == type.rank else 0 for x, type in zip(given, types, strict=True)}
        return sizes.pop() if len(sizes) == 1 and len({type.shape[0].lone for type in types if type.rank}) == 1 else 0

    def _axes(self) -> list[int | None]:
        """Of each tensor of the value the axis that counts the examples; None where there is none, or more than that."""
        letter = next((type.shape[0].lone for type in leaves_of(self._model.inputs) if type.rank), None)
        return [_only_axis(type, letter) for type in leaves_of(self._model.outputs)]


def _only_axis(type: TensorType, letter: str | None) -> int | None:
    axes = [axis for axis, n in enumerate(type.shape) if letter in n.letters]
    return axes[0] if len(axes) == 1 and type.shape[axes[0]].lone == letter else None


def _named(spec: ExperimentSpec, name: str) -> Node:
    """The node of a local variable, the first of that name; E0319 when there is none."""
    known: dict[str, Node] = {}
    for node in leading_to([spec.loss]):
        if title := node.annotations.get("name") or node.name:
            known.setdefault(str(title), node)
    if name not in known:
        raise fail("E0319", f"there is no node named {name}", helps=did_you_mean(name, known))
    return known[name]


def _predictions(spec: ExperimentSpec) -> list[Node]:
    """What the only criterion compares with its target; E0807 when there are several criterions, or none whose prediction can be told."""
    found = [node.inputs[0] for node in leading_to([spec.loss]) if isinstance(node.inputs, tuple) and _is_criterion(node)]
    if len(found) != 1:
        there = f"the loss has {len(found)} criterions" if found else "the loss has no criterion of a prediction and its target"
        names = [node.name for each in found for node in leaves(each) if node.name]
        named = f"by the name of a local variable: `--node {names[0]}`, in Python `node={names[0]!r}`" if names else ""
        helps = [named or "make it a local variable of the spec"]
        raise fail("E0807", f"predict: {there}, so the node that is meant has to be named", spec.loss.origin, helps=helps)
    return list(leaves(found[0]))


def _is_criterion(node: Node) -> bool:
    return node.module is not None and isinstance(node.module.record, Criterion)
