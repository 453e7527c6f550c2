"""Parsing: text to AST, with syntax errors at the place and in the words of the person who wrote it."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import lark
from lark import Lark, Token, Transformer_NonRecursive, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedToken, VisitError

from graphspec.errors import Source, Span, SpecError, fail
from graphspec.lang import ast
from graphspec.lang.mistakes import PYTHON, syntax_errors
from graphspec_runtime import cache

MAX_NESTING, MAX_TOKENS = 200, 50_000
"""How deep brackets and blocks may nest (E0502), and how many tokens a file may have (E0507), unless a limit is raised."""

OPENERS = {"LPAR", "LBRACE", "LSQB", "FUNCTION", "DO", "THEN", "REPEAT"}
CLOSERS = {"RPAR", "RBRACE", "RSQB", "END", "UNTIL", "ELSEIF"}


@dataclass(frozen=True)
class Comment:
    """A comment, without its dashes."""

    text: str
    span: Span


@dataclass(frozen=True)
class Parsed:
    block: ast.Block
    comments: tuple[Comment, ...]


class Nesting:
    """A Lark post-lexer that counts words, and how deep brackets and blocks nest, before the parser sees them."""

    always_accept = ()

    def __init__(self) -> None:
        self.source: Source
        self.nesting, self.tokens = MAX_NESTING, MAX_TOKENS

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        depth = 0
        for number, token in enumerate(stream):
            if number >= self.tokens:
                raise self._over("E0507", f"the file has more than {self.tokens:,} words and signs", token, "tokens", self.tokens)
            if token.type in OPENERS:
                depth += 1
                if depth > self.nesting:
                    raise self._over("E0502", f"brackets and blocks nest deeper than {self.nesting}", token, "nesting", self.nesting)
            elif token.type in CLOSERS:
                depth -= 1
            yield token

    def _over(self, code: str, message: str, token: Token, name: str, limit: int) -> SpecError:
        at = token.start_pos or 0
        return fail(code, message, Span(self.source, at, at + len(token)), helps=[f"raise it with `--limit {name}={limit * 10}`"])


_parsing = threading.Lock()
"""The post-lexer knows one source at a time."""


@lru_cache(maxsize=1)
def grammar() -> Lark:
    """The parser tables, built at first use on this machine and kept: that takes 0.1 s, loading them 0.005.

    They are kept as a pickle, which Lark builds anew when grammar, Lark or Python are others than it was made with, or it is damaged.
    """
    text = (Path(__file__).parent / "lua.lark").read_text()
    with contextlib.suppress(OSError):  # where nothing can be kept they are built each time
        cache.folder().mkdir(parents=True, exist_ok=True)
    place = str(cache.folder() / f"grammar-{lark.__version__}-{'.'.join(map(str, sys.version_info[:2]))}")
    return Lark(text, parser="lalr", lexer="basic", propagate_positions=True, postlex=Nesting(), maybe_placeholders=True, cache=place)


def parse(source: Source, nesting: int = MAX_NESTING, tokens: int = MAX_TOKENS) -> Parsed:
    """The AST of a file; SpecError (E01xx) with every independent syntax error, E0502 and E0507 beyond the limits."""
    check_text(source)
    tree = parse_tree(source, nesting, tokens)
    try:
        block = Build(source).transform(tree)
    except VisitError as failure:
        raise failure.orig_exc from None
    found = tuple(comments(source))
    for comment in found:
        if re.match(r"--\[=*\[", comment.span.text) and not comment.span.text.endswith("]"):
            raise fail("E0108", "this long comment is never closed", Span(source, comment.span.start, comment.span.start + 4))
    return Parsed(block, found)


def parse_entry(source: Source) -> ast.Block:
    """The AST of an expression, as a block that returns it; or of a block that has a ``return`` of its own."""
    check_text(source)
    wrong = fail("E0101", "an entry is one expression, or statements that end with `return`", Span(source, 0, len(source.text)))
    try:
        block = parse(Source(source.path, "return " + source.text)).block
    except SpecError:  # statements; the words of an error in an expression speak of what was written
        returns = re.search(r"\breturn\b", source.text) is not None
        if not returns:
            raise
        block = parse(source).block
        if not block.body or not isinstance(block.body[-1], ast.Return):
            raise wrong from None
        return block
    if len(block.body) != 1 or not isinstance(block.body[0], ast.Return) or len(block.body[0].values) != 1:
        raise wrong
    return block


def parse_tree(source: Source, nesting: int = MAX_NESTING, tokens: int = MAX_TOKENS) -> Any:
    parser = grammar()
    text = source.text
    if text.startswith("#"):  # a shebang line is a comment, as for the lua command
        text = " " * len(source.line(1)) + text[len(source.line(1)) :]
    counter: Any = parser.options.postlex
    with _parsing:
        counter.source, counter.nesting, counter.tokens = source, nesting, tokens
        try:
            return parser.parse(text)
        except (UnexpectedToken, UnexpectedCharacters):
            raise syntax_errors(parser, source, text) from None


def check_text(source: Source) -> None:
    """E0102 for text that no person wrote."""
    at = source.text.find("\0")
    if at >= 0:
        raise fail("E0102", "the file has a NUL byte: it is not text", Span(source, at, at + 1))


def comments(source: Source) -> Iterator[Comment]:
    """All comments, in order (strings are skipped over)."""
    pattern = re.compile(r"""--\[(=*)\[.*?\]\1\]|--[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|\[(=*)\[.*?\]\2\]""", re.S)
    for match in pattern.finditer(source.text):
        text = match.group()
        if text.startswith("--"):
            yield Comment(re.sub(r"^--(\[=*\[)?|\]=*\]$", "", text) if text.startswith("--[") else text[2:], Span(source, *match.span()))


ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\n": "\n"}


def unquote(text: str) -> str:
    """The value of a quoted string."""

    def replace(match: re.Match[str]) -> str:
        body = match.group(1)
        return chr(int(body)) if body.isdigit() else ESCAPES.get(body, body)

    return re.sub(r"\\(\d{1,3}|.|\n)", replace, text[1:-1], flags=re.S)


def unlong(text: str) -> str:
    """The value of a long string: its first newline does not count."""
    body = re.sub(r"^\[=*\[|\]=*\]$", "", text)
    return body.removeprefix("\n")


def to_number(text: str) -> float:
    return float(int(text, 16)) if text[:2] in ("0x", "0X") else float(text)


@v_args(meta=True)
class Build(Transformer_NonRecursive):  # type: ignore[type-arg]
    """Lark's tree to the AST (bottom-up, without recursion on depth: nesting is capped before)."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source

    def _span(self, meta: Any) -> Span:
        if meta.empty:
            return Span(self.source, 0, 0)
        return Span(self.source, meta.start_pos, meta.end_pos)

    def _token(self, token: Token) -> Span:
        start = token.start_pos or 0
        return Span(self.source, start, start + len(token))

    def _text(self, start: int, end: int) -> str:
        return " ".join(self.source.text[start:end].split())

    # statements

    def start(self, meta: Any, c: list[Any]) -> Any:
        return c[0]

    def block(self, meta: Any, c: list[Any]) -> Any:
        return ast.Block(self._span(meta), tuple(s for s in c if s is not None))

    def empty_stat(self, meta: Any, c: list[Any]) -> Any:
        return None

    def targets(self, meta: Any, c: list[Any]) -> Any:
        for target in c:
            if not isinstance(target, (ast.Name, ast.Index)):
                raise fail("E0103", "this cannot be assigned to", target.span, "only names and fields can")
        return tuple(c)

    def exprs(self, meta: Any, c: list[Any]) -> Any:
        return tuple(c)

    def names(self, meta: Any, c: list[Any]) -> Any:
        return tuple(str(t) for t in c)

    def assign(self, meta: Any, c: list[Any]) -> Any:
        return ast.Assign(self._span(meta), c[0], c[1])

    def call_stat(self, meta: Any, c: list[Any]) -> Any:
        if not isinstance(c[0], ast.Call):
            word = c[0].name if isinstance(c[0], ast.Name) else ""
            if word in PYTHON:
                raise fail("E0105", f"`{word}` is Python, not Lua", c[0].span, helps=[PYTHON[word]])
            raise fail("E0104", "this does nothing: a statement must be a call or an assignment", c[0].span)
        return ast.CallStat(self._span(meta), c[0])

    def do_stat(self, meta: Any, c: list[Any]) -> Any:
        return ast.Do(self._span(meta), c[0])

    def while_stat(self, meta: Any, c: list[Any]) -> Any:
        return ast.While(self._span(meta), c[0], c[1])

    def repeat_stat(self, meta: Any, c: list[Any]) -> Any:
        return ast.Repeat(self._span(meta), c[0], c[1])

    def elseif(self, meta: Any, c: list[Any]) -> Any:
        return (c[0], c[1])

    def else_part(self, meta: Any, c: list[Any]) -> Any:
        return c[0]

    def if_stat(self, meta: Any, c: list[Any]) -> Any:
        branches, otherwise = [(c[0], c[1])], None
        for part in c[2:]:
            if isinstance(part, tuple):
                branches.append(part)
            elif part is not None:
                otherwise = part
        return ast.If(self._span(meta), tuple(branches), otherwise)

    def for_stat(self, meta: Any, c: list[Any]) -> Any:
        name, start, stop, step, body = c
        last = (step or stop).span.end
        return ast.For(self._span(meta), str(name), start, stop, step, body, self._text(meta.start_pos, last))

    def for_in_stat(self, meta: Any, c: list[Any]) -> Any:
        return ast.ForIn(self._span(meta), c[0], c[1], c[2], self._text(meta.start_pos, c[1][-1].span.end))

    def func_name(self, meta: Any, c: list[Any]) -> Any:
        *path, method = c
        target: Any = ast.Name(self._token(path[0]), str(path[0]))
        for part in (*path[1:], *([method] if method is not None else [])):
            span = Span(self.source, target.span.start, self._token(part).end)
            target = ast.Index(span, target, ast.Constant(self._token(part), str(part)))
        return target, method is not None, ".".join(map(str, path)) + (f":{method}" if method is not None else "")

    def function_stat(self, meta: Any, c: list[Any]) -> Any:
        (target, method, name), body = c
        params = ("self", *body.params) if method else body.params
        return ast.FunctionStat(self._span(meta), target, ast.Function(body.span, params, body.varargs, body.body, name))

    def local_function_stat(self, meta: Any, c: list[Any]) -> Any:
        body = c[1]
        return ast.LocalFunction(self._span(meta), str(c[0]), ast.Function(body.span, body.params, body.varargs, body.body, str(c[0])))

    def local_stat(self, meta: Any, c: list[Any]) -> Any:
        values: tuple[ast.Expr, ...] = c[1] or ()
        if len(c[0]) == 1 and len(values) == 1 and isinstance(values[0], ast.Function):
            f = values[0]
            values = (ast.Function(f.span, f.params, f.varargs, f.body, c[0][0]),)
        return ast.Local(self._span(meta), c[0], values)

    def return_stat(self, meta: Any, c: list[Any]) -> Any:
        return ast.Return(self._span(meta), c[0] or ())

    def break_stat(self, meta: Any, c: list[Any]) -> Any:
        return ast.Break(self._span(meta))

    # expressions

    def nil(self, meta: Any, c: list[Any]) -> Any:
        return ast.Constant(self._span(meta), None)

    def true(self, meta: Any, c: list[Any]) -> Any:
        return ast.Constant(self._span(meta), True)

    def false(self, meta: Any, c: list[Any]) -> Any:
        return ast.Constant(self._span(meta), False)

    def number(self, meta: Any, c: list[Any]) -> Any:
        return ast.Constant(self._span(meta), to_number(c[0]))

    def string(self, meta: Any, c: list[Any]) -> Any:
        return ast.Constant(self._span(meta), unquote(c[0]))

    def long_string(self, meta: Any, c: list[Any]) -> Any:
        return ast.Constant(self._span(meta), unlong(c[0]))

    def varargs(self, meta: Any, c: list[Any]) -> Any:
        return ast.Varargs(self._span(meta))

    def function(self, meta: Any, c: list[Any]) -> Any:
        return c[0]

    def params(self, meta: Any, c: list[Any]) -> Any:
        return tuple(str(t) for t in c if t is not None)

    def func_body(self, meta: Any, c: list[Any]) -> Any:
        params: tuple[str, ...] = c[0] or ()
        varargs = len(params) > 0 and params[-1] == "..."
        return ast.Function(self._span(meta), params[:-1] if varargs else params, varargs, c[1])

    def binary(self, meta: Any, c: list[Any]) -> Any:
        return ast.Binary(self._span(meta), str(c[1]), c[0], c[2])

    def unary(self, meta: Any, c: list[Any]) -> Any:
        if str(c[0]) == "-" and isinstance(c[1], ast.Constant) and isinstance(c[1].value, float):
            return ast.Constant(self._span(meta), -c[1].value)
        return ast.Unary(self._span(meta), str(c[0]), c[1])

    def paren(self, meta: Any, c: list[Any]) -> Any:
        return ast.Paren(self._span(meta), c[0])

    def name(self, meta: Any, c: list[Any]) -> Any:
        return ast.Name(self._span(meta), str(c[0]))

    def index(self, meta: Any, c: list[Any]) -> Any:
        return ast.Index(self._span(meta), c[0], c[1])

    def field(self, meta: Any, c: list[Any]) -> Any:
        return ast.Index(self._span(meta), c[0], ast.Constant(self._token(c[1]), str(c[1])))

    def args(self, meta: Any, c: list[Any]) -> Any:
        return c[0] or ()

    def table_arg(self, meta: Any, c: list[Any]) -> Any:
        return (c[0],)

    def string_arg(self, meta: Any, c: list[Any]) -> Any:
        return (ast.Constant(self._span(meta), unquote(c[0])),)

    def long_string_arg(self, meta: Any, c: list[Any]) -> Any:
        return (ast.Constant(self._span(meta), unlong(c[0])),)

    def call(self, meta: Any, c: list[Any]) -> Any:
        return ast.Call(self._span(meta), c[0], None, c[1])

    def method(self, meta: Any, c: list[Any]) -> Any:
        return ast.Call(self._span(meta), c[0], str(c[1]), c[2])

    def table(self, meta: Any, c: list[Any]) -> Any:
        return ast.TableExpr(self._span(meta), tuple(c[0] or ()))

    def fields(self, meta: Any, c: list[Any]) -> Any:
        return tuple(c)

    def keyed_item(self, meta: Any, c: list[Any]) -> Any:
        return ast.Item(self._span(meta), c[0], c[1])

    def named_item(self, meta: Any, c: list[Any]) -> Any:
        return ast.Item(self._span(meta), ast.Constant(self._token(c[0]), str(c[0])), c[1])

    def plain_item(self, meta: Any, c: list[Any]) -> Any:
        return ast.Item(self._span(meta), None, c[0])
