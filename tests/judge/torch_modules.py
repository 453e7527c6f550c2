"""PyTorch's modules said in specs: for each one a function that gives, of the module and its inputs, what the same spec gives.

A spec is put among PyTorch's own operations (:func:`spec`), so gradients of everything come back through it.  Around it stand
reshapes, joins and changes of index base only: Torch has no tensors without axes, counts classes from 1, and has other layouts of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

import graphspec

Adapter = Callable[..., Any]

ADAPTERS: dict[str, Adapter] = {}
"""By the name in the database (``nn.Conv1d``)."""

LEFT_OUT = {
    "nn.FractionalMaxPool2d": "the places of its windows are random; PyTorch hands them in, and its rule for them is not Torch's",
    "nn.FractionalMaxPool3d": "as FractionalMaxPool2d; Torch has none in three dimensions",
    "nn.LinearCrossEntropyLoss": "a fused kernel of PyTorch's with options of its own; Linear and CrossEntropyLoss are judged",
    "nn.TransformerEncoder": "no module of Torch's; its parts (Linear, LayerNorm, Softmax, Bilinear products) are judged",
    "nn.TransformerEncoderLayer": "as TransformerEncoder",
    "nn.TransformerDecoderLayer": "as TransformerEncoder",
    "nn.Transformer": "as TransformerEncoder",
    "nn.MultiheadAttention": "no module of Torch's; attention is written of MM and SoftMax",
    "nn.GELU": "no module of Torch's (2016), and no composition of Torch's modules gives the error function",
    "nn.KLDivLoss": "the samples are logarithms of negative numbers, no number at all; judged among the criterions",
}
"""Modules that are not judged, each with the reason."""

PARTLY = {
    "nn.LPPool1d": "numbers below 0 have no power of 1.5, in PyTorch neither",
    "nn.LPPool2d": "numbers below 0 have no power of 1.5, in PyTorch neither",
    "nn.LPPool3d": "numbers below 0 have no power of 1.5, in PyTorch neither",
    "nn.LocalResponseNorm": "an even size has no middle; Torch asks for an odd one",
    "nn.MaxPool1d": "where the maxima were is a field of Torch's module, no output",
    "nn.MaxPool2d": "where the maxima were is a field of Torch's module, no output",
    "nn.MaxPool3d": "where the maxima were is a field of Torch's module, no output",
    "nn.PoissonNLLLoss": "Stirling's term, of the target alone, has no module; it changes no gradient",
    "nn.Softplus": "Torch's threshold is 20",
}
"""Modules some of whose samples do not agree, each with the reason."""


def adapter(*names: str) -> Callable[[Adapter], Adapter]:
    def known(f: Adapter) -> Adapter:
        for name in names:
            ADAPTERS[f"nn.{name}"] = f
        return f

    return known


# -- a spec as an operation of PyTorch's -------------------------------------------------------------------------------


class _Spec(torch.autograd.Function):
    """Forward and backward of a compiled model; ``tensors`` are its inputs, then its parameters."""

    @staticmethod
    def put(model: graphspec.Model, names: Sequence[str], arrays: Sequence[Any]) -> None:
        for name, value in zip(names, arrays, strict=True):
            (model.parameters | model.buffers)[name][...] = value

    @staticmethod
    def forward(ctx: Any, model: graphspec.Model, inputs: int, names: Sequence[str], *tensors: Any) -> Any:
        arrays = [t.detach().numpy() for t in tensors]
        _Spec.put(model, names, arrays[inputs:])
        ctx.model, ctx.inputs, ctx.names, ctx.arrays = model, inputs, names, arrays
        y = model(*arrays[:inputs])
        ctx.several = isinstance(y, tuple)
        return tuple(map(torch.from_numpy, y)) if ctx.several else torch.from_numpy(np.asarray(y))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        given = tuple(g.numpy() for g in gradients)
        _Spec.put(ctx.model, ctx.names, ctx.arrays[ctx.inputs :])  # the same model may have run for others since
        ctx.model.zero_gradients()
        back = ctx.model.backward(ctx.arrays[0] if ctx.inputs == 1 else tuple(ctx.arrays[: ctx.inputs]), given if ctx.several else given[0])
        back = [back] if ctx.inputs == 1 else list(back)
        found = [*back, *(ctx.model.gradients.get(name) for name in ctx.names)]
        return (None, None, None, *(None if g is None else torch.from_numpy(np.array(g)) for g in found))


def spec(body: str, *inputs: Any, training: bool = True, **tensors: Any) -> Any:
    """The value of ``body``, Lua with the inputs as ``x1``, ``x2`` ...; an expression, or statements that end in ``return``.

    ``tensors`` are parameters and buffers by what their name ends with (``weight``; ``a__weight`` for ``a.weight``); None is left out.
    """
    kinds = ["" if x.is_floating_point() else ", dtype = 'int32'" for x in inputs]
    sizes = [", ".join(map(str, x.shape)) for x in inputs]
    declared = [f"local x{i} = nn.Identity{{{size}{kind}}}()" for i, (size, kind) in enumerate(zip(sizes, kinds, strict=True), 1)]
    made = body if "return" in body else f"return {body}"
    *statements, last = made.rsplit("return", 1)
    names = ", ".join(f"x{i}" for i in range(1, len(inputs) + 1))
    text = "\n".join([*declared, *statements, f"return nn.gModule({{{names}}}, {{{last.strip()}}})"])
    model = compiled(text, training)
    given = {ending.replace("__", "."): t for ending, t in tensors.items() if t is not None}
    all_names = [*model.parameters, *model.buffers]
    order = []
    for ending in given:
        order += [n for n in all_names if f".{n}".endswith(f".{ending}")]
    if missing := set(model.parameters) - set(order):
        raise AssertionError(f"nothing is given for {sorted(missing)}")
    shapes = [(model.parameters | model.buffers)[n].shape for n in order]
    laid = [t.reshape(shape) for t, shape in zip(given.values(), shapes, strict=True)]
    return _Spec.apply(model, len(inputs), order, *[x.int() if not x.is_floating_point() else x for x in inputs], *laid)


@cache
def compiled(text: str, training: bool) -> graphspec.Model:
    model = graphspec.compile(text, dtype="float64")
    return model if training else model.evaluate()


def lua(value: Any) -> str:
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, torch.Tensor):
        return "{" + ", ".join(repr(float(v)) for v in value.reshape(-1)) + "}"
    return repr(value)


def call(name: str, *args: Any) -> str:
    args_text = list(map(lua, args))
    while args_text and args_text[-1] == "nil":
        args_text.pop()
    return f"nn.{name}({', '.join(args_text)})"


def each(value: Any, n: int) -> tuple[int, ...]:
    """A number for each of n axes."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * n


