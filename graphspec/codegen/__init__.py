"""Printing plans in a language that a machine compiles."""

from graphspec.codegen.c import print_c

__all__ = ["print_c"]
