"""PyTorch twins of what is done to images and volumes."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin
from twins.convolution import batched

try:
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    F = None  # type: ignore[assignment]


def batch_norm(m: Module, x: Any, env: Env) -> Any:
    mean, var = env.buffer(m, "running_mean").clone(), env.buffer(m, "running_var").clone()
    given = (mean, var, env.parameter(m, "weight"), env.parameter(m, "bias"), env.training, m.args.momentum, m.args.eps)
    y = batched(x, "THW"[-(m.record.rank - 2) :], lambda b: F.batch_norm(b, *given))  # type: ignore[attr-defined]
    if env.training:
        env.updated = {id(m.buffers["running_mean"]): mean, id(m.buffers["running_var"]): var}
    return y


def stretched(m: Module, x: Any, env: Env) -> Any:
    sizes = m.args.sizes
    size = sizes if len(sizes) == 2 else [(n - 1) * (sizes[0] - 1) + n for n in x.shape[-2:]]
    return batched(x, "HW", lambda b: F.interpolate(b, size, mode="bilinear", align_corners=True))


def upsampled(m: Module, x: Any, env: Env) -> Any:
    """As large as the page says, which is one place less for each but the first than PyTorch's scale."""
    a = m.args
    if a.mode in (None, "nearest"):
        return F.interpolate(x, scale_factor=a.params.items[0], mode="nearest")
    if a.params.fields:
        size = [a.params.fields[name] for name in ("odepth", "oheight", "owidth")[-(x.dim() - 2) :]]
    else:
        size = [(n - 1) * (a.params.items[0] - 1) + n for n in x.shape[2:]]
    return F.interpolate(x, size, mode="bilinear" if x.dim() == 4 else "trilinear", align_corners=True)


def response(m: Module, x: Any, env: Env) -> Any:
    a = m.args
    return batched(x, "HW", lambda b: F.local_response_norm(b, a.size, a.alpha, a.beta, a.k))


TWINS: dict[str, Twin] = {
    "SpatialBatchNormalization": batch_norm,
    "VolumetricBatchNormalization": batch_norm,
    "SpatialCrossMapLRN": response,
    "SpatialUpSamplingNearest": lambda m, x, env: batched(x, "HW", lambda b: F.interpolate(b, scale_factor=m.args.scale)),
    "SpatialUpSamplingBilinear": stretched,
    "UpSampling": upsampled,
}
