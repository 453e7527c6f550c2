"""Where values would best be written: inside the concat, the stack, the carry or the argument that wants them.

A destination is a wish.  The emitter asks :meth:`Destinations.wanted` when it is about to compute a value, uses the place if there
is one, and otherwise copies later; so a wish that cannot be granted costs a copy and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graphspec.ir.core import Block, Op, Value, inverse
from graphspec.ir.ops import primitive
from graphspec.plan.liveness import Liveness
from graphspec.plan.place import Place
from graphspec.sizes import Size

NEVER = frozenset({"full", "size", "broadcast", "slice", "windows", "check_index", "stop_gradient"})
"""Ops that never compute into a given place: their result is a view."""


@dataclass(frozen=True)
class Root:
    """A place outside the block's own values.  ``over`` is the value that lies there until the new one is written, if any;
    ``allowed`` is asked when the place is wanted."""

    place: Callable[[], Place]
    over: Value | None = None
    allowed: Callable[[], bool] = lambda: True


def at(place: Place) -> Callable[[], Place]:
    """A place that exists already, for a Root."""
    return lambda: place


@dataclass(frozen=True)
class Part:
    """Inside the place of another value of the block."""

    whole: Value
    window: Callable[[Place], Place | None]


def _nowhere() -> Place:
    raise AssertionError("a storage of its own has no place yet")


OWN = Root(_nowhere)
"""Where a chain of parts leads to a value that will have a storage of its own: nothing is overwritten there."""


class Destinations:
    """The wishes of one block; ``places`` are those already given, shared with the emitter."""

    def __init__(self, live: Liveness, places: dict[Value, Place], reserve: Callable[[Value], Place]) -> None:
        self._live = live
        self._places = places
        self._reserve = reserve
        self._wishes: dict[Value, Root | Part] = {}
        self._copies: dict[Value, Part] = {}
        """Slices that will be copied into a whole, as they are or in another shape."""

    def ask(self, v: Value, wish: Root | Part) -> bool:
        """Record a wish; False where v has one already or cannot be written where one likes."""
        source: Value | None = v
        while source is not None and source.op is not None and source.op.name in ("reshape", "transpose"):
            source = source.op.inputs[0] if self._live.defined(source) else None
        if v in self._wishes or source is None or not self._live.defined(source) or source.op is None:
            return False
        if source.op.name in NEVER:
            if source.op.name == "slice" and isinstance(wish, Part) and self._live.uses[v] == self._live.uses[source] == 1:
                self._copies[source] = wish
            return False
        self._wishes[v] = wish
        if isinstance(wish, Part):
            self._live.join(v, wish.whole)
        return True

    def spread(self, block: Block, scan_wishes: Callable[[Op], None]) -> None:
        """Hand wishes on from results to operands: parts of concats and pads, and through reshapes and transposes."""
        for op in reversed(block.ops):
            if op.name == "concat":
                at = Size.const(0)
                for v in op.inputs:
                    self.ask(v, Part(op.output, _slice(op.attrs["axis"], at, v.shape[op.attrs["axis"]])))
                    at = at + v.shape[op.attrs["axis"]]
            elif op.name == "pad":
                axis, (v,) = op.attrs["axis"], op.inputs
                self.ask(v, Part(op.output, _slice(axis, op.attrs["before"], v.shape[axis])))
            elif op.name == "reshape" and op.output in self._wishes:
                self.ask(op.inputs[0], Part(op.output, _reshape(op.inputs[0])))
            elif op.name == "transpose" and op.output in self._wishes:
                self.ask(op.inputs[0], Part(op.output, _untranspose(op.attrs["axes"])))
            elif op.name == "scan":
                scan_wishes(op)

    def wanted(self, v: Value) -> Place | None:
        """The place that v should be computed into, if that is safe where v's op stands."""
        wish = self._wishes.get(v)
        if wish is None or v.op is None:
            return None
        if isinstance(wish, Root):
            place = wish.place() if wish.allowed() else None
        elif wish.whole.op is not None and wish.whole.op.name in ("concat", "pad"):
            place = wish.window(self._reserve(wish.whole))
        else:
            whole = self.wanted(wish.whole)
            place = whole and wish.window(whole)
        if place is None or not self._free(self._root(wish).over, v.op, place):
            return None
        return place

    def copied(self, v: Value) -> Place | None:
        """The place in a whole that a slice may be copied into at once, where some of the whole is there already: what it is cut from is
        needed no longer then."""
        wish = self._copies.get(v)
        if wish is None or wish.whole not in self._places or v.op is None or not self._live.defined(v.op.inputs[0]):
            return None
        place = wish.window(self._places[wish.whole])
        return place.reshape(v.shape) if place is not None and self._free(self._root(wish).over, v.op, place) else None

    def _root(self, wish: Root | Part) -> Root:
        while isinstance(wish, Part):
            following = self._wishes.get(wish.whole)
            if following is None:
                return OWN
            wish = following
        return wish

    def _free(self, over: Value | None, op: Op, place: Place) -> bool:
        """Whether the old value is done with when ``op`` writes over it: read before, or by this op element for element."""
        if over is None:
            return True
        here, last = self._live.position[op], self._live.last_read(over)
        if last != here:
            return last < here
        old = [v for v in op.inputs if self._live.group(v) is self._live.group(over)]
        return elementwise(op) and all(self._places[v] == place for v in old)


def elementwise(op: Op) -> bool:
    """Whether each element of the result is computed from the same element of the operands alone, so that it may be written over it."""
    if op.name == "fused":
        return all(primitive(inner.name).pointwise or inner.name in ("full", "size") for inner in op.blocks[0].ops)
    return primitive(op.name).pointwise


def _slice(axis: int, start: Size, length: Size) -> Callable[[Place], Place | None]:
    return lambda place: place.slice(axis, start, length)


def _reshape(v: Value) -> Callable[[Place], Place | None]:
    return lambda place: place.reshape(v.shape)


def _untranspose(axes: tuple[int, ...]) -> Callable[[Place], Place | None]:
    return lambda place: place.transpose(inverse(axes))