# -- pointwise -------------------------------------------------------------------------------------------------------


def at_least_one_axis(body: str, *inputs: Any, **tensors: Any) -> Any:
    """Pointwise: Torch has no tensors without axes, such an input is a tensor of one element."""
    y = spec(body, *(x.reshape(1) if x.dim() == 0 else x for x in inputs), **tensors)
    return y.reshape(()) if inputs[0].dim() == 0 else y


def softplus(m: Any) -> str:
    assert m.threshold == 20, "Torch's threshold is 20"
    return call("SoftPlus", float(m.beta))


POINTWISE: dict[str, Callable[[Any], str]] = {
    "ELU": lambda m: call("ELU", m.alpha),
    "CELU": lambda m: f"nn.MulConstant({m.alpha})(nn.ELU(1)(nn.MulConstant({1 / m.alpha})(x1)))",
    "SELU": lambda m: "nn.MulConstant(1.0507009873554804934193349852946)(nn.ELU(1.6732632423543772848170429916717)(x1))",
    "Hardshrink": lambda m: call("HardShrink", m.lambd),
    "Hardswish": lambda m: "nn.MulConstant(1 / 6)(nn.CMulTable()({x1, nn.ReLU6()(nn.AddConstant(3)(x1))}))",
    "Hardtanh": lambda m: call("HardTanh", m.min_val, m.max_val),
    "LeakyReLU": lambda m: call("LeakyReLU", m.negative_slope),
    "LogSigmoid": lambda m: call("LogSigmoid"),
    "Mish": lambda m: "nn.CMulTable()({x1, nn.Tanh()(nn.SoftPlus()(x1))})",
    "ReLU": lambda m: call("ReLU"),
    "ReLU6": lambda m: call("ReLU6"),
    "Sigmoid": lambda m: call("Sigmoid"),
    "SiLU": lambda m: "nn.CMulTable()({x1, nn.Sigmoid()(x1)})",
    "Softplus": softplus,
    "Softshrink": lambda m: call("SoftShrink", m.lambd),
    "Softsign": lambda m: call("SoftSign"),
    "Tanh": lambda m: call("Tanh"),
    "Tanhshrink": lambda m: call("TanhShrink"),
    "Threshold": lambda m: call("Threshold", m.threshold, m.value),
}

