"""Exact binomial and hypergeometric tails on the host, by SciPy in float64.

For a handful of counts: bounds on a rate, p-values, audits. They take NumPy and JAX
arrays with values, of any shape, and refuse traced ones. The bounds that risk control
needs inside `jax.jit` are in `bounds`.
"""

import bisect
import itertools
import math
from collections.abc import Callable

import numpy as np
from jax.typing import ArrayLike
from scipy import special as functions

from .._core import checks, domains

# A tail this close to a probability, relatively, is equal to it up to rounding.
_ROUNDING = 1e-10


def counts(name: str, value: ArrayLike) -> np.ndarray:
    """Whole numbers of any shape, int64; `ValueError` otherwise, or if traced."""
    checks.on_host(name, value)
    found = checks.integers(name, value, rank=range(8), axes="or scalar")
    given = np.asarray(value)
    if (np.asarray(found) != given).any():
        raise ValueError(f"{name}: expected counts below 2^31, got {value!r}.")
    return given.astype(np.int64)


def probabilities(name: str, value: ArrayLike) -> np.ndarray:
    """Numbers in [0, 1] or NaN, of any shape, float64; `ValueError` likewise."""
    found = _numbers(name, value)
    checks.in_domain(domains.SHARE, **{name: found})
    return np.clip(found, 0.0, 1.0)


def error_rate(name: str, confidence_level: ArrayLike) -> np.ndarray:
    """One minus a confidence level, float64, so that 0.9 gives 0.1 exactly."""
    level = _numbers(name, confidence_level)
    if not np.all((level > 0) & (level < 1)):
        raise ValueError(
            f"{name}: expected a number in (0, 1), such as 0.95, got "
            f"{confidence_level!r}."
        )
    error = 1 - level
    return np.where(error > 1e-14, np.round(error, 15), error)


def check_nested(**given: np.ndarray) -> None:
    """Raises `ValueError` unless counts of one shape are 0 <= first <= second ..."""
    for (name, count), (other, most) in itertools.pairwise(given.items()):
        for wrong, expected in (
            (count < 0, "at least 0"),
            (count > most, f"at most {other}"),
        ):
            if wrong.any():
                place = ", ".join(map(str, np.argwhere(wrong)[0]))
                where = f" at [{place}]" if place else ""
                raise ValueError(
                    f"{name}: expected {expected}, got {count[wrong][0]}{where}."
                )


def broadcast(**given: np.ndarray) -> tuple[np.ndarray, ...]:
    """Arrays as read-only views of one shape; `ValueError` with all names otherwise."""
    try:
        return tuple(np.broadcast_arrays(*given.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in given.items())
        raise ValueError(
            f"{', '.join(given)}: expected shapes that broadcast, got {shapes}."
        ) from None


def _numbers(name: str, value: ArrayLike) -> np.ndarray:
    checks.on_host(name, value)
    checks.floats(name, value, rank=range(8), axes="or scalar")
    return np.asarray(value, np.float64)


def binomial_at_most(
    count: ArrayLike, trials: ArrayLike, rate: ArrayLike
) -> np.ndarray:
    """P(X <= k) of a binomial X; k is whole and at least 0."""
    k, n, p = (np.asarray(x, np.float64) for x in (count, trials, rate))
    tail = functions.betaincc(k + 1, np.maximum(n - k, 1), p)
    return np.where(k < n, tail, np.where(np.isnan(p), np.nan, 1.0))


def binomial_at_least(
    count: ArrayLike, trials: ArrayLike, rate: ArrayLike
) -> np.ndarray:
    """P(X >= k) of a binomial X; k is whole and at most n + 1."""
    k, n, p = (np.asarray(x, np.float64) for x in (count, trials, rate))
    tail = functions.betainc(np.maximum(k, 1), np.maximum(n - k + 1, 1), p)
    known = np.where(k <= 0, 1.0, 0.0)
    return np.where((k > 0) & (k <= n), tail, np.where(np.isnan(p), np.nan, known))


def binomial_bounds(
    successes: ArrayLike, trials: ArrayLike, error: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """The one-sided bounds of Clopper and Pearson, each wrong with at most `error`.

    NaN where the successes are not between 0 and the trials; arrays broadcast.
    """
    k, n, delta = (np.asarray(x, np.float64) for x in (successes, trials, error))
    rest = n - k
    lower = functions.betaincinv(np.maximum(k, 1), rest + 1, delta)
    upper = functions.betainccinv(k + 1, np.maximum(rest, 1), delta)
    known = (k >= 0) & (rest >= 0)
    lower = np.where(known, np.where(k > 0, lower, 0.0), np.nan)
    return lower, np.where(known, np.where(rest > 0, upper, 1.0), np.nan)


def hoeffding_bentkus(
    total: ArrayLike, trials: ArrayLike, most: ArrayLike
) -> np.ndarray:
    """The p-value of that name; NaN for a NaN or a negative number."""
    lost, n, mean = (np.asarray(x, np.float64) for x in (total, trials, most))
    kept = n - lost
    deviance = functions.rel_entr(lost, n * mean) + functions.rel_entr(
        np.maximum(kept, 0), n * (1 - mean)
    )
    hoeffding = np.where(lost < n * mean, np.exp(-deviance), 1.0)
    bentkus = math.e * binomial_at_most(np.ceil(lost), n, mean)
    p_value = np.minimum(np.minimum(hoeffding, bentkus), 1.0)
    return np.where((lost >= 0) & (n >= 0) & (mean >= 0), p_value, np.nan)


def hypergeometric_at_least(count: int, drawn: int, special: int, total: int) -> float:
    """P(X >= k), X being how many of `special` things are among `drawn` of `total`.

    The things are drawn without replacement. Masses are products of the ratios of
    neighbours, from the mode outwards and over their sum: unlike factorials, these
    lose no digits as the total grows.
    """
    least, most = max(0, drawn + special - total), min(drawn, special)
    if count <= least or count > most:
        return float(count <= least)
    # By Hoeffding's inequality there is less than exp(-800) beyond.
    reach = math.ceil(math.sqrt(400 * most))
    mode = (drawn + 1) * (special + 1) // (total + 2)
    low, high = max(least, mode - reach), min(most, mode + reach)
    k = np.arange(low, high, dtype=np.float64)
    steps = np.log((special - k) * (drawn - k))
    steps -= np.log((k + 1) * (total - special - drawn + k + 1))
    below, above = steps[: mode - low], steps[mode - low :]
    log_mass = np.concatenate([-np.cumsum(below[::-1])[::-1], [0.0], np.cumsum(above)])
    mass = np.exp(log_mass)
    return float(np.sum(mass[max(count - low, 0) :]) / np.sum(mass))


def least_special(found: int, drawn: int, total: int, error: float) -> int:
    r"""The least number of special things that makes finding this many not unlikely.

    .. math:: \min\{W : P(X \ge k) > \delta\}
    """
    return least_whole(
        found,
        total - drawn + found,
        lambda special: exceeds(
            hypergeometric_at_least(found, drawn, special, total), error
        ),
    )


def least_whole(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The least whole number in `[low, high)` for which a statement holds, else `high`.

    The statement is False up to some number, and True from there on.
    """
    return low + bisect.bisect_left(range(low, high), True, key=holds)


def exceeds(tail: float, error: float) -> bool:
    """Whether a tail is above a probability by more than rounding."""
    return bool(tail > error * (1 + _ROUNDING))
