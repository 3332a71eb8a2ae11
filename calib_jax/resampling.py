"""The one bootstrap."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from . import _checks, _reduce

# Draws computed side by side: enough to fill a machine, few enough for N = 1e7.
_BATCH = 8


def bootstrap(
    key: jax.Array,
    statistic: Callable[..., Any],
    num_draws: int,
    *arrays: ArrayLike,
) -> Any:
    """Draws of a weighted statistic under resampling of its examples.

    Each draw takes N examples with replacement, held as the number of times that each
    was taken: `statistic(*arrays, weights=counts)`. The same counts serve all arrays,
    so what is compared between models, or before and after, is paired.

    Give a binned statistic its bins, as in
    `functools.partial(expected_calibration_error, bins=bins)`: else each draw cuts its
    own from the rows it holds. Draws of an ECE are no confidence interval of it, since
    the ECE is biased upwards and a resample more so.

    Args:
      key: a JAX random key.
      statistic: from `*arrays` and `weights`, float32 `[N]` of whole numbers, to a
        pytree of arrays. Build it once: each new function is compiled anew.
      num_draws: static number of draws, at least 1.
      *arrays: arrays whose first axis is the N examples.

    Returns:
      The pytree of the statistic, every array with a leading axis `[num_draws]`.

    Raises:
      ValueError: without arrays, for arrays of different length or length 0, or a wrong
        count.

    References:
      Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979.

    Examples:
      >>> def mean(x, weights):
      ...     return jnp.sum(weights * x) / jnp.sum(weights)
      >>> draws = bootstrap(jax.random.key(0), mean, 1000, jnp.arange(100.0))
      >>> print(draws.shape, bool(abs(draws.std() - 2.9) < 0.3))
      (1000,) True
    """
    size = _checks.static_int("num_draws", num_draws, minimum=1)
    if not callable(statistic):
        raise ValueError(
            f"statistic: expected a function, got {type(statistic).__name__}."
        )
    random = _checks.key("key", key)
    if not arrays:
        raise ValueError("arrays: expected at least one array [N, ...], got none.")
    given = tuple(
        _checks.any_array(f"arrays[{number}]", array)
        for number, array in enumerate(arrays)
    )
    if given[0].shape[0] == 0:
        raise ValueError("arrays: expected N > 0 examples to draw from, got 0.")
    _checks.same_rows(**{f"arrays[{k}]": array for k, array in enumerate(given)})
    return _bootstrap(random, given, statistic=statistic, num_draws=size)


@_reduce.core(static=["statistic", "num_draws"])
def _bootstrap(
    key: jax.Array,
    arrays: tuple[jax.Array, ...],
    *,
    statistic: Callable[..., Any],
    num_draws: int,
) -> Any:
    num_rows = arrays[0].shape[0]

    def draw(key: jax.Array) -> Any:
        taken = jax.random.randint(key, (num_rows,), 0, num_rows, jnp.int32)
        counts = _reduce.count_rows(lambda row: row, taken, num_rows)
        return statistic(*arrays, weights=counts.astype(jnp.float32))

    # Whole batches only: a shorter last one would be compiled a second time.
    batch = min(_BATCH, num_draws)
    keys = jax.random.split(key, -(-num_draws // batch) * batch)
    draws = lax.map(draw, keys, batch_size=batch)
    return jax.tree.map(lambda array: array[:num_draws], draws)
