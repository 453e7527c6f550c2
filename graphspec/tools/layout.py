"""How each rule of the grammar is laid out.

What the author chose stays: quotes, ``f{...}`` and ``f(...)``, numbers as they are spelt, spaces inside braces, tables spread over lines,
short blocks on one line, and empty lines, one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lark import Token, Tree

from graphspec.tools.document import Aside, Comment, Concat, Doc, Fill, Group, Hard, Hug, IfBroken, Indented, Line, Text, concat
from graphspec.tools.gaps import Gap, start_of

LEVELS = {"or": 1, "and": 2, "==": 3, "~=": 3, "<": 3, ">": 3, "<=": 3, ">=": 3, "..": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
TO_THE_RIGHT = 4
"""The level of operators that bind to the right."""


@dataclass
class Part:
    """The document of an expression or statement, where its text starts, and what it is, as far as its surroundings ask."""

    doc: Doc
    start: int
    kind: str = ""


@dataclass
class Chain:
    """Operands with operators of one level between them; ``rest`` is backwards where they bind to the right."""

    level: int
    start: int
    first: Doc
    rest: list[tuple[Token, Doc]]


Value = Any
"""What a rule makes of its part of the tree: a Part, a Chain, a Doc, or a list of Parts."""


class Layout:
    """Makes the document of a tree; ``gaps`` by the offset of the token after; tokens at the offsets ``unused`` are left out."""

    def __init__(self, text: str, gaps: dict[int, Gap], unused: set[int]) -> None:
        self.text, self.gaps, self.unused = text, gaps, unused
        self.held: set[int] = set()  # tokens whose comments are placed by the list or block that they begin an entry of

    def document(self, tree: Tree[Token]) -> Doc:
        """Bottom-up, without recursion: a chain of operators or calls may be of any length."""
        order: list[Tree[Token]] = []
        stack = [tree]
        while stack:
            part = stack.pop()
            order.append(part)
            self.hold(part)
            stack.extend(child for child in part.children if isinstance(child, Tree))
        values: dict[int, Value] = {}
        for part in reversed(order):
            children = [values.pop(id(c)) if isinstance(c, Tree) else c for c in part.children if not self.left_out(c)]
            rule: Callable[..., Value] = getattr(self, part.data)
            values[id(part)] = rule(start_of(part), *children)
        result: Doc = values[id(tree)]
        return result

    def left_out(self, part: Tree[Token] | Token) -> bool:
        return isinstance(part, Token) and start_of(part) in self.unused

    def hold(self, part: Tree[Token]) -> None:
        children = part.children
        match part.data:
            case "block" | "fields":
                self.held.update(start_of(c) for c in children if isinstance(c, Tree) and c.data != "empty_stat")
            case "exprs" | "names" | "targets" | "params":
                self.held.update(start_of(c) for c in children[1:] if isinstance(c, Tree) or c.type != "COMMA")
            case "args" | "func_body" if isinstance(children[0], Token) and len(children) > 2:
                self.held.add(start_of(children[1]))

    # -- comments

    def token(self, token: Token) -> Doc:
        """A token with the comments before it, unless they are placed elsewhere."""
        gap = self.gaps[start_of(token)]
        if not gap or start_of(token) in self.held:
            return Text(str(token))
        own = [Comment(r.text, r.line, own=True) for r in gap.own]
        inline = [f" {r.text}" if gap.tight else f"{r.text} " for r in gap.inline]
        return concat(*self.after(gap), *own, *inline, str(token))

    def after(self, gap: Gap) -> list[Doc]:
        return [Comment(" ".join(r.text for r in gap.after), gap.after[0].line)] if gap.after else []

    def before(self, gap: Gap, line: Callable[[bool], Doc], first: bool = False) -> list[Doc]:
        """The comments on lines before an entry, and its own line; ``line`` makes that, told whether an empty one goes before it."""
        blanks = gap.blanks
        if first:
            blanks[0] = False
        found: list[Doc] = []
        for remark, blank in zip(gap.own, blanks, strict=False):
            found += [Hard(blank), Text(remark.text)]
        found.append((Hard if found else line)(blanks[-1]))
        return [*found, *(Text(f"{r.text} ") for r in gap.inline)]

    def closing(self, gap: Gap, first: bool) -> list[Doc]:
        """The comments before what closes a list or block."""
        if not gap.broken:
            return [Aside(f" {r.text}") for r in gap.inline]
        found = self.after(gap)
        for i, remark in enumerate((*gap.own, *gap.inline)):
            found += [Hard(remark.blank and (i > 0 or not first)), Text(remark.text)]
        return found

    # -- lists

    def part(self, value: Value) -> Part:
        """Any expression as a Part."""
        if isinstance(value, Chain):
            return Part(self.chain(value), value.start, "chain")
        if isinstance(value, Token):
            return Part(self.token(value), start_of(value))
        assert isinstance(value, Part)
        return value

    def doc(self, value: Value) -> Doc:
        return self.row(value) if isinstance(value, list) else value if isinstance(value, Doc) else self.part(value).doc

    def words(self, *values: Value) -> Doc:
        """Values with spaces between them."""
        return concat(*[doc for value in values for doc in (" ", self.doc(value))][1:])

    def entries(self, values: Sequence[Value]) -> list[Part]:
        """A list without its commas; a comment right before a comma belongs to the entry."""
        found: list[Part] = []
        for value in values:
            if isinstance(value, Token) and value.type in ("COMMA", "SEMICOLON"):
                inline = self.gaps[start_of(value)].inline
                if inline:
                    found[-1] = Part(concat(found[-1].doc, *(f" {r.text}" for r in inline)), found[-1].start)
            else:
                found.append(self.part(value))
        return found

    def row(self, parts: list[Part]) -> Doc:
        """Entries without brackets: the names and values of a statement."""
        if len(parts) == 1:
            return parts[0].doc
        docs: list[Doc] = [parts[0].doc]
        for part in parts[1:]:
            gap = self.gaps[part.start]
            docs += [Text(","), *self.after(gap), *self.before(gap, partial(Line, 1)), part.doc]
        return Group(Indented(Concat(docs)))

    def brackets(self, opening: Token, parts: list[Part], closing: Token) -> Doc:
        """Entries in brackets: arguments, parameters or a table."""
        opener, end, table = self.token(opening), self.gaps[start_of(closing)], closing.type == "RBRACE"
        if not parts:
            inside = self.closing(end, first=True) if end.broken else [Text(" ".join(r.text for r in end.inline))] if end.inline else []
            return concat(opener, Indented(Concat(inside)), Hard() if end.broken and inside else None, str(closing))
        first = self.gaps[parts[0].start]
        pad = int(table and self.text[start_of(opening) + 1].isspace())
        numbers = table and all(part.kind == "number" for part in parts)
        docs: list[Doc] = []
        for part in parts:
            gap = self.gaps[part.start]
            line: Callable[[bool], Doc] = partial(Line, 1 if docs else pad)
            if numbers and docs and not gap.blanks[-1]:
                line = partial(Fill, part.doc.flat + 1)
            docs += [*([Text(",")] if docs else []), *self.after(gap), *self.before(gap, line, first=not docs), part.doc]
        docs += [*([IfBroken(",")] if table else []), *self.closing(end, first=False)]
        spread = Group(concat(opener, Indented(Concat(docs)), Line(pad), str(closing)), broken=table and first.broken)
        if table or end or any(self.gaps[part.start] for part in parts):
            return spread
        return self.hug(opener, parts, Text(str(closing)), spread)

    def hug(self, opener: Doc, parts: list[Part], closer: Doc, spread: Group) -> Doc:
        """Arguments; the brackets stay with a sole one, and with a table or function that comes last and is the only one."""
        *others, last = parts
        if not others and last.kind != "chain":
            return concat(opener, last.doc, closer)
        if others and last.kind in ("table", "function") and not any(part.kind in ("table", "function") for part in others):
            start = concat(opener, *(doc for part in others for doc in (part.doc, ", ")))
            return Hug(start, last.doc, closer, Group(spread.inner, broken=True))
        return spread

    # -- blocks

    def start(self, _: int, stats: list[Part]) -> Doc:
        docs = self.statements(stats, len(self.text), Hard)
        return concat(*docs[1:], Hard()) if docs else Concat([])

    def statements(self, stats: list[Part], end: int, line: Callable[[bool], Doc]) -> list[Doc]:
        docs: list[Doc] = []
        for stat in stats:
            gap = self.gaps[stat.start]
            docs += [*self.after(gap), *self.before(gap, line, first=not docs), stat.doc]
        return [*docs, *self.closing(self.gaps[end], first=not docs)]

    def body(self, stats: list[Part], closing: Token) -> Doc:
        """A block, up to what closes it; on one line if the author wrote its only statement so."""
        end = self.gaps[start_of(closing)]
        if not stats and not end:
            return Text(" ")
        short = len(stats) <= 1 and not end.broken and not (stats and self.gaps[stats[0].start].broken)
        line: Callable[[bool], Doc] = partial(Line, 1) if short else Hard
        return concat(Indented(Concat(self.statements(stats, start_of(closing), line))), line(False))

    def block(self, _: int, *stats: Value) -> list[Part]:
        found: list[Part] = []
        for stat in stats:
            if isinstance(stat, Token):  # a semicolon that must stay
                found[-1] = Part(concat(found[-1].doc, self.token(stat)), found[-1].start)
            elif stat is not None:
                found.append(stat)
        return found

    def empty_stat(self, _: int, semicolon: Token | None = None) -> Value:
        return semicolon

    # -- statements

    def stat(self, start: int, *docs: Doc | str | None) -> Part:
        return Part(Group(concat(*docs)), start)

    def do_stat(self, start: int, do: Token, body: list[Part], end: Token) -> Part:
        return self.stat(start, self.token(do), self.body(body, end), "end")

    def while_stat(self, start: int, word: Token, condition: Value, do: Token, body: list[Part], end: Token) -> Part:
        return self.stat(start, self.words(word, Indented(self.doc(condition)), do), self.body(body, end), "end")

    def repeat_stat(self, start: int, word: Token, body: list[Part], until: Token, condition: Value) -> Part:
        return self.stat(start, self.token(word), self.body(body, until), "until ", Indented(self.doc(condition)))

    def if_stat(self, start: int, *parts: Value) -> Part:
        flat = [value for part in parts for value in (part if isinstance(part, tuple) else (part,))]
        docs: list[Doc | str] = []
        for i, value in enumerate(flat):
            if isinstance(value, list):
                docs.append(self.body(value, flat[i + 1]))
            elif isinstance(value, Token):
                docs.append(self.token(value) if value.type in ("IF", "THEN") else str(value))
            else:
                docs += [" ", Indented(self.doc(value)), " "]
        return self.stat(start, *docs)

    def elseif(self, _: int, *parts: Value) -> tuple[Value, ...]:
        return parts

    def else_part(self, _: int, *parts: Value) -> tuple[Value, ...]:
        return parts

    def for_stat(self, start: int, word: Token, name: Token, equal: Token, *rest: Value) -> Part:
        *bounds, do, body, end = rest
        docs = [doc for part in self.entries(bounds) for doc in (part.doc, ", ")][:-1]
        return self.stat(start, self.words(word, name, equal, Indented(concat(*docs)), do), self.body(body, end), "end")

    def for_in_stat(self, start: int, *parts: Value) -> Part:
        *head, body, end = parts
        return self.stat(start, self.words(*head), self.body(body, end), "end")

    def function_stat(self, start: int, word: Token, name: Doc, body: Doc) -> Part:
        return self.stat(start, self.words(word, name), body)

    def local_function_stat(self, start: int, local: Token, word: Token, name: Token, body: Doc) -> Part:
        return self.stat(start, self.words(local, word, name), body)

    def local_stat(self, start: int, *parts: Value) -> Part:
        return self.stat(start, self.words(*parts))

    assign = return_stat = break_stat = call_stat = local_stat

    def func_name(self, _: int, *parts: Token) -> Doc:
        return concat(*(self.token(part) for part in parts))

    def exprs(self, _: int, *parts: Value) -> list[Part]:
        return self.entries(parts)

    names = targets = params = fields = exprs

    # -- expressions

    def constant(self, start: int, token: Token) -> Part:
        return Part(self.token(token), start)

    nil = true = false = string = long_string = varargs = name = constant

    def number(self, start: int, token: Token) -> Part:
        return Part(self.token(token), start, "number")

    def function(self, start: int, word: Token, body: Doc) -> Part:
        return Part(Group(concat(self.token(word), body)), start, "function")

    def func_body(self, _: int, opening: Token, *rest: Value) -> Doc:
        *params, closing, block, end = rest
        return concat(self.brackets(opening, params[0] if params else [], closing), self.body(block, end), "end")

    def table(self, start: int, opening: Token, *rest: Value) -> Part:
        *entries, closing = rest
        return Part(self.brackets(opening, entries[0] if entries else [], closing), start, "table")

    def plain_item(self, start: int, value: Value) -> Part:
        return self.part(value)

    def named_item(self, start: int, name: Token, equal: Token, value: Value) -> Part:
        return Part(self.words(name, equal, value), start)

    def keyed_item(self, start: int, opening: Token, key: Value, closing: Token, equal: Token, value: Value) -> Part:
        return Part(self.words(self.key(opening, key, closing), equal, value), start)

    def key(self, opening: Token, key: Value, closing: Token) -> Doc:
        part = self.part(key)
        pad = " " if self.text[part.start] == "[" else ""  # `[[` would begin a long string
        return concat(self.token(opening), pad, part.doc, pad, self.token(closing))

    def paren(self, start: int, opening: Token, inner: Value, closing: Token) -> Part:
        return Part(concat(self.token(opening), self.doc(inner), self.token(closing)), start)

    def index(self, start: int, value: Value, opening: Token, key: Value, closing: Token) -> Part:
        return Part(concat(self.doc(value), self.key(opening, key, closing)), start)

    def field(self, start: int, value: Value, dot: Token, name: Token) -> Part:
        return Part(concat(self.doc(value), self.token(dot), self.token(name)), start)

    def call(self, start: int, function: Value, args: Doc) -> Part:
        return Part(concat(self.doc(function), args), start, "call")

    def method(self, start: int, value: Value, colon: Token, name: Token, args: Doc) -> Part:
        return Part(concat(self.doc(value), self.token(colon), self.token(name), args), start, "call")

    def args(self, _: int, opening: Token, *rest: Value) -> Doc:
        *entries, closing = rest
        return self.brackets(opening, entries[0] if entries else [], closing)

    def table_arg(self, start: int, value: Value) -> Doc:
        apart = self.text[start - 1].isspace() or self.gaps[start]
        return concat(" " if apart else None, self.doc(value))

    string_arg = long_string_arg = table_arg

    def unary(self, start: int, op: Token, operand: Value) -> Part:
        part = self.part(operand)
        minus = self.text[part.start] == "-" or self.gaps[part.start]  # `--` would begin a comment
        return Part(concat(self.token(op), " " if op == "not" or minus else None, part.doc), start, part.kind if op == "-" else "")

    def binary(self, start: int, left: Value, op: Token, right: Value) -> Part | Chain:
        level = LEVELS.get(op)
        if level is None:
            return Part(concat(self.doc(left), self.token(op), self.doc(right)), start)
        if level == TO_THE_RIGHT and isinstance(right, Chain) and right.level == level:
            right.rest.append((op, right.first))
            right.start, right.first = start, self.doc(left)
            return right
        if isinstance(left, Chain) and left.level == level:
            left.rest.append((op, self.doc(right)))
            return left
        return Chain(level, start, self.doc(left), [(op, self.doc(right))])

    def chain(self, chain: Chain) -> Doc:
        docs = [chain.first]
        for op, operand in reversed(chain.rest) if chain.level == TO_THE_RIGHT else chain.rest:
            gap = self.gaps[start_of(op)]
            docs += [*self.after(gap), *self.before(gap, lambda _: Line()), Text(f"{op} "), operand]
        return Group(Indented(Concat(docs)))
