"""A Pygments lexer: specs in colour, in terminals, notebooks and documents.  https://pygments.org/docs/lexerdevelopment/

Pygments finds it by ``graphspec`` and by ``*.spec`` (an entry point in pyproject.toml).  It reads what the grammar reads: Lua 5.1, with the
names of modules, of nngraph's functions and of what a spec declares told apart.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pygments.lexer import RegexLexer, bygroups, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Text, Whitespace

KEYWORDS = (
    "and", "break", "do", "else", "elseif", "end", "for", "if", "in", "not", "or", "repeat", "return", "then", "until", "while",
)  # fmt: skip
DECLARES = ("options", "data", "optim", "experiment", "require", "include")
LIBRARIES = ("nn", "nngraph", "torch", "cudnn", "cutorch", "cunn", "math", "string", "table", "graph", "paths")
FUNCTIONS = (
    "assert", "cuda", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "print", "rawequal", "rawget", "rawset", "select",
    "setmetatable", "tonumber", "tostring", "type", "unpack", "xpcall",
)  # fmt: skip


class SpecLexer(RegexLexer):  # type: ignore[misc]
    """graphspec's ``.spec`` files: Torch nngraph code."""

    name = "graphspec"
    url = "https://github.com/torch/nngraph"
    aliases: ClassVar[list[str]] = ["graphspec", "nngraph-spec"]
    filenames: ClassVar[list[str]] = ["*.spec"]
    mimetypes: ClassVar[list[str]] = ["text/x-graphspec"]

    tokens: ClassVar[dict[str, list[Any]]] = {
        "root": [
            (r"\A#!?[^\n]*", Comment.Hashbang),
            (r"(?s)--\[(=*)\[.*?(?:\]\1\]|\Z)", Comment.Multiline),
            (r"--[^\n]*", Comment.Single),
            (r"\s+", Whitespace),
            (r"(?s)\[(=*)\[.*?(?:\]\1\]|\Z)", String.Heredoc),
            (r"(?s)\"(?:\\.|[^\"\\\n])*(?:\"|(?=\n)|\Z)", String.Double),
            (r"(?s)'(?:\\.|[^'\\\n])*(?:'|(?=\n)|\Z)", String.Single),
            (r"0[xX][0-9a-fA-F]+", Number.Hex),
            (r"(?:\d+\.?\d*|\.\d+)[eE][+-]?\d+|\d+\.\d*|\.\d+", Number.Float),
            (r"\d+", Number.Integer),
            (r"(nn|cudnn)(\s*)(\.)(\s*)([A-Za-z_]\w*)", bygroups(Name.Namespace, Whitespace, Punctuation, Whitespace, Name.Class)),
            (r"(:)(\s*)([A-Za-z_]\w*)", bygroups(Punctuation, Whitespace, Name.Function)),
            (r"(function)(\s+)([A-Za-z_][\w.:]*)", bygroups(Keyword, Whitespace, Name.Function)),
            (r"function\b", Keyword),
            (r"local\b", Keyword.Declaration),
            (words(("true", "false", "nil"), suffix=r"\b"), Keyword.Constant),
            (words(KEYWORDS, suffix=r"\b"), Keyword),
            (words(DECLARES, suffix=r"\b"), Name.Builtin),
            (words(LIBRARIES, suffix=r"\b"), Name.Namespace),
            (words(FUNCTIONS, suffix=r"\b"), Name.Builtin),
            (r"[A-Za-z_]\w*", Name),
            (r"\.\.\.|\.\.|[=~<>]=|[-+*/%^#<>=]", Operator),
            (r"[.,;:(){}\[\]]", Punctuation),
            (r".", Text),
        ]
    }
