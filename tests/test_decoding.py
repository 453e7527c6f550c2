"""Decoding: beam search against a plain one, exhaustive search, drawing against the distributions it draws from, forced scores."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.api import Model
from graphspec.cli.main import main
from graphspec.data.vocabulary import START, STOP
from graphspec.errors import SpecError
from graphspec.ir.builder import Builder
from graphspec.ir.core import Port, Program, tensor
from graphspec.reference import interpret
from graphspec.training.decoding import Hypothesis, Settings
from graphspec.training.decoding.programs import gumbel
from graphspec.training.experiment import Experiment

SPECS = Path(__file__).parent.parent / "specs"
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs over few letters."""
    draw = np.random.default_rng(1)
    words = sorted({"".join(draw.choice(list("abc"), draw.integers(1, 6))) for _ in range(400)})
    path = tmp_path_factory.mktemp("data") / "pairs.tsv"
    path.write_text("".join(f"{word}\t{word[::-1]}\n" for word in words))
    return path


MODELS: dict[str, tuple[str, dict[str, Any], float]] = {
    "attention": ("translate", {"embedding": 5, "hidden": 4, "cell": 8, "align": 6}, 2.0),
    "nested state": ("seq2seq", {"embedding": 5, "hidden": 6, "layers": 2}, 1.0),
}
"""Spec, options, and how much likelier the stop symbol is made, so that some hypotheses end and some do not."""


def pairs_model(name: str, table: Path, dtype: str = "float64", device: str = "cpu") -> Experiment:
    """An untrained model with large weights, so that its choices are not all alike."""
    spec, options, stop = MODELS[name]
    experiment = graphspec.experiment(SPECS / f"{spec}.spec", dtype=dtype, device=device, threads=1, **options, **{"data.path": str(table)})
    draw = np.random.default_rng(3)
    for key, array in experiment.parameters.items():
        array[...] = draw.normal(size=array.shape) * (1.5 if array.ndim > 1 else 0.5)
        if key.endswith("bias") and array.shape == (experiment.decoder.model.symbols,):
            array[experiment.decoder.vocabulary.index(STOP) - 1] += stop
    return experiment


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, table: Path) -> Experiment:
    return pairs_model(request.param, table)


def sources(count: int, seed: int = 5) -> list[str]:
    draw = np.random.default_rng(seed)
    return ["".join(draw.choice(list("abc"), draw.integers(1, 7))) for _ in range(count)]


# -- a plain beam search over model(...) -----------------------------------------------------------------------------------------


class PlainStep:
    """The spec's encoder and step as models that are called: one source at a time, its live hypotheses as the rows of a batch."""

    def __init__(self, experiment: Experiment) -> None:
        again = graphspec.experiment(
            SPECS / Path(experiment.opened.source.path).name, dtype="float64", threads=1, **experiment.opened.options
        )
        self.experiment = experiment
        self.models = []
        for module in (again.spec.encode, again.spec.step):
            assert module is not None
            names = [p.name for p in module.all_parameters()]
            compiled = Model(again.opened, module, dtype="float64").evaluate()  # type: ignore[arg-type]
            for name, array in zip(names, compiled.parameters.values(), strict=True):
                array[...] = experiment.parameters[name]
            self.models.append(compiled)
            again = graphspec.experiment(
                SPECS / Path(experiment.opened.source.path).name, dtype="float64", threads=1, **experiment.opened.options
            )

    def encode(self, source: str) -> tuple[Any, Any]:
        """First state and context, of one row."""
        indices = self.experiment.encoded([source])[0]
        found = self.models[0](indices[:, None], np.array([len(indices)], np.int32))
        return found if self.experiment.decoder.model.has_context else (found, None)

    def __call__(self, symbols: Sequence[int], states: Sequence[Any], context: Any) -> tuple[Array, list[Any]]:
        """``log_p [rows, V]`` and the next states, one for each row."""
        rows = len(symbols)
        state = merged(states, lambda leaves: np.concatenate(leaves))
        arguments = [np.asarray(symbols, np.int32), state]
        if context is not None:
            arguments.append(merged([context] * rows, lambda leaves: np.concatenate(leaves)))
        y, following = self.models[1](*arguments)
        log_p = y[0] if isinstance(y, tuple) else y
        return log_p, [merged([following], lambda leaves, row=row: leaves[0][row : row + 1]) for row in range(rows)]


