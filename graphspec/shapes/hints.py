"""What to suggest when two shapes differ.  Fixes are edits that the compiler tries before it shows them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from graphspec.errors import Fix, Span
from graphspec.graph import Inputs, Module, Node
from graphspec.shapes.cells import UNKNOWN, show
from graphspec.sizes import Size


def one_element(a: Sequence[Size], b: Sequence[Size]) -> list[str]:
    """How a vector of one element, such as the sum of a vector is in Torch, becomes the number that the other one is."""
    vector = [n.value for n in (*a, *b)] == [1]
    return ["a vector of one element is no number: `nn.Select(1, 1)` after it makes one of it"] if vector else []


def repeat_hint(a: Sequence[Size], b: Sequence[Size]) -> list[str]:
    """How repeating one tensor would give two shapes the same sizes, where it would."""
    small, big = sorted((tuple(a), tuple(b)), key=len)
    if told := one_element(small, big):
        return told
    how = ""
    if len(big) == len(small) + 1:
        axes = [*range(1, len(big)), 0]
        fits = [i for i in axes if big[:i] + big[i + 1 :] == small] or [i for i in axes if _may_equal(big[:i] + big[i + 1 :], small)]
        if fits and big[fits[0]] == 1:
            return [f"both have as many elements: `nn.Select({fits[0] + 1}, 1)` after the larger one leaves its axis of 1 out"]
        if fits:
            how = f"nn.Replicate({_argument(big[fits[0]])}, {fits[0] + 1})"
    elif len(big) == len(small):
        differing = [i for i, (m, n) in enumerate(zip(small, big, strict=True)) if m != n]
        if len(differing) == 1:
            i = differing[0]
            larger = big[i] if small[i] == 1 else small[i] if big[i] == 1 else None
            if larger is not None:
                how = f"nn.Replicate({_argument(larger)}, {i + 1})(nn.Select({i + 1}, 1)(...))"
    return [f"nothing is broadcast here: repeat the smaller one with `{how}` (no copy is made)"] if how else []


def _may_equal(a: Sequence[Size], b: Sequence[Size]) -> bool:
    """Whether two shapes are equal but for sizes that are not known yet."""
    return all(m == n or (m.lone or "").startswith(UNKNOWN) or (n.lone or "").startswith(UNKNOWN) for m, n in zip(a, b, strict=True))


def _argument(n: Size) -> str:
    """A size as a spec writes it: a number, or a letter in quotes."""
    return str(n) if n.value is not None else f"'{show(n)}'"


def equal_outputs(ends: Sequence[Inputs]) -> tuple[Fix, ...]:
    """Where two inputs come from Linears of different output sizes: each with the other's size."""
    calls = [call for call in (linear_call(end) for end in ends) if call is not None]
    if len(calls) != 2:
        return ()
    return tuple(
        Fix(span, f"{head}({', '.join([args[0], other[2][1], *args[2:]])})")
        for (span, head, args), other in zip(calls, calls[::-1], strict=True)
    )


def rearranged(module: Module | None, dims: Sequence[Size], axis: int, wanted: Size | None) -> tuple[Fix, ...]:
    """A View, a Transpose before the module, or its twin for images, where the input has what is wanted in another place.

    Rows for a Linear, ``[B, planes, H, W]`` for what has planes, ``[B, T, n]`` for what has frames.
    """
    span = module.origin.span if module is not None else None
    call = split_call(span.text) if span is not None else None
    if module is None or span is None or call is None or wanted is None or wanted.value is None or not call[0].startswith("nn."):
        return ()
    name, last, sizes = module.record.name, len(dims) - 1, [n.value for n in dims]
    before, instead = "", ""
    if axis == last and name.startswith("Linear") and None not in sizes[1:] and prod(n or 1 for n in sizes[1:]) == wanted.value:
        before = f"nn.View({wanted.value})"
    elif axis == last == 2 and name.startswith("Temporal") and sizes[1] == wanted.value:
        before = "nn.Transpose({2, 3})"
    elif axis == last == 3 and name == "BatchNormalization" and sizes[1] == wanted.value:
        instead = f"nn.Spatial{name}({', '.join(call[1])})"
    elif axis < last and name.startswith(("Spatial", "Volumetric")) and sizes[last] == wanted.value:
        before = f"nn.Transpose({', '.join(f'{{{i}, {i + 1}}}' for i in range(last, axis, -1))})"
    return (Fix(span, instead or f"nn.Sequential():add({before}):add({span.text})"),) if before or instead else ()


def fitting_input(module: Module | None, source: Inputs | None, size: Size | None) -> tuple[Fix, ...]:
    """Where a Linear is given another size than it takes: the Linear with the size that comes, in the words of where it comes from."""
    call = made_by_linear(module)
    if call is None or size is None or size.value is None:
        return ()
    span, head, args = call
    before = linear_call(source) if isinstance(source, Node) else None
    text = before[2][1] if before is not None else str(size.value)
    return (Fix(span, f"{head}({', '.join([text, *args[1:]])})"),)


def linear_call(end: Inputs) -> tuple[Span, str, list[str]] | None:
    """The constructor call of the Linear that a node uses: where it stands, the function, and its arguments, as text."""
    return made_by_linear(end.module) if isinstance(end, Node) else None


def made_by_linear(module: Module | None) -> tuple[Span, str, list[str]] | None:
    span = module.origin.span if module is not None and module.record.name.startswith("Linear") else None
    call = split_call(span.text) if span is not None else None
    return (span, *call) if span is not None and call is not None and len(call[1]) >= 2 else None


def split_call(text: str) -> tuple[str, list[str]] | None:
    """The function and the argument texts of a plain call, ``f(a, g(b, c))``; None when it is not one."""
    head, bracket, rest = text.partition("(")
    if not bracket or not rest.endswith(")") or any(quote in rest for quote in "'\"[]"):
        return None
    parts, depth = [""], 0
    for ch in rest[:-1]:
        depth += (ch in "({") - (ch in ")}")
        if ch == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += ch
    return head.strip(), [part.strip() for part in parts]
