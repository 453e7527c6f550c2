"""The tree of a fused kernel as plain data, the way a Plan holds it.

``shape`` and ``rows`` are the domain and the number of its leading axes that lead to a row.  ``code`` has one entry for each op:
``[name, [operands], dtype, level, detail]``.  Operands are numbers: the inputs first, then the entries before.  ``level`` is "element", or
"row" for one number a row.  ``detail`` is a number or a size for constants, and what a comparison or a connective is.  ``results`` are
the operands that are written, one for each output.
"""

from __future__ import annotations

import math
from typing import Any

from graphspec.ir.core import Op, Value
from graphspec.sizes import to_expr

ELEMENT, ROW = "element", "row"


def kernel_tree(op: Op) -> dict[str, Any]:
    """``shape``, ``rows``, ``code`` and ``results`` of a fused op."""
    body, shape, rows = op.blocks[0], op.attrs["shape"], op.attrs["rows"]
    number: dict[Value, int] = {v: i for i, v in enumerate(body.params)}
    code = []
    for inner in body.ops:
        level = ELEMENT if inner.output.shape == shape else ROW
        code.append((inner.name, tuple(number[v] for v in inner.inputs), inner.output.dtype, level, _detail(inner)))
        number[inner.output] = len(number)
    return {"shape": tuple(map(to_expr, shape)), "rows": rows, "code": tuple(code), "results": tuple(number[v] for v in body.results)}


def _detail(op: Op) -> Any:
    if op.name == "full":
        value = op.attrs["value"]
        return value if math.isfinite(value) else repr(float(value))
    if op.name == "size":
        return to_expr(op.attrs["size"])
    return op.attrs.get("how")
