"""Arrays of a model by name, which stay where they are: a program works in them, so what is assigned is copied into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar, overload

import numpy as np

from graphspec.errors import fail
from graphspec.suggest import did_you_mean
from graphspec_runtime.devices.base import Device

Array = np.ndarray[Any, Any]
T = TypeVar("T")


class Views(dict[str, Any]):
    """A dict of arrays whose names and arrays stay the same.

    Assigning an item, and ``update``, copy into the array; E0706 for a name that is not there, another shape, or what are no numbers, and
    then nothing is changed.  ``kind``: what an array is, in the words of an error; ``device``: where it lies, None for NumPy's own memory.
    """

    def __init__(self, arrays: Mapping[str, Any], kind: str, device: Device | None) -> None:
        super().__init__(arrays)
        self._kind = kind
        self._device = device

    def __reduce__(self) -> Any:
        """A copy, also a deep or a pickled one, is a plain dict."""
        return dict, (dict(self),)

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __ior__(self, given: Any) -> Any:  # type: ignore[misc]  # of a dict and `|` a plain dict is made
        self.update(given)
        return self

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def _stays(self, *ignored: Any) -> Any:
        raise TypeError(f"a {self._kind} stays in its model; it can be assigned another value")

    __delitem__ = pop = popitem = clear = _stays

    def update(self, *given: Any, **named: Any) -> None:
        """Copy in several at once, or on an error none; as ``dict.update``."""
        ready = {}
        for name, value in dict(*given, **named).items():
            if name not in self:
                raise fail("E0706", f"there is no {self._kind} named {name}", helps=did_you_mean(str(name), self))
            if value is not self[name]:  # as it is after `parameters[name] *= 2`
                ready[name] = fitting(name, self[name], value)
        for name, value in ready.items():
            put(self[name], value, self._device)

    def replace(self, given: Any) -> None:
        """Copy in all of them at once, or on an error none; E0706 also for a name that is missing."""
        if not isinstance(given, Mapping):
            raise fail("E0706", f"arrays by their names are wanted, got {type(given).__name__}")
        for name in self:
            if name not in given:
                raise fail("E0706", f"the {self._kind} {name} is given nothing", helps=["`update(...)` sets some and leaves the others"])
        self.update(given)


class Kept(Generic[T]):
    """An attribute that is made once: a :class:`Views`, or an array.  What is assigned to it later is copied in, with the same checks."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, owner: None, kind: type) -> Kept[T]: ...
    @overload
    def __get__(self, owner: object, kind: type) -> T: ...
    def __get__(self, owner: Any, kind: type) -> Any:
        return self if owner is None else owner.__dict__[self.name]

    def __set__(self, owner: Any, value: Any) -> None:
        held = owner.__dict__.setdefault(self.name, value)
        if held is value:  # the first time, or as it is after `flat_parameters *= 2`
            return
        if isinstance(held, Views):
            held.replace(value)
        else:
            put(held, fitting(self.name, held, value), owner._device)


def resident(array: Array, device: Device | None) -> Any:
    """The array where the device works on it; None is the reference interpreter, which works on NumPy's own."""
    return array if device is None else device.from_host(array)


def on_host(array: Any, device: Device | None) -> Array:
    """A copy as a NumPy array."""
    return np.array(array if device is None else device.to_host(array))


def put(array: Any, value: Any, device: Device | None) -> None:
    """Copy from the device or the host into an array, in the order of the device's other work."""
    (np.copyto if device is None else device.copy)(array, value)


def fitting(name: str, array: Any, value: Any) -> Any:
    """A value as an array that can be copied into another; E0706 where it is no numbers, or of another shape."""
    if type(value) is not type(array):  # not one of the device's own
        try:
            value = np.asarray(value)
        except ValueError:  # lists of unlike lengths
            value = np.asarray(None)
    if value.dtype.kind not in "fiub":
        raise fail("E0706", f"{name}: numbers are wanted, got {value.dtype}")
    if tuple(value.shape) != tuple(array.shape):
        turned = len(array.shape) == 2 and value.shape == array.shape[::-1]
        helps = [f"`[...] = {value}` sets every number"] if value.shape == () else ["`.T` exchanges the two axes"] if turned else []
        raise fail("E0706", f"{name} is {list(array.shape)} in the model, what is assigned is {list(value.shape)}", helps=helps)
    return value


def check_matching(mine: Mapping[str, Any], given: Mapping[str, Array], here: str, there: str) -> None:
    """E0706 for names or shapes that do not match; ``here`` and ``there`` say whose they are."""
    for name in [*sorted(mine.keys() - given.keys()), *sorted(given.keys() - mine.keys())]:
        raise fail("E0706", f"{name} is in {here if name in mine else there} only")
    for name, array in mine.items():
        if tuple(array.shape) != given[name].shape:
            raise fail("E0706", f"{name} is {list(given[name].shape)} in {there}, {list(array.shape)} in {here}")
