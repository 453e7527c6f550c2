"""Size letters from the arguments' shapes, and every shape checked against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphspec_runtime.errors import PlanError
from graphspec_runtime.plan import Expr, Plan, evaluate, letters_of, show


def infer_sizes(plan: Plan, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The binding of every letter; PlanError names the argument and axis that contradicts the plan."""
    sizes: dict[str, int] = {}
    waiting: list[tuple[str, int, Expr, int]] = []
    for argument in plan.arguments:
        if argument.name not in shapes:
            raise PlanError("argument", f"argument `{argument.name}` is missing", argument=argument.name)
        shape = shapes[argument.name]
        if len(shape) != len(argument.shape):
            want = ", ".join(show(n) for n in argument.shape)
            raise PlanError(
                "shape", f"`{argument.name}` has {len(shape)} axes {list(shape)}, expected {len(argument.shape)}: [{want}]",
                argument=argument.name, axis=-1, expected=want, got=list(shape),
            )  # fmt: skip
        waiting += [(argument.name, axis, expr, shape[axis]) for axis, expr in enumerate(argument.shape)]
    while waiting:
        left = [item for item in waiting if not _use(item, sizes)]
        if len(left) == len(waiting):
            missing = sorted({letter for _, _, expr, _ in left for letter in letters_of(expr)} - set(sizes))
            raise PlanError("shape", f"the sizes {', '.join(missing)} do not follow from the arguments' shapes", letters=missing)
        waiting = left
    return sizes


def _use(item: tuple[str, int, Expr, int], sizes: dict[str, int]) -> bool:
    """Check one axis, or learn a letter from it; False when it has more than one unknown letter so far."""
    name, axis, expr, got = item
    unknown = letters_of(expr) - set(sizes)
    if len(unknown) > 1:
        return False
    if unknown:
        (letter,) = unknown
        at = [evaluate(expr, {**sizes, letter: value}) for value in (0, 1)]
        slope = at[1] - at[0]
        value, rest = divmod(got - at[0], slope) if slope else (0, 0)
        if slope and not rest and value >= 0 and evaluate(expr, {**sizes, letter: value}) == got:
            sizes[letter] = value
            return True
    elif evaluate(expr, sizes) == got:
        return True
    known = ", ".join(f"{letter} = {sizes[letter]}" for letter in sorted(letters_of(expr) & set(sizes)))
    raise PlanError(
        "shape", f"`{name}` axis {axis} is {got}, expected {show(expr)}{f' with {known}' if known else ''}",
        argument=name, axis=axis, expected=show(expr), got=got,
    )  # fmt: skip


def check_guards(plan: Plan, sizes: Mapping[str, int]) -> None:
    """PlanError for the first guard that the binding breaks."""
    for guard in plan.guards:
        left, right = evaluate(guard.left, sizes), evaluate(guard.right, sizes)
        if left > right if guard.at_most else left != right:
            both = ((guard.left, left), (guard.right, right))
            sides = ", ".join(f"{show(side)} = {n}" if letters_of(side) else str(n) for side, n in both)
            raise PlanError("guard", f"{guard.message} ({sides})", plan.origin(guard.origin), left=left, right=right)


def check_names(plan: Plan, arguments: Mapping[str, Any]) -> None:
    unknown = sorted(set(arguments) - {a.name for a in plan.arguments})
    if unknown:
        raise PlanError("argument", f"the plan has no argument `{unknown[0]}`", argument=unknown[0])
