"""From text to a typed AST with positions."""

from graphspec.lang.mistakes import FROM_ONE, PYTHON, PYTHON_FUNCTIONS
from graphspec.lang.parser import Comment, Parsed, parse, parse_entry

__all__ = ["FROM_ONE", "PYTHON", "PYTHON_FUNCTIONS", "Comment", "Parsed", "parse", "parse_entry"]
