"""PyTorch twins of poolings and crops whose places are drawn: they draw the same numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphspec.graph import Module
from graphspec.reference import random_words
from twins.common import Env, Twin
from twins.convolution import batched

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def drawn(*shape: int) -> Any:
    """The numbers of the first draw in a probe: seed 1, step 0."""
    words = random_words(math.prod(shape), 1, 0, (), 1) >> np.uint64(8)
    return torch.tensor(words.astype(np.float64).reshape(shape) * 2.0**-24)


def fractional(f: str, axes: str, order: str) -> Twin:
    """``axes`` as they lie; PyTorch's samples are in its own ``order`` of them."""

    def twin(m: Module, x: Any, env: Env) -> Any:
        a = m.args
        numbers = {axis: i for i, axis in enumerate("WH" if len(axes) == 2 else "TWH")}  # Torch's order

        def pooled(b: Any) -> Any:
            samples = drawn(*b.shape[:2], len(axes))[..., [numbers[axis] for axis in order]]
            outs = [getattr(a, f"out{axis}") for axis in axes]
            sizes = [int(out) if out >= 1 else math.floor(n * out) for out, n in zip(outs, b.shape[2:], strict=True)]
            return getattr(F, f)(b, [getattr(a, f"poolSize{axis}") for axis in axes], output_size=sizes, _random_samples=samples)

        return batched(x, axes, pooled)

    return twin


def crop(m: Module, x: Any, env: Env) -> Any:
    sides = (m.args.oheight, m.args.owidth or m.args.oheight)

    def of(b: Any) -> Any:
        u, found = drawn(len(b), 2), []
        for image, numbers in zip(b, u.tolist(), strict=True):
            for axis, (side, n, number) in enumerate(zip(sides, b.shape[2:], numbers, strict=True), 1):
                first = math.ceil(0.01 + number * (n - side - 0.01)) if env.training else max(math.ceil((n - side) / 2), 1)
                image = image.narrow(axis, first - 1, side)
            found.append(image)
        return torch.stack(found)

    return batched(x, "HW", of)


TWINS: dict[str, Twin] = {
    "SpatialFractionalMaxPooling": fractional("fractional_max_pool2d", "HW", "WH"),
    "VolumetricFractionalMaxPooling": fractional("fractional_max_pool3d", "HWT", "HWT"),
    "SpatialUniformCrop": crop,
}
