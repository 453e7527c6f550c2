"""Evaluation of a spec: Lua under a budget, that can make nothing but modules, nodes and descriptions."""

from graphspec.build.describe import Description, ExperimentSpec, Library, Schema, Stream
from graphspec.build.entry import entry_for
from graphspec.build.evaluate import Evaluation, evaluate
from graphspec.build.limits import Limits

__all__ = ["Description", "Evaluation", "ExperimentSpec", "Library", "Limits", "Schema", "Stream", "entry_for", "evaluate"]
