"""A plan for people to read."""

from __future__ import annotations

from collections.abc import Sequence

from graphspec.plan.kernels import ROW
from graphspec.plan.place import row_major
from graphspec.sizes import to_size
from graphspec_runtime.plan import Buffer, Expr, Instruction, Loop, Plan, View, show


def print_plan(plan: Plan) -> str:
    """Buffers with their lifetimes, then the code; origins as comments, as in printed IR."""
    lines = [f"plan {plan.name}({', '.join(plan.letters)})", "", "buffers"]
    lines += [f"  {_name(plan, i):<12} {_buffer(b)}" for i, b in enumerate(plan.buffers)]
    lines += ["", "code"]
    _steps(plan, plan.code, "  ", lines)
    lines += ["", "outputs"]
    for o in plan.outputs:
        lines.append(f"  {o.name} = {_view(plan, o.view)}{f'  updates {o.updates}' if o.updates else ''}")
    for g in plan.guards:
        lines.append(f"guard {show(g.left)} {'<=' if g.at_most else '=='} {show(g.right)}  ; {g.message}")
    return "\n".join(lines) + "\n"


def _name(plan: Plan, index: int) -> str:
    name = plan.buffers[index].name
    return f"b{index}.{name}" if name else f"b{index}"


def _buffer(b: Buffer) -> str:
    if b.kind == "constant":
        return f"{b.dtype} = {show(b.value) if isinstance(b.value, tuple) else b.value}"
    life = f"argument, to {b.last}" if b.kind == "argument" else f"{b.first}..{b.last}"
    return f"{b.dtype}[{show(b.size)}]  {life}"


def _steps(plan: Plan, steps: Sequence[Instruction | Loop], indent: str, lines: list[str]) -> None:
    for step in steps:
        if isinstance(step, Loop):
            lines.append(f"{indent}loop t{step.id} < {show(step.trip)}{' reverse' if step.reverse else ''}"
                         f"{f' rows {show(step.rows)}' if step.rows is not None else ''}{_origin(plan, step.origin)}")
            _steps(plan, step.body, indent + "    ", lines)
        elif step.kernel == "fused":
            _kernel(plan, step, indent, lines)
        else:
            lines.append(f"{indent}{_instruction(plan, step)}{_origin(plan, step.origin)}")


def _kernel(plan: Plan, step: Instruction, indent: str, lines: list[str]) -> None:
    """A fused kernel, a line for each op; values have the numbers that they have in the C.  ``row``: one number a row."""
    lines.append(f"{indent}{step.serial:>4}  fused for each of [{', '.join(map(show, step.attrs['shape']))}]{_origin(plan, step.origin)}")
    inside = indent + " " * 10
    lines += [f"{inside}v{i} = {_view(plan, view)}" for i, view in enumerate(step.inputs)]
    for i, (name, operands, _, level, detail) in enumerate(step.attrs["code"], len(step.inputs)):
        more = "" if detail is None else f" {show(detail) if isinstance(detail, tuple) else detail}"
        of = ", ".join(f"v{operand}" for operand in operands)
        lines.append(f"{inside}v{i}{' (row)' if level == ROW else ''} = {name}{more} {of}".rstrip())
    lines += [f"{inside}{_view(plan, view)} = v{i}" for view, i in zip(step.outputs, step.attrs["results"], strict=True)]


def _instruction(plan: Plan, step: Instruction) -> str:
    told = {name: value for name, value in step.attrs.items() if name not in ("origins", "work")}
    attrs = "".join(f" {name}={show(value) if name == 'size' else value}" for name, value in told.items())
    inputs = ", ".join(_view(plan, v) for v in step.inputs)
    outputs = ", ".join(_view(plan, v) for v in step.outputs)
    return f"{step.serial:>4}  {outputs + ' = ' if outputs else ''}{step.kernel}{attrs} {inputs}".rstrip()


def _view(plan: Plan, view: View) -> str:
    """``b3.h[B, 128]``, with what is not plain row-major from the start behind it: ``@offset``, ``+n*t0``, ``/(strides)``."""
    text = f"{_name(plan, view.buffer)}[{', '.join(map(show, view.shape))}]"
    if view.offset != 0:
        text += f"@{_size(view.offset)}"
    text += "".join(f"+{_size(step)}*t{loop}" for loop, step in view.steps)
    if tuple(map(to_size, view.strides)) != row_major(tuple(map(to_size, view.shape))):
        text += f"/({', '.join(_size(s) for s in view.strides)})"
    return text


def _size(n: Expr) -> str:
    return show(n).replace(" ", "")


def _origin(plan: Plan, index: int) -> str:
    return f"  ; {plan.origin(index)}" if index >= 0 else ""
