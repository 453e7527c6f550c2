"""A function of a class that makes a new object, and says so where it is called on an object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from graphspec.errors import fail

P = ParamSpec("P")
R = TypeVar("R")


class ClassOnly(Generic[P, R]):
    """Decorates such a function.  E0807 where it is called on an object, which it would leave as it was: what it returns is easily lost."""

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: type) -> Callable[P, R]:
        if instance is None:
            return self.function
        name = f"graphspec.{owner.__name__}.{self.function.__name__}"

        def refused(*_: P.args, **__: P.kwargs) -> R:
            raise fail("E0807", f"{name} makes a new object and changes none", helps=[f"`new = {name}(path)`"])

        return refused
