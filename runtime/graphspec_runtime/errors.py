"""The one exception of the runtime; graphspec turns it into a SpecError with the spec's lines."""

from __future__ import annotations

from typing import Any, Literal

Kind = Literal["index", "shape", "argument", "guard", "memory", "device", "precision", "plan"]


class PlanError(Exception):
    """Something went wrong while a Plan was bound or run.

    ``kind`` says what: ``index`` (an index out of range; data: value, position, low, high), ``shape`` (an argument's shape
    contradicts the plan; data: argument, axis, expected, got), ``argument`` (missing, unknown or unusable), ``guard`` (two sizes
    that the spec makes equal are not), ``memory``, ``device`` (it cannot be had; data: cause),
    ``precision`` (the device has none such), ``plan`` (malformed).
    ``origin`` is the place in the user's text (``file:line:col``), "" where there is none.
    """

    def __init__(self, kind: Kind, message: str, origin: str = "", **data: Any) -> None:
        super().__init__(f"{origin}: {message}" if origin else message)
        self.kind: Kind = kind
        self.message = message
        self.origin = origin
        self.data = data
