"""A float64 NumPy reference of the whole pipeline, written to be read.

Nothing here is fast, and nothing is shared with the library: every function is its
formula, so that the tests compare two independent computations. `where` and `weights`
mean what they mean in the library: a masked row and a row of weight 0 are removed,
whatever they hold.
"""

from typing import NamedTuple

import numpy as np


def to_float(x):
    """Any array, bfloat16 included, as float64."""
    return np.asarray(x).astype(np.float64)


def row_weights(num_rows, where=None, weights=None):
    """The weight of each row; 0 for a removed row."""
    w = np.ones(num_rows) if weights is None else to_float(weights)
    return w if where is None else np.where(where, w, 0.0)


def kept_rows(where, weights, *arrays):
    """Weights and arrays of the remaining rows, rows on the first axis."""
    w = row_weights(len(arrays[0]), where, weights)
    return (w[w > 0], *(np.asarray(array)[w > 0] for array in arrays))


def safe_divide(numerator, denominator):
    """Elementwise quotient; 0 where the denominator is 0."""
    safe = np.where(denominator == 0, 1.0, denominator)
    return np.where(denominator == 0, 0.0, numerator / safe)


# Confidence


def softmax(logits, temperature=1.0, class_where=None):
    """Softmax of the logits over the temperature; masked classes get exactly 0."""
    z = to_float(logits)
    if class_where is not None:
        z = np.where(class_where, z, -np.inf)
    with np.errstate(invalid="ignore"):
        e = np.exp((z - z.max(-1, keepdims=True)) / temperature)
        return e / e.sum(-1, keepdims=True)


def top1(logits, temperature=1.0, class_where=None):
    """Confidence and prediction; NaN and -1 for a row that has none."""
    p = softmax(logits, temperature, class_where)
    prediction = np.where(np.isnan(p).any(-1), -1, p.argmax(-1))
    return p.max(-1), prediction


def restricted_softmax(logits, choice_ids, temperature=1.0):
    """Softmax over the answer tokens only."""
    return softmax(np.asarray(logits)[..., np.asarray(choice_ids)], temperature)


def token_log_probs(logits, tokens):
    """Log-probability of each chosen token, `[B, T]`."""
    z = to_float(logits)
    z = z - z.max(-1, keepdims=True)
    log_probs = z - np.log(np.exp(z).sum(-1, keepdims=True))
    return np.take_along_axis(log_probs, np.asarray(tokens)[..., None], -1)[..., 0]


def sequence_mean_logit(logits, tokens, where):
    """Mean over the valid tokens of the chosen token's raw logit."""
    chosen = np.take_along_axis(to_float(logits), np.asarray(tokens)[..., None], -1)
    rows = zip(chosen[..., 0], where, strict=True)
    return np.array([row[keep].mean() for row, keep in rows])


def sequence_log_likelihood(logits, tokens, where, reduction):
    """Sum, mean or minimum over the valid tokens of the log-probability."""
    reduce = {"sum": np.sum, "mean": np.mean, "min": np.min}[reduction]
    rows = zip(token_log_probs(logits, tokens), where, strict=True)
    return np.array([reduce(row[keep]) for row, keep in rows])


def log_odds(confidence):
    """log(c / (1 - c)) of a confidence kept 2^-24 away from 0 and 1."""
    c = np.clip(to_float(confidence), 2.0**-24, 1 - 2.0**-24)
    return np.log(c) - np.log1p(-c)


# Calibration


def temperature_gradient(logits, labels, inverse_temperature, w):
    """First two derivatives of the mean NLL with respect to 1 / T."""
    rows = np.arange(len(logits))
    p = softmax(logits, 1.0 / inverse_temperature)
    z = np.where(p > 0, logits, 0.0)
    mean = (p * z).sum(-1)
    variance = (p * (z - mean[:, None]) ** 2).sum(-1)
    first = np.sum(w * (mean - logits[rows, labels])) / np.sum(w)
    return first, np.sum(w * variance) / np.sum(w)


