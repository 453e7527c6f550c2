"""Data sources: what ``data.*`` in a spec describes, opened and cut into batches; baselines to compare a model with.

A new source is one class in a file of its own, and one line in ``SOURCES``.
"""

from graphspec.data.source import Batch, DataSource
from graphspec.data.sources import SOURCES, Sources
from graphspec.data.text import TextSource
from graphspec.data.vocabulary import Vocabulary

__all__ = ["SOURCES", "Batch", "DataSource", "Sources", "TextSource", "Vocabulary"]
