"""Counter-based random numbers."""

from __future__ import annotations

from graphspec.ir.core import FLOATS, TensorType
from graphspec.ir.ops.record import Attrs, Blocks, Case, Primitive, Types, define, need
from graphspec.sizes import size


def _infer(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    need(
        len(types) >= 2 and all(t.rank == 0 and t.dtype in ("int32", "int64") for t in types),
        "random wants seed, step and scan indices: integer scalars",
    )
    need(attrs.get("kind") in ("uniform", "normal"), f"random: kind = {attrs.get('kind')!r}")
    need(attrs.get("dtype") in FLOATS, f"random of {attrs.get('dtype')!r}")
    return [TensorType(tuple(attrs["shape"]), attrs["dtype"])]


define(
    Primitive(
        "random",
        "uniform in [0, 1) or standard normal: a function of (seed, site, step, scan indices, element)",
        _infer,
        takes="kind site shape dtype",
        cases=tuple(
            Case(
                (((), "int64"), ((), "int64"), ((), "int32")),
                {"kind": kind, "site": 3, "shape": (size(3), size(5)), "dtype": dtype},
                index=7,
            )
            for kind in ("uniform", "normal")
            for dtype in FLOATS
        ),
    )
)
