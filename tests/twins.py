"""The PyTorch twin of each record: the same module written with torch, from the same tensors.

``TWINS[name](m, x, env)``: ``m`` is the module with its arguments, ``x`` a tensor or nested list of tensors, ``env`` the tensors of its
parameters and buffers, the mode, and the noise that a random record drew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from graphspec.graph import Module

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


@dataclass
class Env:
    """What a twin may use."""

    parameters: dict[int, Any]
    buffers: dict[int, Any]
    training: bool
    noise: Any = None
    updated: dict[int, Any] = field(default_factory=dict)

    def parameter(self, m: Module, key: str) -> Any:
        return self.parameters[id(m.parameters[key])] if key in m.parameters else None

    def buffer(self, m: Module, key: str) -> Any:
        return self.buffers[id(m.buffers[key])] if key in m.buffers else None


Twin = Callable[[Module, Any, Env], Any]


def axis(dimension: int, rank: int, input_dims: int | None = None) -> int:
    if dimension < 0:
        return dimension
    return dimension - 1 + (input_dims is not None and rank == input_dims + 1)


def linear(m: Module, x: Any, env: Env) -> Any:
    return F.linear(x, env.parameter(m, "weight"), env.parameter(m, "bias"))


def reduce(function: Callable[..., Any]) -> Twin:
    def twin(m: Module, x: Any, env: Env) -> Any:
        a = m.args
        f = torch.mean if a.sizeAverage else function
        return f(x, axis(a.dimension, x.dim(), a.nInputDims), keepdim=not a.squeeze or x.dim() == 1)

    return twin


def total(x: list[Any], op: Callable[[Any, Any], Any]) -> Any:
    y = x[0]
    for other in x[1:]:
        y = op(y, other)
    return y


def flat(x: Any) -> list[Any]:
    return [leaf for item in x for leaf in flat(item)] if isinstance(x, list) else [x]


def torch_axis(x: Any) -> int:
    """Torch's choice of the axis of a softmax: PyTorch makes the same when it is not told (and warns)."""
    return 0 if x.dim() in (1, 3) else 1


def reshape(m: Module, x: Any, env: Env) -> Any:
    sizes = [n.value for n in m.args.size]
    count = 1
    for n in sizes:
        count *= n
    if m.args.batchMode is False or (m.args.batchMode is None and x.numel() == count and x.shape[0] != 1):
        return x.reshape(sizes)
    return x.reshape([x.shape[0], *sizes])


def view(m: Module, x: Any, env: Env) -> Any:
    """nn.View's own code, batchsize()."""
    sizes = [n.value for n in m.args.sizes]
    count = 1
    for n in sizes:
        count *= n if n >= 0 else 1
    inner = m.args.numInputDims or x.dim()
    ine = 1
    for n in x.shape[max(x.dim() - inner, 0):]:
        ine *= n
    batch = 1 if -1 in sizes else ine // count
    for n in x.shape[: max(x.dim() - inner, 0)]:
        batch *= n
    alone = batch == 1 and (not m.args.numInputDims or x.dim() <= inner)
    return x.reshape(sizes) if alone else x.reshape([batch, *sizes])


def narrow(m: Module, x: Any, env: Env) -> Any:
    dim = axis(m.args.dimension, x.dim())
    length = m.args.length.value
    if length < 0:
        length = x.shape[dim] - m.args.offset + length + 2
    return x.narrow(dim, m.args.offset - 1, length)


def replicate(m: Module, x: Any, env: Env) -> Any:
    dim = m.args.dim - 1 + (m.args.ndim is not None and x.dim() > m.args.ndim)
    return torch.stack([x] * m.args.nFeature.value, dim)


def transpose(m: Module, x: Any, env: Env) -> Any:
    skip = m.args.numInputDims is not None and x.dim() > m.args.numInputDims
    for i, j in m.args.pairs:
        x = x.transpose(i - 1 + skip, j - 1 + skip)
    return x


def select(m: Module, x: Any, env: Env) -> Any:
    return x.select(axis(m.args.dimension, x.dim()), m.args.index - (m.args.index > 0))


def narrow_table(m: Module, x: Any, env: Env) -> Any:
    first, length = m.args.offset - 1, m.args.length
    return x[first : first + length] if length >= 0 else x[first : len(x) + 1 + length]


def mm(m: Module, x: Any, env: Env) -> Any:
    a, b = x
    return (a.transpose(-1, -2) if m.args.transA else a) @ (b.transpose(-1, -2) if m.args.transB else b)


def mv(m: Module, x: Any, env: Env) -> Any:
    matrix, vector = x
    return torch.einsum("...mn,...m->...n" if m.args.trans else "...mn,...n->...m", matrix, vector)


def masked_softmax(m: Module, x: Any, env: Env) -> Any:
    scores, mask = x
    y = torch.softmax(scores.masked_fill(mask == 0, -torch.inf), -1)
    return torch.where((mask != 0).any(-1, keepdim=True), y, torch.zeros_like(y)).nan_to_num()


def length_mask(m: Module, x: Any, env: Env) -> Any:
    return (torch.arange(m.args.size.value) < x[..., None]).double()