def merged(trees: Sequence[Any], join: Callable[[list[Array]], Array]) -> Any:
    """Trees of one shape, their leaves joined."""
    if isinstance(trees[0], (tuple, list)):
        return tuple(merged([tree[i] for tree in trees], join) for i in range(len(trees[0])))
    return join(list(trees))


def plain_beam(step: PlainStep, source: str, width: int, length: int, alpha: float) -> list[tuple[tuple[int, ...], float, bool]]:
    """Symbols, score and whether it has ended, best first: as the docstring of ``beam_program`` says it."""
    vocabulary = step.experiment.decoder.vocabulary
    start, stop = vocabulary.index(START), vocabulary.index(STOP)
    state, context = step.encode(source)
    live: list[tuple[float, tuple[int, ...], Any]] = [(0.0, (), state)]
    ended: list[tuple[float, tuple[int, ...]]] = []
    for t in range(1, length + 1):
        penalty = ((5 + t) / 6) ** alpha
        log_p, states = step([symbols[-1] if symbols else start for _, symbols, _ in live], [s for _, _, s in live], context)
        candidates = [(total + float(log_p[k, v]), k, v + 1) for k, (total, _, _) in enumerate(live) for v in range(log_p.shape[1])]
        candidates.sort(key=lambda c: (-c[0], c[1], c[2]))
        candidates = candidates[: 2 * width]
        ended += [(total / penalty, live[k][1]) for total, k, symbol in candidates[:width] if symbol == stop]
        live = [(total, (*live[k][1], symbol), states[k]) for total, k, symbol in candidates if symbol != stop][:width]
        if len(ended) >= width:
            break
    ended.sort(key=lambda e: -e[0])
    found = [(symbols, score, True) for score, symbols in ended[:width]]
    if len(ended) < width:
        found += [(symbols, total / penalty, False) for total, symbols, _ in live]
    return found[:width]


@pytest.fixture(scope="module")
def plain(model: Experiment) -> PlainStep:
    return PlainStep(model)


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8])
def test_a_beam_search_is_the_plain_one_hypothesis_by_hypothesis(model: Experiment, plain: PlainStep, width: int) -> None:
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
    assert len({h[0].symbols for h in greedy}) > 5


def test_a_beam_as_wide_as_the_space_is_exhaustive_search(model: Experiment) -> None:
    decoder, length = model.decoder, 3
    stop = decoder.vocabulary.index(STOP)
    others = [i for i in range(1, decoder.model.symbols + 1) if i != stop]
    width = len(others) ** length + 50
    for source in ("ab", "c"):
        (found,) = model.generate([source], length=length, beam=width, n_best=width)
        shorter = [s for n in range(length) for s in itertools.product(others, repeat=n)]
        assert {h.symbols for h in found if h.ended} == set(shorter)
        assert {h.symbols for h in found if not h.ended} == set(itertools.product(others, repeat=length))
        scores = dict(zip(shorter, forced(model, source, shorter), strict=True))
        best = sorted(scores, key=lambda symbols: -scores[symbols])
        assert [h.symbols for h in found if h.ended] == best
        np.testing.assert_allclose([h.score for h in found if h.ended], [scores[s] for s in best])
        assert sum(math.exp(h.log_p) for h in found) == pytest.approx(1)


def forced(model: Experiment, source: str, targets: Sequence[tuple[int, ...]]) -> list[float]:
    """log p of each target after a source, by forcing."""
    batch = model._pairs.padded([model.encoded([source])[0]] * len(targets), [np.asarray(t, np.int32) for t in targets])
    return list(model.decoder.score(model.named(), batch, batch.arrays["target_in"], batch.arrays["target_out"]))


# -- what must not matter --------------------------------------------------------------------------------------------------------