def fit_temperature(logits, labels, where=None, weights=None, class_where=None):
    """The T that minimises the NLL: the root of a monotone function of 1 / T.

    Newton in log(1 / T), kept inside a bracket that every step shrinks.
    """
    z = to_float(logits)
    if class_where is not None:
        z = np.where(class_where, z, -np.inf)
    w, z, labels = kept_rows(where, weights, z, labels)
    z = z - z.max(-1, keepdims=True)
    low, high, u = -25.0, 25.0, 0.0
    for _ in range(200):
        first, second = temperature_gradient(z, labels, np.exp(u), w)
        low, high = (u, high) if first < 0 else (low, u)
        slope = second * np.exp(u)
        new = u - first / slope if slope > 0 else np.inf
        new = new if low < new < high else (low + high) / 2
        if abs(new - u) < 1e-14:
            break
        u = new
    return np.exp(-u)


def sigmoid(x):
    """The logistic function without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


def binary_nll(margin, target, w):
    """Weighted cross-entropy of sigmoid(margin)."""
    return np.sum(w * (np.logaddexp(0.0, margin) - target * margin))


def smoothed_targets(outcomes, w):
    """Platt's priors: targets a little inside (0, 1)."""
    positive, negative = np.sum(w * outcomes), np.sum(w * (1 - outcomes))
    upper, lower = (positive + 1) / (positive + 2), 1 / (negative + 2)
    return outcomes * upper + (1 - outcomes) * lower


def fit_platt(scores, outcomes, where=None, weights=None, smooth_targets=False):
    """Maximum-likelihood slope and intercept: Newton with step halving."""
    w, s, v = kept_rows(where, weights, to_float(scores), to_float(outcomes))
    target = smoothed_targets(v, w) if smooth_targets else v
    centre = np.average(s, weights=w)
    spread = np.sqrt(np.average((s - centre) ** 2, weights=w))
    x = np.stack([(s - centre) / spread, np.ones_like(s)])
    theta = np.zeros(2)
    for _ in range(100):
        p = sigmoid(theta @ x)
        gradient = x @ (w * (p - target))
        hessian = (x * (w * p * (1 - p))) @ x.T
        step = np.linalg.solve(hessian, gradient)
        loss = binary_nll(theta @ x, target, w)
        while np.abs(step).max() > 1e-14 and (
            binary_nll((theta - step) @ x, target, w) > loss * (1 + 1e-15)
        ):
            step = step / 2
        theta = theta - step
        if np.abs(step).max() < 1e-13:
            break
    slope = theta[0] / spread
    return slope, theta[1] - slope * centre


def platt(params, scores):
    """Confidence of a fitted (slope, intercept)."""
    slope, intercept = params
    return sigmoid(slope * to_float(scores) + intercept)


# Bins and tables


def equal_count_edges(scores, num_bins=15, where=None):
    """Order statistics at the cuts; +inf for a cut beyond the last row."""
    _, s = kept_rows(where, None, to_float(scores))
    s = np.sort(s)
    size, longer = divmod(len(s), num_bins)
    b = np.arange(1, num_bins)
    cuts = b * size + np.minimum(b, longer)
    return np.append(s, np.inf)[np.minimum(cuts, len(s))]


def bin_index(edges, scores):
    """How many edges a score has reached; -1 for NaN."""
    s = to_float(scores)
    index = np.sum(np.asarray(edges, np.float64) <= s[..., None], axis=-1)
    return np.where(np.isnan(s), -1, index)


class Table(NamedTuple):
    """A reliability table."""

    count: np.ndarray
    weight: np.ndarray
    confidence: np.ndarray
    outcome: np.ndarray
    squared_error: np.ndarray


def reliability_table(edges, scores, outcomes, where=None, weights=None):
    """Count, weight and weighted means of every bin; an empty bin is all 0."""
    num_bins = len(edges) + 1
    w, s, v = kept_rows(where, weights, to_float(scores), to_float(outcomes))
    index = bin_index(edges, s)
    weight = np.bincount(index, w, num_bins)
    return Table(
        np.bincount(index, minlength=num_bins),
        weight,
        safe_divide(np.bincount(index, w * s, num_bins), weight),
        safe_divide(np.bincount(index, w * v, num_bins), weight),
        safe_divide(np.bincount(index, w * (s - v) ** 2, num_bins), weight),
    )