for _name, _body in POINTWISE.items():

    def _pointwise(m: Any, x: Any, body: Callable[[Any], str] = _body) -> Any:
        text = body(m)
        return at_least_one_axis(text if "x1" in text else f"{text}(x1)", x)

    ADAPTERS[f"nn.{_name}"] = _pointwise


@adapter("PReLU")
def prelu(m: Any, x: Any) -> Any:
    return at_least_one_axis(f"{call('PReLU', m.num_parameters if m.num_parameters > 1 else 0)}(x1)", x, weight=m.weight)


@adapter("GLU")
def glu(m: Any, x: Any) -> Any:
    return spec(f"{call('GatedLinearUnit', m.dim % x.dim() + 1)}(x1)", x)


@adapter("Softmax", "LogSoftmax", "Softmin")
def softmax(m: Any, x: Any) -> Any:
    """Along any axis: it is put last, and everything before it in rows."""
    name = {"Softmax": "SoftMax", "LogSoftmax": "LogSoftMax", "Softmin": "SoftMin"}[type(m).__name__]
    if x.dim() == 0:
        return at_least_one_axis(f"nn.{name}()(x1)", x)
    rows = x.movedim(m.dim, -1)
    return spec(f"nn.{name}()(x1)", rows.reshape(-1, rows.shape[-1])).reshape(rows.shape).movedim(-1, m.dim)


@adapter("Softmax2d")
def softmax2d(m: Any, x: Any) -> Any:
    return spec("nn.SpatialSoftMax()(x1)", x)


# -- linear ------------------------------------------------------------------------------------------------------------


@adapter("Linear")
def linear(m: Any, input: Any) -> Any:
    return spec(f"{call('Linear', m.in_features, m.out_features, m.bias is not None)}(x1)", input, weight=m.weight, bias=m.bias)


@adapter("Bilinear")
def bilinear(m: Any, a: Any, b: Any) -> Any:
    module = call("Bilinear", m.in1_features, m.in2_features, m.out_features, m.bias is not None)
    y = spec(f"{module}({{x1, x2}})", a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]), weight=m.weight, bias=m.bias)
    return y.reshape(*a.shape[:-1], m.out_features)


@adapter("Embedding")
def embedding(m: Any, x: Any) -> Any:
    return spec(f"{call('LookupTable', m.num_embeddings, m.embedding_dim)}(x1)", x + 1, weight=m.weight)


# -- over space: one axis is a plane one high ------------------------------------------------------------------------


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


# -- padding -----------------------------------------------------------------------------------------------------------


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


# -- normalisation -----------------------------------------------------------------------------------------------------


