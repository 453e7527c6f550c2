"""Sequences that are drawn: as often as the model says, limited to the likeliest, reproducible; what a prime does."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

import graphspec
from decoders import SPECS, Array, forced, pairs_model, table_of_pairs
from graphspec.data.vocabulary import STOP
from graphspec.ir.builder import Builder
from graphspec.ir.core import Port, Program, tensor
from graphspec.reference import interpret
from graphspec.training.decoding import Settings
from graphspec.training.decoding.programs import gumbel
from graphspec.training.decoding.settings import CHUNK
from graphspec.training.experiment import Experiment


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("abcdefgh\n" * 30)
    found = graphspec.experiment(
        SPECS / "char_lm.spec", threads=1, rnn_size=5, **{"data.path": str(path), "data.batch": 2, "data.seq_len": 5}
    )
    draw = np.random.default_rng(8)
    for array in found.parameters.values():
        array[...] = draw.normal(size=array.shape)
    return found


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return pairs_model("attention", table_of_pairs(tmp_path_factory.mktemp("data")))


def first_log_p(model: Experiment, prime: str) -> Array:
    """log p of each symbol after a line's end and the prime."""
    texts = [prime + symbol for symbol in model.decoder.vocabulary.symbols]
    return np.array(model.score(texts)) - model.score([prime])[0]


def expected(log_p: Array, temperature: float, top_k: int, top_p: float) -> Array:
    """The distribution that is drawn from, the definitions taken literally."""
    p = np.exp(log_p / temperature)
    order = np.argsort(-p, kind="stable")
    if top_k:
        p[order[top_k:]] = 0
    p /= p.sum()
    kept, mass = [], 0.0
    for symbol in order:
        if mass < top_p:
            kept.append(symbol)
        mass += p[symbol]
    found = np.zeros_like(p)
    found[kept] = p[kept] / p[kept].sum()
    return found


LIMITS = [(1.0, 0, 1.0), (0.5, 0, 1.0), (1.7, 0, 1.0), (1.0, 3, 1.0), (1.0, 0, 0.7), (1.3, 5, 0.6), (1.0, 1, 1.0), (1.0, 100, 1.0)]


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), LIMITS)
def test_symbols_are_drawn_as_often_as_they_should(model: Experiment, temperature: float, top_k: int, top_p: float) -> None:
    """Each count within 4.5 standard deviations, of 20,000 draws."""
    draws, vocabulary = 20_000, model.decoder.vocabulary
    wanted = expected(first_log_p(model, "ab"), temperature, top_k, top_p)
    assert (wanted == 0).any() == (0 < top_k < len(vocabulary) or top_p < 1)
    found = model.decoder.generate(None, draws, Settings(1, temperature, top_k, top_p), "\nab")
    counts = np.bincount([h.symbols[0] - 1 for (h,) in found], minlength=len(vocabulary))
    assert not counts[wanted == 0].any()
    assert (np.abs(counts - draws * wanted) <= 4.5 * np.sqrt(draws * wanted * (1 - wanted)) + 1e-9).all()


def test_steps_are_drawn_one_after_the_other(model: Experiment) -> None:
    """Of two symbols in a row too: the second depends on the first as forced scores say, and on nothing else."""
    draws = 20_000
    found = Counter(h.text for (h,) in model.decoder.generate(None, draws, Settings(2, 1.0), "\n"))
    texts = [a + b for a in model.decoder.vocabulary.symbols for b in model.decoder.vocabulary.symbols]
    wanted = np.exp(np.array(model.score(texts)) - model.score([""])[0])
    assert wanted.sum() == pytest.approx(1, rel=1e-5)
    counts = np.array([found[text] for text in texts])
    assert (np.abs(counts - draws * wanted) <= 5 * np.sqrt(draws * wanted) + 1e-9).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_noise_is_infinite(dtype: str) -> None:
    """The largest uniform number there is once made a symbol certain."""
    b = Builder(dtype=dtype)
    uniform = b.param(tensor([5], dtype), "uniform")
    b.block.results = [gumbel(b, uniform)]
    program = Program(b.block, [Port("uniform", "input")], [Port("noise", "output")])
    given = np.array([0, 1, 2**23, 2**24 - 2, 2**24 - 1]) * 2.0**-24
    noise = interpret(program, {"uniform": given})["noise"]
    assert np.isfinite(noise).all() and (np.diff(noise) < 0).all()
    np.testing.assert_allclose(noise[:4], -np.log(-np.log1p(-(given[:4] + 2.0**-25))), rtol=2e-2)


