"""Results as text: a table for each stage, and some answers to look at."""

from collections.abc import Mapping

import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

import calib_jax as cj
from calib_jax.demo.calibration import TEST
from calib_jax.demo.printing import new_table, percent, print_cascade

from .calibration import LOG_ODDS, MEAN_LOGIT, CalibratedScore
from .pipeline import Results
from .problems import sums

NUM_EXAMPLES = 8


def print_results(console: Console, results: Results) -> None:
    """Prints a table and a sentence or two for each stage."""
    models = {"small": results.small, "large": results.large}
    num_bins = results.settings.num_bins
    console.print(
        score_table(
            f"Scores of answers, test half: ECE over {num_bins} equal-count bins",
            {name: model.scores for name, model in models.items()},
        )
    )
    console.print(
        "Before Platt scaling a log-likelihood is read as the probability that is its "
        "exponential; a mean logit is not a probability. The log-odds are those of the "
        "answer's probability. Platt scaling changes neither the order of the answers "
        "nor AUROC.\n"
    )
    print_cascade(console, results.cascade)
    console.print(
        "UC routes by raw mean logits, CC by mean logits after Platt scaling, and the "
        "last by the log-odds of the answer's probability after Platt scaling.\n"
    )
    console.print(
        score_table(
            "The same, for the share of digits that are right (partial credit)",
            {name: model.credit_scores for name, model in models.items()},
        )
    )
    console.print(carries_table(results))
    console.print(
        "Confidence is the mean over the problems, from the log-odds after Platt "
        "scaling, which does not see the carries.\n"
    )
    console.print(example_table(results))


def score_table(
    title: str, models: Mapping[str, Mapping[str, CalibratedScore]]
) -> Table:
    """AUROC, ECE before and after, slope and status of each score of each model."""
    table = new_table(
        title,
        ["Model", "Score"],
        ["AUROC", "ECE", "calibrated", "Slope", "Fit"],
    )
    for model, scores in models.items():
        for number, (name, score) in enumerate(scores.items()):
            before = score.before
            table.add_row(
                "" if number else model,
                name,
                f"{float(score.ranking[TEST]):.3f}",
                "-" if before is None else f"{float(before[TEST].error):.4f}",
                f"{float(score.after[TEST].error):.4f}",
                f"{float(score.platt.slope):.2f}",
                cj.FitStatus(int(score.report.status)).name.lower(),
            )
    return table


def carries_table(results: Results) -> Table:
    """Accuracy and mean confidence by the number of carries."""
    table = new_table(
        "Test half by how often a one is carried (%)",
        ["Carries"],
        ["Problems", "Small right", "Confidence", "Large right", "Confidence"],
    )
    for row in by_carries(results):
        cells = [percent(row[name]) for name in _BY_CARRIES]
        table.add_row(str(row["carries"]), str(row["problems"]), *cells)
    return table


_BY_CARRIES = ("small_correct", "small_confidence", "large_correct", "large_confidence")


def by_carries(results: Results) -> list[dict[str, float]]:
    """Shares of `carries_table`, a row for each number of carries."""
    num_carries, rows = results.test.num_carries, []
    for carries in range(results.settings.max_digits + 1):
        chosen = jnp.asarray(num_carries == carries)
        row: dict[str, float] = {"carries": carries, "problems": int(chosen.sum())}
        for name, model in (("small", results.small), ("large", results.large)):
            confidence = model.scores[LOG_ODDS].after[TEST].confidence
            row[f"{name}_correct"] = float(jnp.mean(model.correct[TEST], where=chosen))
            row[f"{name}_confidence"] = float(jnp.mean(confidence, where=chosen))
        rows.append(row)
    return rows


def example_table(results: Results) -> Table:
    """The first problems, what the models answer, and how sure they are."""
    table = new_table(
        "Answers and calibrated confidence (%)",
        ["Problem", "Sum"],
        ["Small", "logit", "likelihood", "Large", "logit", "likelihood"],
    )
    models = (results.small, results.large)
    answers = [sums(model.decoded[TEST].tokens[:NUM_EXAMPLES]) for model in models]
    pairs = results.test.numbers[:NUM_EXAMPLES].tolist()
    right = sums(results.test.answers[:NUM_EXAMPLES])
    for number, ((first, second), true) in enumerate(zip(pairs, right, strict=True)):
        cells = []
        for model, said in zip(models, answers, strict=True):
            cells.append(said[number])
            for name in (MEAN_LOGIT, LOG_ODDS):
                confidence = model.scores[name].after[TEST].confidence
                cells.append(percent(confidence[number]))
        table.add_row(f"{first} + {second}", true, *cells)
    return table
