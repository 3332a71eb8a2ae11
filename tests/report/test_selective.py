"""What answering only the most confident rows leaves wrong."""

import dataclasses

import numpy as np
import pytest

from calib_jax.report import phrases, selective

pytestmark = pytest.mark.once

LEVEL = 0.95


def of(confidence, outcome, fitted=None, limit=None):
    rows = np.arange(len(confidence))
    fitted = rows if fitted is None else fitted
    return selective.of(np.float32(confidence), outcome, fitted, rows, LEVEL, limit)


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    confidence = rng.beta(4, 0.5, 2000)
    outcome = rng.random(2000) < confidence
    return confidence, outcome, of(confidence, outcome)


def test_numbers(made):
    confidence, outcome, found = made
    order = np.argsort(-confidence)
    risk = np.cumsum(1.0 - outcome[order]) / np.arange(1, 2001)
    for one in found.answered:
        assert one.risk == pytest.approx(risk[int(one.coverage * 2000) - 1], abs=1e-6)
    assert found.limit == 0.05 and 0.09 < np.mean(~outcome) < 0.15
    within = np.flatnonzero(risk <= 0.05).max() + 1
    assert found.coverage_at_limit == pytest.approx(within / 2000)
    assert 0.05 < found.promised_coverage < found.coverage_at_limit
    # What is promised is kept by the true probabilities.
    kept = np.sort(confidence)[::-1][: round(2000 * found.promised_coverage)]
    assert np.mean(1 - kept) < 0.05
    given = np.float32(confidence) >= np.float32(found.promised_from)
    assert given.mean() == pytest.approx(found.promised_coverage, abs=1e-6)


def test_sentences(made):
    first, second = made[2].sentences(LEVEL)
    whole, at_80 = (made[2].answered[number].risk for number in (0, 3))
    assert first == (
        "Answering only the most confident 80% of the judged rows leaves "
        f"{at_80:.1%} wrong instead of {whole:.1%}; at most 5% wrong is reached by "
        f"answering {phrases.percent(made[2].coverage_at_limit)}."
    )
    assert second == (
        "With confidence 95%, on new inputs like these at most 5% of answers are wrong "
        "if only those with a calibrated confidence at or above "
        f"{made[2].promised_from} are given, about "
        f"{phrases.percent(made[2].promised_coverage)} of all."
    )
    # The limit is that of the other half.
    other = dataclasses.replace(made[2], promised_from=None, promised_coverage=1.0)
    assert other.sentences(LEVEL)[1].endswith(
        "5% of answers are wrong if all are given."
    )
    none = dataclasses.replace(made[2], promised_coverage=0.0, promised_from=None)
    assert none.sentences(LEVEL)[1] == (
        "With confidence 95%, at most 5% wrong can be promised for no share of new "
        "inputs."
    )


def test_a_limit_of_ones_own(made):
    confidence, outcome, plain = made
    found = of(confidence, outcome, limit=0.07)
    assert found.limit == 0.07 and found.asked and not plain.asked
    assert found.coverage_at_limit > plain.coverage_at_limit
    assert "; at most 7% wrong is reached by answering " in found.sentences(LEVEL)[0]
    assert "like these at most 7% of answers are wrong if" in found.sentences(LEVEL)[1]
    easy = of(confidence, outcome, limit=0.5)
    assert easy.sentences(LEVEL)[0].endswith("50% wrong is reached by answering all.")
    assert easy.promised_from is None
    assert easy.sentences(LEVEL)[1].endswith(
        "50% of answers are wrong if all are given."
    )
    # What was asked is answered, also where nothing else is to be said.
    never = of(confidence, np.ones(2000, bool), limit=0.01)
    assert never.sentences(LEVEL) == (
        "With confidence 95%, on new inputs like these at most 1% of answers are wrong "
        "if all are given.",
    )
    useless = of(confidence, confidence < 0.99, limit=0.01).sentences(LEVEL)
    assert len(useless) == 2 and useless[1].endswith("for no share of new inputs.")


def test_what_is_never_reached():
    """The most confident rows are the worst, and not all alike."""
    outcome = np.r_[np.zeros(5), np.arange(95) % 5 > 0, np.zeros(25)].astype(bool)
    found = of(np.linspace(1, 0.5, 125), outcome, fitted=np.arange(5))
    assert found.limit == 0.3 and found.coverage_at_limit > 0
    below = of(np.linspace(1, 0.5, 125), outcome, limit=0.2)
    assert below.coverage_at_limit == 0
    first, _ = below.sentences(LEVEL)
    assert first.endswith("; it stays above 20%, however few are answered.")


def test_what_there_is_nothing_to_say_of():
    confidence = np.linspace(0.5, 1, 100)
    assert of(confidence, np.ones(100, bool)).sentences(LEVEL) == ()
    (useless,) = of(confidence, np.arange(100) < 50).sentences(LEVEL)
    assert useless.endswith("confidence does not tell right from wrong answers.")
    # Equal confidences are answered together.
    equal = of(np.full(100, 0.5), np.arange(100) % 2 == 0)
    assert [one.risk for one in equal.answered] == pytest.approx([0.5] * 7)
    assert len(equal.sentences(LEVEL)) == 1
    assert equal.coverage_at_limit == equal.promised_coverage == 0
    high = of(confidence, np.arange(100) % 7 > 0, fitted=np.arange(7, 14))
    assert high.limit == 0.05 and high.promised_coverage == 0


def test_partial_credit(made):
    confidence, outcome, _ = made
    found = of(confidence, np.float32(0.5 + 0.5 * outcome))
    assert found.partial and found.limit < 0.05
    first, _ = found.sentences(LEVEL)
    assert "% of the credit lost instead of" in first
    assert "at most 3% of the credit lost is reached by answering" in first