def expected_calibration_error(
    scores, outcomes, num_bins=15, edges=None, where=None, weights=None
):
    """Weighted mean over the bins of |mean confidence - mean outcome|."""
    w = row_weights(len(scores), where, weights)
    if edges is None:
        edges = equal_count_edges(scores, num_bins, w > 0)
    table = reliability_table(edges, scores, outcomes, where, weights)
    gap = np.abs(table.confidence - table.outcome)
    return np.sum(table.weight * gap) / np.sum(w)


def area_under_roc(scores, outcomes, where=None, weights=None):
    """Share of pairs of a right and a wrong row where the right one is higher."""
    w, s, v = kept_rows(where, weights, to_float(scores), to_float(outcomes))
    right, wrong = w * v, w * (1 - v)
    wins = (s[:, None] > s) + (s[:, None] == s) / 2
    return right @ wins @ wrong / (right.sum() * wrong.sum())


def rank_correlation(table):
    """Pearson's correlation of the mid-ranks of the bins that hold rows."""
    used = np.asarray(table.count) > 0

    def ranks(means):
        x = to_float(means)[used]
        return ((x[:, None] > x) + (x[:, None] == x) / 2).sum(-1)

    return np.corrcoef(ranks(table.confidence), ranks(table.outcome))[0, 1]


def fit_histogram(scores, outcomes, num_bins=15, where=None, weights=None):
    """Edges, and the mean outcome of every bin."""
    w = row_weights(len(scores), where, weights)
    edges = equal_count_edges(scores, num_bins, w > 0)
    return edges, reliability_table(edges, scores, outcomes, where, weights).outcome


# Cascade


class Advantage(NamedTuple):
    """An advantage table."""

    count: np.ndarray
    small_confidence: np.ndarray
    large_confidence: np.ndarray
    advantage: np.ndarray
    outcome_advantage: np.ndarray | None
    standard_error: np.ndarray | None


def advantage_table(
    edges,
    small,
    large,
    small_outcome=None,
    large_outcome=None,
    where=None,
    weights=None,
):
    """How much more the large model has, per bin of the small model's confidence."""
    table = reliability_table(edges, small, large, where, weights)
    means = table.count, table.confidence, table.outcome
    advantage = table.outcome - table.confidence
    if small_outcome is None:
        return Advantage(*means, advantage, None, None)
    gain = to_float(large_outcome) - to_float(small_outcome)
    mean = reliability_table(edges, small, gain, where, weights).outcome
    mean_square = reliability_table(edges, small, gain**2, where, weights).outcome
    variance = np.maximum(mean_square - mean**2, 0.0)
    error = np.sqrt(safe_divide(variance, table.weight))
    return Advantage(*means, advantage, mean, error)


def order_bins(value, count):
    """Bins by rising value; ties: higher bins first; empty bins last."""
    return sorted(range(len(value)), key=lambda b: (count[b] == 0, value[b], -b))


class Router(NamedTuple):
    """Algorithm 1: bins, their table, and their order."""

    edges: np.ndarray
    table: Advantage
    order: list


def fit_router(small, large, num_bins=15, edges=None, where=None, weights=None):
    """Bins of the small model's confidence in order of rising advantage."""
    w = row_weights(len(small), where, weights)
    if edges is None:
        edges = equal_count_edges(small, num_bins, w > 0)
    table = advantage_table(edges, small, large, where=where, weights=weights)
    return Router(edges, table, order_bins(table.advantage, table.count))


def use_small(router, small, num_small_bins):
    """True where a row falls in one of the first bins of the router's order."""
    return np.isin(bin_index(router.edges, small), router.order[:num_small_bins])


class Curve(NamedTuple):
    """Accuracy against the share of rows kept small, for 0 to all bins."""

    small_share: np.ndarray
    accuracy: np.ndarray
    small_accuracy: float
    large_accuracy: float


def cascade_curve(
    router, small, small_outcome, large_outcome, where=None, weights=None
):
    """Routes the rows with every number of bins and scores the answers."""
    w, s, v_small, v_large = kept_rows(
        where,
        weights,
        to_float(small),
        to_float(small_outcome),
        to_float(large_outcome),
    )
    shares, accuracies = [], []
    for num_small_bins in range(len(router.edges) + 2):
        keep = use_small(router, s, num_small_bins)
        shares.append(np.average(keep, weights=w))
        accuracies.append(np.average(np.where(keep, v_small, v_large), weights=w))
    return Curve(
        np.array(shares),
        np.array(accuracies),
        np.average(v_small, weights=w),
        np.average(v_large, weights=w),
    )


