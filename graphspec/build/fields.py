"""Fields that a spec puts on modules of ours, which know none of that name."""

from __future__ import annotations

from graphspec.build.values import Value, show_key
from graphspec.errors import Diagnostic, Origin, error
from graphspec.graph import Module
from graphspec.suggest import did_you_mean

FROZEN = ("accGradParameters", "accUpdateGradParameters", "parameters", "requires_grad", "trainable", "frozen", "freeze")
"""What sets a layer's parameters apart from those that are trained, in Torch, PyTorch and Keras."""


class MadeUpFields:
    """The fields that the spec has set on modules which have none of that name, and the names of those that it has read."""

    def __init__(self) -> None:
        self.asked: set[Value] = set()
        self._set: dict[tuple[str, Value], Diagnostic] = {}

    def put(self, module: Module, key: Value, origin: Origin) -> None:
        record = module.record
        if isinstance(key, str) and (record.name, key) not in self._set:
            arguments = [name for a in record.arguments for name in (a.field, a.name) if name]
            helps = did_you_mean(key, [*module.parameters, *module.buffers, *arguments])
            if key in FROZEN:
                helps = ["what is not to be trained stands before an `nn.ZeroGrad()`, which lets no gradient through"]
            text = f"nn.{record.name} has no field {show_key(key)}, and nothing reads it"
            self._set[record.name, key] = error("W0221", text, origin, severity="warning", helps=helps)

    def warnings(self) -> list[Diagnostic]:
        """W0221 for each that nothing reads."""
        return [warning for (_, key), warning in self._set.items() if key not in self.asked]
