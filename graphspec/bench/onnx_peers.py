"""A layer's step in ONNX Runtime: its own operator, as exporters write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from graphspec.bench.cases import Case
from graphspec.bench.peers import layers, sum_and_norm

Array = np.ndarray[Any, Any]

ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
"""Where the operator's gates stand in the spec: in, out, forget, cell; update, reset, new."""
OPSET, IR = 17, 8
"""Of a model that ONNX Runtime has read since 2022."""


class OnnxSteps:
    """Layers alone, a step at a time.  Two sets of states take turns as what is read and what is written, so that nothing is copied."""

    def __init__(self, peer: str, case: Case, weights: Mapping[str, Array], streams: Mapping[str, Array], *, threads: int | None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self.session = onnxruntime.InferenceSession(model(case, weights).SerializeToString(), options, providers=["CPUExecutionProvider"])
        zero, names = np.zeros((1, case.sizes["B"], case.sizes["H"]), np.float32), state_names(case)
        self.states = [{name: value(zero) for name in names} for _ in range(2)]
        self.bindings = []
        for number, x in enumerate(streams["inputs"]):  # of an even number, so that a round ends where it began
            binding = self.session.io_binding()
            binding.bind_ortvalue_input("x", value(x[None]))
            for name in names:
                binding.bind_ortvalue_input(name, self.states[number % 2][name])
                binding.bind_ortvalue_output(f"new_{name}", self.states[1 - number % 2][name])
            self.bindings.append(binding)
        self.done = 0

    def measured(self) -> tuple[float, float]:
        for state in self.states[0].values():
            state.update_inplace(np.zeros(state.shape(), np.float32))
        self.done = 0
        self.steps(len(self.bindings))
        return sum_and_norm(state.numpy() for state in self.states[0].values())

    def steps(self, count: int) -> None:
        run, bindings = self.session.run_with_iobinding, self.bindings
        for number in range(self.done, self.done + count):
            run(bindings[number % len(bindings)])
        self.done += count


def value(array: Array) -> Any:
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.array(array, order="C"))


def state_names(case: Case) -> list[str]:
    return [f"{name}{number}" for number in range(case.sizes["L"]) for name in ("h", "c")[: 1 + (case.cell == "lstm")]]


def model(case: Case, weights: Mapping[str, Array]) -> Any:
    """A graph of one operator a layer, for one step: ``x`` and states to states whose names begin with ``new_``."""
    units, memory = case.sizes["H"], case.cell == "lstm"
    more: dict[str, Any] = {} if memory else {"linear_before_reset": 1}
    nodes, kept, x = [], [], "x"
    for number, layer in enumerate(layers(case, weights)):
        by = {name: np.concatenate([getattr(layer, name)[gate] for gate in ORDER[case.cell]]) for name in ("x", "h", "bx", "bh")}
        arrays = {f"w{number}": by["x"], f"r{number}": by["h"], f"b{number}": np.concatenate([by["bx"], by["bh"]])}
        kept += [numpy_helper.from_array(array[None], name) for name, array in arrays.items()]
        states = [f"h{number}", f"c{number}"][: 1 + memory]
        given, made = [x, *arrays, "", *states], ["", *(f"new_{name}" for name in states)]
        nodes.append(helper.make_node(case.cell.upper(), given, made, hidden_size=units, **more))
        x = f"new_h{number}"

    def ports(names: list[str]) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, case.sizes["B"], units)) for name in names]

    names = state_names(case)
    graph = helper.make_graph(nodes, "step", ports(["x", *names]), ports([f"new_{name}" for name in names]), kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