def both(model: Experiment, settings: Settings, texts: Sequence[str]) -> list[list[Hypothesis]]:
    batch = model._pairs.padded(model.encoded(texts), [np.zeros(0, np.int32)] * len(texts))
    return model.decoder.generate(model.named(), batch, len(texts), settings)


def same(found: Sequence[Sequence[Hypothesis]], wanted: Sequence[Sequence[Hypothesis]]) -> None:
    assert [[(h.symbols, h.ended) for h in row] for row in found] == [[(h.symbols, h.ended) for h in row] for row in wanted]
    for left, right in zip(itertools.chain(*found), itertools.chain(*wanted), strict=True):
        assert left.score == pytest.approx(right.score, rel=1e-9)
        for one, other in zip(left.extras, right.extras, strict=True):
            np.testing.assert_allclose(one[:, : other.shape[1]], other, atol=1e-9)


@pytest.mark.parametrize("how", [{}, {"beam": 3}, {"temperature": 0.9}, {"temperature": 1.1, "top_k": 3, "top_p": 0.8}])
def test_the_length_of_a_chunk_does_not_matter(model: Experiment, how: dict[str, Any]) -> None:
    texts = sources(7)
    wanted = both(model, Settings(11, **how), texts)
    for chunk in (1, 2, 5, 11, 40):
        same(both(model, Settings(11, **how, chunk=chunk), texts), wanted)


@pytest.mark.parametrize("how", [{}, {"beam": 4, "n_best": 4, "length_penalty": 1.0}])
def test_what_else_is_in_the_batch_does_not_matter(model: Experiment, how: dict[str, Any]) -> None:
    texts = sources(9)
    same(model.generate(texts, length=8, batch=4, **how), [model.generate([text], length=8, **how)[0] for text in texts])


@pytest.mark.parametrize("how", [{}, {"beam": 3, "n_best": 3}, {"temperature": 1.0}, {"temperature": 1.0, "top_k": 3, "top_p": 0.9}])
def test_devices_agree(table: Path, how: dict[str, Any]) -> None:
    numpy, reference = (pairs_model("attention", table, device=device) for device in ("numpy", "reference"))
    same(numpy.generate(sources(3), length=5, **how), reference.generate(sources(3), length=5, **how))


# -- forced scores, extras -------------------------------------------------------------------------------------------------------


def test_a_forced_score_is_the_sum_of_the_steps(model: Experiment, plain: PlainStep) -> None:
    vocabulary = model.decoder.vocabulary
    for source, target in (("abc", "cba"), ("a", ""), ("cc", "abcabcabcabcabcabcabc")):
        symbols = [vocabulary.index(START), *vocabulary.encode(target).tolist()]
        state, context = plain.encode(source)
        total = 0.0
        for symbol, following in zip(symbols, [*symbols[1:], vocabulary.index(STOP)], strict=True):
            log_p, (state,) = plain([symbol], [state], context)
            total += float(log_p[0, following - 1])
        assert model.score([target], [source]) == [pytest.approx(total)]
    assert model.score(["cba", "b"], ["abc", "a"]) == pytest.approx([model.score(["cba"], ["abc"])[0], model.score(["b"], ["a"])[0]])


def test_what_is_generated_scores_what_it_says(model: Experiment) -> None:
    for source in sources(5):
        for h in model.generate([source], length=12, beam=4, n_best=4)[0]:
            if h.ended:
                assert forced(model, source, [h.symbols]) == [pytest.approx(h.log_p)]


def test_alignments_are_those_of_the_step(table: Path) -> None:
    model = pairs_model("attention", table)
    plain = PlainStep(model)
    for how in ({}, {"beam": 3}):
        (best,) = model.generate(["abcab"], length=6, **how)[0]
        (alpha,) = best.extras
        assert alpha.shape == (len(best.symbols), 5)
        np.testing.assert_allclose(alpha.sum(1), 1)
        state, context = plain.encode("abcab")
        for symbol, row in zip((model.decoder.vocabulary.index(START), *best.symbols), alpha, strict=False):
            (_, wanted), state = plain.models[1](np.array([symbol], np.int32), state, context)
            np.testing.assert_allclose(row, wanted[0], atol=1e-12)


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


