"""PyTorch twins of glimpses."""

from __future__ import annotations

import math
from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def glimpse(m: Module, x: Any, env: Env) -> Any:
    image, location = x
    if image.dim() == 3:
        return glimpse(m, [image[None], location[None]], env)[0]
    a = m.args
    first = [int(n) for n in a.size.items] * (1 if len(a.size.items) == 2 else 2)
    found = []
    for one, place in zip(image, location.tolist(), strict=True):
        sides, patches = first, []
        for _ in range(a.depth):
            margins = [(side - 1) // 2 for side in sides]
            patch = F.pad(one, (margins[1], margins[1], margins[0], margins[0]))
            for axis in (0, 1):
                room = patch.shape[axis + 1] - sides[axis]
                start = math.floor(min(room, max(0, (place[axis] + 1) / 2 * room)))
                patch = patch.narrow(axis + 1, start, sides[axis])
            if sides != first and a.scale == 2:
                patch = F.avg_pool2d(patch, [side // n for side, n in zip(sides, first, strict=True)])
            elif sides != first:
                patch = F.interpolate(patch[None], first, mode="bilinear", align_corners=True)[0]
            patches.append(patch)
            sides = [math.floor(n * a.scale) for n in sides]
        found.append(torch.cat(patches))
    return torch.stack(found)


TWINS: dict[str, Twin] = {"SpatialGlimpse": glimpse}
