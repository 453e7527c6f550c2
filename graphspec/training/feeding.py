"""A batch's arrays as a program's inputs, and what is said of one that does not fit the input that the spec gives it to."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np

from graphspec.build import ExperimentSpec
from graphspec.data import DataSource, Sources
from graphspec.data.pairs import PairSource
from graphspec.errors import fail
from graphspec.graph import Node, leading_to, leaves
from graphspec.ir.core import TensorType
from graphspec.nn.classification import ClassNLLCriterion
from graphspec.suggest import one_of

Array = np.ndarray[Any, Any]


def source_of(spec: ExperimentSpec, sources: Sources) -> DataSource:
    """What an experiment reads; E0606 unless its inputs are streams of one source, which has what it generates from; E0620 and E0310 for
    a stream that cannot be trained on."""
    descriptions = {id(s.description): s.description for s in spec.inputs.values()}
    if len(descriptions) != 1:
        raise fail("E0606", f"experiment: all inputs must be streams of one data source, these are of {len(descriptions)}", spec.origin)
    source = sources.open(next(iter(descriptions.values())))
    if spec.encode is not None and not isinstance(source, PairSource):
        kind = next(iter(descriptions.values())).kind
        text = f"experiment: generate encodes sources of pairs, which {kind} has none of"
        helps = ["leave generate out; what is generated for sources is trained on data.pairs or data.generated"]
        raise fail("E0606", text, spec.origin, helps=helps)
    classes = _classes(spec.loss)
    for node, stream in spec.inputs.items():
        source.check_stream(stream.name, node.origin, node in classes)
    return source


def _classes(loss: Node) -> set[Node]:
    """The nodes that a loss takes as the classes of a criterion, every one of which counts."""
    found: set[Node] = set()
    for node in leading_to([loss]):
        record = node.module.record if node.module else None
        if isinstance(record, ClassNLLCriterion) and node.module and getattr(node.module.args, "ignoreIndex", None) is None:
            found.update(leaves(node.inputs[1]) if isinstance(node.inputs, tuple) else ())
    return found


class Feeding:
    """Which stream of the data feeds which input."""

    def __init__(self, spec: ExperimentSpec, nodes: Mapping[str, Node], types: Mapping[str, TensorType]) -> None:
        """``nodes``, ``types``: of inputs, by the names of their ports."""
        self.streams = {port: spec.inputs[node] for port, node in nodes.items()}
        self.nodes = nodes
        self.types = types

    def inputs(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays by port; E0312 for floats where classes or indices are wanted, E0307 for another rank or size, E0620 for a stream
        that data other than those of training have not, at the input's place."""
        for port, stream in self.streams.items():
            if stream.name not in arrays:
                text = f"{stream.description.kind}: there is no array {stream.name}, which this input takes"
                raise fail("E0620", text, self.nodes[port].origin, helps=one_of(stream.name, arrays))
        return {port: self._fitting(port, arrays[stream.name]) for port, stream in self.streams.items()}

    def _fitting(self, port: str, array: Array) -> Array:
        wanted = self.types[port]
        sizes = [n.value for n in wanted.shape]
        fits = len(sizes) == array.ndim and all(n in (None, m) for n, m in zip(sizes, array.shape, strict=True))
        whole = wanted.is_float or array.dtype.kind in "iu"
        if not (fits and whole):
            stream, given = self.streams[port], f"{array.dtype} {list(array.shape)}"
            text = f"{stream.description.kind}: {stream.name} comes as {given}, and this input takes {wanted}"
            told = [f"in NumPy: `{stream.name}{how}`" for how in [self._remedy(array.shape, sizes)] if how and not fits]
            if letters := self._letters(array.shape, sizes, stream.description.kind):
                told.append(letters)
            if not whole:
                rows = array.ndim == len(sizes) + 1  # a class for each is wanted
                told = [f"classes are numbers from 1: `{f'({stream.name}.argmax(-1) + 1)' if rows else stream.name}.astype('int32')`"]
            raise fail("E0307" if whole else "E0312", text, self.nodes[port].origin, helps=told)
        return array

    @staticmethod
    def _letters(given: tuple[int, ...], wanted: list[int | None], kind: str) -> str:
        """Advice where the spec has a number for an axis that is not equally long in all batches: that of examples, or of steps."""
        if len(given) != len(wanted):
            return ""
        differing = {axis for axis, (n, m) in enumerate(zip(given, wanted, strict=True)) if m not in (None, n)}
        if differing == {0} and kind == "data.arrays":
            return "the last batch of a pass has fewer examples: write the letter 'B' for their number"
        if differing <= {0, 1} and kind != "data.arrays":
            steps = " (nn.Sequencer and nn.Scan take the steps as the first axis of a tensor, without nn.SplitTable)"
            return f"batches are of several lengths: write the letter 'T' for the steps, 'B' for the batch{steps if 0 in differing else ''}"
        return ""

    @staticmethod
    def _remedy(given: tuple[int, ...], wanted: list[int | None]) -> str:
        """How NumPy makes one shape of the other, if an axis of 1 is missing or too many, or axes stand in another order."""
        if len(given) + 1 == len(wanted) and 1 in wanted:
            axis = wanted.index(1)
            return f"[{':, ' * axis}None]" if _same(given, wanted[:axis] + wanted[axis + 1 :]) else ""
        if len(given) == len(wanted) + 1 and 1 in given[1:]:
            axis = given.index(1, 1)
            return f"[{':, ' * axis}0]" if _same(given[:axis] + given[axis + 1 :], wanted) else ""
        orders = [(0, *order) for order in permutations(range(1, len(given)))] if len(given) == len(wanted) <= 5 else []
        fitting = [order for order in orders if _same(tuple(given[axis] for axis in order), wanted)]
        return f".transpose({', '.join(map(str, fitting[0]))})" if fitting else ""


def _same(given: tuple[int, ...], wanted: list[int | None]) -> bool:
    return len(given) == len(wanted) and all(n in (None, m) for m, n in zip(given, wanted, strict=True))
