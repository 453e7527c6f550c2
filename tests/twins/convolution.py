"""PyTorch twins of convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def options(a: Any, axes: str, **names: str) -> dict[str, tuple[int, ...]]:
    """stride="d", padding="pad" ... as torch takes them."""
    return {name: tuple(getattr(a, stem + axis) for axis in axes) for name, stem in names.items()}


def batched(x: Any, axes: str, f: Callable[[Any], Any]) -> Any:
    """f of a batch, which one alone is made for it."""
    return f(x) if x.dim() == len(axes) + 2 else f(x[None])[0]


def convolution(f: str, axes: str, **names: str) -> Twin:
    def twin(m: Module, x: Any, env: Env) -> Any:
        a, weight = m.args, env.parameter(m, "weight")
        if weight.dim() == 2:
            weight = weight.unflatten(1, (a.nInputPlane, *(getattr(a, "k" + axis) for axis in axes)))
        given = options(a, axes, stride="d", padding="pad", **names)
        return batched(x, axes, lambda b: getattr(F, f)(b, weight, env.parameter(m, "bias"), **given))

    return twin


def depth_wise(m: Module, x: Any, env: Env) -> Any:
    weight, bias = env.parameter(m, "weight"), env.parameter(m, "bias")
    weight, bias = weight.transpose(0, 1).flatten(0, 1)[:, None], None if bias is None else bias.t().flatten()
    given = options(m.args, "HW", stride="d", padding="pad")
    return batched(x, "HW", lambda b: F.conv2d(b, weight, bias, groups=m.args.nInputPlane, **given))


def local(m: Module, x: Any, env: Env) -> Any:
    weight, bias = env.parameter(m, "weight"), env.parameter(m, "bias")
    high, wide = weight.shape[:2]
    given = options(m.args, "HW", kernel_size="k", stride="d", padding="pad")

    def places(b: Any) -> Any:
        patches = F.unfold(b, **given).unflatten(2, (high, wide))
        return torch.einsum("bkhw,hwok->bohw", patches, weight.flatten(3)) + bias

    return batched(x, "HW", places)


def temporal(m: Module, x: Any, env: Env) -> Any:
    a = m.args
    weight = env.parameter(m, "weight").unflatten(1, (a.kW, a.inputFrameSize)).transpose(1, 2)
    return batched(x, "W", lambda b: F.conv1d(b.transpose(1, 2), weight, env.parameter(m, "bias"), a.dW).transpose(1, 2))


def row(m: Module, x: Any, env: Env) -> Any:
    a = m.args

    def planes_first(b: Any) -> Any:
        return F.conv1d(b, env.parameter(m, "weight"), env.parameter(m, "bias"), a.dW, groups=a.inputFrameSize)

    return batched(x, "W", planes_first if a.featFirst else lambda b: planes_first(b.transpose(1, 2)).transpose(1, 2))


TWINS: dict[str, Twin] = {
    "SpatialConvolution": convolution("conv2d", "HW"),
    "SpatialConvolutionMM": convolution("conv2d", "HW"),
    "SpatialDilatedConvolution": convolution("conv2d", "HW", dilation="dilation"),
    "VolumetricConvolution": convolution("conv3d", "THW"),
    "VolumetricDilatedConvolution": convolution("conv3d", "THW", dilation="dilation"),
    "SpatialFullConvolution": convolution("conv_transpose2d", "HW", output_padding="adj"),
    "VolumetricFullConvolution": convolution("conv_transpose3d", "THW", output_padding="adj"),
    "SpatialDepthWiseConvolution": depth_wise,
    "SpatialConvolutionLocal": local,
    "TemporalConvolution": temporal,
    "TemporalRowConvolution": row,
}
