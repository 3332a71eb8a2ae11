"""Errors that experts share: against a float64 posterior, and against the truth."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special

import calib_jax as cj
from calib_jax.cleaning import shared_errors

pytestmark = pytest.mark.once

SIZE = 1500


def made(seed=0, noise=0.05, same=0.0, num_experts=2):
    """Confidences, outcomes and wrong labels; a share of rows has one luck for all."""
    rng = np.random.default_rng(seed)
    confidences = np.float32(rng.uniform(0.5, 0.995, (num_experts, SIZE)))
    luck = rng.random((num_experts, SIZE))
    luck = np.where(rng.random(SIZE) < same, luck[:1], luck)
    wrong = rng.random(SIZE) < noise
    return confidences, ~wrong & (luck < confidences), wrong


def posterior(confidences, outcomes):
    """Parameters, their weights and the recalibrated errors, in float64."""
    num_experts, size = outcomes.shape
    logit = special.logit(np.float64(confidences))
    errors = np.empty_like(logit)
    for m, (score, right) in enumerate(zip(logit, outcomes, strict=True)):
        # Platt's targets.
        target = np.where(
            right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2)
        )

        def loss(line, score=score, target=target):
            z = line[0] * score + line[1]
            return np.mean(np.logaddexp(0, z) - target * z)

        slope, intercept = optimize.minimize(loss, [1.0, 0.0], tol=1e-12).x
        errors[m] = special.expit(-slope * score - intercept)
    odds, slope, constant, share = np.float64(shared_errors._POINTS)
    slope = slope + 0.1 * num_experts
    mean, least = np.log(errors).mean(axis=0), np.log(errors).min(axis=0)
    order = np.argsort(mean)
    log_weight = np.zeros(len(odds))
    for group in np.array_split(order, 6):
        x, low = mean[group].mean(), least[group].mean()
        count = (~outcomes[:, group].any(axis=0)).sum()
        eps, h = rates(x, low, odds, slope, constant, share, num_experts)
        expected = len(group) * (eps + (1 - eps) * h)
        size = 8 / num_experts
        log_weight += count * np.log(expected / (expected + size))
        log_weight += size * np.log(size / (expected + size))
    weight = np.exp(log_weight - log_weight.max())
    return (odds, slope, constant, share), weight / weight.sum(), mean, least


def rates(mean, least, odds, slope, constant, share, num_experts):
    eps = np.minimum(constant + share * np.exp(mean), 0.95)
    rho = special.expit(odds - slope * (mean + 1.5))
    right = np.maximum((np.exp(mean) - eps) / (1 - eps), 1e-6)
    most = np.maximum((np.exp(least) - eps) / (1 - eps), 1e-6)
    effective = num_experts / (1 + (num_experts - 1) * rho)
    return eps, np.minimum(right**effective, most)


@pytest.mark.parametrize("num_experts", [2, 3])
def test_against_a_float64_posterior(num_experts):
    confidences, outcomes, _ = made(num_experts=num_experts)
    shared = cj.cleaning.fit_shared_errors(confidences, outcomes)
    parameters, weight, mean, least = posterior(confidences, outcomes)
    np.testing.assert_allclose(shared.weight, weight, rtol=0.02, atol=1e-6)
    rows = np.arange(0, SIZE, 100)
    found = cj.cleaning.joint_error_probability(shared, confidences[:, rows])
    for row, one in zip(rows, np.asarray(found), strict=True):
        eps, h = rates(mean[row], least[row], *parameters, num_experts)
        assert one == pytest.approx(
            (weight * eps / (eps + (1 - eps) * h)).sum(), abs=2e-3
        )


@pytest.mark.parametrize("same", [0.0, 0.6])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_intervals_hold_the_truth(same, noise):
    held, estimates = 0, []
    for seed in range(8):
        confidences, outcomes, wrong = made(seed, noise, same)
        shared = cj.cleaning.fit_shared_errors(confidences, outcomes)
        flagged = ~outcomes.any(axis=0) & (confidences.min(axis=0) > 0.7)
        found = cj.cleaning.expected_precision_interval(shared, confidences, flagged)
        # One wrong label more than there is: no interval for a share begins at zero.
        most = (wrong[flagged].sum() + 1) / flagged.sum()
        held += int(found.lower <= most and wrong[flagged].mean() <= found.upper)
        estimates.append(float(found.estimate))
        assert found.lower <= found.estimate < found.upper
    assert held >= 7
    if noise == 0:
        assert np.mean(estimates) < 0.35


def test_a_plateau_is_seen():
    """Experts that are nearly always right, and labels that are wrong at random."""
    rng = np.random.default_rng(0)
    confidences = np.float32(special.expit(rng.normal(5, 3, (2, SIZE))))
    wrong = rng.random(SIZE) < 0.05
    outcomes = ~wrong & (rng.random((2, SIZE)) < confidences)
    flagged = ~outcomes.any(axis=0) & (confidences.min(axis=0) > 0.99)
    shared = cj.cleaning.fit_shared_errors(confidences, outcomes)
    found = cj.cleaning.expected_precision_interval(shared, confidences, flagged)
    assert wrong[flagged].mean() > 0.95
    assert found.estimate > 0.7 and found.upper > 0.95
    constant = np.sum(shared.weight * shared.constant)
    assert float(constant) == pytest.approx(0.05, abs=0.03)


def test_the_estimate_is_the_mean_over_flags():
    confidences, outcomes, _ = made()
    shared = cj.cleaning.fit_shared_errors(confidences, outcomes)
    flagged = ~outcomes.any(axis=0)
    where = np.arange(SIZE) % 3 > 0
    error = np.asarray(cj.cleaning.joint_error_probability(shared, confidences))
    found, part = (
        cj.cleaning.expected_precision_interval(
            shared, confidences, flagged, where=mask
        )
        for mask in (None, where)
    )
    assert float(found.estimate) == pytest.approx(error[flagged].mean(), abs=1e-5)
    assert float(part.estimate) == pytest.approx(
        error[flagged & where].mean(), abs=1e-5
    )
    # Fewer flags leave more to luck, and a higher level takes in more.
    assert part.upper - part.lower > 0.99 * (found.upper - found.lower)
    wide = cj.cleaning.expected_precision_interval(
        shared, confidences, flagged, confidence_level=0.99
    )
    assert wide.lower < found.lower and wide.upper > found.upper


def test_one_expert_decides_nothing():
    """What share of its contradictions is the labels' fault goes by the prior."""
    confidences, outcomes, _ = made(num_experts=1, noise=0.0)
    shared = cj.cleaning.fit_shared_errors(confidences, outcomes)
    found = cj.cleaning.expected_precision_interval(shared, confidences, ~outcomes[0])
    assert found.upper - found.lower > 0.5


def test_rows_without_values():
    confidences, outcomes, _ = made()
    shared = cj.cleaning.fit_shared_errors(confidences, outcomes)
    none = cj.cleaning.expected_precision_interval(
        shared, confidences, np.zeros(SIZE, bool)
    )
    assert np.isnan([none.estimate, none.lower, none.upper]).all()
    broken = confidences.copy()
    broken[0, 5] = np.nan
    error = np.asarray(cj.cleaning.joint_error_probability(shared, broken))
    assert np.flatnonzero(np.isnan(error)).tolist() == [5]
    lost = cj.cleaning.fit_shared_errors(jnp.asarray(broken), outcomes)
    assert np.isnan(lost.weight).all()
    kept = cj.cleaning.fit_shared_errors(
        jnp.asarray(broken), outcomes, where=np.arange(SIZE) != 5
    )
    assert np.isfinite(kept.weight).all()
    with pytest.raises(ValueError, match="expected a row for each of the 2 experts"):
        cj.cleaning.joint_error_probability(shared, confidences[:1])
    with pytest.raises(ValueError, match="expected at least one expert"):
        cj.cleaning.fit_shared_errors(confidences[:0], outcomes[:0])
