"""The sequence task, with models too small and too briefly trained to be any good."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj

for extra in ("mlxtend", "matplotlib", "rich"):
    pytest.importorskip(extra)

from sklearn.metrics import roc_auc_score  # noqa: E402

from benchmarks import arithmetic  # noqa: E402
from benchmarks.arithmetic import __main__, calibration, pipeline, saving  # noqa: E402
from calib_jax.demo import cascade, training  # noqa: E402

RECIPE = training.Recipe(
    num_epochs=10, learning_rate=1e-2, batch_size=100, one_cycle=True
)
TINY = {
    "max_digits": 2,
    "num_train": 2000,
    "num_calibrate": 600,
    "num_test": 600,
    "small_hidden": 24,
    "small_recipe": RECIPE,
    "large_hidden": 48,
    "large_recipe": RECIPE,
    "num_bins": 5,
    "num_draws": 24,
}
SETTINGS = arithmetic.Settings(seed=3, **TINY)

# One worker trains the models, for all tests.
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def results():
    # Optax's Adam raises a float to an integer count, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        return pipeline.run(SETTINGS)


@pytest.fixture(scope="module")
def plain(results, tmp_path_factory):
    directory = tmp_path_factory.mktemp("results")
    saving.save_results(directory, results)
    return json.loads((directory / "results.json").read_text())


def test_problems_are_sums_and_none_comes_twice():
    data = arithmetic.draw(jax.random.key(1), SETTINGS)
    parts = (data.train, data.calibration, data.test)
    assert [len(part.numbers) for part in parts] == [2000, 600, 600]
    numbers = np.concatenate([part.numbers for part in parts])
    assert len(np.unique(numbers, axis=0)) == len(numbers)
    for part in parts:
        for pair, question, answer in zip(
            part.numbers,
            arithmetic.to_texts(part.questions),
            arithmetic.to_texts(part.answers),
            strict=True,
        ):
            assert question[-1] == "=" and len(question) == 5
            assert [int(question[i:4:2][::-1]) for i in (0, 1)] == list(pair)
            assert answer == f"{str(sum(pair))[::-1]}.".ljust(4)
    assert arithmetic.sums(data.test.answers[:5]) == [
        str(sum(pair)) for pair in data.test.numbers[:5]
    ]
    carries = [
        (a % 10 + b % 10 > 9) + (a + b > 99) for a, b in data.test.numbers.tolist()
    ]
    np.testing.assert_array_equal(data.test.num_carries, carries)
    assert {0, 1, 2} == set(carries)
    again = arithmetic.draw(jax.random.key(1), SETTINGS)
    np.testing.assert_array_equal(data.test.numbers, again.test.numbers)
    other = arithmetic.draw(jax.random.key(2), SETTINGS)
    assert (data.test.numbers != other.test.numbers).any()


def test_too_few_problems():
    with pytest.raises(ValueError, match="at most 50 problems of up to 1 digits"):
        arithmetic.draw(
            jax.random.key(0), arithmetic.Settings(**TINY | {"max_digits": 1})
        )


def test_verifiers_by_hand():
    true = arithmetic.problems.to_symbols(["878.  ", "878.  ", "12.   ", "5.    "] * 2)
    said = arithmetic.problems.to_symbols(
        ["878.  ", "828.  ", "128.  ", "6.    ", "878878", "87.   ", ".     ", "=5.   "]
    )
    exact = arithmetic.exact_match(jnp.asarray(said), jnp.asarray(true))
    np.testing.assert_array_equal(exact, [True] + 7 * [False])
    credit = arithmetic.share_of_digits(jnp.asarray(said), jnp.asarray(true))
    shares = [1, 2 / 3, 2 / 3, 0, 1 / 2, 2 / 3, 0, 0]
    np.testing.assert_allclose(credit, shares, rtol=1e-6)


def test_decoding_is_greedy_and_scores_are_those_of_all_logits(results):
    model = arithmetic.SequenceModel(24, rngs=arithmetic.models.nnx.Rngs(7))
    # Without training all symbols are about equally likely.
    model.out.kernel[...] = 8 * model.out.kernel[...]
    questions = jnp.asarray(results.test.questions[:50])
    decoded = arithmetic.decode(model, questions, 6)
    tokens = np.asarray(decoded.tokens)
    symbols = np.concatenate([questions, tokens[:, :-1]], axis=1)
    states = model.read(jnp.asarray(symbols))[questions.shape[1] - 1 :]
    logits = np.swapaxes(np.asarray(model.logits(states)), 0, 1)
    ends = np.cumsum(tokens == arithmetic.problems.END, axis=1)
    where = (ends == 0) | ((ends == 1) & (tokens == arithmetic.problems.END))
    lengths = where.sum(axis=1)
    assert lengths.min() < 6 and (ends[:, -1] == 0).any()
    np.testing.assert_array_equal(tokens[where], np.argmax(logits, axis=-1)[where])
    assert (tokens[~where] == arithmetic.problems.PADDING).all()
    scores = calibration.named(decoded.scores)
    expected = {
        calibration.MEAN_LOGIT: cj.sequence_mean_logit(logits, tokens, where=where)
    } | {
        name: cj.sequence_log_likelihood(
            logits, tokens, where=where, reduction=reduction
        )
        for name, reduction in (
            (calibration.SUM, "sum"),
            (calibration.MEAN, "mean"),
            (calibration.MINIMUM, "min"),
        )
    }
    likelihood = np.exp(np.float64(expected[calibration.SUM]))
    expected[calibration.LOG_ODDS] = np.log(likelihood) - np.log1p(-likelihood)
    assert list(scores) == list(expected)
    for name, score in scores.items():
        np.testing.assert_allclose(score, expected[name], rtol=2e-5, atol=2e-6)


def test_the_key_decides_the_training():
    data = arithmetic.draw(jax.random.key(0), SETTINGS)
    epochs = []
    with jax.numpy_dtype_promotion("standard"):
        first, again, other = (
            arithmetic.train(key, 24, data.train, RECIPE, lambda: epochs.append(1))
            for key in jax.random.split(jax.random.key(1), 3)[jnp.array([0, 0, 1])]
        )
    kernel, same, different = (m.out.kernel[...] for m in (first, again, other))
    np.testing.assert_array_equal(kernel, same)
    assert jnp.max(jnp.abs(kernel - different)) > 0.01
    assert len(epochs) == 3 * RECIPE.num_epochs


def test_score_numbers(results, plain):
    for name, model in (("small", results.small), ("large", results.large)):
        numbers = plain["models"][name]
        texts = arithmetic.to_texts(model.decoded["test"].tokens)
        right = arithmetic.to_texts(results.test.answers)
        exact = np.array([a == b for a, b in zip(texts, right, strict=True)])
        assert 0.02 < exact.mean() < 0.98
        np.testing.assert_allclose(numbers["accuracy"]["test"], exact.mean(), rtol=1e-6)
        for outcome, kind in ((exact, "scores"), (model.credit["test"], "credit")):
            scores = numbers["scores" if kind == "scores" else "credit_scores"]
            for key, score in calibration.named(model.decoded["test"].scores).items():
                half = scores[key]["halves"]["test"]
                slope, intercept = scores[key]["slope"], scores[key]["intercept"]
                confidence = jax.nn.sigmoid(slope * score + intercept)
                error = cj.expected_calibration_error(confidence, outcome, num_bins=5)
                np.testing.assert_allclose(half["ece_after"], error, atol=1e-5)
                if kind == "scores":
                    auroc = roc_auc_score(exact, score)
                    np.testing.assert_allclose(half["auroc"], auroc, atol=1e-6)
                if key == calibration.MEAN_LOGIT:
                    assert half["ece_before"] is None
                    continue
                stated = jnp.exp(score)
                if key == calibration.LOG_ODDS:
                    stated = stated / (1 + stated)
                error = cj.expected_calibration_error(stated, outcome, num_bins=5)
                np.testing.assert_allclose(half["ece_before"], error, atol=1e-6)
                assert sum(half["reliability_before"]["count"]) == len(exact)


def test_cascade_numbers(results, plain):
    models = results.small, results.large
    for name, score in (
        (cascade.CALIBRATED, calibration.MEAN_LOGIT),
        (pipeline.LIKELIHOOD, calibration.LOG_ODDS),
    ):
        confidences = [
            {
                half: cj.calibrate(
                    model.scores[score].platt, model.scores[score].score[half]
                )
                for half in ("calibration", "test")
            }
            for model in models
        ]
        router = cj.fit_router(*(c["calibration"] for c in confidences), num_bins=5)
        curve = cj.cascade_curve(
            router,
            confidences[0]["test"],
            *(model.correct["test"] for model in models),
        )
        drawn = plain["cascade"]["curves"][name]
        np.testing.assert_allclose(drawn["accuracy"], curve.accuracy, atol=1e-6)
        np.testing.assert_allclose(drawn["small_share"], curve.small_share, atol=1e-6)
    np.testing.assert_allclose(plain["cascade"]["apgr"]["random"], 0.5, atol=1e-5)
    low, high = plain["cascade"]["apgr_gain_interval"]
    assert low <= high


def test_numbers_by_carries(results, plain):
    rows = plain["by_carries"]
    assert [row["carries"] for row in rows] == [0, 1, 2]
    assert sum(row["problems"] for row in rows) == 600
    for name, model in (("small", results.small), ("large", results.large)):
        correct = np.asarray(model.correct["test"])
        for row in rows:
            chosen = results.test.num_carries == row["carries"]
            np.testing.assert_allclose(
                row[f"{name}_correct"], correct[chosen].mean(), rtol=1e-5
            )


def test_command(results, tmp_path, monkeypatch, capsys):
    asked = []

    def run(settings, advance):
        asked.append(settings)
        for _ in range(settings.large_recipe.num_epochs):
            advance("large")
        return results

    monkeypatch.setattr(pipeline, "run", run)
    monkeypatch.setenv("COLUMNS", "80")
    directory = tmp_path / "folder"
    __main__.main(["--output", str(directory), "--seed", "7"])
    assert asked == [arithmetic.Settings(seed=7)]
    endings = (".png", ".pdf", "-dark.png")
    figures = {f"{name}{ending}" for name in saving.FIGURES for ending in endings}
    files = {path.name for path in directory.iterdir()}
    assert files == figures | {"results.json"}
    assert all((directory / name).stat().st_size > 5000 for name in figures)
    text = capsys.readouterr().out
    for words in ("Scores of answers", "ECE over 5", "partial credit", "Problem"):
        assert words in text
    assert "…" not in text
    assert str(directory) in text


PAGE = Path(__file__).parents[2] / "benchmarks/arithmetic"


def spread(values, digits=3, scale=1.0):
    """Mean and standard deviation over the runs."""
    if values[0] is None:
        return ""
    mean, deviation = scale * np.mean(values), scale * np.std(values, ddof=1)
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def page_rows(runs):
    """Every line of the tables of the benchmark's README that holds numbers."""
    for kind, columns in (
        ("scores", ("auroc", "ece_before", "ece_after")),
        ("credit_scores", ("ece_before", "ece_after")),
    ):
        for model in ("small", "large"):
            for name in runs[0]["models"][model][kind]:
                halves = [
                    run["models"][model][kind][name]["halves"]["test"] for run in runs
                ]
                cells = [
                    spread([half[column] for half in halves]) for column in columns
                ]
                yield f"| {' | '.join([model, name, *cells])} |"
    cascades = [run["cascade"] for run in runs]
    for name in cascades[0]["apgr"]:
        cells = [spread([one["apgr"][name] for one in cascades]), "", ""]
        if name != cascade.RANDOM:
            points = [one["chosen"][name] for one in cascades]
            saved = [point["small_share"]["test"] for point in points]
            change = [
                point["accuracy"]["test"] - one["large_accuracy"]
                for point, one in zip(points, cascades, strict=True)
            ]
            cells[1:] = [spread(saved, 1, 100), spread(change, 1, 100)]
        yield f"| {' | '.join([name, *cells])} |"
    for carries in range(5):
        rows = [run["by_carries"][carries] for run in runs]
        cells = [f"{np.mean([row['problems'] for row in rows]):.0f}"]
        for model in ("small", "large"):
            for column in ("correct", "confidence"):
                shares = [row[f"{model}_{column}"] for row in rows]
                cells.append(f"{100 * np.mean(shares):.1f}")
        yield f"| {' | '.join([str(carries), *cells])} |"


