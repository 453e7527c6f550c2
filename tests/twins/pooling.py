"""PyTorch twins of poolings."""

from __future__ import annotations

import math
from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin
from twins.convolution import batched, options

try:
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    F = None  # type: ignore[assignment]


def maximum(f: str, axes: str, **names: str) -> Twin:
    def twin(m: Module, x: Any, env: Env) -> Any:
        given = options(m.args, axes, kernel_size="k", stride="d", padding="pad", **names)
        return batched(x, axes, lambda b: getattr(F, f)(b, ceil_mode=m.args.ceil_mode, **given))

    return twin


def temporal_maximum(m: Module, x: Any, env: Env) -> Any:
    y = F.max_pool1d(x.transpose(-1, -2), m.args.kW, m.args.dW)
    return y.transpose(-1, -2)


def average(m: Module, x: Any, env: Env) -> Any:
    given = options(m.args, "HW", kernel_size="k", stride="d", padding="pad")
    return F.avg_pool2d(x, ceil_mode=m.args.ceil_mode, count_include_pad=m.args.padded_counts, **given)


def volume_average(m: Module, x: Any, env: Env) -> Any:
    return F.avg_pool3d(x, **options(m.args, "THW", kernel_size="k", stride="d"))


def lp(m: Module, x: Any, env: Env) -> Any:
    given = options(m.args, "HW", kernel_size="k", stride="d")
    return F.lp_pool2d(x, m.args.pnorm, given["kernel_size"], given["stride"])


def subsampling(m: Module, x: Any, env: Env) -> Any:
    a, weight, bias = m.args, env.parameter(m, "weight"), env.parameter(m, "bias")
    if "nInputPlane" in vars(a):
        given = options(a, "HW", stride="d")
        kernel = weight[:, None, None, None].expand(-1, 1, a.kH, a.kW)
        return batched(x, "HW", lambda b: F.conv2d(b, kernel, bias, groups=a.nInputPlane, **given))
    kernel = weight[:, None, None].expand(-1, 1, a.kW)
    return F.conv1d(x.transpose(-1, -2), kernel, bias, a.dW, groups=a.inputFrameSize).transpose(-1, -2)


def feature_lp(m: Module, x: Any, env: Env) -> Any:
    axis = int(m.args.batch_mode)
    windows = x.unfold(axis, m.args.width, m.args.stride)
    return windows.pow(m.args.power).sum(-1).pow(1 / m.args.power)


def k_largest(m: Module, x: Any, env: Env) -> Any:
    axis = x.dim() - 2
    k = max(m.args.minK, math.ceil(m.args.factor * x.shape[axis]))
    return x.gather(axis, x.topk(k, axis).indices.sort(axis).values)


TWINS: dict[str, Twin] = {
    "SpatialMaxPooling": maximum("max_pool2d", "HW"),
    "SpatialDilatedMaxPooling": maximum("max_pool2d", "HW", dilation="dilation"),
    "VolumetricMaxPooling": maximum("max_pool3d", "THW"),
    "VolumetricDilatedMaxPooling": maximum("max_pool3d", "THW", dilation="dilation"),
    "TemporalMaxPooling": temporal_maximum,
    "SpatialAveragePooling": average,
    "VolumetricAveragePooling": volume_average,
    "SpatialLPPooling": lp,
    "FeatureLPPooling": feature_lp,
    "TemporalDynamicKMaxPooling": k_largest,
    "SpatialSubSampling": subsampling,
    "TemporalSubSampling": subsampling,
    "SpatialAdaptiveAveragePooling": lambda m, x, env: F.adaptive_avg_pool2d(x, (m.args.H, m.args.W)),
    "SpatialAdaptiveMaxPooling": lambda m, x, env: F.adaptive_max_pool2d(x, (m.args.H, m.args.W)),
}