# -- drawing ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("abcdefgh\n" * 30)
    found = graphspec.experiment(
        SPECS / "char_lm.spec", dtype="float64", threads=1, rnn_size=5, **{"data.path": str(path), "data.batch": 2, "data.seq_len": 5}
    )
    draw = np.random.default_rng(8)
    for array in found.parameters.values():
        array[...] = draw.normal(size=array.shape)
    return found


def first_log_p(model: Experiment, prime: str) -> Array:
    """log p of each letter after a line's end and the prime."""
    symbols = [chr(ord("a") + i) for i in range(8)]
    found = [model.score([prime + symbol])[0] - model.score([prime])[0] for symbol in symbols]
    return np.array(found)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, 0, 1.0), (0.5, 0, 1.0), (1.7, 0, 1.0), (1.0, 3, 1.0), (1.0, 0, 0.7), (1.3, 5, 0.6), (1.0, 1, 1.0)],
)
def test_symbols_are_drawn_as_often_as_they_should(text_model: Experiment, temperature: float, top_k: int, top_p: float) -> None:
    log_p, draws = first_log_p(text_model, "ab"), 600
    vocabulary = text_model.decoder.vocabulary
    whole = np.full(len(vocabulary), -np.inf)
    for i, value in enumerate(log_p):
        whole[vocabulary.index(chr(ord("a") + i)) - 1] = value
    whole[vocabulary.index("\n") - 1] = math.log1p(-np.exp(log_p).sum())
    weights = np.exp(whole / temperature)
    weights /= weights.sum()
    order = np.argsort(-weights)
    if top_k:
        weights[order[top_k:]] = 0
        weights /= weights.sum()
    kept = order[: int(np.searchsorted(np.cumsum(weights[order]), top_p - 1e-12)) + 1]
    expected = np.zeros_like(weights)
    expected[kept] = weights[kept] / weights[kept].sum()
    counts = np.zeros_like(weights)
    for seed in range(draws):
        counts[vocabulary.index(text_model.sample(1, temperature, "\nab", seed, top_k, top_p)) - 1] += 1
    assert not counts[expected == 0].any()
    spread = np.sqrt(draws * expected * (1 - expected))
    assert (np.abs(counts - draws * expected) <= 4 * spread + 1e-9).all()
    if top_k == 1:
        assert counts.max() == draws


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_noise_is_infinite(dtype: str) -> None:
    """The largest uniform number there is once made a symbol certain."""
    b = Builder(dtype=dtype)
    uniform = b.param(tensor([5], dtype), "uniform")
    b.block.results = [gumbel(b, uniform)]
    program = Program(b.block, [Port("uniform", "input")], [Port("noise", "output")])
    given = np.array([0, 1, 2**23, 2**24 - 2, 2**24 - 1]) * 2.0**-24
    noise = interpret(program, {"uniform": given})["noise"]
    assert np.isfinite(noise).all() and (np.diff(noise) > 0).all()
    np.testing.assert_allclose(noise[:4], -np.log(-np.log(given[:4] + 2.0**-25)), rtol=2e-2)


def test_a_seed_gives_the_same_text_and_another_seed_another(text_model: Experiment) -> None:
    texts = {seed: text_model.sample(50, 1.0, "a", seed) for seed in (1, 2)}
    assert texts[1] != texts[2]
    assert text_model.sample(50, 1.0, "a", 1) == texts[1] == "".join(text_model.stream(50, 1.0, "a", 1))
    assert text_model.sample(0, 1.0, "a") == ""
    assert text_model.sample(30, 0.0, "a", 1) == text_model.sample(30, 0.0, "a", 2) == text_model.generate(prime="a", length=30)[0][0].text


def test_a_prime_is_read_to_its_end(text_model: Experiment) -> None:
    """The state after a long prime, fed in chunks: the likeliest symbol costs what forcing it costs."""
    prime = "abcdefgh\n" * 5
    (best,) = text_model.generate(prime="\n" + prime, length=1)[0]
    wanted = text_model.score([prime + best.text])[0] - text_model.score([prime])[0]
    assert best.log_p == pytest.approx(wanted) and wanted >= max(first_log_p(text_model, prime)) - 1e-9


