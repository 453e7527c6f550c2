"""A fused kernel as a C function.

Its rows are an outer loop.  Without reductions the rest is one loop over the elements.  With reductions the row is passed over in stages:
a stage computes what its sums and largest elements need, and writes what is known by then; numbers of the row (a sum, a quotient) are
computed between stages.  An element that a later stage needs again is loaded from where it was written, computed again where that is
cheap, or else kept in a row of workspace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphspec.codegen.axes import collapsed, nest
from graphspec.codegen.expressions import Entry, expression
from graphspec.codegen.text import TYPES, Lines, Operand, at, product, times
from graphspec_runtime.plan import Expr

REDUCTIONS = {"reduce_sum": ("0", "+", "{0} += {1};"), "reduce_max": ("-INFINITY", "gs_larger", "{0} = GS_LARGER({0}, {1});")}
"""The least value, the name of the reduction in OpenMP, and the statement."""

COSTLY = frozenset("exp log log1p sqrt tanh sigmoid div random".split())
"""What is not done again for a later stage."""

STACK = 16_384
"""Bytes of a row of workspace that the stack holds; larger ones, and those whose size is not known, come from the thread's workspace."""


class Fused:
    """Prints one kernel.  ``inputs`` and ``outputs`` are operands whose axes are those of the domain, or of its rows alone."""

    def __init__(
        self, out: Lines, shape: Sequence[Expr], rows: int, code: Sequence[Entry], inputs: Sequence[Operand], outputs: Sequence[Operand],
        results: Sequence[int],
    ) -> None:  # fmt: skip
        self.out, self.shape, self.rows, self.code = out, tuple(shape), rows, code
        self.inputs, self.outputs, self.results = inputs, outputs, results
        self.first = len(inputs)

    def dtype(self, i: int) -> str:
        return self.inputs[i].dtype if i < self.first else self.code[i - self.first].dtype

    def entry(self, i: int) -> Entry | None:
        return self.code[i - self.first] if i >= self.first else None

    def print(self) -> None:
        """The loops; the names ``lo`` and ``hi`` bound the first axis."""
        narrow = any(len(o.shape) < len(self.shape) for o in (*self.inputs, *self.outputs))
        if narrow or any(e.name in REDUCTIONS or e.name in ("pick", "place") for e in self.code):
            _Rows(self).print()
        else:
            self._elements()

    def _elements(self) -> None:
        """Every op is pointwise: one loop over all elements, adjacent axes made one where all operands allow it."""
        operands = [*self.inputs, *self.outputs]
        groups = collapsed(self.shape, [o.strides for o in operands])
        strides = {id(o): tuple(o.strides[group[-1]] for group in groups) for o in operands}
        indices = [f"i{g}" for g in range(len(groups))]

        def body() -> None:
            values: dict[int, str] = {}
            for i, o in enumerate(self.inputs):
                values[i] = f"v{i}"
                if o.literal:
                    values[i] = o.load("")
                else:
                    self.out.add(f"{o.type} v{i} = {o.load(at(indices, strides[id(o)]))};")
            for i, e in enumerate(self.code, self.first):
                values[i] = self.compute(i, e, values)
            for o, i in zip(self.outputs, self.results, strict=True):
                self.out.add(f"{o.pointer}[{at(indices, strides[id(o)])}] = {values[i]};")

        nest(self.out, groups, self.shape, indices, body, first=True)

    def compute(self, i: int, e: Entry, values: Mapping[int, str], prefix: str = "v") -> str:
        """Print one op; returns its name, or its literal."""
        source = self.dtype(e.operands[0]) if e.operands else e.dtype
        text = expression(e.name, [values[a] for a in e.operands], e.dtype, e.detail, source)
        if e.name in ("full", "size") or text in values.values():  # a number, or a value under another name
            return text
        self.out.add(f"{TYPES[e.dtype]} {prefix}{i} = {text};")
        return f"{prefix}{i}"


