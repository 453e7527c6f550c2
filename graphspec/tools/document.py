"""A document printer after Wadler ("A prettier printer", 2003): groups lie flat where they fit and break at all their lines where not.

Every document knows its width when flat and the width before its first possible break, so a group is measured in constant time and
printing is linear in the text.  Measures read nothing that a first formatting changes: formatting twice is formatting once.
"""

from __future__ import annotations

from collections.abc import Sequence

INDENT = 2
NEVER = 10**9
"""The flat width of what cannot lie flat."""


class Doc:
    """``flat``: width on one line; ``head``: width before the first place where it may break, if it ``breaks``."""

    __slots__ = ("breaks", "flat", "head")

    def __init__(self, flat: int, head: int, breaks: bool) -> None:
        self.flat, self.head, self.breaks = min(flat, NEVER), head, breaks


class Text(Doc):
    """Text as it is; several lines are measured by the first."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text
        first = text.find("\n")
        super().__init__(len(text) if first < 0 else first, len(text) if first < 0 else first, first >= 0)


class Aside(Text):
    """Text that breaks no group before it, as a comment at the end of the line does not."""

    __slots__ = ()

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.head, self.breaks = 0, True


class Line(Doc):
    """As many ``spaces`` in a flat group, else a newline, with an empty line before it if ``blank``."""

    __slots__ = ("blank", "spaces")

    def __init__(self, spaces: int = 1, blank: bool = False) -> None:
        self.spaces, self.blank = spaces, blank
        super().__init__(spaces, 0, True)


class Hard(Doc):
    """A newline."""

    __slots__ = ("blank",)

    def __init__(self, blank: bool = False) -> None:
        self.blank = blank
        super().__init__(NEVER, 0, True)


class Fill(Doc):
    """A space where the next ``width`` columns fit on the line, else a newline."""

    __slots__ = ("width",)

    def __init__(self, width: int, _: bool = False) -> None:
        self.width = width
        super().__init__(1, 0, True)


class IfBroken(Doc):
    """Text that stands only in a broken group."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(0, len(text), False)


class Comment(Doc):
    """A comment after what stands on its line (``own``: on a line of its own); the line ends after it.  ``line``: it begins as one
    that runs to the end of its line.

    Where no line was expected to end, the next one is indented more.  Its width breaks no group before it.
    """

    __slots__ = ("line", "own", "text")

    def __init__(self, text: str, line: bool, own: bool = False) -> None:
        self.text, self.line, self.own = text, line, own
        super().__init__(NEVER, 0, True)


class Concat(Doc):
    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Doc]) -> None:
        self.parts = parts
        flat = head = 0
        breaks = False
        for part in parts:
            flat += part.flat
            if not breaks:
                head += part.head
                breaks = part.breaks
        super().__init__(flat, head, breaks)


class Indented(Doc):
    __slots__ = ("inner",)

    def __init__(self, inner: Doc) -> None:
        self.inner = inner
        super().__init__(inner.flat, inner.head, inner.breaks)


class Group(Doc):
    """Flat where it fits, unless ``broken`` already."""

    __slots__ = ("broken", "inner")

    def __init__(self, inner: Doc, broken: bool = False) -> None:
        self.inner, self.broken = inner, broken
        super().__init__(NEVER if broken else inner.flat, inner.head, inner.breaks)


class Hug(Doc):
    """Flat where it fits; else ``start`` flat and the group ``last`` broken after it, if the start and the first line of ``last`` fit;
    else ``spread``, the same with every part on lines of its own."""

    __slots__ = ("last", "spread", "start", "stop")

    def __init__(self, start: Doc, last: Doc, stop: Doc, spread: Doc) -> None:
        self.start, self.last, self.stop, self.spread = start, last, stop, spread
        super().__init__(start.flat + last.flat + stop.flat, spread.head, True)


def concat(*parts: Doc | str | None) -> Doc:
    """Documents and texts in a row."""
    return Concat([Text(p) if isinstance(p, str) else p for p in parts if p])


class Printer:
    """Prints a document; ``width`` is the column that lines should not pass."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.out: list[str] = []
        self.column = 0
        self.spaces = 0  # owed before the next text of the line
        self.fresh = True  # nothing stands on the line
        self.indent = 0  # of the line
        self.ended: int | None = None  # a comment has ended the line: the next text stands on a new one, indented this much

    def newline(self, indent: int, blank: bool = False) -> None:
        self.out.append("\n\n" if blank else "\n")
        self.column = self.indent = indent
        self.fresh, self.spaces, self.ended = True, 0, None

    def text(self, text: str) -> None:
        solid = text.rstrip(" ")  # spaces wait for what follows: none end a line
        if solid:
            if self.ended is not None:
                self.newline(self.ended)
            self.out.append(" " * (self.indent if self.fresh else self.spaces))
            self.out.append(solid)
            self.column += self.spaces + len(solid)
            if "\n" in solid:
                self.column = len(solid) - solid.rfind("\n") - 1
            self.fresh, self.spaces = False, 0
        if not self.fresh and self.ended is None:
            self.spaces += len(text) - len(solid)

    def comment(self, comment: Comment, indent: int) -> None:
        deeper = indent + INDENT
        if not self.fresh and (comment.own or self.ended is not None):
            self.newline(deeper if self.ended is None else self.ended)
        if self.fresh:
            deeper = self.indent
        else:
            self.spaces = 2 if comment.line else 1
        self.text(comment.text)
        self.ended = deeper

    def print(self, document: Doc) -> str:
        stack: list[tuple[int, bool, Doc]] = [(0, False, document)]  # indentation, flat, document
        while stack:
            indent, flat, doc = stack.pop()
            match doc:
                case Text():
                    self.text(doc.text)
                case Concat():
                    stack.extend((indent, flat, part) for part in reversed(doc.parts))
                case Indented():
                    stack.append((indent + INDENT, flat, doc.inner))
                case Group():
                    stack.append((indent, flat or (not doc.broken and self.fits(doc.flat, stack)), doc.inner))
                case Line() if flat:
                    if self.ended is not None:
                        self.newline(indent)
                    else:
                        self.text(" " * doc.spaces)
                case Line() | Hard():
                    self.newline(indent, doc.blank)
                case Fill():
                    if flat or self.column + self.spaces + 1 + doc.width <= self.width:
                        self.text(" ")
                    else:
                        self.newline(indent)
                case IfBroken():
                    self.text("" if flat else doc.text)
                case Comment():
                    self.comment(doc, indent)
                case Hug():
                    self.hug(doc, indent, flat, stack)
        return "".join(self.out)

    def hug(self, doc: Hug, indent: int, flat: bool, stack: list[tuple[int, bool, Doc]]) -> None:
        if flat or self.fits(doc.flat, stack):
            stack.extend([(indent, True, doc.stop), (indent, True, doc.last), (indent, True, doc.start)])
        elif self.column + self.spaces + doc.start.flat + doc.last.head <= self.width:
            stack.extend([(indent, False, doc.stop), (indent, False, doc.last), (indent, True, doc.start)])
        else:
            stack.append((indent, False, doc.spread))

    def fits(self, width: int, rest: list[tuple[int, bool, Doc]]) -> bool:
        """Whether a document of this width, and what follows up to the next possible break, end before the last column."""
        left = self.width - self.column - self.spaces - width
        for _, _, following in reversed(rest):
            if left < 0:
                return False
            left -= following.head
            if following.breaks:
                break
        return left >= 0
