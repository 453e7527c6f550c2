"""PyTorch twins of borders around planes and volumes."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    F = None  # type: ignore[assignment]


def padded(mode: str) -> Twin:
    def twin(m: Module, x: Any, env: Env) -> Any:
        """torch cuts by pads less than 0 too, but not while it repeats."""
        pads = [getattr(m.args, argument.name) for argument in m.record.arguments]
        y = F.pad(x, [max(n, 0) for n in pads], mode) if max(pads) > 0 else x
        return F.pad(y, [min(n, 0) for n in pads])

    return twin


TWINS: dict[str, Twin] = {
    "SpatialZeroPadding": padded("constant"),
    "SpatialReplicationPadding": padded("replicate"),
    "VolumetricReplicationPadding": padded("replicate"),
    "SpatialReflectionPadding": padded("reflect"),
    "PixelShuffle": lambda m, x, env: F.pixel_shuffle(x, m.args.upscaleFactor),
}
