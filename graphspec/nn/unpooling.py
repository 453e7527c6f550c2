"""Max unpoolings: values put back where another module's maxima were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, Record, register
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import CONVOLUTIONS, impossible, only
from graphspec.nn.pooling import MaxPooling
from graphspec.nn.windowed import uncut
from graphspec.shapes.cells import FLOAT, Cell
from graphspec.shapes.infer import Types, Use

CODE = "E0323"
SAME = "it is given the same object that is used before: `local pool = nn.{0}(...)`, then `nn.{1}(pool)(pool(x))`"


def last_use(s: Types, module: Module, current: Use) -> tuple[Use | None, bool]:
    """The last use of a module before another use, in the order in which modules run; and whether all uses before that are known yet."""
    found, complete = None, True
    left = [s.uses[0]]
    while left and (use := left.pop()) is not current:
        if use.module is module:
            found = use
        elif use.module is not None and use.module.children and not use.subs:
            complete = False
        left.extend(reversed(use.subs.values()))
    return found, complete


class MaxUnpooling(Record):
    """Base of unpoolings: the output is as large as what went into the pooling, and 0 where it found no maximum."""

    arguments: ClassVar[tuple[Argument, ...]] = (Argument("poolingModule", "module"),)
    differs = "the pooling module and this one stand in the same loop over time, if in any"
    pooling: ClassVar[str]
    """Name of the pooling module."""

    def construct(self, args: Sequence[Any], origin: Origin) -> Module:
        """The pooling is no module inside this one: it stands elsewhere in the graph."""
        module = super().construct(args, origin)
        module.children = []
        return module

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        record = a.poolingModule.record
        if record.name != self.pooling:
            raise fail("E0422", f"nn.{self.name}: poolingModule must be an nn.{self.pooling}, got an nn.{record.name}", origin)
        if any(sweep.k != sweep.stride for sweep in record.sweeps(a.poolingModule.args)):
            raise fail("E0422", f"nn.{self.name}: the windows of the nn.{self.pooling} must move by their own size", origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(x, dtype=FLOAT)
        s.set(y, dtype=FLOAT)
        found, complete = last_use(s, m.args.poolingModule, s.current)
        if found is None:
            message = f"its nn.{self.pooling} does not run before it"
            missing = impossible(s, m, message, "nothing is known of any maxima", CODE, helps=[SAME.format(self.pooling, self.name)])
            s.need(missing.diagnostics[0])
        elif complete:
            self.state(s, found, x, y)
        else:
            s.guess(lambda: self.state(s, found, x, y))

    @staticmethod
    def state(s: Types, pooled: Use, x: Cell, y: Cell) -> None:
        """What goes in is as large as what the pooling gave, what comes out as what it was given."""
        s.same(x, pooled.y)
        s.same(y, pooled.x)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        pooling: Module = m.args.poolingModule
        record = pooling.record
        assert isinstance(record, MaxPooling)
        found, _ = last_use(b.session.types, pooling, b.use)
        places = b.scope.places.get(id(found))
        if places is None:
            raise fail(CODE, f"nn.{self.name}: its nn.{self.pooling} runs in another loop over time", b.origin,
                       helps=["put both into one module, and that into the loop"])
        sweeps, shape = record.sweeps(pooling.args), b.type_of(b.use.y).shape
        kernel, n = [sweep.k for sweep in sweeps], len(sweeps)
        values = b.place(places, b.reshape(only(x), places.shape), math.prod(kernel))
        values = b.reshape(values, (*places.shape, *kernel))
        values = b.transpose(values, (0, 1, *(axis for i in range(n) for axis in (2 + i, 2 + n + i))))
        for i in reversed(range(n)):
            values = uncut(b, values, 2 + 2 * i, sweeps[i], shape[i - n])
        return b.reshape(values, shape)


@register
class SpatialMaxUnpooling(MaxUnpooling):
    """Each number goes to the place in the image where ``poolingModule``, an nn.SpatialMaxPooling, found the maximum when it ran last;
    zeros elsewhere: ``[..., H', W'] -> [..., H, W]``, the sizes that came out of the pooling and that went into it.

    The windows of the pooling move by their own size.  It is the module itself that is given, the one that stands earlier in the graph.
    """

    name = "SpatialMaxUnpooling"
    doc = "numbers put back where a SpatialMaxPooling found its maxima, zeros elsewhere"
    source = CONVOLUTIONS + "SpatialMaxUnpooling"
    pooling = "SpatialMaxPooling"


@register
class VolumetricMaxUnpooling(MaxUnpooling):
    """Each number goes to the place in the volume where ``poolingModule``, an nn.VolumetricMaxPooling, found the maximum when it ran last;
    zeros elsewhere: ``[..., T', H', W'] -> [..., T, H, W]``, the sizes that came out of the pooling and that went into it.

    The windows of the pooling move by their own size.  It is the module itself that is given, the one that stands earlier in the graph.
    """

    name = "VolumetricMaxUnpooling"
    doc = "numbers put back where a VolumetricMaxPooling found its maxima, zeros elsewhere"
    source = CONVOLUTIONS + "VolumetricMaxUnpooling"
    pooling = "VolumetricMaxPooling"
