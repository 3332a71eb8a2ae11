"""Labels and experts about which everything is known.

Shapes: S samples of a setting, N rows, C classes.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj

_CLASSES, _BATCH = 10, 4
# Standard deviation of the logits of a model that is sure of most examples.
_SCALE = 4.0
ESTIMATES = (
    "1 - p(given)",
    "with the true noise",
    "with estimated noise",
    "1 - q(given)",
    "q, noise taken out",
)
NOISES = ("uniform, 1 %", "uniform, 5 %", "uniform, 20 %", "one way, 20 %")
SHARES = tuple(round(0.1 * k, 1) for k in range(11))
# Share of wrong labels where experts share errors.
_WRONG = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expected:
    """Expected and actual precision of flags, for one kind of label noise.

    Attributes:
      noise: name of the noise.
      precision: float64 `[S]`, share of wrong labels among the flagged.
      expected: float64 `[S, len(ESTIMATES)]`.
      standard_error: float64 `[S]`, stated for the second of these.
    """

    noise: str
    precision: np.ndarray
    expected: np.ndarray
    standard_error: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared:
    """Two experts that share some of their errors.

    Attributes:
      share: share of examples on which both have the same luck.
      precision: float64 `[S]`, precision of labels that both contradict.
      if_independent: float64 `[S]`, the expected precision of independent experts.
      least: float64 `[S]`, the least expected precision.
      lift: float64 `[S, 3]`, given confidence: estimate, lower and upper end.
      expected_lift: float64 `[S]`, precision expected with false flags multiplied by
        the lift of 2,000 other rows.
    """

    share: float
    precision: np.ndarray
    if_independent: np.ndarray
    least: np.ndarray
    lift: np.ndarray
    expected_lift: np.ndarray


def noise_matrix(name: str) -> jax.Array:
    kind, rate = name.removesuffix(" %").split(", ")
    if kind == "uniform":
        return cj.cleaning.uniform_label_noise(float(rate) / 100, _CLASSES)
    # Every other class is mistaken for the next one.
    matrix = np.eye(_CLASSES)
    even = np.arange(0, _CLASSES, 2)
    matrix[even, even] = 1 - float(rate) / 100
    matrix[even, even + 1] = float(rate) / 100
    return jnp.asarray(matrix, jnp.float32)


def expect(noise: str, *, seed: int, num_samples: int, num_rows: int) -> Expected:
    found = _expect(
        jax.random.split(jax.random.key(seed), num_samples),
        noise_matrix(noise),
        num_rows=num_rows,
    )
    precision, expected, error = map(np.asarray, found)
    return Expected(
        noise=noise, precision=precision, expected=expected, standard_error=error
    )


@functools.partial(jax.jit, static_argnames="num_rows")
def _expect(keys: jax.Array, noise: jax.Array, *, num_rows: int) -> tuple:
    def one(key: jax.Array) -> tuple[jax.Array, ...]:
        parts = jax.random.split(key, 3)
        logits = _SCALE * jax.random.normal(parts[0], (num_rows, _CLASSES))
        p = jax.nn.softmax(logits)
        true = jax.random.categorical(parts[1], logits)
        labels = jax.random.categorical(parts[2], jnp.log(noise)[true])
        q = jnp.matmul(p, noise)
        flagged = jnp.argmax(p, axis=1) != labels
        row = jnp.arange(num_rows)
        errors = [
            1 - p[row, labels],
            cj.cleaning.label_error_probability(p, labels, noise),
            cj.cleaning.label_error_probability(
                p, labels, cj.cleaning.estimate_label_noise(p, labels)
            ),
            1 - q[row, labels],
            cj.cleaning.label_error_probability(
                cj.cleaning.true_label_probabilities(q, noise), labels, noise
            ),
        ]
        found = jax.vmap(cj.cleaning.expected_precision, (0, None))(
            jnp.stack(errors), flagged
        )
        actual = jnp.sum(flagged & (true != labels)) / jnp.sum(flagged)
        return actual, found.precision, found.standard_error[1]

    return lax.map(one, keys, batch_size=_BATCH)


def share(of: float, *, seed: int, num_samples: int, num_rows: int) -> Shared:
    found = _share(
        jax.random.split(jax.random.key(seed), num_samples),
        jnp.float32(of),
        num_rows=num_rows,
    )
    precision, independent, least, lift, with_lift = map(np.asarray, found)
    return Shared(
        share=of,
        precision=precision,
        if_independent=independent,
        least=least,
        lift=lift,
        expected_lift=with_lift,
    )


@functools.partial(jax.jit, static_argnames="num_rows")
def _share(keys: jax.Array, of: jax.Array, *, num_rows: int) -> tuple:
    labelled = jnp.arange(num_rows) < 2000

    def one(key: jax.Array) -> tuple[jax.Array, ...]:
        parts = jax.random.split(key, 4)
        # Both find the same examples hard, and their confidence shows it.
        ease = jax.random.uniform(parts[0], (num_rows,))
        confidence = jnp.clip(
            0.35
            + 0.65 * jnp.sqrt(ease)[None]
            + 0.05 * jax.random.normal(parts[1], (2, num_rows)),
            0.1,
            0.995,
        )
        luck = jax.random.uniform(parts[2], (2, num_rows))
        alike, label = jax.random.uniform(parts[3], (2, num_rows))
        luck = luck.at[1].set(jnp.where(alike < of, luck[0], luck[1]))
        wrong, is_error = luck > confidence, label < _WRONG
        # An expert that is wrong contradicts a right label. One that is right
        # contradicts a wrong label, and with many classes so does one that is wrong.
        flagged = jnp.all(wrong | is_error[None], axis=0)
        found = cj.cleaning.expected_false_flags(confidence, ~labelled, flagged)
        known = cj.cleaning.expert_dependence(~wrong, confidence, where=labelled)
        lift = known.lift_given_confidence
        counted = flagged & ~labelled
        false = jnp.minimum(lift.estimate * found.if_independent, found.most)
        return (
            jnp.sum(counted & is_error) / jnp.sum(counted),
            found.precision_if_independent,
            found.least_precision,
            jnp.stack([lift.estimate, lift.lower, lift.upper]),
            1 - false / found.num_flagged,
        )

    return lax.map(one, keys, batch_size=_BATCH)
