"""The counting baselines: proper distributions, equal to a plain dictionary's, and the numbers known for a known source."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphspec.data.corpus import default_corpus
from graphspec.data.ngrams import NGrams, baselines
from graphspec.data.vocabulary import Vocabulary

TEXT = default_corpus().text[:20_000]


class PlainKneserNey:
    """The same model as formulas in dictionaries, one symbol at a time (Chen and Goodman, 1998, section 3)."""

    def __init__(self, text: str, order: int) -> None:
        self.symbols = len(set(text))
        grams = [Counter(text[i : i + k] for i in range(len(text) - k + 1)) for k in range(order + 1)]
        self.counts = [*(Counter(g[1:] for g in grams[k + 1]) for k in range(1, order)), grams[order]]
        self.discounts = [self.estimate(counts) for counts in self.counts]

    @staticmethod
    def estimate(counts: Counter[str]) -> list[float]:
        n = [0, *(sum(c == k for c in counts.values()) for k in (1, 2, 3, 4))]
        y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.5
        return [0.0, *(min(max(k - (k + 1) * y * n[k + 1] / n[k] if n[k] else k / 2, 0.1), k - 0.1) for k in (1, 2, 3))]

    def probability(self, history: str, symbol: str) -> float:
        result = 1 / self.symbols
        for k, (counts, discounts) in enumerate(zip(self.counts, self.discounts, strict=True)):
            context = history[len(history) - k :]
            after = {g: c for g, c in counts.items() if g[:-1] == context}
            if after:
                total, taken = sum(after.values()), {g: discounts[min(c, 3)] for g, c in after.items()}
                gram = context + symbol
                result = (after.get(gram, 0) - taken.get(gram, 0)) / total + sum(taken.values()) / total * result
        return result


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_equal_to_the_formulas(order: int) -> None:
    text = TEXT[:1500]
    vocabulary = Vocabulary.of_text(text)
    plain, model = PlainKneserNey(text, order), NGrams(vocabulary.encode(text), len(vocabulary), order)
    held_out = [text[i : i + order] for i in range(0, 400, 7)] + ["".join(reversed(text[i : i + order])) for i in range(0, 400, 7)]
    expected = [plain.probability(window[:-1], window[-1]) for window in held_out]
    found = model.probabilities(np.array([vocabulary.encode(window) for window in held_out]))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@given(st.data())
def test_probabilities_after_any_context_sum_to_one(data: st.DataObject) -> None:
    symbols = data.draw(st.integers(1, 5))
    symbol = st.integers(1, symbols)
    train = np.array(data.draw(st.lists(symbol, min_size=1, max_size=60)))
    order = data.draw(st.integers(1, 5))
    history = data.draw(st.lists(symbol, min_size=order - 1, max_size=order - 1))
    windows = np.array([[*history, w] for w in range(1, symbols + 1)])
    probabilities = NGrams(train, symbols, 5).probabilities(windows)
    assert probabilities.sum() == pytest.approx(1, abs=1e-12)
    assert (probabilities > 0).all()


def test_a_source_of_known_entropy() -> None:
    """A Markov chain of order 2 over four symbols: nothing can take fewer bits than its entropy, and a 3-gram needs little more."""
    rng = np.random.default_rng(3)
    table = rng.dirichlet(np.full(4, 0.3), size=(4, 4))
    chain = [0, 0]
    for u in rng.random(60_000):
        chain.append(int(np.searchsorted(table[chain[-2], chain[-1]].cumsum()[:3], u)))
    ids = np.array(chain) + 1
    held_out = chain[54_000:]
    before = list(zip(chain[53_998:], chain[53_999:], held_out, strict=False))
    entropy = float(np.mean([-np.log2(table[a, b, c]) for a, b, c in before]))
    found = baselines(ids[:54_000], ids[54_000:], 4)
    assert found["unigram"] > entropy + 0.3
    assert entropy < found["ngram3"] < entropy + 0.01
    assert entropy < found["ngram5"] < entropy + 0.06


def test_context_reaches_back_into_the_training_part() -> None:
    """The first held-out symbols are judged after the last of the training part."""
    ids = np.tile([1, 2, 3, 4, 5, 6, 7, 8], 50)
    assert baselines(ids[:395], ids[395:], 8)["ngram5"] < 0.1


def test_numbers_of_the_default_corpus() -> None:
    text = default_corpus().text
    vocabulary = Vocabulary.of_text(text)
    ids, split = vocabulary.encode(text), int(len(text) * 0.95)
    found = baselines(ids[:split], ids[split:], len(vocabulary))
    assert 4.3 < found["unigram"] < 5
    assert 2.1 < found["ngram3"] < 2.6
    assert 1.3 < found["ngram5"] < 1.8