def batch_norm(m: Any, x: Any, *, channels: int, statistics: Any = None, weight: Any = None, bias: Any = None) -> Any:
    """Over axis 2 of an image ``[n, channels, h, w]`` (or of ``[n, channels]``)."""
    name = "BatchNormalization" if x.dim() == 2 else "SpatialBatchNormalization"
    module = call(name, channels, float(m.eps), 0.1, weight is not None)
    tensors = {} if statistics is None else {"running_mean": statistics[0], "running_var": statistics[1]}
    return spec(f"{module}(x1)", x, training=statistics is None, weight=weight, bias=bias, **tensors)


@adapter("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")
def batch_normalisation(m: Any, x: Any) -> Any:
    image = x if x.dim() == 2 else x.reshape(*x.shape[:2], 1, int(np.prod(x.shape[2:])))
    kept = None if m.training or m.running_mean is None else (m.running_mean, m.running_var)
    bias = torch.zeros_like(m.weight) if m.bias is None and m.weight is not None else m.bias
    return batch_norm(m, image, channels=m.num_features, statistics=kept, weight=m.weight, bias=bias).reshape(x.shape)


@adapter("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d")
def instance_normalisation(m: Any, x: Any) -> Any:
    """Every channel of every example is a channel of one image."""
    examples = x.numel() // int(np.prod(x.shape[x.dim() - int(type(m).__name__[-2]) :])) // m.num_features
    kept = None if m.training or m.running_mean is None else (m.running_mean.repeat(examples), m.running_var.repeat(examples))
    channels = examples * m.num_features
    y = batch_norm(m, x.reshape(1, channels, 1, -1), channels=channels, statistics=kept)
    return scaled(m, y.reshape(examples, m.num_features, -1), (1, m.num_features, 1)).reshape(x.shape)


def scaled(m: Any, x: Any, shape: Sequence[int]) -> Any:
    """``x * weight + bias`` for parameters of this shape, those that there are."""
    sizes = ", ".join(map(str, shape))
    body = "x1" if m.weight is None else f"nn.CMul({sizes})(x1)"
    bias = getattr(m, "bias", None)
    body = body if bias is None else f"nn.CAdd({sizes})({body})"
    return x if body == "x1" else spec(body, x, weight=m.weight, bias=bias)


@adapter("GroupNorm")
def group_normalisation(m: Any, x: Any) -> Any:
    channels = x.shape[0] * m.num_groups
    y = batch_norm(m, x.reshape(1, channels, 1, -1), channels=channels).reshape(*x.shape[:2], -1)
    return scaled(m, y, (1, m.num_channels, 1)).reshape(x.shape)


@adapter("LayerNorm")
def layer_normalisation(m: Any, x: Any) -> Any:
    n = int(np.prod(m.normalized_shape))
    bias = torch.zeros_like(m.weight) if m.bias is None and m.weight is not None else m.bias
    module = call("LayerNormalization", n, 0.0, float(m.eps) * n, m.weight is not None)
    return spec(f"{module}(x1)", x.reshape(-1, n), weight=m.weight, bias=bias).reshape(x.shape)


@adapter("RMSNorm")
def rms_normalisation(m: Any, x: Any) -> Any:
    n = int(np.prod(m.normalized_shape))
    eps = torch.finfo(x.dtype).eps if m.eps is None else m.eps
    root = f"nn.Replicate({n}, 2, 2)(nn.Sqrt()(nn.AddConstant({eps})(nn.Mean(2)(nn.Square()(x1)))))"
    y = spec(f"nn.CDivTable()({{x1, {root}}})", x.reshape(-1, n))
    return scaled(m, y, (1, n)).reshape(x.shape)


@adapter("LocalResponseNorm")
def local_response(m: Any, x: Any) -> Any:
    module = call("SpatialCrossMapLRN", m.size, float(m.alpha), float(m.beta), float(m.k))
    return spec(f"{module}(x1)", x.reshape(*x.shape[:2], x.shape[2], -1)).reshape(x.shape)
