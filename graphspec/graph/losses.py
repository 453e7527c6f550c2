"""What a criterion is given, where another thing is wanted: scores for log-probabilities, probabilities for scores.

All of them are floats of the same shape, so that nothing else tells; the loss then falls, and means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphspec.errors import Diagnostic, error
from graphspec.graph.module import Module
from graphspec.graph.node import GModule, Inputs, Node

SCORES = ("Linear", "LinearNoBias", "LinearWeightNorm")
"""Modules that give any numbers."""

WANTED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "ClassNLLCriterion": (
        "log-probabilities", (*SCORES, "ReLU", "Tanh", "Sigmoid", "SoftMax"),
        "`nn.LogSoftMax()` makes them of scores; `nn.CrossEntropyCriterion()` takes the scores themselves",
    ),
    "CrossEntropyCriterion": (
        "scores, as it does LogSoftMax itself", ("SoftMax", "LogSoftMax", "Sigmoid"),
        "hand it what goes into that; `nn.ClassNLLCriterion()` takes what `nn.LogSoftMax()` gives",
    ),
    "BCECriterion": (
        "probabilities", (*SCORES, "Tanh", "LogSoftMax"),
        "`nn.Sigmoid()` makes them of scores; `nn.MultiLabelSoftMarginCriterion()` takes the scores themselves",
    ),
}  # fmt: skip
"""By criterion: what it takes, modules that certainly give something else, and what to write."""

AROUND = ("Sequencer", "Bottle", "SequencerCriterion", "MaskZeroCriterion")
"""What does the work of the one module inside, step by step or row by row."""

AS_IT_IS = ("Identity", "View", "Reshape", "Select", "Narrow", "Transpose", "Contiguous", "Copy")
"""What hands on the numbers that it is given, in another shape."""


def ill_fed(node: Node) -> Iterator[Diagnostic]:
    """W0321 for a criterion whose prediction certainly is of another kind than it takes."""
    criterion = node.module
    while criterion is not None and criterion.record.name in AROUND and criterion.children:
        criterion = criterion.children[0]
    wanted = WANTED.get(criterion.record.name) if criterion is not None else None
    if criterion is None or wanted is None or not isinstance(node.inputs, tuple):
        return
    what, wrong, remedy = wanted
    maker = _maker(node.inputs[0])
    if maker is not None and maker.record.name in wrong:
        text = f"nn.{criterion.record.name} takes {what}, and gets the output of nn.{maker.record.name}"
        yield error("W0321", text, node.origin, severity="warning", others=[(maker.origin, "made here")], helps=[remedy])


def _maker(value: Inputs | None) -> Module | None:
    """The module that made the numbers of a value, where one did."""
    while isinstance(value, Node) and value.module is not None and value.module.record.name in AS_IT_IS:
        value = value.inputs
    module = value.module if isinstance(value, Node) else None
    while module is not None:
        if isinstance(module, GModule):
            return _maker(module.outputs[0]) if len(module.outputs) == 1 else None
        if module.record.name == "Sequential" and module.children:
            module = next((child for child in reversed(module.children) if child.record.name not in AS_IT_IS), None)
        elif module.record.name in AROUND and module.children:
            module = module.children[0]
        else:
            break
    return module
