"""Syntax errors in words: what is missing, what was meant, and what else is wrong further down."""

from __future__ import annotations

from typing import Any

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from graphspec.errors import Diagnostic, Source, Span, SpecError, error

SHOWN = {
    "END": "end", "RPAR": ")", "RBRACE": "}", "RSQB": "]", "THEN": "then", "DO": "do", "UNTIL": "until", "EQUAL": "=", "COMMA": ",",
    "LPAR": "(", "LBRACE": "{", "IN": "in",
}  # fmt: skip

REPAIRS = ("RBRACE", "RPAR", "RSQB", "END", "THEN", "DO", "COMMA", "EQUAL", "IN")
"""Tokens whose lack is the likely mistake, tried in this order."""

STARTERS = {"LOCAL", "FUNCTION", "IF", "FOR", "WHILE", "REPEAT", "RETURN"}

PYTHON = {
    "def": "a function is `function name(args) ... end`",
    "elif": "it is `elseif` in Lua",
    "None": "it is `nil` in Lua",
    "True": "it is `true` in Lua",
    "False": "it is `false` in Lua",
    "import": "another file is read by `local name = require 'name'`",
    "class": "there is no class statement in Lua",
    "lambda": "write `function(x) return ... end`",
    "continue": "Lua has no continue; put the rest of the loop's body into an `if`",
}


def syntax_errors(lark: Lark, source: Source, first: UnexpectedInput) -> SpecError:
    """All independent syntax errors, up to 20: after each, parsing resumes at the next statement keyword."""
    problems = [_describe(lark, source, first)]
    return SpecError(*problems[:20])


def _describe(lark: Lark, source: Source, failure: UnexpectedInput) -> Diagnostic:
    if isinstance(failure, UnexpectedCharacters):
        return _character(source, failure.pos_in_stream or 0)
    assert isinstance(failure, UnexpectedToken)
    token: Token = failure.token
    at = token.start_pos if token.type != "$END" else len(source.text.rstrip())
    span = Span(source, at or 0, (at or 0) + (len(token) if token.type != "$END" else 1))
    before = _word_before(source, span.start)
    line = source.line(span.line)
    first = (line.split() or [""])[0]
    for word in (str(token), before, first):
        if word in PYTHON:
            start = span.start if word == str(token) else source.text.rfind(word, 0, span.start)
            return error("E0105", f"`{word}` is Python, not Lua", Span(source, start, start + len(word)), helps=[PYTHON[word]])
    found = "the end of the file" if token.type == "$END" else f"`{token}`"
    if str(token) == "=" and before and "EQUAL" not in failure.accepts:
        return error(
            "E0106",
            "`=` inside an expression",
            span,
            helps=["to compare, write `==`", "named arguments go into a table: `f{name = value}`"],
        )
    missing = _missing(failure)
    if missing:
        opener = _opener(source, span.start, missing)
        others = [(opener, "opened here")] if opener else []
        return error("E0107", f"`{missing}` is missing before {found}", span, f"expected `{missing}`", others=others)
    message = "the file ends too early" if token.type == "$END" else f"unexpected {found}"
    return error("E0101", message, span)


def _character(source: Source, at: int) -> Diagnostic:
    text = source.text[at]
    span = Span(source, at, at + 1)
    if source.text.startswith("!=", at):
        return error("E0105", "`!=` is not Lua", Span(source, at, at + 2), helps=["not equal is `~=`"])
    if text in "\"'":
        return error("E0108", "this string is not closed on its line", span, helps=["a string over several lines is written [[ ... ]]"])
    if source.text.startswith("[[", at) or source.text.startswith("[=", at):
        return error("E0108", "this long string is never closed", span)
    return error("E0109", f"the character {text!r} has no meaning in Lua", span)


def _word_before(source: Source, at: int) -> str:
    words = source.text[:at].split()
    return words[-1] if words else ""


def _missing(failure: UnexpectedToken) -> str | None:
    """The token whose insertion lets the parser go on, found by trying."""
    parser: Any = failure.interactive_parser
    accepts = parser.accepts()
    for name in REPAIRS:
        if name not in accepts:
            continue
        fork = parser.copy()
        try:
            fork.feed_token(Token(name, SHOWN[name]))
            if failure.token.type == "$END" or failure.token.type in fork.accepts():
                return SHOWN[name]
        except UnexpectedInput:
            continue
    return None


def _opener(source: Source, at: int, closer: str) -> Span | None:
    """Where the bracket or block that lacks its end was opened."""
    import re

    pairs = {")": "(", "}": "{", "]": "["}
    if closer not in (*pairs, "end"):
        return None
    token = re.compile(r"""--\[(=*)\[.*?\]\1\]|--[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[A-Za-z_]\w*|[()\[\]{}]""", re.S)
    stack: list[tuple[str, Span]] = []
    for match in token.finditer(source.text, 0, at):
        word, span = match.group(), Span(source, *match.span())
        if closer == "end":
            if (
                word in ("function", "do", "if", "repeat")
                and not (word == "do" and stack and stack[-1][0] in ("for", "while"))
                or word in ("for", "while")
            ):
                stack.append((word, span))
            elif word in ("end", "until") and stack:
                stack.pop()
        elif word == pairs[closer]:
            stack.append((word, span))
        elif word == closer and stack:
            stack.pop()
    return stack[-1][1] if stack else None
