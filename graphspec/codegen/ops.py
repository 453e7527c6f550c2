"""Instructions that are not pointwise, each as the body of a C function over its operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphspec.codegen.axes import nest
from graphspec.codegen.text import SUFFIX, Lines, Operand, at, product, size, times
from graphspec_runtime.plan import Expr, Instruction

Printer = Callable[[Lines, Instruction, Sequence[Operand], Sequence[Operand]], None]


def _axes(stem: str, n: int) -> list[str]:
    return [f"{stem}{i}" for i in range(n)]


def _loops(
    out: Lines, indices: Sequence[str], shape: Sequence[Expr], body: Callable[[], None], first: bool = True, simd: bool = False
) -> None:
    """Loops over axes, an index for each; the first one from ``lo`` to ``hi`` where it is the instruction's."""
    nest(out, [[axis] for axis in range(len(indices))], shape, indices, body, first, "#pragma omp simd" if simd else "")


def _reduce(out: Lines, step: Instruction, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> None:
    """Over any axes.  Where the last axis stays, whole rows are added to the result's row, in order, four at a time."""
    (x,), (o,) = inputs, outputs
    axes = tuple(step.attrs["axes"])
    kept = [a for a in range(len(x.shape)) if a not in axes]
    index = _axes("i", len(x.shape))
    target = at([index[a] for a in kept], o.strides)
    source = at(index, x.strides)
    add = step.kernel == "reduce_sum"
    least = "0" if add else "-INFINITY" if x.dtype in SUFFIX else {"int32": "INT32_MIN", "int64": "INT64_MIN"}.get(x.dtype, "0")

    join = _add if add else _keep_larger
    if not step.attrs.get("accumulate"):
        _loops(out, [index[a] for a in kept], [x.shape[a] for a in kept], lambda: out.add(f"{o.pointer}[{target}] = {least};"), False)
    if kept and kept[-1] == len(x.shape) - 1:  # reduced axes outside, the last kept one inside
        outer = [*kept[:-1], *axes[:-1]]
        rows = lambda: _join_rows(out, axes[-1], index, x, o, target, join)
        _loops(out, [index[a] for a in outer], [x.shape[a] for a in outer], rows, False)
        return

    def each() -> None:
        out.add(f"{o.type} total = {least};")
        _loops(out, [index[a] for a in axes], [x.shape[a] for a in axes], lambda: out.add(join("total", f"{x.load(source)}")), False)
        out.add(join(f"{o.pointer}[{target}]", "total") if step.attrs.get("accumulate") else f"{o.pointer}[{target}] = total;")

    _loops(out, [index[a] for a in kept], [x.shape[a] for a in kept], each, False)


def _add(to: str, value: str) -> str:
    return f"{to} += {value};"


def _keep_larger(to: str, value: str) -> str:
    return f"{to} = GS_LARGER({to}, {value});"


def _join_rows(
    out: Lines, axis: int, index: Sequence[str], x: Operand, o: Operand, target: str, join: Callable[[str, str], str]
) -> None:
    """Join the rows along one axis to a row of the result."""
    row, columns, n = index[axis], ([index[-1]], [x.shape[-1]]), size(x.shape[axis])

    def loaded(offset: int) -> str:
        return x.load(at([f"({row} + {offset})" if offset and i == row else i for i in index], x.strides))

    out.add(f"gs_int {row} = 0;")
    with out.block(f"for (; {row} + 4 <= {n}; {row} += 4)"):
        lines = [f"{x.type} row{offset} = {loaded(offset)};" for offset in range(4)]
        if join is _add:
            lines.append(join(f"{o.pointer}[{target}]", "(row0 + row1) + (row2 + row3)"))
        else:
            lines += [join(f"{o.pointer}[{target}]", f"row{offset}") for offset in range(4)]
        _loops(out, *columns, lambda: out.add(*lines), False, simd=True)
    with out.block(f"for (; {row} < {n}; ++{row})"):
        _loops(out, *columns, lambda: out.add(join(f"{o.pointer}[{target}]", loaded(0))), False, simd=True)


def _argmax(out: Lines, step: Instruction, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> None:
    (x,), (o,) = inputs, outputs
    lead = _axes("i", len(o.shape))

    def row() -> None:
        start, stride = at(lead, x.strides[:-1]), x.strides[-1]
        out.add(f"const {x.type} *row = {x.pointer} + {start};", "gs_int best = 0;")
        with out.loop("j", size(x.shape[-1]), "1"):
            value, held = f"row[{times('j', stride) or '0'}]", f"row[{times('best', stride) or '0'}]"
            out.add(f"if ({value} > {held} || ({value} != {value} && {held} == {held})) best = j;")
        out.add(f"{o.pointer}[{at(lead, o.strides)}] = ({o.type})best;")

    _loops(out, lead, o.shape, row)


def _top_k(out: Lines, step: Instruction, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> None:
    """Insertion into a sorted list: the largest first, of equals the first, NaN least."""
    (x,), (values, places) = inputs, outputs
    lead, k = _axes("i", len(x.shape) - 1), size(values.shape[-1])

    def row() -> None:
        out.add(f"const {x.type} *row = {x.pointer} + {at(lead, x.strides[:-1])};")
        out.add(f"{values.type} *best = {values.pointer} + {at(lead, values.strides[:-1])};")
        out.add(f"{places.type} *place = {places.pointer} + {at(lead, places.strides[:-1])};", "gs_int held = 0;")

        def best(i: str) -> str:
            return f"best[({i}) * {size(values.strides[-1])}]"

        def place(i: str) -> str:
            return f"place[({i}) * {size(places.strides[-1])}]"

        with out.loop("j", size(x.shape[-1])):
            out.add(f"{x.type} value = row[{times('j', x.strides[-1]) or '0'}];", "gs_int i = held;")
            out.add(f"while (i > 0 && (value > {best('i - 1')} || ({best('i - 1')} != {best('i - 1')} && value == value))) --i;")
            out.add(f"if (i >= {k}) continue;", f"if (held < {k}) ++held;")
            with out.block("for (gs_int q = held - 1; q > i; --q)"):
                out.add(f"{best('q')} = {best('q - 1')};", f"{place('q')} = {place('q - 1')};")
            out.add(f"{best('i')} = value;", f"{place('i')} = ({places.type})j;")

    _loops(out, lead, x.shape[:-1], row)


def _cumsum(out: Lines, step: Instruction, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> None:
    (x,), (o,) = inputs, outputs
    lead, n = _axes("i", len(x.shape) - 1), size(x.shape[-1])
    j = f"({n} - 1 - j)" if step.attrs["reverse"] else "j"

    def row() -> None:
        out.add(f"{o.type} total = 0;")
        with out.loop("j", n):
            out.add(f"total += {x.load(at([*lead, j], x.strides))};", f"{o.pointer}[{at([*lead, j], o.strides)}] = total;")

    _loops(out, lead, x.shape[:-1], row)


def _iota(out: Lines, step: Instruction, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> None:
    (o,) = outputs
    _loops(out, ["i0"], o.shape, lambda: out.add(f"{o.pointer}[{at(['i0'], o.strides)}] = ({o.type})i0;"))


def _shift(out: Lines, step: Instruction, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> None:
    (init, stack), (o,) = inputs, outputs
    index = _axes("i", len(stack.shape))
    last = size(stack.shape[0])
    edge, near = (f"i0 + 1 == {last}", "(i0 + 1)") if step.attrs["reverse"] else ("i0 == 0", "(i0 - 1)")

    def body() -> None:
        first, other = init.load(at(index[1:], init.strides)), stack.load(at([near, *index[1:]], stack.strides))
        out.add(f"{o.pointer}[{at(index, o.strides)}] = {edge} ? {first} : {other};")

    _loops(out, index, stack.shape, body)


def _overlap(out: Lines, step: Instruction, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> None:
    """Each element of the result is the sum of the windows that it lies in, in order."""
    (x,), (o,) = inputs, outputs
    axis, stride, dilation = step.attrs["axis"], step.attrs["stride"], step.attrs["dilation"]
    lead, rest = _axes("i", axis), _axes("j", len(o.shape) - axis - 1)
    length, k = (size(n) for n in x.shape[axis : axis + 2])

    def each(add: Callable[[str], None]) -> None:
        out.add(f"gs_int w = p - ({k} - 1) * {dilation};", f"w = w > 0 ? (w + {stride - 1}) / {stride} : 0;")
        with out.block(f"for (; w < {length} && w * {stride} <= p; ++w)"):
            away = f"(p - w * {stride})"  # no variable: windows of one element do not read it
            if dilation > 1:
                out.add(f"if ({away} % {dilation}) continue;")
                away = f"({away} / {dilation})"
            add(x.load(at([*lead, "w", away, *rest], x.strides)))

    def alone() -> None:
        out.add(f"{o.type} total = 0;")
        each(lambda value: out.add(f"total += {value};"))
        out.add(f"{o.pointer}[{at([*lead, 'p'], o.strides)}] = total;")

    def row() -> None:
        target = f"{o.pointer}[{at([*lead, 'p', *rest], o.strides)}]"
        _loops(out, rest, o.shape[axis + 1 :], lambda: out.add(f"{target} = 0;"), False, simd=True)
        each(lambda value: _loops(out, rest, o.shape[axis + 1 :], lambda: out.add(f"{target} += {value};"), False, simd=True))

    _loops(out, [*lead, "p"], o.shape[: axis + 1], row if rest else alone)


def _row_of(index: Operand, lead: Sequence[str]) -> str:
    """An index as a number whose product with a row's size is not cut off at 32 bits."""
    return f"(gs_int){index.load(at(lead, index.strides))}"


def _gather(out: Lines, step: Instruction, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> None:
    (table, index), (o,) = inputs, outputs
    lead, rest = _axes("i", len(index.shape)), _axes("j", len(table.shape) - 1)

    def row() -> None:
        out.add(f"const {table.type} *row = {table.pointer} + {_row_of(index, lead)} * {size(table.strides[0])};")
        body = lambda: out.add(f"{o.pointer}[{at([*lead, *rest], o.strides)}] = row[{at(rest, table.strides[1:])}];")
        _loops(out, rest, table.shape[1:], body, False, simd=True)

    _loops(out, lead, index.shape, row, bool(lead))


def _scatter_add(out: Lines, step: Instruction, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> None:
    """Row after row, in the order of the index, so that sums are the same in every run."""
    (index, rows), (o,) = inputs, outputs
    lead, rest = _axes("i", len(index.shape)), _axes("j", len(o.shape) - 1)
    if not step.attrs.get("accumulate"):
        _loops(out, ["i", *rest], o.shape, lambda: out.add(f"{o.pointer}[{at(['i', *rest], o.strides)}] = 0;"), False)

    def row() -> None:
        out.add(f"{o.type} *to = {o.pointer} + {_row_of(index, lead)} * {size(o.strides[0])};")
        body = lambda: out.add(f"to[{at(rest, o.strides[1:])}] += {rows.load(at([*lead, *rest], rows.strides))};")
        _loops(out, rest, o.shape[1:], body, False, simd=True)

    _loops(out, lead, index.shape, row, False)


def _random(out: Lines, step: Instruction, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> None:
    seed, at_step, *indices = inputs
    (o,) = outputs
    depth = len(indices)
    out.add(f"gs_int indices[] = {{{', '.join(v.load('0') for v in indices) or '0'}}};")
    call = f"gs_{step.attrs['kind']}_{SUFFIX[o.dtype]}"
    tail = f"{seed.load('0')}, {at_step.load('0')}, indices, {depth}, {step.attrs['site']}"
    count = product(o.shape)
    if o.strides == _row_major(o.shape):
        out.add(f"{call}({count}, {tail}, {o.pointer});")
        return
    index = _axes("i", len(o.shape))
    drawn = out.workspace(f"{count} * (gs_int)sizeof({o.type})")
    out.add(f"{o.type} *drawn = {drawn};", f"{call}({count}, {tail}, drawn);", "gs_int e = 0;")
    _loops(out, index, o.shape, lambda: out.add(f"{o.pointer}[{at(index, o.strides)}] = drawn[e++];"), False)


def _row_major(shape: Sequence[Expr]) -> tuple[Expr, ...] | None:
    """Strides of an array without gaps; None where a size is not a number (but the first)."""
    strides: list[Expr] = []
    step = 1
    for i, n in enumerate(reversed(shape)):
        strides.append(step)
        if not isinstance(n, int):
            return tuple(reversed(strides)) if i == len(shape) - 1 else None
        step *= n
    return tuple(reversed(strides))


PRINTERS: dict[str, Printer] = {
    "reduce_sum": _reduce, "reduce_max": _reduce, "argmax": _argmax, "top_k": _top_k, "cumsum": _cumsum, "iota": _iota, "shift": _shift,
    "overlap": _overlap,
    "gather": _gather, "scatter_add": _scatter_add, "random": _random,
}  # fmt: skip

