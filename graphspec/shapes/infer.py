"""Inference: every use of every module gets its types before anything runs.

Records state constraints (``record.shapes``); they are run again and again, forwards and backwards, until nothing
new is learned.  Nested gModules and scan cells are typed once for each use, with their size letters renamed, so that one cell can
serve several shapes.  What is still untyped then is assumed to be batch-major ``[B, n]``, and marked so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from graphspec.errors import Diagnostic, Origin, SpecError, error
from graphspec.graph import GModule, Module, Node, gathered
from graphspec.shapes.cells import FLOAT, UNKNOWN, Cell, CellTree, Mismatch, Solver, hint_of
from graphspec.shapes.hints import equal_outputs, fitting_input, one_element, rearranged, repeat_hint
from graphspec.shapes.ranks import rank_of
from graphspec.sizes import Size, SizeLike

MOST_AXES = 32
"""The highest rank that is assumed, whatever dimension a module names."""


@dataclass(eq=False)
class Use:
    """One use of a module: a node of a graph, or a child of a container.  ``y`` and ``x`` are its types.

    ``subs`` holds the uses inside (of a gModule's nodes, a scan's cell, a container's children), ``nodes`` the type on each node of a
    gModule, ``letters`` what the size letters of this graph stand for.
    """

    module: Module | None
    x: Cell
    y: Cell
    origin: Origin
    node: Node | None = None
    letters: dict[str, Size] | None = None
    subs: dict[Any, Use] = field(default_factory=dict)
    nodes: dict[Node, Cell] = field(default_factory=dict)
    fresh: dict[str, Size] = field(default_factory=dict)
    failed: bool = False
    wishes: list[tuple[Cell, int]] = field(default_factory=list)
    guesses: list[Callable[[], None]] = field(default_factory=list)
    needs: list[Diagnostic] = field(default_factory=list)
    warnings: dict[str, Diagnostic] = field(default_factory=dict)


class Types(Solver):
    """The solver as records see it: the facts of one model, and which use is being looked at."""

    def __init__(self, choices: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.uses: list[Use] = []
        self.problems: list[Diagnostic] = []
        self.current: Use
        self.assumed: list[tuple[Cell, Use]] = []
        self.choices = choices
        """Which rank each assumption takes in turn (``shapes/ranks.py``); 0, the usual one, after its end."""

    # -- for records -----------------------------------------------------------------------------------------------

    def unknown(self, name: str, number: int = 0) -> Size:
        """A size unknown to begin with; the same one each time this use asks for ``name`` (and ``number``, to have several)."""
        key = f"{name}{number}" if number else name
        if key not in self.current.fresh:
            self.current.fresh[key] = self.letter(name)
        return self.current.fresh[key]

    def size(self, value: SizeLike) -> Size:
        """A constructor's size argument with its letters as they are meant in this graph."""
        n = value if isinstance(value, Size) else Size.const(value)
        return self.resolve(n.substitute({name: self._scoped(name) for name in n.letters}))

    def _scoped(self, name: str) -> Size:
        letters = self.current.letters
        if letters is None:
            return Size.letter(name)
        if name not in letters:
            letters[name] = self.letter(name)
        return letters[name]

    def like(self, x: Cell, y: Cell, rank: int = 2) -> None:
        """Output like input, both float; ``rank`` is assumed when nobody says more."""
        self.set(x, dtype=FLOAT)
        self.same(x, y)
        self.wish(x, rank)

    def wish(self, x: Cell, rank: int) -> None:
        """Assume this rank for ``x`` if its rank stays unknown."""
        if self.is_table(x) is None:
            self.current.wishes.append((x, min(rank, MOST_AXES)))

    def guess(self, action: Callable[[], None]) -> None:
        """State this (``equate``, ``set`` ...) if nothing decides otherwise."""
        self.current.guesses.append(action)

    def need(self, diagnostic: Diagnostic) -> None:
        """What to tell the user if no more than now ever becomes known here."""
        self.current.needs.append(diagnostic)

    def warn(self, diagnostic: Diagnostic) -> None:
        """A warning about the current use, once for each code; withdrawn when a later round does not repeat it."""
        self.current.warnings[diagnostic.code] = diagnostic

    @property
    def warnings(self) -> list[Diagnostic]:
        return merge_repeats([w for use in self.uses for w in use.warnings.values()])

    def same_dtype(self, *cells: Cell) -> None:
        """The tensors have one dtype, whichever it is."""
        known = next((d for d in (self.find(c).dtype for c in cells) if d is not None), None)
        if known is not None:
            for cell in cells:
                self.set(cell, dtype=known)

    def last_axis(self, x: Cell, n: SizeLike) -> None:
        """State the size of the last axis; a scalar does not fit."""
        dims = self.dims(x)
        if dims is not None:
            if not dims:
                raise Mismatch("a scalar has no last axis")
            self.equate(dims[-1], n, len(dims) - 1)

    def relate(self, x: Cell, y: Cell, forward: Callable[[tuple[Size, ...]], Sequence[SizeLike]],
               backward: Callable[[tuple[Size, ...]], Sequence[SizeLike]] | None = None) -> None:
        """``y``'s sizes from ``x``'s, or the other way round, whichever is known first."""
        dims = self.dims(x)
        if dims is not None:
            self.set(y, forward(dims))
            return
        known = self.dims(y)
        if known is not None and backward is not None:
            self.set(x, backward(known))

    def alike(self, cells: Sequence[Cell], code: str, message: str) -> None:
        """All are tensors of the same type; the error labels each input with its shape.

        A tensor that is not known yet is given the rank only, one round before its sizes: so the modules it comes from say first what they
        know, and a clash is reported here, with both ends, and not inside one of them.
        """
        known = next((self.dims(c) for c in cells if self.is_table(c) is not None), None)
        self.same_dtype(*cells)
        waiting = [c for c in cells if self.is_table(c) is None]
        for cell in waiting if known is not None else []:
            if self.is_table(cell) is None:
                self.set(cell, [self.letter("B" if i == 0 else "n") for i in range(len(known or ()))])
        for position, cell in enumerate(cells[1:], 2):
            if cell in waiting or cells[0] in waiting:
                continue
            try:
                self.same(cells[0], cell)
            except Mismatch as clash:
                text = clash.message if clash.axis is None else f"dim {clash.axis + 1}: {clash.message}"
                problem = self.explain(code, message, text, [(1, cells[0]), (position, cell)])
                if self.is_table(cells[0]) is False and self.is_table(cell) is False:
                    problem = problem.with_help(*repeat_hint(self.dims(cells[0]) or (), self.dims(cell) or ()))
                given = self.current.node.inputs if self.current.node else None
                ends = [given[0], given[position - 1]] if isinstance(given, tuple) and len(given) >= position else []
                raise SpecError(replace(problem, fixes=equal_outputs(ends))) from None

    def explain(self, code: str, message: str, label: str, inputs: Sequence[tuple[int, Cell]] = (), **more: Any) -> Diagnostic:
        """A diagnostic at the current use that labels the given inputs (numbered from 1) with their shapes."""
        others: list[tuple[Origin, str]] = []
        given = self.current.node.inputs if self.current.node else None
        for position, cell in inputs:
            place = given[position - 1] if isinstance(given, tuple) and position <= len(given) else given if position == 1 else None
            if isinstance(place, Node):
                name = f"input {position}" if isinstance(given, tuple) else "input"
                others.append((place.origin, f"{name}: {self.show(cell)}"))
        return error(code, message, self.current.origin, label, others=others, **more)

    def child(self, key: Any, module: Module, x: Cell, y: Cell) -> Use:
        """The use of an inner module (of a container, or a scan's cell) from ``x`` to ``y``."""
        current = self.current
        if key not in current.subs:
            current.subs[key] = Use(module, x, y, replace_span(module.origin, current.origin), letters=current.letters)
            self.uses.append(current.subs[key])
            self.changes += 1
        return current.subs[key]

    def graph(self, module: GModule, x: Cell, y: Cell) -> None:
        """The uses inside a gModule; called once more on every round, and then does nothing new."""
        outer = self.current
        if outer.nodes:
            return
        letters: dict[str, Size] | None = None if outer is self.uses[0] else {}
        for node in module.nodes:
            outer.nodes[node] = Cell()
        outer.letters, outer_letters = letters, outer.letters
        sources = [x] if len(module.inputs) == 1 else self.table(x, len(module.inputs))
        for node in module.nodes:
            if node in module.inputs:
                inner = sources[module.inputs.index(node)]
            else:
                inner = Cell() if node.inputs is None else self.tree(gathered(node.inputs, outer.nodes))
            use = Use(node.module, inner, outer.nodes[node], node.origin, node, letters)
            outer.subs[node] = use
            self.uses.append(use)
        outer.letters = letters if letters is not None else outer_letters
        outs = [outer.nodes[node] for node in module.outputs]
        if len(outs) == 1:
            self.same(y, outs[0])
        else:
            for mine, theirs in zip(self.table(y, len(outs)), outs, strict=True):
                self.same(mine, theirs)
        self.changes += 1

    def tree(self, cells: CellTree) -> Cell:
        """A nested table of cells as one cell."""
        if isinstance(cells, Cell):
            return cells
        whole = Cell()
        whole.items = [self.tree(item) for item in cells]
        return whole

    # -- the fixpoint ----------------------------------------------------------------------------------------------

    def run(self, root: Use) -> None:
        """To the fixpoint, with assumptions where nothing else helps; raises SpecError with all that is wrong."""
        self.uses.append(root)
        self.current = root
        while True:
            self._sweep()
            if self.problems:
                raise SpecError(*merge_repeats(self.problems)[:20])
            if not self._assume():
                break
        for use in self.uses:
            for leaf in self.leaves(use.y):
                self.find(leaf).dtype = self.find(leaf).dtype or FLOAT

    def _sweep(self) -> None:
        while True:
            before = self.changes
            for use in self.uses:  # grows while it is walked
                if not use.failed:
                    self._apply(use)
            try:
                self.settle()
            except Mismatch as clash:
                self.problems.append(error("E0302", f"sizes do not fit: {clash.message}", self.origin))
            if self.changes == before or self.problems:
                return

    def _apply(self, use: Use) -> None:
        use.wishes.clear()
        use.guesses.clear()
        use.needs.clear()
        use.warnings.clear()
        module = use.module
        if module is None:
            self._try(use, lambda: self._piece(use))
        else:
            self._try(use, lambda: module.record.shapes(self, module, use.x, use.y))

    def _try(self, use: Use, action: Callable[[], None]) -> None:
        self.current, self.origin = use, use.origin
        try:
            action()
        except Mismatch as clash:
            use.failed = True
            what = f"nn.{use.module.record.name}" if use.module else "split"
            text = clash.message if clash.axis is None else f"dim {clash.axis + 1}: {clash.message}"
            parts: list[tuple[int, Cell]] = [(1, use.x)]
            if use.node is not None and isinstance(use.node.inputs, tuple) and self.find(use.x).items:
                parts = list(enumerate(self.find(use.x).items or [], 1))
            if self._about_output(use, clash):
                self.problems.append(self._unwanted(use, clash, what, text))
                return
            ours = clash.table and use.module is not None and not isinstance(use.module, GModule)
            helps = [f"`graphspec modules {what.removeprefix('nn.')}` says what it takes"] if ours else []
            problem = self.explain("E0302", f"{what}: the input does not fit", text, parts, helps=helps)
            if clash.axis is not None:
                dims = [self.resolve(n) for n in self.find(use.x).dims or ()]
                fixes = rearranged(use.module, dims, clash.axis, clash.right)
                problem = replace(problem, fixes=fixes or fitting_input(use.module, use.node.inputs if use.node else None, clash.left))
            self.problems.append(problem)
        except SpecError as failure:
            use.failed = True
            self.problems.extend(failure.diagnostics)

    def _about_output(self, use: Use, clash: Mismatch) -> bool:
        """Whether what does not fit is a size or the rank of the output, and of no input."""
        if clash.cell is not None:
            return clash.cell in self.leaves(use.y) and clash.cell not in self.leaves(use.x)
        outputs, inputs = ([d for leaf in self.leaves(cell) for d in self.find(leaf).dims or ()] for cell in (use.y, use.x))
        sizes = [[self.resolve(n) for n in dims] for dims in (outputs, inputs)]
        return clash.axis is not None and clash.left in sizes[0] and clash.left not in sizes[1]

    def _unwanted(self, use: Use, clash: Mismatch, what: str, text: str) -> Diagnostic:
        """Something that was typed before reads this output, and wants another size, or another rank."""
        others = []
        for leaf in self.leaves(use.y):
            dims = [self.resolve(n) for n in self.find(leaf).dims or ()]
            others += [(origin, "wanted here") for n, (origin, _) in zip(dims, self.fixed_by(leaf), strict=True) if n == clash.left]
        if clash.cell is not None:
            text = f"{self.shown(clash.wanted)} comes out of it, where {self.show(clash.cell)} is wanted"
            others = [(clash.cell.origin, f"wants {self.show(clash.cell)}")]
        elsewhere = [(origin, words) for origin, words in others if origin.span not in (None, use.origin.span)]
        return error("E0302", f"{what}: its output does not fit", use.origin, text, others=elsewhere[:1],
                     helps=one_element(clash.wanted, clash.cell.dims or ()) if clash.cell else [])  # fmt: skip

    def _piece(self, use: Use) -> None:
        assert use.node is not None and use.node.piece is not None
        index, count = use.node.piece
        if count == 1 and self.is_table(use.x) is not True:
            if self.is_table(use.x) is False:
                self.same(use.x, use.y)  # split(1) of a tensor is the tensor
            return
        found = self.items(use.x)
        if found is not None and len(found) != count:
            raise SpecError(self.explain("E0303", f"split({count}) of a table of {len(found)}", f"{len(found)} values: {self.show(use.x)}"))
        self.same(self.table(use.x, count)[index], use.y)

    def _assume(self) -> bool:
        """Assume the type of one value that nothing determines; False when there is none."""
        wished: dict[Cell, tuple[int, Use]] = {}
        for use in self.uses:
            for cell, rank in use.wishes:
                if self.is_table(cell) is None:
                    most, first = wished.get(self.find(cell), (0, use))
                    wished[self.find(cell)] = (max(most, rank), first)
        for use in self.uses:  # from the inputs on: what is said of one module says what comes after
            for cell, (rank, first) in wished.items():
                if first is use:
                    self._default(cell, rank, use)
                    return True
            for action in list(use.guesses):
                before = self.changes
                self._try(use, action)
                if self.changes != before or self.problems:
                    return True
        self.problems.extend(need for use in self.uses for need in use.needs)
        if self.problems:
            return True
        for use in self.uses:
            for cell in (use.x, use.y):
                for leaf in self.leaves(cell):
                    if self.is_table(leaf) is None and (use.module is not None or cell is use.y):
                        self._default(leaf, 2, use)
                        return True
        return False

    def _default(self, cell: Cell, rank: int, use: Use) -> None:
        place = len(self.assumed)
        rank = rank_of(rank, self.choices[place] if place < len(self.choices) else 0)
        hints = ["B", *"nmkl", *"n" * rank][:rank]
        self.set(cell, [self.letter(h) for h in hints], None if self.find(cell).dtype else FLOAT)
        self.find(cell).note = "assumed"
        self.assumed.append((cell, use))


def replace_span(origin: Origin, fallback: Origin) -> Origin:
    return origin if origin.span else fallback


def name_letters(types: Types, roots: Sequence[Cell]) -> None:
    """Give made-up letters that are left good names (B, n, n2 ...), in the order in which they are met."""
    taken = {name for use in types.uses for cell in (use.x, use.y) for leaf in types.leaves(cell)
             for n in (types.dims(leaf) or ()) for name in n.letters if not name.startswith(UNKNOWN)} | types.bindings.keys()
    for cell in [*roots, *(use.y for use in types.uses)]:
        for leaf in types.leaves(cell):
            for n in types.dims(leaf) or ():
                for letter in sorted(n.letters, key=lambda s: int("0" + "".join(filter(str.isdigit, s.lstrip("?"))))):
                    if letter.startswith(UNKNOWN) and letter not in types.bindings:
                        name, number = hint_of(letter), 1
                        while name in taken:
                            number += 1
                            name = f"{hint_of(letter)}{number}"
                        taken.add(name)
                        types.bindings[letter] = Size.letter(name)


def merge_repeats(problems: Sequence[Diagnostic]) -> list[Diagnostic]:
    """The same mistake in several turns of a loop, or calls of a function, as one: "L = 1 (the same for L = 2)"."""
    groups: dict[tuple[str, Any], list[Diagnostic]] = {}
    for problem in problems:
        groups.setdefault((problem.code, problem.span or problem.message), []).append(problem)
    merged = []
    for group in groups.values():
        first = group[0]
        notes = list(first.notes)
        for i, note in enumerate(notes):
            head, _, turn = note.rpartition(", ")
            if head.startswith("in `for") and " = " in turn:
                others = [n.rpartition(", ")[2] for d in group[1:] for n in d.notes if n.rpartition(", ")[0] == head]
                others = [t for t in dict.fromkeys(others) if t != turn]
                if others:
                    notes[i] = f"{note} (the same for {', '.join(others[:4])}{', ...' if len(others) > 4 else ''})"
        merged.append(replace(first, notes=tuple(notes)))
    return merged


