"""Pointwise ops as C expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphspec.codegen.text import SUFFIX, TYPES, number, size

ARITHMETIC = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
CONNECTIVES = {"and": "&", "or": "|"}


@dataclass(frozen=True)
class Entry:
    """One op of a kernel's tree: see :mod:`graphspec.plan.kernels`."""

    name: str
    operands: tuple[int, ...]
    dtype: str
    level: str
    detail: Any


def expression(name: str, args: Sequence[str], dtype: str, detail: Any, source: str) -> str:
    """A pointwise op as a C expression; ``source`` is the dtype of its first operand."""
    mark = SUFFIX.get(dtype, "")
    match name:
        case "add" | "sub" | "mul" | "div":
            return f"{args[0]} {ARITHMETIC[name]} {args[1]}"
        case "neg":
            return f"-{args[0]}"
        case "exp" | "tanh" | "sigmoid":
            return f"gs_{name}_{mark}({args[0]})"
        case "log" | "log1p" | "sqrt":
            return f"{name}{'f' if dtype == 'float32' else ''}({args[0]})"
        case "abs":
            return f"fabs{'f' if dtype == 'float32' else ''}({args[0]})" if mark else f"({args[0]} < 0 ? -{args[0]} : {args[0]})"
        case "sign":
            return f"GS_SIGN({args[0]})"
        case "maximum":
            return f"GS_LARGER({args[0]}, {args[1]})"
        case "minimum":
            return f"GS_SMALLER({args[0]}, {args[1]})"
        case "compare":
            if args[0] == args[1] and source not in SUFFIX:  # compilers warn of a whole number compared with itself
                return f"{args[0]} - {args[0]} {COMPARISONS[detail]} 0"
            return f"{args[0]} {COMPARISONS[detail]} {args[1]}"
        case "logical":
            return f"{args[0]} {CONNECTIVES[detail]} {args[1]}"
        case "where":
            return f"{args[0]} ? {args[1]} : {args[2]}"
        case "cast":
            if dtype == "bool":
                return f"{args[0]} != 0"
            return args[0] if dtype == source else f"({TYPES[dtype]}){args[0]}"
        case "copy" | "broadcast" | "stop_gradient":
            return args[0]
        case "full":
            return number(float(detail), dtype) if dtype in SUFFIX else number(detail, dtype)
        case "size":
            return f"({TYPES[dtype]}){size(detail)}"
    raise ValueError(f"no C for {name}")