def mixture(m: Module, x: Any, env: Env) -> Any:
    gater, experts = x
    if not isinstance(experts, list):
        experts = list(experts.unbind((m.args.dim or gater.dim()) - 1))
    parts = []
    for i, expert in enumerate(experts):
        gate = gater[..., i]
        parts.append(expert * gate.reshape([*gate.shape, *[1] * (expert.dim() - gate.dim())]))
    return sum(parts)


def dropout(m: Module, x: Any, env: Env) -> Any:
    if env.training:
        return x * env.noise
    return x * (1 - m.args.p) if m.args.v1 else x


def batch_norm(m: Module, x: Any, env: Env) -> Any:
    mean, var = env.buffer(m, "running_mean").clone(), env.buffer(m, "running_var").clone()
    rows = x.reshape(-1, x.shape[-1])
    y = F.batch_norm(rows, mean, var, env.parameter(m, "weight"), env.parameter(m, "bias"), env.training, m.args.momentum, m.args.eps)
    if env.training:
        env.updated = {id(m.buffers["running_mean"]): mean, id(m.buffers["running_var"]): var}
    return y.reshape(x.shape)


def masked_loss(m: Module, x: Any, env: Env) -> Any:
    log_p, target = x
    counts = target > 0
    loss = F.nll_loss(log_p, target.long() - 1, ignore_index=-1, reduction="sum") / len(target)
    return [loss, ((log_p.argmax(1) + 1 == target) & counts).sum().double(), counts.sum().double()]


def nll(function: Callable[..., Any]) -> Twin:
    def twin(m: Module, x: Any, env: Env) -> Any:
        prediction, target = x
        rows = prediction.reshape(-1, prediction.shape[-1])
        reduction = "mean" if m.args.sizeAverage else "sum"
        ignored = {} if m.args.ignoreIndex is None else {"ignore_index": m.args.ignoreIndex - 1}
        return function(rows, target.reshape(-1).long() - 1, weight=env.buffer(m, "weights"), reduction=reduction, **ignored)

    return twin


def sequential(m: Module, x: Any, env: Env) -> Any:
    for child in m.children:
        x = TWINS[child.record.name](child, x, env)
    return x


TWINS: dict[str, Twin] = {
    "Identity": lambda m, x, env: x,
    "Linear": linear,
    "LinearNoBias": linear,
    "CMul": lambda m, x, env: x * env.parameter(m, "weight"),
    "LookupTable": lambda m, x, env: F.embedding(x.long() - 1, env.parameter(m, "weight")),
    "OneHot": lambda m, x, env: F.one_hot(x.long() - 1, m.args.outputSize).double(),
    "Sigmoid": lambda m, x, env: torch.sigmoid(x),
    "Tanh": lambda m, x, env: torch.tanh(x),
    "ReLU": lambda m, x, env: torch.relu(x),
    "SoftPlus": lambda m, x, env: F.softplus(x, m.args.beta),
    "SoftMax": lambda m, x, env: torch.softmax(x, torch_axis(x)),
    "LogSoftMax": lambda m, x, env: torch.log_softmax(x, torch_axis(x)),
    "Exp": lambda m, x, env: torch.exp(x),
    "Log": lambda m, x, env: torch.log(x),
    "Square": lambda m, x, env: torch.square(x),
    "AddConstant": lambda m, x, env: x + m.args.constant,
    "MulConstant": lambda m, x, env: x * m.args.constant,
    "CAddTable": lambda m, x, env: total(x, torch.add),
    "CSubTable": lambda m, x, env: total(x, torch.sub),
    "CMulTable": lambda m, x, env: total(x, torch.mul),
    "CDivTable": lambda m, x, env: total(x, torch.div),
    "JoinTable": lambda m, x, env: torch.cat(x, axis(m.args.dimension, x[0].dim(), m.args.nInputDims)),
    "SplitTable": lambda m, x, env: list(x.unbind(axis(m.args.dimension, x.dim(), m.args.nInputDims))),
    "SelectTable": lambda m, x, env: x[m.args.index - (m.args.index > 0)],
    "NarrowTable": narrow_table,
    "FlattenTable": lambda m, x, env: flat(x),
    "MixtureTable": mixture,
    "Reshape": reshape,
    "View": view,
    "Select": select,
    "Narrow": narrow,
    "Replicate": replicate,
    "Transpose": transpose,
    "Sum": reduce(lambda x, dim, keepdim: torch.sum(x, dim, keepdim=keepdim)),
    "Mean": reduce(lambda x, dim, keepdim: torch.mean(x, dim, keepdim=keepdim)),
    "MM": mm,
    "MV": mv,
    "LengthMask": length_mask,
    "MaskedSoftMax": masked_softmax,
    "Dropout": dropout,
    "BatchNormalization": batch_norm,
    "Sequential": sequential,
    "ClassNLLCriterion": nll(F.nll_loss if torch else lambda *a, **k: None),
    "CrossEntropyCriterion": nll(F.cross_entropy if torch else lambda *a, **k: None),
    "MaskedLoss": masked_loss,
    "MSECriterion": lambda m, x, env: F.mse_loss(x[0], x[1], reduction="mean" if m.args.sizeAverage else "sum"),
}
