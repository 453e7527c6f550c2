"""PyTorch's convolutions, poolings and paddings said in specs: what has one spatial axis is a plane one high."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from judge.torch_modules import adapter, call, each, spec


def plane(f: Callable[..., Any], x: Any, n: int) -> Any:
    """What has one spatial axis, as an image one high."""
    return f(x.unsqueeze(-2)).squeeze(-2) if n == 1 else f(x)


def sides(value: Any, n: int, filler: int) -> tuple[int, ...]:
    """Numbers of n axes, as those of a plane where n is 1."""
    numbers = each(value, n)
    return (filler, *numbers) if n == 1 else numbers


def in_order(*numbers: Sequence[int]) -> list[int]:
    """Torch's order of numbers for each axis: width before height; time first where there are three."""
    return [v for group in numbers for v in (group[::-1] if len(group) == 2 else (group[0], group[2], group[1]))]


@adapter("Conv1d", "Conv2d", "Conv3d", "LazyConv1d", "LazyConv2d", "LazyConv3d")
def convolution(m: Any, x: Any) -> Any:
    n = m.weight.dim() - 2
    kernel = sides(m.kernel_size, n, 1)
    padding = tuple((k - 1) // 2 for k in kernel) if m.padding == "same" else sides(m.padding, n, 0)
    name = "VolumetricConvolution" if n == 3 else "SpatialConvolution"
    module = call(name, m.in_channels, m.out_channels, *in_order(kernel, sides(m.stride, n, 1), padding))
    return plane(lambda x: spec(f"{module}(x1)", x, weight=m.weight, bias=m.bias), x, n)


@adapter(*(f"{lazy}ConvTranspose{n}d" for lazy in ("", "Lazy") for n in (1, 2, 3)))
def full_convolution(m: Any, x: Any) -> Any:
    n = m.weight.dim() - 2
    numbers = (sides(m.kernel_size, n, 1), sides(m.stride, n, 1), sides(m.padding, n, 0), sides(m.output_padding, n, 0))
    name = "VolumetricFullConvolution" if n == 3 else "SpatialFullConvolution"
    module = call(name, m.in_channels, m.out_channels, *in_order(*numbers))
    return plane(lambda x: spec(f"{module}(x1)", x, weight=m.weight, bias=m.bias), x, n)


def pool(name: str, m: Any, x: Any, n: int) -> Any:
    kernel = sides(m.kernel_size, n, 1)
    module = call(name, *in_order(kernel, sides(m.stride, n, 1), sides(m.padding, n, 0))) + (":ceil()" if m.ceil_mode else "")
    divisor = getattr(m, "divisor_override", None)
    if divisor is not None:
        module = f"nn.MulConstant({int(np.prod(kernel))} / {divisor})({module}(x1))"
    elif not getattr(m, "count_include_pad", True):
        module += ":setCountExcludePad()"
    return plane(lambda x: spec(module if "x1" in module else f"{module}(x1)", x), x, n)


@adapter("AvgPool1d", "AvgPool2d")
def average_pooling(m: Any, x: Any) -> Any:
    return pool("SpatialAveragePooling", m, x, int(type(m).__name__[-2]))


@adapter("AvgPool3d")
def average_pooling_3d(m: Any, x: Any) -> Any:
    """Torch's pads nothing: zeros are put around before."""
    kernel = each(m.kernel_size, 3)
    body = padded_with(0.0, [(-3 + i, n, n) for i, n in enumerate(each(m.padding, 3))], x.dim())
    body = f"{call('VolumetricAveragePooling', *in_order(kernel, each(m.stride, 3)))}({body})"
    if m.divisor_override is not None:
        body = f"nn.MulConstant({int(np.prod(kernel))} / {m.divisor_override})({body})"
    return spec(body, x)


@adapter("MaxPool1d", "MaxPool2d", "MaxPool3d")
def max_pooling(m: Any, x: Any) -> Any:
    n = int(type(m).__name__[-2])
    return pool("VolumetricMaxPooling" if n == 3 else "SpatialMaxPooling", m, x, n)


@adapter(*(f"Adaptive{kind}Pool{n}d" for kind in ("Avg", "Max") for n in (1, 2, 3)))
def adaptive_pooling(m: Any, x: Any) -> Any:
    """Separable: the last two axes, then the first with all the rest beside it."""
    n = int(type(m).__name__[-2])
    name = "SpatialAdaptiveAveragePooling" if "Avg" in type(m).__name__ else "SpatialAdaptiveMaxPooling"
    wanted = [x.shape[i - n] if size is None else size for i, size in enumerate(each(m.output_size, n))]
    if n == 1:
        return plane(lambda x: spec(f"nn.{name}({wanted[0]}, 1)(x1)", x), x, 1)
    if n == 2:
        return spec(f"nn.{name}({wanted[1]}, {wanted[0]})(x1)", x)
    channels, rest = x.shape[:-3], wanted[1] * wanted[2]
    planes = spec(f"nn.{name}({wanted[2]}, {wanted[1]})(x1)", x.reshape(-1, *x.shape[-2:]))
    return spec(f"nn.{name}({rest}, {wanted[0]})(x1)", planes.reshape(-1, x.shape[-3], rest)).reshape(*channels, *wanted)


@adapter("FractionalMaxPool2d", "FractionalMaxPool3d")
def fractional_pooling(m: Any, x: Any) -> Any:
    """Torch names the axes from the last one on, and so do its samples; those of PyTorch's volumes begin with the first."""
    n = int(type(m).__name__[-2])
    out = each(m.output_size if m.output_size is not None else m.output_ratio, n)
    module = call("VolumetricFractionalMaxPooling" if n == 3 else "SpatialFractionalMaxPooling", *each(m.kernel_size, n)[::-1], *out[::-1])
    samples = m._random_samples.flip(-1) if n == 3 else m._random_samples
    return spec(f"local y = {module}(x1)\nreturn y", x, noise=samples if x.dim() == n + 2 else samples[0])


@adapter("LPPool1d", "LPPool2d")
def lp_pooling(m: Any, x: Any) -> Any:
    n = int(type(m).__name__[-2])
    kernel = sides(m.kernel_size, n, 1)
    stride = kernel if m.stride is None else sides(m.stride, n, 1)
    return plane(lambda x: spec(f"{call('SpatialLPPooling', x.shape[-3], m.norm_type, *in_order(kernel, stride))}(x1)", x), x, n)


@adapter("LPPool3d")
def lp_pooling_3d(m: Any, x: Any) -> Any:
    kernel = each(m.kernel_size, 3)
    stride = kernel if m.stride is None else each(m.stride, 3)
    mean = call("VolumetricAveragePooling", *in_order(kernel, stride))
    p = m.norm_type
    return spec(f"nn.Power(1 / {p})(nn.MulConstant({int(np.prod(kernel))})({mean}(nn.Power({p})(x1))))", x)


def margins(m: Any) -> list[tuple[int, int, int]]:
    """(axis from the end, before, after) of a padding module, last axis first, as PyTorch lists them."""
    return [(-1 - i, m.padding[2 * i], m.padding[2 * i + 1]) for i in range(len(m.padding) // 2)]


@adapter(*(f"{kind}Pad{n}d" for kind in ("Zero", "Constant") for n in (1, 2, 3)))
def constant_padding(m: Any, x: Any) -> Any:
    return spec(padded_with(float(m.value), margins(m), x.dim()), x)


def padded_with(value: float, margins: Sequence[tuple[int, int, int]], rank: int) -> str:
    """x1 with so much of a value before and after along axes (counted from the end)."""
    body = "x1"
    for axis, before, after in margins:
        for n in (-before, after):
            body = f"{call('Padding', rank + axis + 1, n, rank, value)}({body})" if n else body
    return body


@adapter(*(f"{kind}Pad{n}d" for kind in ("Reflection", "Replication") for n in (1, 2, 3)))
def spatial_padding(m: Any, x: Any) -> Any:
    """One axis after another, as the height of a plane of what is beside it."""
    name = "SpatialReflectionPadding" if "Reflection" in type(m).__name__ else "SpatialReplicationPadding"
    for axis, before, after in margins(m):
        moved = x.movedim(axis, -1)
        x = spec(f"nn.{name}({before}, {after}, 0, 0)(x1)", moved.reshape(1, -1, moved.shape[-1])).reshape(*moved.shape[:-1], -1)
        x = x.movedim(-1, axis)
    return x


@adapter("CircularPad1d", "CircularPad2d", "CircularPad3d")
def circular_padding(m: Any, x: Any) -> Any:
    body, shape = "x1", list(x.shape)
    lines = []
    for axis, before, after in margins(m):
        dim, n = x.dim() + axis + 1, shape[axis]
        parts = [f"nn.Narrow({dim}, {n - before + 1}, {before})(y)"] if before else []
        parts += ["y"] + ([f"nn.Narrow({dim}, 1, {after})(y)"] if after else [])
        lines.append(f"local y = {body}\ny = nn.JoinTable({dim})({{{', '.join(parts)}}})" if len(parts) > 1 else f"local y = {body}")
        body, shape[axis] = "y", n + before + after
    return spec("\n".join([*lines, f"return {body}"]), x)
