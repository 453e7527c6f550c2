"""What lies between the tokens of a file: comments and empty lines, with each told where it belongs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from lark import Lark, Token, Tree

from graphspec import lang

Syntax = Tree[Token] | Token

SHIFTED = {"COMMA", "SEMICOLON"}
"""Comments that end the line before one of these go after it."""

OPERATORS = {"OR", "AND", "COMPARE", "CONCAT", "PLUS", "MINUS", "MUL"}
"""Comments that end the line after one of these go before it, where the line will break."""

OPERANDS = {"NAME", "NUMBER", "STRING", "LONG_STRING", "RPAR", "RBRACE", "RSQB", "END", "NIL", "TRUE", "FALSE", "DOTS"}
"""Tokens that an operand may end with."""

OPENING = {"LPAR", "LBRACE", "LSQB"}
TIGHT = {"COMMA", "SEMICOLON", "RPAR", "RBRACE", "RSQB", "DOT", "COLON"}
"""No space stands before these."""


@dataclass(frozen=True)
class Remark:
    """A comment; ``line``: to the end of its line; ``own``: it begins a line, with an empty one before it if ``blank``."""

    text: str
    line: bool
    own: bool
    blank: bool


@dataclass(frozen=True)
class Gap:
    """What stands before a token.

    ``after``: comments that end the line of the token before.  ``own``: comments on lines of their own.  ``inline``: comments that the
    token follows on the same line; ``tight`` if they belong with the token before.  ``newline``: the token begins a line, with an empty
    one before it if ``blank``.
    """

    after: tuple[Remark, ...] = ()
    own: tuple[Remark, ...] = ()
    inline: tuple[Remark, ...] = ()
    tight: bool = False
    newline: bool = False
    blank: bool = False

    def __bool__(self) -> bool:
        return bool(self.after or self.own or self.inline)

    @property
    def broken(self) -> bool:
        """Whether the author began a line here."""
        return self.newline or any(remark.own for remark in (*self.own, *self.inline))

    @property
    def blanks(self) -> list[bool]:
        """Whether an empty line stands before each comment of ``own``, and then before the token with its ``inline`` comments."""
        return [*(r.blank for r in self.own), self.inline[0].blank if self.inline else self.blank]


@lru_cache(maxsize=1)
def grammar() -> Lark:
    """The grammar of the language, with every token kept in the tree."""
    text = (Path(lang.__file__).parent / "lua.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", lexer="basic", propagate_positions=True, maybe_placeholders=False, keep_all_tokens=True)


@lru_cache(maxsize=1)
def ignored() -> re.Pattern[str]:
    """Comments and white space, by the grammar's own terminals."""
    names = ("LONG_COMMENT", "COMMENT", "WHITESPACE")
    return re.compile("|".join(f"(?P<{name}>{grammar().get_terminal(name).pattern.to_regexp()})" for name in names))


def start_of(part: Syntax) -> int:
    """Its offset; 0 for an empty block."""
    return (getattr(part.meta, "start_pos", 0) if isinstance(part, Tree) else part.start_pos) or 0


def tokens(tree: Tree[Token]) -> list[Token]:
    """All tokens in order."""
    found: list[Token] = []
    stack: list[Syntax] = [tree]
    while stack:
        part = stack.pop()
        if isinstance(part, Tree):
            stack.extend(reversed(part.children))
        else:
            found.append(part)
    return found


def dropped(tree: Tree[Token], text: str) -> set[int]:
    """Where the separators stand that mean nothing: a table's last one, and semicolons."""
    found: set[int] = set()
    for part in tree.iter_subtrees():
        last = part.children[-1] if part.children else None
        if part.data == "block":
            found.update(unneeded(part, text))
        elif part.data in ("fields", "return_stat", "break_stat") and isinstance(last, Token) and last.type in SHIFTED:
            found.add(start_of(last))
    return found


def unneeded(block: Tree[Token], text: str) -> Iterator[int]:
    """The semicolons of a block that can go.  Before a statement that begins with ``(`` one stays: without it the statement would be
    a call of what stands before it."""
    begun = False
    waiting: list[int] = []
    for part in block.children:
        if isinstance(part, Tree) and part.data == "empty_stat":
            waiting.append(start_of(part))
        else:
            yield from waiting[1:] if begun and text[start_of(part)] == "(" else waiting
            begun, waiting = True, []
    yield from waiting


@dataclass
class Raw:
    """A gap as it was found: its comments, and what white space stands before the token."""

    remarks: list[Remark] = field(default_factory=list)
    newline: bool = False
    blank: bool = False

    def join(self, later: Raw) -> Raw:
        """With another one after it."""
        remarks, newline = [*self.remarks, *later.remarks], later.newline
        for i in range(1, len(remarks)):
            if remarks[i - 1].line:
                remarks[i] = replace(remarks[i], own=True)
        return Raw(remarks, newline or (bool(remarks) and remarks[-1].line), later.blank)

    def head(self) -> int:
        """How many comments stand on the line of the token before."""
        return next((i for i, remark in enumerate(self.remarks) if remark.own), len(self.remarks))

    @property
    def lines(self) -> bool:
        """Whether a line ends in it."""
        return self.newline or self.head() < len(self.remarks)

    def gap(self, before: str, token: str) -> Gap:
        """Between tokens of these types (``before`` is empty at the start of the file)."""
        tight = token in TIGHT and before not in OPENING
        if not self.lines:
            return Gap(inline=tuple(self.remarks), tight=tight)
        head = self.head() if before else 0
        tail = len(self.remarks)
        while not self.newline and tail > head and not self.remarks[tail - 1].line:
            tail -= 1
            if self.remarks[tail].own:
                break
        remarks = tuple(self.remarks)
        return Gap(remarks[:head], remarks[head:tail], remarks[tail:], tight, self.newline, self.blank)


def read(text: str, start: int, end: int) -> Raw:
    """The gap between two offsets; separators in it are passed over."""
    found = Raw()
    newline = blank = False
    while start < end:
        match = ignored().match(text, start, end)
        if match is None:
            start += 1
        elif match.lastgroup == "WHITESPACE":
            newline |= "\n" in match.group()
            blank |= match.group().count("\n") > 1
            start = match.end()
        else:
            found.remarks.append(Remark(match.group().rstrip(), match.lastgroup == "COMMENT", newline, blank))
            newline = blank = False
            start = match.end()
    found.newline, found.blank = newline, blank
    return found


def gaps(text: str, found: Sequence[Token], start: int) -> dict[int, Gap]:
    """The gap before each token, by the token's offset, and before the end; the text counts from ``start``."""
    kinds = [token.type for token in found] + [""]
    places = [start_of(token) for token in found] + [len(text)]
    raws: list[Raw] = []
    for place, token in zip(places, [None, *found], strict=True):
        raws.append(read(text, start if token is None else start_of(token) + len(token), place))
    raws[-1].newline = True
    for i, kind in enumerate(kinds):
        if kind in SHIFTED and raws[i].remarks and raws[i].lines:
            raws[i + 1], raws[i] = Raw(raws[i].remarks).join(raws[i + 1]), Raw()
        elif kind in OPERATORS and i > 0 and kinds[i - 1] in OPERANDS and raws[i + 1].lines:
            head = raws[i + 1].head()
            raws[i] = raws[i].join(Raw(raws[i + 1].remarks[:head]))
            raws[i + 1].remarks = raws[i + 1].remarks[head:]
    return {place: raw.gap(before, kind) for place, raw, before, kind in zip(places, raws, ["", *kinds], kinds, strict=False)}
