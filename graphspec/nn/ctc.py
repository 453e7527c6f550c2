"""Connectionist temporal classification: the loss of label sequences that are not aligned with the frames."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, Sample, register
from graphspec.ir.builder import Builder
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import LOWEST, only
from graphspec.nn.criterion import Criterion, Losses
from graphspec.nn.transfer import log_softmax
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types


@register
class CTCCriterion(Criterion):
    """``-log p(target | x)``, over all ways to lay a target's classes on the frames with repeats and blanks between them, the sum over the
    batch: ``{x [T, B, n], targets int32 [B, L], sizes int32 [B], targetSizes int32 [B]} -> []``.

    x are scores (or log-probabilities, which LogSoftMax leaves as they are); with ``batchFirst`` they are ``[B, T, n]``.  ``sizes`` says
    how many frames of each sequence count, ``targetSizes`` how many of its targets; what is after them may be anything.  Classes count
    from 1, and ``blank`` is the class of the blank.  A sequence that is too short for its target has the loss 0, and no gradient, as in
    warp-ctc.  With ``sizeAverage = true`` it is the mean over the batch.

    The recursion over frames is a scan in log space, composed of pointwise ops and one gather of all scores at once.  A primitive of its
    own would need a second recursion as its gradient, by hand, in each backend; the scan's gradient is that recursion.
    """

    name = "CTCCriterion"
    doc = "the negative log likelihood of label sequences that are not aligned with the frames"
    source = "Graves, Fernandez, Gomez and Schmidhuber (2006), https://www.cs.toronto.edu/~graves/icml_2006.pdf; nnx, with warp-ctc"
    differs = (
        "targets are padded to one length, and both lengths are inputs, where nnx has tables; classes count from 1 and the blank is"
        " class 1, so labels are one more than in nnx; blank and sizeAverage are arguments"
    )
    of_rows = False
    arguments = (Argument("batchFirst", "flag", False), Argument("sizeAverage", "flag", False), Argument("blank", "size", 1))
    samples = (
        Sample((), ((4, 2, 3), Leaf((2, 2), index=True, values=(2, 3, 2, 0)), Leaf((2,), index=True, values=(4, 3)),
                    Leaf((2,), index=True, values=(2, 1)))),
        Sample((True, True), ((2, 5, 3), Leaf((2, 3), index=True, values=(2, 2, 3, 3, 3, 9)), Leaf((2,), index=True, values=(5, 4)),
                              Leaf((2,), index=True, values=(3, 2)))),
        Sample((False, False, 3), ((3, 3, 3), Leaf((3, 2), index=True, values=(1, 1, 2, 1, 5, 5)), Leaf((3,), index=True, values=(3, 2, 2)),
                                   Leaf((3,), index=True, values=(2, 2, 0)))),
        Sample((), ((2, 2, 2), Leaf((2, 2), index=True, values=(2, 2, 2, 2)), Leaf((2,), index=True, values=(2, 1)),
                    Leaf((2,), index=True, values=(2, 1)))),
    )  # fmt: skip

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        if a.blank > 2**31 - 1:
            raise fail("E0422", f"nn.{self.name}: blank must be a class, got {a.blank}", origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        scores, targets, sizes, target_sizes = s.table(x, 4)
        steps, rows, n = s.unknown("T"), s.unknown("B"), s.unknown("n")
        s.set(scores, (rows, steps, n) if m.args.batchFirst else (steps, rows, n), FLOAT)
        s.set(targets, (rows, s.unknown("L")), "int32")
        for lengths in (sizes, target_sizes):
            s.set(lengths, (rows,), "int32")
        s.set(y, (), FLOAT)
        classes = s.resolve(n).value
        if classes is not None and m.args.blank > classes:
            raise Mismatch(f"blank is class {m.args.blank} of {classes}")

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        assert isinstance(x, tuple)
        scores, targets, sizes, lengths = map(only, x)
        scores = b.transpose(scores, (1, 0, 2)) if m.args.batchFirst else scores
        sizes, lengths = b.check_index(sizes, scores.shape[0] + 1, base=0), b.check_index(lengths, targets.shape[1] + 1, base=0)
        states = self._states(b, targets, lengths, scores, m.args.blank - 1)
        log_p = self._forward(b, _scores_of(b, log_softmax(b, scores, 2), states), states, sizes)
        last = b.mul(lengths, b.full_like(lengths, 2))
        before = b.maximum(b.sub(last, b.full_like(last, 1)), b.full_like(last, 0))
        some = b.compare(lengths, b.full_like(lengths, 0), "gt")
        at_blank, at_class = b.pick(log_p, last), b.pick(log_p, before)
        found = log_add(b, [at_blank, b.where(some, at_class, b.full_like(at_class, LOWEST))])
        impossible = b.compare(found, b.full_like(found, LOWEST / 2), "le")
        return Losses(b.where(impossible, b.full_like(found, 0), b.neg(found)))

    @staticmethod
    def _states(b: Lowering, targets: Value, lengths: Value, scores: Value, blank: int) -> Value:
        """Classes from 0 with blanks around each: ``[B, 2L + 1]``."""
        batch, length = targets.shape
        inside = b.compare(b.broadcast(b.iota(length), targets.shape, (1,)), b.broadcast(lengths, targets.shape, (0,)), "lt")
        classes = b.zero_based(b.where(inside, targets, b.full_like(targets, b.session.index_base)), scores.shape[2])
        pairs = b.concat([b.unsqueeze(b.full_like(classes, blank), 2), b.unsqueeze(classes, 2)], 2)
        return b.concat([b.reshape(pairs, (batch, 2 * length)), b.full(blank, (batch, 1), "int32")], 1)

    @staticmethod
    def _forward(b: Lowering, scores: Value, states: Value, sizes: Value) -> Value:
        """Log-probabilities of having got to each state after the last frame that counts: ``[T, B, S] -> [B, S]``."""
        shape = states.shape
        ahead = b.slice(b.pad(states, 1, 2, 0), 1, 0, shape[1])
        skips = b.compare(states, ahead, "ne")  # over a blank, from another class; never from blank to blank
        start = b.compare(b.iota(shape[1]), b.full(0, (shape[1],), "int32"), "eq")
        lowest = b.full(LOWEST, shape, scores.dtype)
        first = b.where(b.broadcast(start, shape, (1,)), b.full_like(lowest, 0), lowest)

        def body(inner: Builder, t: Value, consts: list[Value], carries: list[Value], xs: list[Value]) -> Any:
            (old,), (skip, ends), (emitted,) = carries, consts, xs
            one = _moved(inner, old)
            two = _moved(inner, one)
            two = inner.where(skip, two, inner.full_like(two, LOWEST))
            new = inner.add(log_add(inner, [old, one, two]), emitted)
            running = inner.compare(inner.broadcast(t, ends.shape, ()), ends, "lt")
            return [inner.where(inner.broadcast_first(running, new), new, old)], [], []

        (last,), _, _ = b.scan(scores.shape[0], [skips, sizes], [first], [scores], body)
        return last


def _scores_of(b: Builder, log_p: Value, states: Value) -> Value:
    """The score of each state's class at each frame: ``[T, B, n] -> [T, B, S]``, as rows of a table ``[B n, T]``."""
    steps, batch, n = log_p.shape
    table = b.reshape(b.transpose(log_p, (1, 2, 0)), (batch * n, steps))
    start = b.mul(b.iota(batch), b.broadcast(b.size_value(n, "int32"), (batch,), ()))
    return b.transpose(b.gather(table, b.add(states, b.broadcast(start, states.shape, (0,)))), (2, 0, 1))


def _moved(b: Builder, x: Value) -> Value:
    """One state on, with nothing in the first."""
    batch, states = x.shape
    return b.concat([b.full(LOWEST, (batch, 1), x.dtype), b.slice(x, 1, 0, states - 1)], 1)


def log_add(b: Builder, terms: list[Value]) -> Value:
    """``log(sum(exp(term)))`` of tensors of one shape."""
    largest = terms[0]
    for term in terms[1:]:
        largest = b.maximum(largest, term)
    largest = b.stop_gradient(largest)
    first, *others = (b.exp(b.sub(term, largest)) for term in terms)
    for other in others:
        first = b.add(first, other)
    return b.add(largest, b.log(first))
