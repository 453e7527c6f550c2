"""Beam search against a plain one and against exhaustive search, forced scores, and what must not change a result."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from decoders import MODELS, SPECS, Plain, forced, opened, pairs_model, penalty, plain_beam, sources, table_of_pairs
from graphspec.data.vocabulary import START, STOP
from graphspec.training.decoding import Hypothesis, Settings
from graphspec.training.experiment import Experiment


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table_of_pairs(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", params=[name for name in MODELS if name != "rising scores"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str, table: Path) -> Experiment:
    return pairs_model(name, table)


@pytest.fixture(scope="module")
def plain(model: Experiment, name: str, table: Path) -> Plain:
    return Plain(model, name, table)


def test_the_models_have_what_they_are_for(table: Path) -> None:
    states = {name: opened(name, table).decoder.model.typed.inputs[1] for name in MODELS}
    assert all(isinstance(layer, tuple) for layer in states["nested state"]) and len(states["nested state"]) == 2
    assert str(states["batch axis last"].shape[1]) == "B"


# -- beam search -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8])
def test_a_beam_search_is_the_plain_one_hypothesis_by_hypothesis(model: Experiment, plain: Plain, width: int) -> None:
    texts, alpha = sources(200), 0.0 if width % 2 else 0.7
    found = model.generate(texts, length=7, beam=width, n_best=width, length_penalty=alpha)
    total = ended = 0
    for text, hypotheses in zip(texts, found, strict=True):
        wanted = plain_beam(plain, text, width, 7, alpha)
        assert [(h.symbols, h.ended) for h in hypotheses] == [(symbols, e) for symbols, _, e in wanted], text
        np.testing.assert_allclose([h.score for h in hypotheses], [score for _, score, _ in wanted], rtol=1e-9)
        total, ended = total + len(hypotheses), ended + sum(h.ended for h in hypotheses)
    assert 0.1 * total < ended < total, "some end, and some are cut off"


def test_a_beam_of_one_takes_the_likeliest_symbols(model: Experiment) -> None:
    texts = sources(60)
    beam, greedy = (model.generate(texts, length=9, **how) for how in ({"beam": 1}, {}))
    assert [h[0].symbols for h in beam] == [h[0].symbols for h in greedy]
    np.testing.assert_allclose([h[0].log_p for h in beam], [h[0].log_p for h in greedy])
    assert [h[0].ended for h in beam] == [h[0].ended for h in greedy]
    assert len({h[0].symbols for h in greedy}) >= 3


@pytest.mark.parametrize("alpha", [0.0, 0.8])
def test_a_beam_as_wide_as_the_space_is_exhaustive_search(model: Experiment, alpha: float) -> None:
    """A beam with more places than there are hypotheses: those that are none stay out, whatever their scores are divided by."""
    decoder, length = model.decoder, 3
    stop = decoder.vocabulary.index(STOP)
    others = [i for i in range(1, decoder.model.symbols + 1) if i != stop]
    width = len(others) ** length + 50
    for source in ("ab", "c"):
        (found,) = model.generate([source], length=length, beam=width, n_best=width, length_penalty=alpha)
        shorter = [s for n in range(length) for s in itertools.product(others, repeat=n)]
        assert {h.symbols for h in found if h.ended} == set(shorter)
        assert {h.symbols for h in found if not h.ended} == set(itertools.product(others, repeat=length))
        sums = zip(shorter, forced(model, source, shorter), strict=True)
        scores = {symbols: total / penalty(len(symbols) + 1, alpha) for symbols, total in sums}
        best = sorted(scores, key=lambda symbols: -scores[symbols])
        assert [h.symbols for h in found if h.ended] == best
        np.testing.assert_allclose([h.score for h in found if h.ended], [scores[s] for s in best])
        assert sum(math.exp(h.log_p) for h in found) == pytest.approx(1)


def test_the_best_of_a_wide_beam_is_the_best_there_is(model: Experiment) -> None:
    """What has ended is no reason to stop while something likelier lives: with n-best lists far shorter than the beam too."""
    length = 4
    stop = model.decoder.vocabulary.index(STOP)
    others = [i for i in range(1, model.decoder.model.symbols + 1) if i != stop]
    shorter = [s for n in range(length) for s in itertools.product(others, repeat=n)]
    for source in sources(5):
        (found,) = model.generate([source], length=length, beam=40, n_best=2)
        scores = dict(zip(shorter, forced(model, source, shorter), strict=True))
        assert [h.symbols for h in found] == sorted(scores, key=lambda symbols: -scores[symbols])[:2]


def test_a_length_of_none_gives_the_empty_sequence(model: Experiment) -> None:
    for how in ({}, {"beam": 3, "n_best": 3}):
        ((h,),) = model.generate(["ab"], length=0, **how)
        assert (h.symbols, h.text, h.score, h.log_p, h.ended) == ((), "", 0, 0, False)


# -- what must not matter --------------------------------------------------------------------------------------------------------


def with_settings(model: Experiment, settings: Settings, texts: Sequence[str]) -> list[list[Hypothesis]]:
    batch = model._pairs.padded(model.encoded(texts), [np.zeros(0, np.int32)] * len(texts))
    return model.decoder.generate(batch, len(texts), settings)


def same(found: Sequence[Sequence[Hypothesis]], wanted: Sequence[Sequence[Hypothesis]]) -> None:
    assert [[(h.symbols, h.ended) for h in row] for row in found] == [[(h.symbols, h.ended) for h in row] for row in wanted]
    for left, right in zip(itertools.chain(*found), itertools.chain(*wanted), strict=True):
        assert left.score == pytest.approx(right.score, rel=1e-9)
        for one, other in zip(left.extras, right.extras, strict=True):
            np.testing.assert_allclose(one[:, : other.shape[1]], other, atol=1e-9)


@pytest.mark.parametrize("how", [{}, {"beam": 3}, {"temperature": 0.9}, {"temperature": 1.1, "top_k": 3, "top_p": 0.8}], ids=str)
def test_the_length_of_a_chunk_does_not_matter(model: Experiment, how: dict[str, Any]) -> None:
    texts = sources(7)
    wanted = with_settings(model, Settings(11, **how), texts)
    for chunk in (1, 2, 5, 11, 40):
        same(with_settings(model, Settings(11, **how, chunk=chunk), texts), wanted)


def test_what_is_done_stays_done_where_scores_can_rise(table: Path) -> None:
    """A step may give numbers that are no log-probabilities: what is set aside is then no longer the best, but not a matter of chunks."""
    model, texts = pairs_model("rising scores", table), sources(40)
    plain = Plain(model, "rising scores", table)
    wanted = [plain_beam(plain, text, 3, 12, 0.0) for text in texts]
    for chunk in (1, 5, 12):
        found = with_settings(model, Settings(12, beam=3, chunk=chunk), texts)
        assert [[(h.symbols, h.ended) for h in row] for row in found] == [[(symbols, e) for symbols, _, e in row] for row in wanted]


@pytest.mark.parametrize("how", [{}, {"beam": 4, "n_best": 4, "length_penalty": 1.0}], ids=str)
def test_what_else_is_in_the_batch_does_not_matter(model: Experiment, how: dict[str, Any]) -> None:
    texts = sources(9)
    same(model.generate(texts, length=8, batch=4, **how), [model.generate([text], length=8, **how)[0] for text in texts])


@pytest.mark.parametrize("how", [{}, {"beam": 3, "n_best": 3}, {"temperature": 1.0}, {"temperature": 1.0, "top_k": 3, "top_p": 0.9}])
def test_devices_agree(table: Path, how: dict[str, Any]) -> None:
    numpy, reference = (pairs_model("attention", table, device=device) for device in ("numpy", "reference"))
    same(numpy.generate(sources(3), length=5, **how), reference.generate(sources(3), length=5, **how))


def test_what_is_trained_is_what_generates(model: Experiment, name: str, table: Path) -> None:
    """Programs stay bound to their parameters, and these change."""
    changing, texts = pairs_model(name, table, seed=4), sources(6)
    before = changing.generate(texts, length=6, beam=2)
    for key, array in changing.parameters.items():
        array[...] = model.parameters[key]
    found = changing.generate(texts, length=6, beam=2)
    same(found, model.generate(texts, length=6, beam=2))
    assert [h[0].score for h in found] != [h[0].score for h in before]


# -- forced scores, extras -------------------------------------------------------------------------------------------------------


def test_a_forced_score_is_the_sum_of_the_steps(model: Experiment, plain: Plain) -> None:
    vocabulary = model.decoder.vocabulary
    texts = {"abc": "cba", "a": "", "cc": "abcabcabcabcabcabcabc"}
    totals = []
    for source, target in texts.items():
        symbols = [vocabulary.index(START), *vocabulary.encode(target).tolist()]
        state, context = plain.encode(source)
        total = 0.0
        for symbol, following in zip(symbols, [*symbols[1:], vocabulary.index(STOP)], strict=True):
            log_p, state, _ = plain(symbol, state, context)
            total += float(log_p[following - 1])
        totals.append(total)
    for batch in (1, 2, 64):
        assert model.score(list(texts.values()), list(texts), batch=batch) == pytest.approx(totals)


def test_what_is_generated_scores_what_it_says(model: Experiment) -> None:
    ended = 0
    for source in sources(5):
        for h in model.generate([source], length=12, beam=4, n_best=4)[0]:
            if h.ended:
                ended += 1
                assert forced(model, source, [h.symbols]) == [pytest.approx(h.log_p)]
    assert ended > 3


def test_alignments_are_those_of_the_step(table: Path) -> None:
    model = pairs_model("attention", table)
    plain = Plain(model, "attention", table)
    first, texts = model.decoder.vocabulary.index(START), ["abcab", "cc", "bca"]
    for how in ({}, {"beam": 4, "n_best": 4}):
        for text, hypotheses in zip(texts, model.generate(texts, length=6, **how), strict=True):
            for h in hypotheses:
                (alpha,) = h.extras
                assert alpha.shape == (len(h.symbols), 5)
                state, context = plain.encode(text)
                for symbol, row in zip((first, *h.symbols), alpha, strict=False):
                    _, state, wanted = plain(symbol, state, context)
                    np.testing.assert_allclose(row[: len(text)], wanted[0], atol=1e-12)
                    assert not row[len(text) :].any()


def test_exact_counts_what_comes_out_right(table: Path) -> None:
    model = graphspec.experiment(
        SPECS / "translate.spec", threads=1, embedding=12, hidden=12, cell=24, align=12,
        **{"data.path": str(table), "data.valid": 0.2, "data.batch": 16, "optim.learningRate": 1e-2},
    )  # fmt: skip
    before = model.evaluate()["exact"]
    for _ in range(220):
        model.train_step()
    after = model.evaluate()["exact"]
    source = model._pairs
    texts = list(zip(source.pairs.source[source.split :], source.pairs.target[source.split :], strict=True))
    by_hand = [model.generate([s])[0][0].text == t for s, t in texts]
    assert before < 0.2 < 0.5 < after == pytest.approx(np.mean(by_hand))
    by_length = model.exact_by_length()
    assert sum(right for right, _ in by_length.values()) == sum(by_hand)
    assert {n: total for n, (_, total) in by_length.items()} == {
        n: sum(len(s) == n for s, _ in texts) for n in sorted({len(s) for s, _ in texts})
    }  # fmt: skip
    searched = [model.generate([s], beam=5)[0][0].text == t for s, t in texts]
    assert np.mean(searched) > after - 0.05, "a beam does not prefer what is short"
