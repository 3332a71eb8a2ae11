"""Features of a confidence c for a logistic curve of log(c) and -log(1 - c).

Shapes: N examples. In float32 the two logarithms lose most digits near 0 and 1 or over
a narrow range, and nearly say the same.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from . import logistic

# If the two logarithms are this close to a straight line, float32 cannot tell how they
# differ.
_STRAIGHT = 2e-6
# Which slopes are free, as places in `Coordinates.faces`.
BOTH, FIRST, SECOND, NEITHER = range(4)


class Coordinates(NamedTuple):
    """Standardised features of a confidence; float32 scalars without derivatives.

    With u = log(c / center) and v = -log((1 - c) / (1 - center)) they are u + v and
    `toward_u` u - `toward_v` v, each less its mean and times its factor. These two are
    not correlated, while u and v nearly say the same.
    """

    center: jax.Array
    toward_u: jax.Array
    toward_v: jax.Array
    means: tuple[jax.Array, jax.Array]
    factors: tuple[jax.Array, jax.Array]

    @property
    def spreads(self) -> tuple[jax.Array, jax.Array]:
        first, second = (
            jnp.where(factor > 0, 1 / jnp.where(factor > 0, factor, 1.0), 0.0)
            for factor in self.factors
        )
        return first, second

    def features(self, confidence: jax.Array) -> tuple[jax.Array, jax.Array]:
        u, v = logarithms(confidence, self.center)
        raw = u + v, self.toward_u * u - self.toward_v * v
        first, second = (
            (x - mean) * factor
            for x, mean, factor in zip(raw, self.means, self.factors, strict=True)
        )
        return first, second

    def slopes(self, params: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The slopes of u and of v; `toward_u + toward_v` is 2."""
        first, second = params[0] * self.factors[0], params[1] * self.factors[1]
        return first + self.toward_u * second, first - self.toward_v * second

    def unchanged(self) -> jax.Array:
        """Parameters of the curve that leaves confidences as they are."""
        level = jnp.log(self.center) - jnp.log1p(-self.center) + self.means[0]
        return jnp.stack([self.spreads[0], jnp.zeros_like(level), level])

    def line(self, helps: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Slopes of the straight line, from the covariances of u and v with it."""
        first, second = helps
        turned = self.toward_u * first - self.toward_v * second
        return jnp.stack([(first + second) * self.factors[0], turned * self.factors[1]])

    def faces(self) -> jax.Array:
        """Matrices float32 `[4, 3, 3]` to the parameters from those that are free.

        The directions in which one slope stays 0 have length 1; the intercept is free.
        """
        by_first, by_second = self.spreads
        zero, one = jnp.float32(0), jnp.float32(1)
        first = self.toward_v * by_first, by_second
        second = self.toward_u * by_first, -by_second
        planes = [(one, zero, zero, one)]
        for x, y in (first, second):
            length = jnp.maximum(jnp.sqrt(x * x + y * y), 1e-30)
            planes.append((x / length, zero, y / length, zero))
        planes.append((zero,) * 4)
        matrices = jnp.stack([jnp.stack(plane) for plane in planes]).reshape(4, 2, 2)
        return jnp.pad(matrices, ((0, 0), (0, 1), (0, 1))).at[:, 2, 2].set(1.0)


def logarithms(confidence: jax.Array, center: jax.Array) -> tuple[jax.Array, jax.Array]:
    """log(c / center) and -log((1 - c) / (1 - center)).

    Near the center a difference of two logarithms would be mostly rounding.
    """

    def relative(step: jax.Array, value: jax.Array, base: jax.Array) -> jax.Array:
        near = jnp.abs(step) < 0.5 * base
        close = jnp.log1p(jnp.where(near, step / base, 0.0))
        return jnp.where(near, close, jnp.log(jnp.where(near, 1.0, value / base)))

    step = confidence - center
    u = relative(step, confidence, center)
    return u, -relative(-step, 1 - confidence, 1 - center)


def standardise(
    rows: Any, center: jax.Array, rate: jax.Array
) -> tuple[Coordinates, tuple[jax.Array, jax.Array]]:
    """The coordinates of rows, and how far u and v rise with the outcome.

    Args:
      rows: with `score`, the features u and v.
      center: of the features.
      rate: mean outcome.
    """

    def moments(score: Any, outcome: jax.Array, weight: jax.Array) -> Any:
        (u, v), right = score, outcome - rate
        first, second = weight * u, weight * v
        return (
            first,
            second,
            first * u,
            first * v,
            second * v,
            first * right,
            (second * right),
        )

    u, v, uu, uv, vv, *helps = logistic.means(moments, {"rows": rows})
    uu, uv, vv = (
        jnp.maximum(square - product, 0.0)
        for square, product in ((uu, u * u), (uv, u * v), (vv, v * v))
    )
    both = jnp.maximum(uu + 2 * uv + vv, 1e-37)
    toward_u, toward_v = 2 * (uv + vv) / both, 2 * (uu + uv) / both

    def rotated(score: Any, outcome: jax.Array, weight: jax.Array) -> Any:
        u, v = score
        x, y = u + v, toward_u * u - toward_v * v
        return weight * x, weight * y, weight * x * x, weight * x * y, weight * y * y

    x, y, xx, xy, yy = logistic.means(rotated, {"rows": rows})
    xx, xy, yy = xx - x * x, xy - x * y, yy - y * y
    # What rounding has left of the correlation.
    turn = jnp.where(xx > 0, xy / jnp.where(xx > 0, xx, 1.0), 0.0)
    spreads = jnp.sqrt(jnp.maximum(jnp.stack([xx, yy - turn * xy]), 0.0))
    least = _STRAIGHT * (toward_u * jnp.sqrt(uu) + toward_v * jnp.sqrt(vv))
    apart = spreads > jnp.stack([jnp.zeros_like(least), least])
    factors = jnp.where(apart, 1 / jnp.where(apart, spreads, 1.0), 0.0)
    coordinates = Coordinates(
        center=center,
        toward_u=toward_u - turn,
        toward_v=toward_v + turn,
        means=(x, y - turn * x),
        factors=(factors[0], factors[1]),
    )
    return coordinates, (helps[0], helps[1])
