"""Random Lua programs that are valid by the grammar and look like nngraph code, laid out as badly as may be.

``Programs(random)`` writes them from any ``random.Random``; ``programs`` is the same as a hypothesis strategy, which shrinks.  They parse;
whether they evaluate is another matter.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import strategies as st

NAMES = ["x", "h", "prev_h", "i2h", "gates", "opt", "nn", "size", "self", "next_c", "_", "order", "endless"]
FIELDS = ["rnn_size", "Linear", "weight", "data", "input_size", "dtype", "n"]
MODULES = [
    "Linear(3, 4)",
    "Identity()",
    "Identity{'B', 3}",
    "Tanh()",
    "CAddTable()",
    "CMulTable()",
    "LookupTable(9, 4)",
    "gModule({x}, {h})",
]
NUMBERS = ["0", "1", "2", "10", "3.5", ".5", "3.", "1e-3", "2E+2", "0xFF", "007", "1e308"]
STRINGS = [
    "'B'",
    '"int32"',
    "''",
    r"'it\'s'",
    r'"a\tb\\"',
    "'--'",
    "'[['",
    "[[long]]",
    "[[]]",
    "[==[ ]] -- ]==]",
    "[[\none\n  two]]",
    '"a\\\nb"',
]
OPERATORS = ["+", "-", "*", "/", "%", "^", "..", "==", "~=", "<", "<=", ">", ">=", "and", "or"]
COMMENTS = ["-- why", "--", "--- doc", "-- 'quote", "-- [[not long]]", "---[[ nor this", "-- é ]]", "--\ttab  "]
BLOCK_COMMENTS = ["--[[ b ]]", "--[[]]", "--[==[ ]] ]==]", "--[[\n  two\n    lines\n]]", "--[[ 'q ]]"]

Tokens = list[str]


class Programs:
    """Draws programs.  ``depth`` bounds how deep they nest."""

    def __init__(self, r: random.Random, depth: int = 4) -> None:
        self.r, self.depth = r, depth

    def text(self, messy: float = 0.15, comments: float = 0.08) -> str:
        """A program; ``messy`` and ``comments`` say how often odd space or a comment stands between two tokens."""
        return self.lay_out(self.block(self.depth), messy, comments)

    # -- tokens

    def some(self, make: Callable[[], Tokens], most: int, least: int = 0, between: str = ",") -> Tokens:
        """Several things with a separator between them."""
        found: Tokens = []
        for i in range(self.r.randint(least, most)):
            found += ([between] if i and between else []) + make()
        return found

    def block(self, depth: int) -> Tokens:
        found: Tokens = []
        for _ in range(self.r.randint(0, 4 if depth > 1 else 1)):
            following = self.statement(depth)
            if found and following[0] == "(":  # else it would be a call of what stands before it
                found.append(";")
            found += following + [";"] * self.r.choice([0, 0, 0, 1])
        last = self.r.randrange(8)
        if last == 0:
            found += ["return", *self.some(lambda: self.expression(depth), 2)] + [";"] * self.r.randint(0, 1)
        elif last == 1:
            found += ["break"]
        return found

    def statement(self, depth: int) -> Tokens:
        kinds: list[Callable[[int], Tokens]] = [self.local, self.local, self.assign, self.call, self.node]
        if depth > 0:
            kinds += [self.do, self.loop, self.repeat, self.choice, self.numeric, self.generic, self.function, self.local_function]
        return self.r.choice(kinds)(depth - 1)

    def names(self) -> Tokens:
        return self.some(lambda: [self.r.choice(NAMES)], 3, 1)

    def values(self, depth: int) -> Tokens:
        return self.some(lambda: self.expression(depth), 3, 1)

    def local(self, depth: int) -> Tokens:
        return ["local", *self.names(), *(["=", *self.values(depth)] if self.r.randint(0, 4) else [])]

    def assign(self, depth: int) -> Tokens:
        return [*self.some(lambda: self.place(depth), 2, 1), "=", *self.values(depth)]

    def place(self, depth: int) -> Tokens:
        end = ["[", *self.expression(depth), "]"] if self.r.randint(0, 1) else [".", self.r.choice(FIELDS)]
        return [self.r.choice(NAMES)] if self.r.randint(0, 1) else self.prefix(depth) + end

    def call(self, depth: int) -> Tokens:
        method = [":", self.r.choice(FIELDS)] if self.r.randint(0, 2) == 0 else []
        return self.prefix(depth) + method + self.arguments(depth)

    def node(self, depth: int) -> Tokens:
        """local name = nn.Module(...)(node)"""
        return ["local", *self.names(), "=", *self.module(), *self.arguments(depth), *self.r.choice([[], [":", "split", "(", "2", ")"]])]

    def module(self) -> Tokens:
        return ["nn", ".", self.r.choice(MODULES)]

    def do(self, depth: int) -> Tokens:
        return ["do", *self.block(depth), "end"]

    def loop(self, depth: int) -> Tokens:
        return ["while", *self.expression(depth), "do", *self.block(depth), "end"]

    def repeat(self, depth: int) -> Tokens:
        return ["repeat", *self.block(depth), "until", *self.expression(depth)]

    def choice(self, depth: int) -> Tokens:
        found = ["if", *self.expression(depth), "then", *self.block(depth)]
        for _ in range(self.r.choice([0, 0, 1, 2])):
            found += ["elseif", *self.expression(depth), "then", *self.block(depth)]
        if self.r.randint(0, 1):
            found += ["else", *self.block(depth)]
        return [*found, "end"]

    def numeric(self, depth: int) -> Tokens:
        bounds = self.some(lambda: self.expression(depth), 3, 2)
        return ["for", self.r.choice(NAMES), "=", *bounds, "do", *self.block(depth), "end"]

    def generic(self, depth: int) -> Tokens:
        return ["for", *self.names(), "in", *self.values(depth), "do", *self.block(depth), "end"]

    def function(self, depth: int) -> Tokens:
        name = [self.r.choice(NAMES), *self.r.choice([[], [".", "f"], [":", "m"], [".", "f", ":", "m"]])]
        return ["function", *name, *self.body(depth)]

    def local_function(self, depth: int) -> Tokens:
        return ["local", "function", self.r.choice(NAMES), *self.body(depth)]

    def body(self, depth: int) -> Tokens:
        params = self.names() if self.r.randint(0, 2) else []
        if self.r.randint(0, 5) == 0:
            params += [",", "..."] if params else ["..."]
        return ["(", *params, ")", *self.block(depth), "end"]

    def prefix(self, depth: int) -> Tokens:
        start = self.r.randrange(8)
        if start == 0 and depth > 0:
            found = ["(", *self.expression(depth - 1), ")"]
        elif start < 4:
            found = self.module()
        else:
            found = [self.r.choice(NAMES)]
        for _ in range(self.r.choice([0, 0, 1, 2])):
            kind = self.r.randrange(4)
            if kind == 0:
                found += [".", self.r.choice(FIELDS)]
            elif kind == 1 and depth > 0:
                found += ["[", *self.expression(depth - 1), "]"]
            elif kind == 2:
                found += [":", self.r.choice(FIELDS), *self.arguments(depth - 1)]
            else:
                found += self.arguments(depth - 1)
        return found

    def arguments(self, depth: int) -> Tokens:
        kind = self.r.randrange(6)
        if kind == 0:
            return self.table(depth)
        if kind == 1:
            return [self.r.choice(STRINGS)]
        return ["(", *(self.some(lambda: self.expression(depth - 1), 3) if depth > 0 else []), ")"]

    def table(self, depth: int) -> Tokens:
        if depth <= 0:
            return ["{", "}"]
        kind = self.r.randrange(4)
        if kind == 0:
            items = self.some(lambda: [self.r.choice(NUMBERS)], 40)
        else:
            items = self.some(lambda: self.item(depth - 1), 4, between=self.r.choice([",", ",", ";"]))
        return ["{", *items, *(self.r.choice([[], [","], [";"]]) if items else []), "}"]

    def item(self, depth: int) -> Tokens:
        kind = self.r.randrange(4)
        if kind == 0:
            return ["[", *self.expression(depth), "]", "=", *self.expression(depth)]
        if kind == 1:
            return [self.r.choice(FIELDS), "=", *self.expression(depth)]
        return self.expression(depth)

    def expression(self, depth: int) -> Tokens:
        kind = self.r.randrange(14 if depth > 0 else 6)
        if kind < 3:
            return [self.r.choice(NAMES)]
        if kind < 6:
            return [self.r.choice([*NUMBERS, *STRINGS, "nil", "true", "false", "..."])]
        if kind < 8:
            return [*self.expression(depth - 1), self.r.choice(OPERATORS), *self.expression(depth - 1)]
        if kind == 8:
            return [self.r.choice(["-", "not", "#"]), *self.expression(depth - 1)]
        if kind == 9:
            return ["function", *self.body(depth - 1)]
        if kind == 10:
            return self.table(depth)
        return self.prefix(depth)

    # -- layout

    def lay_out(self, tokens: Tokens, messy: float, comments: float) -> str:
        text = self.filler(messy, comments)
        for token in tokens:
            text += self.gap(text, token) + token + self.filler(messy, comments)
        return text

    def filler(self, messy: float, comments: float) -> str:
        """Space and comments, or nothing."""
        text = ""
        while self.r.random() < comments:
            text += self.r.choice([" ", "\n", "\n\n", "  "])
            text += self.r.choice(BLOCK_COMMENTS) if self.r.randint(0, 2) == 0 else self.r.choice(COMMENTS) + "\n"
        if self.r.random() < messy:
            text += self.r.choice(["\n", "\n\n\n", "   ", "\t", "\n    ", "\r\n", ""])
        return text

    def gap(self, text: str, token: str) -> str:
        """What must stand between tokens, and a space or line for statements."""
        if not text or text[-1].isspace():
            return ""
        if token in ("local", "if", "for", "return", "end", "function", "while", "repeat"):
            return self.r.choice(["\n", "\n", " "])
        tight = text[-1] in "({[,;)}]'\"" or token[0] in "({),;}"
        risky = text[-1] == token[0] in "-[" or (text[-1] in "[=" and token[0] in "[=")
        return " " if risky or not tight or self.r.randint(0, 1) else ""


def programs(depth: int = 4, messy: float = 0.15, comments: float = 0.08) -> st.SearchStrategy[str]:
    """Texts of programs, as a strategy."""
    return st.randoms(use_true_random=False).map(lambda r: Programs(r, depth).text(messy, comments))