# -- errors ----------------------------------------------------------------------------------------------------------------------

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "length": ({"length": -1}, "length must be a whole number of at least 0"),
    "temperature": ({"temperature": -1.0}, "temperature must be at least 0"),
    "nan": ({"temperature": math.nan}, "temperature must be at least 0"),
    "top_p": ({"temperature": 1.0, "top_p": 0.0}, "top_p must be more than 0"),
    "top_k": ({"temperature": 1.0, "top_k": 1.5}, "top_k must be a whole number"),
    "limits": ({"top_k": 3}, "at temperature 0 nothing is"),
    "both": ({"beam": 2, "temperature": 1.0}, "it takes no temperature"),
    "n_best": ({"n_best": 2}, "the 2 best are more than there are"),
    "penalty": ({"beam": 2, "length_penalty": -1.0}, "length_penalty must be at least 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_settings_that_make_no_sense(model: Experiment, name: str) -> None:
    settings, words = BAD[name]
    with pytest.raises(SpecError, match=words) as caught:
        model.generate(["ab"], **settings)
    assert caught.value.code == "E0624"


def test_sources_are_for_models_that_have_an_encoder(model: Experiment, text_model: Experiment) -> None:
    for call in (lambda: model.generate(), lambda: model.sample(5), lambda: text_model.generate(["a"])):
        with pytest.raises(SpecError) as caught:
            call()
        assert caught.value.code == "E0624"


def test_a_symbol_that_is_not_known_is_named(model: Experiment, text_model: Experiment) -> None:
    for call in (lambda: model.generate(["abz"]), lambda: text_model.sample(5, prime="xyz")):
        with pytest.raises(SpecError) as caught:
            call()
        assert caught.value.code == "E0615"


# -- the command line ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "pairs"
    words = ["run", str(SPECS / "translate.spec"), f"data.path={table}", "embedding=5", "hidden=4", "cell=8", "align=6", "data.batch=32"]
    assert main([*words, "--steps", "3", "--out", str(out), "--threads", "1"]) == 0
    return out


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["sample", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_sources_on_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = tmp_path / "sources.txt"
    lines.write_text("abc\nb\n")
    two = said(capsys, str(folder), "--source", "abc", "--source", "b", "--length", "5")
    assert two[0] == 0 and len(two[1].splitlines()) == 2
    assert said(capsys, str(folder), "--source-file", str(lines), "--length", "5")[1] == two[1]
    found = json.loads(said(capsys, str(folder), "--source", "abc", "--beam", "3", "--n-best", "2", "--length", "5", "--json")[1])
    assert [len(entry["hypotheses"]) for entry in found] == [2] and found[0]["source"] == "abc"
    code, text, _ = said(capsys, str(folder), "--source", "abc", "--score", "cba", "--json")
    assert code == 0 and json.loads(text)[0]["log_p"] < 0


def test_an_alignment_is_drawn_for_each_source(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    assert said(capsys, str(folder), "--source", "abc", "--alignment", str(tmp_path / "one.svg"), "--length", "5")[0] == 0
    code, _, err = said(capsys, str(folder), "--source", "abc", "--source", "b", "--alignment", str(tmp_path / "x.svg"), "--length", "5")
    assert code == 0 and "x-1.svg" in err
    assert sorted(p.name for p in tmp_path.glob("*.svg")) == ["one.svg", "x-1.svg", "x-2.svg"]


WRONG: dict[str, tuple[str, str]] = {
    "nothing to read": ("--source-file missing.txt", "E0610"),
    "both": ("--source a --source-file -", "E0807"),
    "no source": ("", "E0624"),
    "as many": ("--source a --score b --score c", "E0807"),
    "alignment of nothing": ("--alignment x.svg", "E0807"),
    "negative": ("--source a --length -1", "E0807"),
    "too many": ("--source a --n-best 3", "E0624"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_command_lines(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    words, code = WRONG[name]
    exit_code, _, err = said(capsys, str(folder), *words.split())
    assert exit_code == 1 and f"error[{code}]" in err
