"""A plan as C.

One function runs the plan: buffers in ``m``, size letters in ``n``, so that what was compiled serves every T and B.  Each instruction is a
function of its own over rows ``lo`` to ``hi`` of its first axis; loops over time are loops in C.  A matrix that a product in a loop
multiplies by in every turn is packed before the loop.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from graphspec.codegen.expressions import Entry
from graphspec.codegen.fused import Fused
from graphspec.codegen.names import buffer_name, operand_name, places, stem, wrapped
from graphspec.codegen.ops import PRINTERS
from graphspec.codegen.team import Packed, meetings, row_by_row
from graphspec.codegen.text import SUFFIX, TYPES, Lines, Operand, address, letter, number, product, size
from graphspec_runtime.kernels import POINTWISE
from graphspec_runtime.plan import Expr, Instruction, Loop, Plan, View, walk

HEAD = '#include "graphspec.h"'

ROWWISE = frozenset({*POINTWISE, "fused", "gather", "pick", "place", "overlap"})
"""Instructions whose rows can be done by several threads."""

PAIRS = "uint32_t"
"""What bf16 matrices are packed as."""


def print_c(plan: Plan, timed: bool = False, precision: str = "float32") -> str:
    """The C of a plan: ``int64_t gs_plan(char *const *m, const int64_t *n, gs_fault *fault)``.  It returns 0, or the number of the
    instruction that found an index out of range, or GS_NO_MEMORY before anything was done, with the bytes as the fault's value.

    ``timed`` prints ``gs_plan_timed``, which takes an array too, to whose element i it adds the seconds that instruction i takes.
    ``precision`` is that of products of float32 matrices: ``bf16`` rounds their operands.
    """
    return _Printer(plan, timed, precision).print()


class _Printer:
    def __init__(self, plan: Plan, timed: bool, precision: str) -> None:
        self.plan, self.timed = plan, timed
        self.marks = {**SUFFIX, "float32": "bf16"} if precision == "bf16" else SUFFIX
        """How kernels of products of matrices are called, by dtype."""
        self.kernels = Lines()
        self.body = Lines(1)
        self.packed: dict[tuple[int, View], str] = {}
        self.known: dict[str, str] = {}
        self.tasks: set[str] = set()
        self.rows: tuple[str, str] | None = None
        """The bounds of the rows that a loop is printed for."""
        self.needs: dict[str, None] = {}
        """Bytes of workspace that instructions take, each once."""
        self.open: list[str] = []
        """Packed matrices of the loops around what is printed."""
        self.letters = [letter(name) for name in plan.letters]
        self.literals = {
            i: size(b.value) if isinstance(b.value, tuple) else number(b.value or 0, b.dtype)
            for i, b in enumerate(plan.buffers) if b.kind == "constant"
        }  # fmt: skip

    def print(self) -> str:
        self._steps(self.plan.code, [])
        self.body.add("return 0;")
        steps, self.body = self.body, Lines(1)
        self._letters()
        self.body.add("(void)m, (void)n, (void)fault;")
        self._prepare()
        head = [f"/* {self.plan.name}({', '.join(self.plan.letters)}): printed by graphspec.  `n` holds these sizes, `m` the buffers: */"]
        head += [f"#define {buffer_name(self.plan, i)} (({TYPES[b.dtype]} *)m[{i}])" for i, b in enumerate(self.plan.buffers)]
        name, more = ("gs_plan_timed", ", double *seconds") if self.timed else ("gs_plan", "")
        declared = f"int64_t {name}(char *const *m, const int64_t *n, gs_fault *fault{more})"
        entry = [f"{declared};", declared, "{", *(["    double now = gs_clock();"] if self.timed else [])]
        lines = [HEAD, "", *head, "", *self.kernels.lines, *entry, *self.body.lines, *steps.lines, "}", ""]
        return "\n".join(piece for line in lines for piece in wrapped(line))

    def _prepare(self) -> None:
        """Have all that instructions work in before the first of them."""
        if not self.needs:
            return
        self.body.add("", "gs_int need = 0;", *(f"need = gs_max(need, {bytes});" for bytes in self.needs))
        with self.body.block("if (!gs_prepare(need))"):
            self.body.add("*fault = (gs_fault){GS_NO_MEMORY, need, 0};", "return GS_NO_MEMORY;")

    # -- loops ---------------------------------------------------------------------------------------------------------

    def _steps(self, steps: Sequence[Instruction | Loop], loops: list[Loop]) -> None:
        for step in steps:
            if isinstance(step, Loop):
                self._loop(step, loops)
            else:
                self._instruction(step, loops)
                if self.timed:
                    self.body.add(f"GS_TICK(seconds[{step.serial}]);")

    def _loop(self, loop: Loop, loops: list[Loop]) -> None:
        out, trip = self.body, size(loop.trip)
        out.add("", f"/* over time{self._origin(loop.origin)} */")
        with out.block(""):
            packed = self._pack(loop, trip)
            if self.timed and packed:
                out.add("GS_TICK(seconds[0]);")
            outside, self.open = self.open, [*self.open, *(matrix.name for matrix in packed)]
            if loop.rows in (None, 1) or loops or self.timed:
                self._turns(loop, loops)
            else:
                self._shared(loop, packed)
            self.open = outside
            out.add(*(f"gs_release({matrix.name});" for matrix in packed))

    def _turns(self, loop: Loop, loops: list[Loop]) -> None:
        with self._turn(loop):
            self._steps(loop.body, [*loops, loop])

    def _turn(self, loop: Loop) -> AbstractContextManager[None]:
        t, trip = f"t{loop.id}", size(loop.trip)
        head = f"for (gs_int {t} = {trip} - 1; {t} >= 0; --{t})" if loop.reverse else f"for (gs_int {t} = 0; {t} < {trip}; ++{t})"
        return self.body.block(head)

    def _shared(self, loop: Loop, packed: Sequence[Packed]) -> None:
        """The loop as a function for some of its rows, done by the team: each thread takes its rows through all turns.

        Where the matrices are larger than a core's own cache and rows are few, each thread would wait for all of them in every turn:
        then products are split by columns, and the threads meet before and after them.
        """
        assert loop.rows is not None
        name, outside = f"loop{loop.id}", self.body
        self.body = Lines(1)
        self.rows = ("lo", "hi")
        self.body.add("void *const *held = context;", "char *const *m = held[0];", "const int64_t *n = held[1];", "(void)m, (void)n;")
        self._letters()
        self.body.add(*(f"{matrix.type} *{matrix.name} = held[{i}];" for i, matrix in enumerate(packed, 3)))
        rows = size(loop.rows)
        self.body.add(f"gs_int lo = {rows} * part / parts, hi = {rows} * (part + 1) / parts;")
        if packed:  # of products by packed matrices this thread does rows from .. to and one part of the columns
            self.body.add("gs_int columns = held[2] ? parts : 1, column = held[2] ? part : 0;")
            self.body.add(f"gs_int from = columns > 1 ? 0 : lo, to = columns > 1 ? {rows} : hi;")
        met = meetings([(step, self._matrix(step, [loop]) is not None) for step, _ in walk(loop.body)])
        with self._turn(loop):
            for i, (step, _) in enumerate(walk(loop.body)):
                self.body.add(*["gs_meet(columns);"] * (i in met))
                self._instruction(step, [loop])
            self.body.add(*["gs_meet(columns);"] * (len(loop.body) in met))
        function, self.body, self.rows = self.body, outside, None
        self.kernels.add(f"/*{self._origin(loop.origin).removeprefix(':')}: some rows through all turns */")
        self.kernels.add(f"static void {name}(void *context, gs_int part, gs_int parts)", "{", *function.lines, "}", "")
        held = ["(void *)m", "(void *)n"]
        if packed:
            bytes, ready = (joint.join(words) for joint, words in ((" + ", [p.bytes for p in packed]), (" && ", [p.name for p in packed])))
            self.body.add(f"gs_int columns = {ready} ? gs_columns({bytes}, {rows}) : 1;")
            held += ["columns > 1 ? &columns : NULL", *(matrix.name for matrix in packed)]
        self.body.add(f"void *held[] = {{{', '.join(held)}}};")
        if packed:
            self.body.add(f"if (columns > 1) gs_together({name}, held, columns);", "else")
        work = product([loop.trip, loop.rows, max(self._width(step) for step, _ in walk(loop.body))])
        self.body.add(f"{'    ' if packed else ''}gs_parallel({name}, held, gs_parts({work}, ({rows} + 3) / 4));")

    @staticmethod
    def _width(step: Instruction) -> int:
        """About how many elements a row of an instruction takes, sizes that are letters left out."""
        width = 1
        for v in step.outputs[:1]:
            for n in v.shape[1:]:
                width *= n if isinstance(n, int) else 1
        return width

    def _letters(self) -> None:
        for i, name in enumerate(self.letters):
            self.body.add(f"const gs_int {name} = n[{i}];")
        if self.letters:
            self.body.add(f"{', '.join(f'(void){name}' for name in self.letters)};")

    def _pack(self, loop: Loop, trip: str) -> list[Packed]:
        """Pack the matrices that the loop's own products multiply by in every turn."""
        packed = []
        written = {v.buffer for step, _ in walk(loop.body) for v in step.outputs}
        for step in loop.body:
            if not isinstance(step, Instruction) or not row_by_row(step):
                continue
            right = step.inputs[1]
            moves = any(number == loop.id for number, _ in right.steps)
            if moves or right.buffer in written or (loop.id, right) in self.packed:
                continue
            name = f"packed{len(self.packed)}"
            dtype = self.plan.buffers[right.buffer].dtype
            mark, (k, n) = self.marks[dtype], map(size, right.shape)
            real = PAIRS if mark == "bf16" else TYPES[dtype]
            bytes = f"gs_packed_{mark}({k}, {n}) * (gs_int)sizeof({real})"
            out = self.body
            out.add(f"{real} *{name} = {trip} >= gs_turns({size(step.outputs[0].shape[0])}, {bytes}) ? gs_reserve({bytes}) : NULL;")
            rs, cs = map(size, right.strides)
            out.add(f"if ({name}) gs_pack_{mark}({k}, {n}, {address(self.plan, right)}, {rs}, {cs}, {name});")
            self.packed[loop.id, right] = name
            packed.append(Packed(name, real, bytes))
        return packed

    # -- instructions --------------------------------------------------------------------------------------------------

    def _origin(self, origin: int) -> str:
        return f": {places([self.plan.origin(origin)])}" if origin >= 0 else ""

    def _instruction(self, step: Instruction, loops: list[Loop]) -> None:
        if step.kernel == "matmul":
            self._matmul(step, loops)
        elif step.kernel == "check_index":
            self._check(step)
        else:
            self._call(step, bool(loops))

    def _matmul(self, step: Instruction, loops: list[Loop]) -> None:
        (a, b), (c,) = step.inputs, step.outputs
        out, dtype = self.body, self.plan.buffers[c.buffer].dtype
        mark = (self.marks if len(c.shape) == 2 else SUFFIX)[dtype]
        rows, n, k = size(c.shape[-2]), size(c.shape[-1]), size(a.shape[-1])
        m = rows
        add = int(bool(step.attrs.get("accumulate")))
        found = places(self.plan.origins_of(step))
        out.add(f"/* {step.serial} product{f': {found}' if found else ''} */")
        lead = [f"b{i}" for i in range(len(c.shape) - 2)]
        pointers = [self._at(v, lead) for v in (a, b, c)]
        packed = self._matrix(step, loops)
        share = "0, 1"
        if self.rows and not lead:  # some rows of the left operand and of the result
            start, end = ("from", "to") if packed else self.rows
            share = "column, columns"
            m = f"({end} - {start})"
            pointers = [f"{pointers[0]} + {start} * {size(a.strides[0])}", pointers[1], f"{pointers[2]} + {start} * {size(c.strides[0])}"]
        strides = [f"{size(v.strides[-2])}, {size(v.strides[-1])}" for v in (a, b, c)]
        operands = ", ".join(f"{pointer}, {stride}" for pointer, stride in zip(pointers, strides, strict=True))
        call = f"gs_gemm_{mark}({m}, {n}, {k}, {operands}, {add}, {rows});"
        self.needs[f"gs_scratch_{mark}({rows}, {n}, {k}, {', '.join(strides)})"] = None
        if packed:
            apart, to = size(a.strides[0]), f"{pointers[2]}, {size(c.strides[0])}"
            fast = f"gs_gemm_packed_{mark}({m}, {n}, {k}, {pointers[0]}, {apart}, {packed}, {to}, {add}, {share});"
            out.add(f"if ({packed}) {fast}", f"else {call}")
            return
        depth = 0
        for name, count in zip(lead, c.shape, strict=False):
            start, end = self.rows if self.rows and not depth else ("0", size(count))
            out.add(f"for (gs_int {name} = {start}; {name} < {end}; ++{name})")
            depth += 1
            out.depth += 1
        out.add(call)
        out.depth -= depth

    def _matrix(self, step: Instruction, loops: Sequence[Loop]) -> str | None:
        """The packed matrix that a product multiplies by."""
        if not row_by_row(step):
            return None
        keys = ((loop.id, step.inputs[1]) for loop in reversed(loops))
        return next((self.packed[key] for key in keys if key in self.packed), None)

    def _at(self, view: View, lead: Sequence[str]) -> str:
        parts = [address(self.plan, view)]
        parts += [f"{name} * {size(stride)}" for name, stride in zip(lead, view.strides, strict=False) if stride != 0]
        return " + ".join(parts)

    def _check(self, step: Instruction) -> None:
        (view,) = step.inputs
        out = self.body
        low = int(step.attrs["base"])
        out.add(f"/* {step.serial} indices are in {low} .. {low} + {size(step.attrs['size'])} - 1{self._origin(step.origin)} */")
        with out.block(""):
            dtype = TYPES[self.plan.buffers[view.buffer].dtype]
            out.add(f"const {dtype} *x = {address(self.plan, view)};", "gs_int e = 0;")
            index = [f"i{i}" for i in range(len(view.shape))]
            for name, n in zip(index, view.shape, strict=True):
                out.add(f"for (gs_int {name} = 0; {name} < {size(n)}; ++{name})")
            place = " + ".join(f"{i} * {size(s)}" for i, s in zip(index, view.strides, strict=True) if s != 0) or "0"
            with out.block(""):
                out.add(f"gs_int value = x[{place}];")
                with out.block(f"if (value < {low} || value >= {low} + {size(step.attrs['size'])})"):
                    out.add(*(f"gs_release({name});" for name in self.open))
                    out.add(f"*fault = (gs_fault){{{step.serial}, value, e}};", f"return {step.serial};")
                out.add("++e;")

    def _call(self, step: Instruction, in_loop: bool) -> None:
        """A call of the instruction's own function, over all rows; of what is large, a part for each thread."""
        views = list(dict.fromkeys((*step.inputs, *step.outputs)))
        written = set(step.outputs)
        in_memory = step.kernel in ("argmax", "top_k", "gather")  # they walk along a row
        operands = {v: self._operand(f"p{i}", v, in_memory) for i, v in enumerate(views)}
        views = [v for v in views if not operands[v].literal]
        parameters = []
        for v in views:
            o = operands[v]
            apart = all(v is w or _start(v) != _start(w) for w in views)  # else written over what is read, element by element
            parameters.append(f"{'' if v in written else 'const '}{o.type} *{'restrict ' if v in written and apart else ''}{o.pointer}")
        kernel = Lines(1)
        inputs, outputs = [operands[v] for v in step.inputs], [operands[v] for v in step.outputs]
        rows = self._print(kernel, step, inputs, outputs)
        self.needs |= dict.fromkeys(kernel.needs)
        text = "\n".join(["{", *kernel.lines, "}"])
        split = re.search(r"\bhi\b", text) is not None  # else it is all one row
        if not split:
            text = "{\n    (void)lo, (void)hi;\n" + text.removeprefix("{\n")
        used = [name for name in self.letters if re.search(rf"\b{name}\b", text)]
        signature = f"(gs_int lo, gs_int hi{''.join(', ' + p for p in parameters)}{''.join(f', gs_int {name}' for name in used)})"
        names = {o.pointer: operand_name(self.plan.buffers[v.buffer].name, i) for i, (v, o) in enumerate(operands.items())}
        name = self._function(step, signature, text, names)
        arguments = "".join(f", {address(self.plan, v)}" for v in views)
        arguments += "".join(f", {each}" for each in used)
        bounds = ", ".join(self.rows or ("0", rows))
        self.body.add(f"/* {step.serial} {step.kernel}{self._origin(step.origin)} */")
        alone = in_loop or self.timed or not split or rows == "1" or step.kernel not in ROWWISE
        work = None if alone else self._work(step)
        if work is None:
            self.body.add(f"{name}({bounds}{arguments});")
            return
        types = [*(f"{operands[v].type} *" for v in views), *("gs_int " for _ in used)]
        task = self._task(name, types)
        values = ", ".join([rows, *(address(self.plan, v) for v in views), *used])
        self.body.add(f"gs_parallel({task}, &({task}_held){{{values}}}, gs_parts({work}, {rows}));")

    @staticmethod
    def _work(step: Instruction) -> str | None:
        """How many elements an instruction computes; None where that is little whatever the letters are."""
        shape = step.attrs["shape"] if step.kernel == "fused" else step.outputs[0].shape
        fixed = 1
        for n in shape:
            fixed *= n if isinstance(n, int) else 16
        return product(shape) if fixed >= 4096 else None

    def _task(self, name: str, types: Sequence[str]) -> str:
        """A function that does one part of an instruction's rows, its operands in a struct."""
        task = f"{name}_part"
        if task not in self.tasks:
            self.tasks.add(task)
            fields = "".join(f" {kind}a{i};" for i, kind in enumerate(types))
            passed = "".join(f", a->a{i}" for i in range(len(types)))
            self.kernels.add(
                f"typedef struct {{ gs_int rows;{fields} }} {task}_held;",
                f"static void {task}(void *held, gs_int part, gs_int parts)",
                "{",
                f"    const {task}_held *a = held;",
                f"    {name}(a->rows * part / parts, a->rows * (part + 1) / parts{passed});",
                "}",
                "",
            )
        return task

    def _operand(self, pointer: str, view: View, in_memory: bool) -> Operand:
        literal = "" if in_memory else self.literals.get(view.buffer, "")
        return Operand(pointer, self.plan.buffers[view.buffer].dtype, view.shape, view.strides, literal)

    def _function(self, step: Instruction, signature: str, text: str, names: Mapping[str, str]) -> str:
        """The name of a function with this body; equal ones are printed once, with the first one's names for its operands."""
        known = self.known.get(signature + text)
        if known:
            return known
        name = f"k{step.serial}_{step.kernel}_{stem(self.plan.buffers[step.outputs[-1].buffer].name)}".rstrip("_")
        self.known[signature + text] = name
        self.kernels.add(f"/* {places(self.plan.origins_of(step)) or 'built in'} */")
        lines = f"GS_KERNEL void {name}{signature}\n{text}"
        self.kernels.add(*re.sub(r"\bp\d+\b", lambda found: names.get(found[0], found[0]), lines).split("\n"), "")
        return name

    def _print(self, out: Lines, step: Instruction, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> str:
        """The body of an instruction's function; returns the size of its first axis."""
        if step.kernel == "fused":
            code = [Entry(*entry) for entry in step.attrs["code"]]
            shape = step.attrs["shape"]
            Fused(out, shape, step.attrs["rows"], code, inputs, outputs, step.attrs["results"]).print()
        elif step.kernel in POINTWISE:
            shape = outputs[0].shape
            entry = Entry(step.kernel, tuple(range(len(inputs))), outputs[0].dtype, "element", step.attrs.get("how"))
            Fused(out, shape, len(shape), [entry], inputs, outputs, [len(inputs)]).print()
        elif step.kernel in ("pick", "place"):
            shape, entry = self._one(step, inputs, outputs)
            Fused(out, shape, len(shape) - 1, [entry], inputs, outputs, [len(inputs)]).print()
        else:
            shape = inputs[-1].shape if step.kernel == "gather" else outputs[0].shape
            if step.kernel in ("top_k", "cumsum"):
                shape = shape[:-1]
            PRINTERS[step.kernel](out, step, inputs, outputs)
        return size(shape[0]) if shape else "1"

    @staticmethod
    def _one(step: Instruction, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> tuple[tuple[Expr, ...], Entry]:
        """A pick or a place as a kernel of its own."""
        if step.kernel == "pick":
            return inputs[0].shape, Entry("pick", (0, 1), outputs[0].dtype, "row", None)
        return outputs[0].shape, Entry("place", (0, 1), outputs[0].dtype, "element", None)


def _start(view: View) -> tuple[object, ...]:
    """Where a view begins."""
    return view.buffer, view.offset, view.steps
