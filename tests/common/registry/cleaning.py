"""Cases of `calib_jax.cleaning`."""

import jax
import numpy as np

import calib_jax as cj

from .kit import GIVEN, all_rows, case, without_num_masked
from .makers import NUM_MODELS, by_model, partial

_MODELS = {
    "predictions": lambda rng, n: rng.integers(-1, 2, (NUM_MODELS, n)),
    "labels": lambda rng, n: rng.integers(0, 2, n),
}


def _issue_parts(result):
    return (result.flagged, result.suggestion), result.thresholds


def _without_shares(arguments):
    """Labels ranked, less what is expected of them: it goes by groups of rows, between
    which rounding elsewhere in the last bits may move one."""
    ranked = cj.cleaning.find_label_issues(**arguments)
    fields = ("order", "score", "suggestion", "predictions", "confidences")
    return {name: getattr(ranked, name) for name in fields}


def _curve_points(result):
    """A cleaning curve without repeated points."""
    if isinstance(result.threshold, jax.core.Tracer):
        return (), result
    _, first = np.unique(-np.asarray(result.threshold), return_index=True)
    return (), jax.tree.map(lambda leaf: np.asarray(leaf)[first], result)


_FLAGS = [
    case("top1_disagreement", given=_MODELS, split=all_rows),
    case(
        "fit_expert_bins",
        "confidences num_bins",
        given={"outcomes": by_model(partial)},
        rows={"confidences": 1, "outcomes": 1},
        where=True,
    ),
    *(
        case(
            "high_confidence_disagreement",
            "experts predictions confidences labels num_top_bins",
            "consensus" if consensus else "",
            given={**_MODELS, "consensus": consensus},
            again=consensus,
            split=all_rows,
        )
        for consensus in (False, True)
    ),
    case(
        "cleaning.label_issue_score",
        "predictions confidences labels",
        given=_MODELS,
        split=all_rows,
    ),
    case(
        "suggest_labels",
        "predictions confidences labels flagged",
        given=_MODELS,
        split=all_rows,
    ),
    case("confident_learning", "probability_rows", split=_issue_parts, where=True),
    # Rows are ranked against each other, by sums over all of them.
    case(
        "cleaning.find_label_issues", "probability_rows", rows={}, call=_without_shares
    ),
    *(
        case(
            "repair_labels",
            "labels flagged suggestion",
            "drop" if drop else "",
            given={"drop": drop},
            split=all_rows,
        )
        for drop in (False, True)
    ),
    case(
        "cleaning_curve",
        "score is_error",
        # Sums of these are exact in any order.
        given={"is_error": lambda rng, n: rng.choice([0.0, 0.25, 1.0], n)},
        split=_curve_points,
        **GIVEN,
    ),
    case(
        "cleaning.cleaning_interval",
        "flagged is_error",
        split=without_num_masked,
        exact=False,
        where=True,
    ),
]

_EXPECTATIONS = [
    case(
        "cleaning.uniform_label_noise",
        "num_classes",
        given={"rate": lambda rng, n: rng.random()},
    ),
    case("cleaning.estimate_label_noise", "probability_rows", where=True, again=True),
    case("cleaning.true_label_probabilities", "probabilities noise", split=all_rows),
    case(
        "cleaning.true_label_confidence",
        "confidence num_classes",
        given={"rate": 0.1},
        split=all_rows,
    ),
    case("cleaning.label_error_probability", "probability_rows noise", split=all_rows),
    case("cleaning.expected_precision", "label_error_probability flagged", where=True),
    case(
        "cleaning.expected_precision_by_bin",
        "bins scores label_error_probability flagged",
        where=True,
        again=True,
    ),
    case(
        "cleaning.expected_false_flags",
        "confidences candidates flagged",
        split=without_num_masked,
        exact=False,
        where=True,
    ),
    case(
        "cleaning.expert_dependence",
        "confidences",
        given={"outcomes": lambda rng, n: rng.random((NUM_MODELS, n)) < 0.4},
        rows={"outcomes": 1, "confidences": 1},
        split=without_num_masked,
        exact=False,
        where=True,
    ),
    case(
        "cleaning.fit_shared_errors",
        "confidences",
        given={"outcomes": lambda rng, n: rng.random((NUM_MODELS, n)) < 0.7},
        rows={"outcomes": 1, "confidences": 1},
        exact=False,
        where=True,
    ),
    case("cleaning.joint_error_probability", "shared confidences", split=all_rows),
    case(
        "cleaning.expected_precision_interval",
        "shared confidences flagged",
        exact=False,
        where=True,
    ),
]

_AUDITS = [
    # A draw picks rows by their position, so rows cannot be moved or removed.
    case(
        "cleaning.sample_audit",
        "key flagged",
        given={"num_audited": 4},
        rows={},
        static=("key", "num_audited"),
    ),
    case(
        "cleaning.audit_bounds",
        "num_wrong num_audited confidence_level num_flagged",
        host=True,
    ),
    case(
        "cleaning.audit_size",
        "confidence_level num_flagged",
        given={
            "min_precision": 0.7,
            "expected": 0.9,
            "chance": 0.8,
            "max_audited": 60,
        },
        host=True,
    ),
]

CASES = [*_FLAGS, *_EXPECTATIONS, *_AUDITS]
