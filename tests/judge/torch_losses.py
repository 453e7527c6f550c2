"""PyTorch's losses said in specs.  ``reduction='none'`` is the criterion on each element, or each row, alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from judge.torch_modules import adapter, call, lua, spec


def criterion(m: Any, module: str, *x: Any, row: int = 0, inputs: str = "{x1, x2}") -> Any:
    """The criterion on all of x, or with ``reduction='none'`` on each part of ``row`` axes."""
    if m.reduction == "none":
        parts = [t.reshape(-1, *t.shape[t.dim() - (row if t.dim() == x[0].dim() else 0) :]) for t in x]
        losses = [_one(f"{module}", "sum", [t[i : i + 1] for t in parts], inputs) for i in range(len(parts[0]))]
        return torch.stack(losses).reshape(x[0].shape[: x[0].dim() - row])
    return _one(module, m.reduction, [t.reshape(1) if t.dim() == 0 else t for t in x], inputs)


def _one(module: str, reduction: str, x: list[Any], inputs: str) -> Any:
    average = lua(reduction == "mean")
    y = spec(f"local criterion = {module}\ncriterion.sizeAverage = {average}\nreturn criterion({inputs})", *x)
    return y.reshape(()) / x[0].shape[0] if reduction == "batchmean" else y.reshape(())


def reduced(m: Any, y: Any) -> Any:
    """A pointwise loss reduced, by a spec too."""
    if m.reduction == "none":
        return y
    return spec(f"nn.{'Mean' if m.reduction == 'mean' else 'Sum'}(1)(x1)", y.reshape(-1)).reshape(())


PLAIN: dict[str, Callable[[Any], str]] = {
    "L1Loss": lambda m: call("AbsCriterion"),
    "MSELoss": lambda m: call("MSECriterion"),
    "SoftMarginLoss": lambda m: call("SoftMarginCriterion"),
    "HingeEmbeddingLoss": lambda m: call("HingeEmbeddingCriterion", m.margin),
}

for _name, _module in PLAIN.items():

    def _plain(m: Any, x: Any, target: Any, module: Callable[[Any], str] = _module) -> Any:
        return criterion(m, module(m), x, target)

    adapter(_name)(_plain)


@adapter("SmoothL1Loss", "HuberLoss")
def smooth_l1(m: Any, x: Any, target: Any) -> Any:
    assert getattr(m, "beta", 1) == 1 and getattr(m, "delta", 1) == 1, "Torch's bend is at 1"
    return criterion(m, "nn.SmoothL1Criterion()", x, target)


@adapter("MarginRankingLoss")
def margin_ranking(m: Any, a: Any, b: Any, y: Any) -> Any:
    return criterion(m, call("MarginRankingCriterion", m.margin), a, b, y.double(), inputs="{{x1, x2}, x3}")


@adapter("CosineEmbeddingLoss")
def cosine_embedding(m: Any, a: Any, b: Any, y: Any) -> Any:
    return criterion(m, call("CosineEmbeddingCriterion", m.margin), a, b, y, row=1, inputs="{{x1, x2}, x3}")


@adapter("MultiLabelMarginLoss")
def multi_label_margin(m: Any, x: Any, target: Any) -> Any:
    return criterion(m, "nn.MultiLabelMarginCriterion()", x, target + 1, row=1)


@adapter("MultiMarginLoss")
def multi_margin(m: Any, x: Any, target: Any) -> Any:
    return criterion(m, call("MultiMarginCriterion", m.p, m.weight, m.margin), x, target + 1, row=1)


@adapter("MultiLabelSoftMarginLoss")
def multi_label_soft_margin(m: Any, x: Any, target: Any) -> Any:
    """PyTorch's is the mean over the classes in any case; with ``sizeAverage = false`` Torch's is the sum."""
    y = criterion(m, call("MultiLabelSoftMarginCriterion", m.weight), x, target.double(), row=1)
    return y if m.reduction == "mean" else y / x.shape[-1]


@adapter("BCELoss")
def binary_cross_entropy(m: Any, x: Any, target: Any) -> Any:
    weight = None if m.weight is None else m.weight.expand(x.shape[-1:] or (1,))
    return criterion(m, call("BCECriterion", weight), x, target)


@adapter("BCEWithLogitsLoss")
def binary_cross_entropy_of_logits(m: Any, x: Any, target: Any) -> Any:
    loss = "nn.CSubTable()({nn.SoftPlus()(x1), nn.CMulTable()({x1, x2})})"
    if m.weight is None:
        return reduced(m, spec(loss, x, target))
    return reduced(m, spec(f"nn.CMulTable()({{{loss}, x3}})", x, target, m.weight.expand(x.shape)))


@adapter("PoissonNLLLoss")
def poisson(m: Any, x: Any, target: Any) -> Any:
    assert not m.full, "Stirling's term, of the target alone, has no module"
    log = f"nn.Log()(nn.AddConstant({m.eps})(x1))"
    rate, logarithm = ("nn.Exp()(x1)", "x1") if m.log_input else ("x1", log)
    return reduced(m, spec(f"nn.CSubTable()({{{rate}, nn.CMulTable()({{x2, {logarithm}}})}})", x, target))


@adapter("GaussianNLLLoss")
def gaussian(m: Any, x: Any, target: Any, variance: Any) -> Any:
    assert not m.full, "the constant changes no gradient and has no module"
    body = f"local v = nn.Clamp({m.eps}, 1e30)(x3)\nlocal squares = nn.Square()(nn.CSubTable()({{x1, x2}}))\n"
    body += "return nn.MulConstant(0.5)(nn.CAddTable()({nn.Log()(v), nn.CDivTable()({squares, v})}))"
    return reduced(m, spec(body, x, target, variance.expand(x.shape)))


@adapter("NLLLoss")
def negative_log_likelihood(m: Any, x: Any, target: Any) -> Any:
    """Classes are axis 2; here they are put last."""
    ignored = m.ignore_index + 1 if m.ignore_index >= 0 else None
    rows, classes = x.movedim(1, -1).reshape(-1, x.shape[1]), target.reshape(-1) + 1
    y = criterion(m, call("ClassNLLCriterion", m.weight, True, ignored), rows, classes, row=1)
    return y.reshape(target.shape) if m.reduction == "none" else y


@adapter("CrossEntropyLoss")
def cross_entropy(m: Any, x: Any, target: Any) -> Any:
    """Rows of classes, without those that are ignored; label smoothing and targets that are probabilities are composed."""
    n, lone = x.shape[min(1, x.dim() - 1)], x.dim() == 1
    rows = x.reshape(1, n) if lone else x.movedim(1, -1).reshape(-1, n)
    if target.is_floating_point():
        wanted, kept = (target.reshape(1, n) if lone else target.movedim(1, -1).reshape(-1, n)), slice(None)
        shape = target.shape[:1] + target.shape[2:] if not lone else ()
    else:
        wanted, shape = target.reshape(-1), target.shape
        kept = (wanted != m.ignore_index).nonzero().reshape(-1)
        rows, wanted = rows[kept], wanted[kept] + 1
        if not m.label_smoothing:
            y = criterion(m, call("CrossEntropyCriterion", m.weight), rows, wanted, row=1)
            return whole(y, kept, shape) if m.reduction == "none" else y
    smoothing = m.label_smoothing
    classes = f"nn.OneHot({n})(x2)" if wanted.dtype == torch.int64 else "x2"
    smoothed = f"nn.AddConstant({smoothing / n})(nn.MulConstant({1 - smoothing})({classes}))"
    factors = ["nn.MulConstant(-1)(nn.LogSoftMax()(x1))", smoothed, *(["x3"] if m.weight is not None else [])]
    given = [rows, wanted, *([m.weight.expand(rows.shape)] if m.weight is not None else [])]
    losses = spec(f"nn.Sum(2)(nn.CMulTable()({{{', '.join(factors)}}}))", *given)
    if m.reduction == "none":
        return whole(losses, kept, shape)
    if m.reduction == "mean" and m.weight is not None and wanted.dtype == torch.int64:
        total = spec(f"nn.Sum(1)(nn.Sum(2)(nn.CMulTable()({{nn.OneHot({n})(x1), x2}})))", wanted, given[2])
        return spec("nn.CDivTable()({nn.Sum(1)(x1), x2})", losses, total.reshape(())).reshape(())
    return reduced(m, losses)


def whole(losses: Any, kept: Any, shape: Any) -> Any:
    """The losses of all rows: 0 for those that are ignored."""
    if isinstance(kept, slice):
        return losses.reshape(shape)
    return torch.zeros(shape, dtype=losses.dtype).reshape(-1).index_put((kept,), losses).reshape(shape)


@adapter("CTCLoss")
def ctc(m: Any, x: Any, targets: Any, sizes: Any, lengths: Any) -> Any:
    """Each sequence alone.  Targets may come one after another; PyTorch's mean divides each loss by its target's length."""
    lengths = torch.as_tensor(lengths)
    starts = lengths.cumsum(0) - lengths
    losses = []
    for i, n in enumerate(lengths.tolist()):
        target = targets[i, :n] if targets.dim() == 2 else targets[starts[i] : starts[i] + n]
        given = (x[:, i : i + 1], target.reshape(1, -1) + 1, torch.as_tensor([int(sizes[i])]), torch.as_tensor([n]))
        losses.append(spec(f"{call('CTCCriterion', False, False, m.blank + 1)}({{x1, x2, x3, x4}})", *given).reshape(()))
    every = torch.stack(losses)
    return every if m.reduction == "none" else every.sum() if m.reduction == "sum" else (every / lengths.clamp(min=1)).mean()