def test_the_page_quotes_its_runs():
    page = (PAGE / "README.md").read_text(encoding="utf-8")
    runs = json.loads((PAGE / "results.json").read_text(encoding="utf-8"))
    count = len(runs)
    assert [run["settings"]["seed"] for run in runs] == list(range(count))
    assert f"seeds 0 to {count - 1} " in page
    settings = json.loads(json.dumps(dataclasses.asdict(arithmetic.Settings())))
    assert all(run["settings"] | {"seed": 0} == settings for run in runs)
    rows = [line for line in page.splitlines() if re.match(r"\|.*\d\.\d", line)]
    assert sorted(rows) == sorted(" ".join(row.split()) for row in page_rows(runs))
    words = " ".join(page.split())
    for model in ("small", "large"):
        accuracy = [run["models"][model]["accuracy"]["test"] for run in runs]
        assert f"the {model} one {spread(accuracy, 1, 100)} %" in words
    wins = sum(
        run["cascade"]["apgr"][pipeline.LIKELIHOOD]
        > run["cascade"]["apgr"][cascade.CALIBRATED]
        for run in runs
    )
    ahead = sum(run["cascade"]["apgr_gain_interval"][0] > 0 for run in runs)
    behind = sum(run["cascade"]["apgr_gain_interval"][1] < 0 for run in runs)
    assert f"does better in {wins} of {count} runs" in words
    assert f"lies above 0 in {ahead} of {count} runs, below in {behind}" in words
    for name in re.findall(r'(?:srcset|src)="(.*?)"', page):
        assert (PAGE / name).is_file(), name
