"""From text to a typed AST with positions."""

from graphspec.lang.parser import Comment, Parsed, parse, parse_entry

__all__ = ["Comment", "Parsed", "parse", "parse_entry"]