def random_curve(curve):
    """Rows kept small by chance, at the same shares."""
    p = curve.small_share
    accuracy = p * curve.small_accuracy + (1 - p) * curve.large_accuracy
    return curve._replace(accuracy=accuracy)


def performance_gap_recovered(curve):
    """Share of the gap between both models that the cascade closes."""
    gap = curve.large_accuracy - curve.small_accuracy
    if gap == 0:
        return np.full_like(curve.accuracy, np.nan)
    return (curve.accuracy - curve.small_accuracy) / gap


def average_performance_gap_recovered(curve):
    """Trapezoid integral of that share over the share of large-model calls."""
    pgr = performance_gap_recovered(curve)[::-1]
    large_share = 1 - curve.small_share[::-1]
    return np.sum(np.diff(large_share) * (pgr[1:] + pgr[:-1]) / 2)


def call_performance_threshold(curve, target):
    """Large-model share at which the recovered share first reaches the target."""
    pgr = performance_gap_recovered(curve)[::-1]
    large_share = 1 - curve.small_share[::-1]
    reached = np.flatnonzero(pgr >= target)
    if len(reached) == 0:
        return np.nan
    i = reached[0]
    if i == 0:
        return large_share[0]
    part = (target - pgr[i - 1]) / (pgr[i] - pgr[i - 1])
    return large_share[i - 1] + part * (large_share[i] - large_share[i - 1])


# Cleaning


def top1_disagreement(predictions, labels):
    """Rows whose label every model contradicts."""
    return np.all(np.asarray(predictions) != np.asarray(labels), axis=0)


def fit_expert_bins(confidences, correct, num_bins=15, where=None):
    """For each model its edges and its bins by falling accuracy."""
    experts = []
    for confidence, outcome in zip(confidences, correct, strict=True):
        edges = equal_count_edges(confidence, num_bins, where)
        table = reliability_table(edges, confidence, outcome, where)
        experts.append((edges, order_bins(-table.outcome, table.count)))
    return experts


def high_confidence_disagreement(
    experts, predictions, confidences, labels, num_top_bins, consensus=False
):
    """Method 2: every model contradicts the label from one of its best bins."""
    flagged = top1_disagreement(predictions, labels)
    for (edges, order), confidence in zip(experts, confidences, strict=True):
        flagged &= np.isin(bin_index(edges, confidence), order[:num_top_bins])
    if consensus:
        flagged &= np.all(np.asarray(predictions) == predictions[0], axis=0)
    return flagged


class LabelIssues(NamedTuple):
    """Method 3: the flags, the suggested labels and the thresholds."""

    flagged: np.ndarray
    suggestion: np.ndarray
    thresholds: np.ndarray


def confident_learning(probabilities, labels, where=None):
    """The most probable class among those above their class's mean probability."""
    p, labels = to_float(probabilities), np.asarray(labels)
    keep = np.ones(len(p), bool) if where is None else np.asarray(where)
    thresholds = np.full(p.shape[1], np.inf)
    for k in np.unique(labels[keep]):
        thresholds[k] = p[keep & (labels == k), k].mean()
    candidate = (p > thresholds) & keep[:, None]
    best = np.where(candidate, p, -np.inf).argmax(-1)
    suggestion = np.where(candidate.any(-1), best, labels)
    return LabelIssues(suggestion != labels, suggestion, thresholds)


class CleaningCurve(NamedTuple):
    """Flagged share, precision and recall as the threshold falls."""

    threshold: np.ndarray
    flagged_share: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def cleaning_curve(score, is_error, where=None, weights=None):
    """Flags the rows that score at least as high as each row in turn."""
    num_rows = len(score)
    w, s, error = kept_rows(where, weights, to_float(score), to_float(is_error))
    threshold = np.sort(s)[::-1]
    threshold = np.append(threshold, np.full(num_rows - len(s), threshold[-1]))
    flagged = np.array([np.sum(w * (s >= t)) for t in threshold])
    found = np.array([np.sum(w * error * (s >= t)) for t in threshold])
    return CleaningCurve(
        threshold, flagged / w.sum(), found / flagged, found / np.sum(w * error)
    )