def test_the_coldest_is_the_likeliest(model: Experiment) -> None:
    """However small a temperature, numbers stay numbers."""
    wanted = model.sample(30, 0.0, "a", 1)
    assert wanted == model.sample(30, 0.0, "a", 2) == model.generate(prime="a", length=30, temperature=0)[0][0].text
    for temperature in (1e-6, 1e-42, 1e-300):
        assert model.sample(30, temperature, "a") == model.sample(30, temperature, "a", top_k=4, top_p=0.9) == wanted


def test_a_seed_gives_the_same_text_and_another_seed_another(model: Experiment) -> None:
    texts = {seed: model.sample(50, 1.0, "a", seed) for seed in (1, 2)}
    assert texts[1] != texts[2]
    assert model.sample(50, 1.0, "a", 1) == texts[1] == "".join(model.stream(50, 1.0, "a", 1))
    assert model.generate(prime="a", length=50, temperature=1.0)[0][0].text == texts[1]
    assert model.sample(0, 1.0, "a") == ""


def test_a_text_comes_in_pieces(model: Experiment) -> None:
    """While one stream waits, another may run."""
    stream = model.stream(40, 1.0, "a", 1)
    first = next(stream)
    other = model.sample(40, 1.0, "b", 2)
    assert first + "".join(stream) == model.sample(40, 1.0, "a", 1) != other


def test_a_long_text_is_the_same_in_chunks_of_any_length(model: Experiment) -> None:
    """Chunks grow where they are quick."""
    found = ["".join(model.decoder.stream(Settings(900, 1.0, chunk=chunk))) for chunk in (CHUNK, 7)]
    assert found[0] == found[1] and len(found[0]) == 900


def test_a_prime_is_read_to_its_end(model: Experiment) -> None:
    """The state after a long prime, fed in chunks: the likeliest symbol costs what forcing it costs."""
    prime = "abcdefgh\n" * 5
    for how in ({"temperature": 0}, {"beam": 2}):
        (best,) = model.generate(prime="\n" + prime, length=1, **how)[0]
        wanted = first_log_p(model, prime)
        assert best.log_p == pytest.approx(wanted.max(), abs=1e-4)
        assert best.symbols == (int(wanted.argmax()) + 1,)


def test_a_beam_over_a_language_model_never_ends(model: Experiment) -> None:
    found = model.generate(prime="a", length=3, beam=300, n_best=300)[0]
    assert not any(h.ended for h in found) and len({h.symbols for h in found}) == 300
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    assert sum(math.exp(h.log_p) for h in found) <= 1


def test_rows_and_batches_are_drawn_each_for_itself(pairs: Experiment) -> None:
    """The same source many times: no sequence comes twice because of its place."""
    texts = [h.text for (h,) in pairs.generate(["abcabc"] * 30, length=30, temperature=3.0, batch=8)]
    assert len(set(texts)) > 25
    assert texts == [h.text for (h,) in pairs.generate(["abcabc"] * 30, length=30, temperature=3.0, batch=8)]


def test_after_the_stop_symbol_nothing_counts(pairs: Experiment) -> None:
    ended = [h for (h,) in pairs.generate(["abc"] * 64, length=40, temperature=1.0) if h.ended]
    stop = pairs.decoder.vocabulary.index(STOP)
    assert len({len(h.symbols) for h in ended}) > 3
    assert not any(stop in h.symbols for h in ended)
    assert [h.log_p for h in ended] == pytest.approx(forced(pairs, "abc", [h.symbols for h in ended]))
