"""Syntax errors in words: what is missing, what was meant, and what else is wrong further down.

After an error the parser goes on in one of three ways, each tried on a fork: a token is put in (so that "unexpected" becomes "`}` is
missing"), the token is left out, or everything up to the next statement is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from graphspec.errors import Diagnostic, Source, Span, SpecError, error

SHOWN = {
    "END": "end", "RPAR": ")", "RBRACE": "}", "RSQB": "]", "THEN": "then", "DO": "do", "EQUAL": "=", "COMMA": ",", "IN": "in",
    "NAME": "a name",
}  # fmt: skip
"""Tokens whose lack is the likely mistake, tried in this order."""

STARTERS = {"LOCAL", "FUNCTION", "IF", "FOR", "WHILE", "REPEAT", "RETURN"}
CLOSING = {"END", "UNTIL", "ELSE", "ELSEIF"}
MAX_ERRORS = 20
AHEAD = 60
"""Tokens that a repair is followed for."""

PYTHON = {
    "def": "a function is `function name(args) ... end`",
    "elif": "it is `elseif` in Lua",
    "None": "it is `nil` in Lua",
    "True": "it is `true` in Lua",
    "False": "it is `false` in Lua",
    "import": "another file is read by `local name = require 'name'`",
    "from": "another file is read by `local name = require 'name'`",
    "class": "there is no class statement in Lua; `torch.class` makes classes",
    "lambda": "write `function(x) return ... end`",
    "continue": "Lua has no continue; put the rest of the loop's body into an `if`",
    "pass": "an empty block needs no statement in Lua",
}


PYTHON_FUNCTIONS = {
    "range": ["a loop that counts is `for i = 1, n do`"],
    "len": ["the length of t is `#t`"],
    "enumerate": ["a table is gone through by `for i, v in ipairs(t) do`"],
    "str": ["a value as text is `tostring(v)`"],
    "int": ["a number without its fraction is `math.floor(n)`"],
    "float": ["text as a number is `tonumber(s)`"],
    "max": ["it is `math.max`"],
    "min": ["it is `math.min`"],
    "abs": ["it is `math.abs`"],
}
"""Functions that Python has as globals, and what does it here."""

OPENS = {"if": "`then`", "elseif": "`then`", "else": "nothing", "for": "`do`", "while": "`do`"}


FROM_ONE = "tables count from 1 in Lua: `[1]` is the first element"


def syntax_errors(lark: Lark, source: Source, text: str) -> SpecError:
    """All independent syntax errors, in order, up to 20.  ``text``: the source without its shebang line."""
    return SpecError(*Finder(lark, source, text).problems[:MAX_ERRORS])


class Finder:
    """Goes through the tokens of a text that does not parse."""

    def __init__(self, lark: Lark, source: Source, text: str) -> None:
        self.source = source
        self.problems: list[Diagnostic] = []
        tokens = self._lex(lark, text)
        characters = [*self.problems]
        end = Token("$END", "", start_pos=len(source.text.rstrip()))
        self.tokens = [*tokens, end]
        self._walk(lark.parse_interactive(""))
        first: dict[tuple[int, bool], Diagnostic] = {}  # one error of a kind a line: the rest follows from it
        for problem in sorted(self.problems, key=lambda p: p.span.start if p.span else 0):
            line = problem.span.line if problem.span else 0
            if (line, True) not in first:
                first.setdefault((line, any(problem is c for c in characters)), problem)
        self.problems = list(first.values())

    def _lex(self, lark: Lark, text: str) -> list[Token]:
        """The tokens; what is no token is told, and something harmless put in its place."""
        while True:
            try:
                return list(lark.lex(text))
            except UnexpectedCharacters as failure:
                at = failure.pos_in_stream or 0
                problem, filler = _character(self.source, at)
                self.problems.append(problem)
                stop = problem.span.end if problem.span else at + 1
                text = text[:at] + filler.ljust(stop - at) + text[stop:]
                if len(self.problems) > MAX_ERRORS:
                    return []

    def _walk(self, parser: Any) -> None:
        boundary, at, skipped = _fork(parser), 0, False
        while at < len(self.tokens) and len(self.problems) <= MAX_ERRORS:
            token = self.tokens[at]
            before = _fork(parser)
            try:
                parser.feed_token(token)
            except UnexpectedToken:
                parser = before  # a token that does not fit may have closed what came before it
            else:
                boundary = before if token.type in STARTERS else boundary
                at += 1
                continue
            if skipped and token.type in CLOSING:  # closes a block whose head was skipped
                at += 1
                continue
            inserted, reach = self._insertion(parser, at)
            problem = self._tell(parser, at, inserted)
            if token.type == "$END" or problem.code == "E0108":
                return
            left_out = self._reach(_fork(parser), at + 1)
            if inserted and reach >= left_out:
                parser.feed_token(Token(inserted, SHOWN[inserted]))
            elif left_out > at + 3:
                at += 1
            else:
                skipped = True
                parser = _fork(boundary)
                at = self._next_statement(parser, at + 1)
                if at == len(self.tokens) - 1:
                    return

    def _next_statement(self, parser: Any, at: int) -> int:
        """The next token that starts a statement: a keyword, or a line that makes sense; the last token if there is none."""
        for i in range(at, len(self.tokens) - 1):
            first_on_line = self.tokens[i].line != self.tokens[i - 1].line
            if first_on_line and (self.tokens[i].type in STARTERS or self._reach(_fork(parser), i) > i + 2):
                return i
        return len(self.tokens) - 1

    def _insertion(self, parser: Any, at: int) -> tuple[str | None, int]:
        """The token whose insertion takes the parser furthest, past the present token at least."""
        found, furthest = None, at
        accepts = parser.accepts()
        for name in SHOWN:
            if name in accepts:
                fork = _fork(parser)
                fork.feed_token(Token(name, SHOWN[name]))
                reach = self._reach(fork, at)
                if reach > furthest:
                    found, furthest = name, reach
        return found, furthest

    def _reach(self, parser: Any, at: int) -> int:
        """The index of the first token that does not fit."""
        for i in range(at, min(at + AHEAD, len(self.tokens))):
            try:
                parser.feed_token(self.tokens[i])
            except UnexpectedToken:
                return i
        return min(at + AHEAD, len(self.tokens))

    def _tell(self, parser: Any, at: int, missing: str | None) -> Diagnostic:
        problem = describe(self.source, self.tokens, at, parser.accepts(), missing)
        self.problems.append(problem)
        return problem


def _fork(parser: Any) -> Any:
    return parser.copy(deepcopy_values=False)


def describe(source: Source, tokens: Sequence[Token], at: int, accepts: set[str], missing: str | None) -> Diagnostic:
    """The token ``at`` is unexpected; ``missing`` is what would fit before it."""
    token, before = tokens[at], tokens[at - 1] if at else None
    start = token.start_pos or 0
    ended = token.type == "$END"
    span = Span(source, start, start + max(len(token), 1))
    python = _python(source, span, tokens, at)
    if python is not None:
        return python
    found = "the end of the file" if ended else f"`{token}`"
    if str(token) == "=" and before is not None and before.type not in STARTERS and "EQUAL" not in accepts:
        helps = ["to compare, write `==`", "modules take arguments by place, `nn.ReLU(true)`; names go into a table: `f{name = value}`"]
        line = source.text[:start].rpartition("\n")[2]
        if re.search(r"\bnn\.(?!Identity\b|Scan\b)\w+\s*\([^()]*$", line):  # the argument of a module by name; those two take tables
            helps = ["modules take arguments by place: `nn.Linear(4, 3)`, `nn.ReLU(true)`"]
        return error("E0106", "`=` inside an expression", span, helps=helps)
    if missing is not None:
        shown = f"`{SHOWN[missing]}`" if missing != "NAME" else "an expression" if "NUMBER" in accepts else "a name"
        opener = _opener(source, start, SHOWN[missing])
        others = [(opener, "opened here")] if opener else []
        return error("E0107", f"{shown} is missing before {found}", span, f"expected {shown}", others=others)
    return error("E0101", "the file ends too early" if ended else f"unexpected {found}", span)


def _python(source: Source, span: Span, tokens: Sequence[Token], at: int) -> Diagnostic | None:
    """E0105 where the line of a token, or one just above it, reads as Python or C."""
    token = tokens[at]
    first = max(at - 1, 0)
    for _ in range(2):
        first = max(first - 1, 0) if _starts_line(tokens, first) else first
        while not _starts_line(tokens, first):
            first -= 1
    for word in tokens[first : at + 1]:
        if str(word) in PYTHON:
            start = word.start_pos or 0
            return error("E0105", f"`{word}` is Python, not Lua", Span(source, start, start + len(word)), helps=[PYTHON[str(word)]])
    here = source.text[span.start : span.start + 2]
    pair = source.text[max(span.start - 1, 0) : span.start + 1]
    told = None
    if re.match(r"\[=*\[", source.text[span.start :]):
        return error("E0108", "this long string is never closed", Span(source, span.start, span.start + 2))
    if here == "//" or pair == "//":
        told = ("`//` does not start a comment", "comments start with `--`")
    elif token.type == "HASH":
        told = ("`#` does not start a comment", "comments start with `--`; `#t` is the length of t")
    elif here in ("+=", "-=", "*=", "/=", "++", "--"):
        told = (f"`{here}` is not Lua", f"write `x = x {here[0]} ...`")
    elif token.type == "LSQB":
        told = ("`[` does not start a list", "a list is written `{1, 2, 3}`")
    if told is None:
        return _block_of_python(source, tokens, first, at)
    return error("E0105", told[0], Span(source, span.start, span.start + max(len(here.rstrip()), 1)), helps=[told[1]])


def _block_of_python(source: Source, tokens: Sequence[Token], first: int, at: int) -> Diagnostic | None:
    """E0105 where one of the lines from the token ``first`` on opens a block by a colon."""
    for opening in (tokens[i] for i in range(first, at + 1) if _starts_line(tokens, i) and str(tokens[i]) in OPENS):
        start = opening.start_pos or 0
        line = source.text[start:].partition("\n")[0].rstrip()
        if line.endswith(":"):
            helps = [f"a block opens with {OPENS[str(opening)]} and ends with `end`"]
            if re.match(r"for\s+\w+\s+in\s+range\b", line):
                helps += PYTHON_FUNCTIONS["range"]
            colon = start + len(line) - 1
            return error("E0105", "`:` is Python, not Lua", Span(source, colon, colon + 1), helps=helps)
    return None


def _starts_line(tokens: Sequence[Token], at: int) -> bool:
    return at == 0 or tokens[at - 1].line != tokens[at].line


def _character(source: Source, at: int) -> tuple[Diagnostic, str]:
    """What begins no token; and what to read in its place."""
    text = source.text[at]
    span = Span(source, at, at + 1)
    if source.text.startswith("!=", at):
        return error("E0105", "`!=` is not Lua", Span(source, at, at + 2), helps=["not equal is `~=`"]), "~="
    if text == "!":
        return error("E0105", "`!` is not Lua", span, helps=["it is `not` in Lua"]), "-"
    if text in "&|":
        word = "and" if text == "&" else "or"
        return error("E0105", f"`{text}` is not Lua", span, helps=[f"it is `{word}` in Lua"]), "+"
    if text in "\"'":
        stop = source.text.find("\n", at)
        whole = Span(source, at, stop if stop > 0 else len(source.text))
        helps = ["a string over several lines is written [[ ... ]]"]
        return error("E0108", "this string is not closed on its line", whole, helps=helps), "1"
    return error("E0109", f"the character {text!r} has no meaning in Lua", span), ""


WORDS = re.compile(r"""--\[(=*)\[.*?\]\1\]|--[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[A-Za-z_]\w*|[()\[\]{}]""", re.S)
BLOCKS = ("function", "if", "repeat", "for", "while", "do")


def _opener(source: Source, at: int, closer: str) -> Span | None:
    """Where the bracket or block that lacks its end was opened; of blocks, the one whose ``end`` is not indented as it is."""
    pairs = {")": "(", "}": "{", "]": "["}
    if closer not in (*pairs, "end"):
        return None
    stack: list[tuple[str, Span]] = []
    for match in WORDS.finditer(source.text, 0, at):
        word, span = match.group(), Span(source, *match.span())
        if closer == "end":
            if word in BLOCKS and not (word == "do" and stack and stack[-1][0] in ("for", "while")):
                stack.append((word, span))
            elif word == "do":
                stack[-1] = ("do", stack[-1][1])
            elif word in ("end", "until") and stack:
                _, opened = stack.pop()
                if opened.line != span.line and _indent(source, opened) > _indent(source, span):
                    return opened
        elif word == pairs[closer]:
            stack.append((word, span))
        elif word == closer and stack:
            stack.pop()
    return stack[-1][1] if stack else None


def _indent(source: Source, span: Span) -> int:
    line = source.line(span.line)
    return len(line) - len(line.lstrip())

