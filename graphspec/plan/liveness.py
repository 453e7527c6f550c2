"""Which values of a block may share memory as views of one another, and when each group is read last."""

from __future__ import annotations

import math
from collections.abc import Iterable

from graphspec.ir.core import Block, Op, Value

VIEWS = frozenset({"reshape", "transpose", "broadcast", "slice", "windows", "check_index", "stop_gradient"})
"""Ops whose result is, or may be, a view of their first input."""

AT_END = math.inf
"""The position of a block's results."""


class Liveness:
    """Alias classes of one block (conservative: members *may* lie in the same memory) and the last position that reads each."""

    def __init__(self, block: Block) -> None:
        self.position: dict[Op, int] = {op: i for i, op in enumerate(block.ops)}
        self._parent: dict[Value, Value] = {}
        self._reads: dict[Value, float] = {}
        self.uses: dict[Value, int] = {}
        for i, op in enumerate(block.ops):
            self._read(op.inputs, i)
            if op.name in VIEWS:
                self.join(op.inputs[0], op.outputs[0])
        self._read(block.results, AT_END)

    def _read(self, values: Iterable[Value], position: float) -> None:
        for v in values:
            group = self.group(v)
            self._reads[group] = max(self._reads.get(group, -1), position)
            self.uses[v] = self.uses.get(v, 0) + 1

    def group(self, v: Value) -> Value:
        """The representative of v's class."""
        root = v
        while (parent := self._parent.get(root)) is not None:
            root = parent
        while v is not root:
            self._parent[v], v = root, self._parent[v]
        return root

    def join(self, a: Value, b: Value) -> None:
        a, b = self.group(a), self.group(b)
        if a is not b:
            self._parent[b] = a
            self._reads[a] = max(self._reads.get(a, -1), self._reads.get(b, -1))

    def last_read(self, v: Value) -> float:
        """The last position at which v's class is read; -1 when never."""
        return self._reads.get(self.group(v), -1)

    def defined(self, v: Value) -> bool:
        """Whether an op of this block computes v."""
        return v.op is not None and v.op in self.position
