"""Declared size letters that came out as one size, or as a number: a model of fewer shapes than its inputs declare."""

from __future__ import annotations

from graphspec.errors import Diagnostic, Origin, error
from graphspec.shapes.cells import UNKNOWN
from graphspec.shapes.infer import Types, Use
from graphspec.sizes import Size


def merged_letters(types: Types) -> list[Diagnostic]:
    """W0311 where the model's own graph makes two declared letters one, or a declared letter a number.

    Letters of a gModule inside are renamed for each use: what its caller makes of them is no surprise.  A letter that is worked out from
    others (``T - 4``) is one that follows from them, and one that is always the last axis counts features: modules name how many, but
    hardly none.
    """
    declared: dict[str, Use] = {}
    varying: set[str] = set()
    for use in types.uses:
        if use.letters is None and use.module is not None and use.module.record.name == "Identity":
            dims = use.module.args.dims or ()
            for axis, n in enumerate(dims):
                for name in n.letters:
                    declared.setdefault(name, use)
                    if axis < len(dims) - 1 or len(dims) == 1:
                        varying.add(name)
    found = []
    for name, first in declared.items():
        if name in types.bindings:
            value, origin = _bound(types, name)
            other = declared.get(value.lone or "")
            if other is not None or value.value == 0 or (value.value is not None and name in varying):
                found.append(_merged(types, name, first, value, other, origin))
    return found


def _bound(types: Types, name: str) -> tuple[Size, Origin]:
    """What a letter was made, and where, through letters of inference's own."""
    value, origin = types.bindings[name], types.bound_at[name]
    while (between := value.lone) is not None and between.startswith(UNKNOWN) and between in types.bound_at:
        value, origin = types.bindings[between], types.bound_at[between]
    return value, origin


def _merged(types: Types, name: str, first: Use, value: Size, other: Use | None, origin: Origin) -> Diagnostic:
    places = [(first.origin, f"{name} is declared here")]
    if other is None:
        text, helps = f"{name} can only be {value} here", [f"where that is meant, declare it: {value} in the place of '{name}'"]
        if value.value == 0:
            helps.append("such an axis holds nothing: what it is joined to has the size that is wanted already")
        maker = next((use.module.record.name for use in types.uses if use.origin is origin and use.module is not None), "")
        dims: list[Size] = list(first.module.args.dims) if first.module is not None else []
        if maker.startswith(("Spatial", "Volumetric")) and dims[0].lone == name:
            helps.append(f"nn.{maker} takes planes before rows and columns: with a batch [{', '.join(map(str, (name, value, *dims[1:])))}]")
    else:
        if other is first:
            places = [(first.origin, f"{name} and {value} are declared here")]
        else:
            places.append((other.origin, f"{value} is declared here"))
        text, helps = f"{name} and {value} can only be one size here", ["where that is meant, declare both by one letter"]
        if any(use.module is not None and use.module.record.loops for use in types.uses):
            helps.append("loops run over the first axis: `nn.Transpose({1, 2})` before and after one makes time the first of a batch")
    return error("W0311", text, origin, "by what is wanted here", others=places, helps=helps, severity="warning")