class _Rows:
    """A kernel with reductions."""

    def __init__(self, kernel: Fused) -> None:
        self.k, self.out = kernel, kernel.out
        self.rank = len(kernel.shape)
        self.known: dict[int, int] = {}
        """When a value is there: an element's stage, or the number of stages that a row's number waits for."""
        for i in range(kernel.first):
            self.known[i] = 0
        for i, e in enumerate(kernel.code, kernel.first):
            least = max((self.known[a] for a in e.operands), default=0)
            self.known[i] = least + 1 if e.name in REDUCTIONS else least
        self.last = max(self.known.values())
        self.column_axes = list(range(kernel.rows, self.rank))
        self._group_columns()
        self.rows_of = [f"r{axis}" for axis in range(kernel.rows)]
        self.row_values: dict[int, str] = {}
        self.kept: dict[int, str] = {}
        """Elements that lie in workspace, by value: the array's name."""
        self._keep()

    def is_row(self, i: int) -> bool:
        k = self.k
        if i < k.first:
            return len(k.inputs[i].shape) < self.rank
        return k.code[i - k.first].level == "row"

    def _group_columns(self) -> None:
        k = self.k
        wide = [o for o in (*k.inputs, *k.outputs) if len(o.shape) == self.rank]
        axes = self.column_axes
        local = collapsed([k.shape[a] for a in axes], [[o.strides[a] for a in axes] for o in wide])
        self.groups = [[axes[i] for i in group] for group in local]
        self.columns = [f"c{g}" for g in range(len(self.groups))]

    def _column_strides(self, o: Operand) -> list[Expr]:
        return [o.strides[group[-1]] for group in self.groups]

    def _count(self) -> int | None:
        """Columns in a row, where that is a number."""
        total = 1
        for axis in self.column_axes:
            n = self.k.shape[axis]
            if not isinstance(n, int):
                return None
            total *= n
        return total

    def _written(self, i: int) -> Operand | None:
        """Where an element is written that a later stage can load again."""
        return next((o for o, r in zip(self.k.outputs, self.k.results, strict=True) if r == i and len(o.shape) == self.rank), None)

    def _readers(self) -> dict[int, set[int]]:
        """The stages at which each element is needed."""
        needed: dict[int, set[int]] = {}
        for i, e in enumerate(self.k.code, self.k.first):
            for a in e.operands:
                if not self.is_row(a):
                    needed.setdefault(a, set()).add(self.known[i] - 1 if e.name in REDUCTIONS else self.known[i])
        return needed

    def _keep(self) -> None:
        for i, stages in self._readers().items():
            e = self.k.entry(i)
            if e is not None and e.name in COSTLY and max(stages) > self.known[i] and self._written(i) is None:
                self.kept[i] = f"w{i}"

    # -- printing ----------------------------------------------------------------------------------------------------

    def print(self) -> None:
        out, k = self.out, self.k
        self._workspace()
        axes = [[axis] for axis in range(k.rows)]

        def row() -> None:
            for stage in range(self.last + 1):
                self._between(stage)
                self._stage(stage)

        if k.rows:
            nest(out, axes, k.shape, self.rows_of, row, first=True, simd="")
        else:
            row()

    def _workspace(self) -> None:
        if not self.kept:
            return
        count = self._count()
        entries = [(name, self.k.dtype(i)) for i, name in self.kept.items()]
        bytes_of_one = sum(8 if dtype == "float64" else 4 for _, dtype in entries)
        if isinstance(count, int) and count * bytes_of_one <= STACK:
            for name, dtype in entries:
                self.out.add(f"{TYPES[dtype]} {name}[{max(count, 1)}];")
            return
        length = product([self.k.shape[axis] for axis in self.column_axes])
        total = " + ".join(f"{length} * (gs_int)sizeof({TYPES[dtype]})" for _, dtype in entries)
        self.out.add(f"char *workspace = {self.out.workspace(total)};")
        for name, dtype in sorted(entries, key=lambda each: each[1] != "float64"):
            self.out.add(f"{TYPES[dtype]} *{name} = ({TYPES[dtype]} *)workspace;")
            self.out.add(f"workspace += {length} * (gs_int)sizeof({TYPES[dtype]});")
        self.out.add("(void)workspace;")

    def _row_at(self, o: Operand) -> str:
        return at(self.rows_of, o.strides[: self.k.rows])

    def _between(self, stage: int) -> None:
        """Numbers of the row that are known when ``stage`` stages are done."""
        k = self.k
        if stage == 0:
            for i, o in enumerate(k.inputs):
                if self.is_row(i):
                    self.row_values[i] = f"v{i}"
                    self.out.add(f"{o.type} v{i} = {o.load(self._row_at(o))};")
        for i, e in enumerate(k.code, k.first):
            if not self.is_row(i) or self.known[i] != stage or e.name in REDUCTIONS:
                continue
            if e.name == "pick":
                self._pick(i, e, stage)
            else:
                self.row_values[i] = k.compute(i, e, self.row_values)
        for o, i in zip(k.outputs, k.results, strict=True):
            if self.is_row(i) and self.known[i] == stage:
                self.out.add(f"{o.pointer}[{self._row_at(o)}] = {self.row_values[i]};")

    def _pick(self, i: int, e: Entry, stage: int) -> None:
        x, index = e.operands
        self.row_values[i] = f"v{i}"
        self.out.add(f"{TYPES[e.dtype]} v{i};")
        with self.out.block(""):
            self.out.add(f"gs_int pick = {self.row_values[index]};", "(void)pick;")  # a constant's element is wherever
            values = self._elements([x], ["pick"], stage)
            self.out.add(f"v{i} = {values[x]};")

    def _stage(self, stage: int) -> None:
        """One pass over the columns."""
        k = self.k
        reduced = [(i, e) for i, e in enumerate(k.code, k.first) if e.name in REDUCTIONS and self.known[i] == stage + 1]
        written = [(o, i) for o, i in zip(k.outputs, k.results, strict=True) if not self.is_row(i) and self.known[i] == stage]
        kept = [i for i in self.kept if self.known[i] == stage]
        if not (reduced or written or kept):
            return
        clauses = []
        for i, e in reduced:
            least, kind, _ = REDUCTIONS[e.name]
            self.row_values[i] = f"v{i}"
            self.out.add(f"{TYPES[e.dtype]} v{i} = {least};")
            clauses.append(f"reduction({kind} : v{i})")

        def body() -> None:
            wanted = [*(e.operands[0] for _, e in reduced), *(i for _, i in written), *kept]
            values = self._elements(wanted, self.columns, stage)
            for i, e in reduced:
                self.out.add(REDUCTIONS[e.name][2].format(f"v{i}", values[e.operands[0]]))
            for i in kept:
                self.out.add(f"{self.kept[i]}[{self._flat(self.columns)}] = {values[i]};")
            for o, i in written:
                self.out.add(f"{o.pointer}[{self._element_at(o, self.columns)}] = {values[i]};")

        nest(self.out, self.groups, k.shape, self.columns, body, simd=" ".join(["#pragma omp simd", *clauses]))

    def _flat(self, columns: Sequence[str]) -> str:
        """The position in a row of workspace."""
        text = columns[0] if columns else "0"
        for group, index in zip(self.groups[1:], columns[1:], strict=True):
            count = product([self.k.shape[axis] for axis in group])
            text = f"({text}) * {count} + {index}"
        return text

    def _element_at(self, o: Operand, columns: Sequence[str]) -> str:
        parts = [self._row_at(o), *(times(c, s) for c, s in zip(columns, self._column_strides(o), strict=True))]
        return " + ".join(part for part in parts if part and part != "0") or "0"

    def _elements(self, wanted: Sequence[int], columns: Sequence[str], stage: int) -> dict[int, str]:
        """Print what gives the wanted elements at one column, by the least work."""
        k = self.k
        needed: set[int] = set()
        waiting = list(wanted)
        loaded: dict[int, str] = {}
        while waiting:
            i = waiting.pop()
            if i in needed or self.is_row(i):
                continue
            needed.add(i)
            e = k.entry(i)
            place = self._written(i)
            if e is None:
                loaded[i] = k.inputs[i].load(self._element_at(k.inputs[i], columns))
            elif self.known[i] < stage and i in self.kept:
                loaded[i] = f"{self.kept[i]}[{self._flat(columns)}]"
            elif self.known[i] < stage and place is not None:
                loaded[i] = f"{place.pointer}[{self._element_at(place, columns)}]"
            else:
                waiting += e.operands
        values = dict(self.row_values)
        for i in sorted(needed):
            e = k.entry(i)
            if i in loaded:
                self.out.add(f"{TYPES[k.dtype(i)]} e{i} = {loaded[i]};")
                values[i] = f"e{i}"
            elif e is not None and e.name == "place":
                index, x = e.operands
                self.out.add(f"{TYPES[e.dtype]} e{i} = {columns[0]} == (gs_int){values[index]} ? {values[x]} : 0;")
                values[i] = f"e{i}"
            elif e is not None:
                values[i] = k.compute(i, e, values, "e")
        return values
