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
    "nn.FractionalMaxPool2d": "where the maxima were is a field of Torch's module, no output",
    "nn.FractionalMaxPool3d": "where the maxima were is a field of Torch's module, no output",
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


def spec(body: str, *inputs: Any, training: bool = True, noise: Any = None, **tensors: Any) -> Any:
    """The value of ``body``, Lua with the inputs as ``x1``, ``x2`` ...; an expression, or statements that end in ``return``.

    ``noise`` is that of the node ``y``; ``tensors`` are parameters and buffers by what their name ends with (``weight``; ``a__weight`` for
    ``a.weight``); None is left out.
    """
    kinds = ["" if x.is_floating_point() else ", dtype = 'int32'" for x in inputs]
    sizes = [", ".join(map(str, x.shape)) for x in inputs]
    declared = [f"local x{i} = nn.Identity{{{size}{kind}}}()" for i, (size, kind) in enumerate(zip(sizes, kinds, strict=True), 1)]
    made = body if "return" in body else f"return {body}"
    *statements, last = made.rsplit("return", 1)
    names = ", ".join(f"x{i}" for i in range(1, len(inputs) + 1))
    text = "\n".join([*declared, *statements, f"return nn.gModule({{{names}}}, {{{last.strip()}}})"])
    model = compiled(text, training)
    if noise is not None:
        model = compiled.__wrapped__(text, training)  # one of its own
        model.set_noise("y", noise.numpy())
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
