"""From text to a typed AST with positions."""

from graphspec.lang.mistakes import PYTHON
from graphspec.lang.parser import Comment, Parsed, parse, parse_entry

__all__ = ["PYTHON", "Comment", "Parsed", "parse", "parse_entry"]
