"""Domains of values, stated in the signatures of cores.

A parameter of a core that is annotated with a type of this module, such as `Outcome`,
is kept to its domain by `dispatch.core`: in the program a value outside is NaN, and in
a host array it raises `ValueError` before the program runs. Up to 1e-6 beyond [0, 1] is
rounding and is clipped, and so are logarithms up to 1e-6. Rows that a mask or a weight
of 0 removes are not looked at.
"""

import dataclasses
import inspect
import math
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

_ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class Domain:
    """An interval of finite numbers.

    Attributes:
      lower: the least value.
      upper: the greatest value; inf is not in any domain.
      hint: what to do about a value outside.
      rows: the axis that is the examples.
      open_lower: whether the least value itself is outside.
    """

    lower: float
    upper: float
    hint: str = ""
    rows: int = -1
    open_lower: bool = False

    def __str__(self) -> str:
        left = "(" if self.open_lower else "["
        right = ")" if self.upper == math.inf else "]"
        return f"{left}{self.lower:g}, {self.upper:g}{right}"

    def holds(self, values: Any) -> Any:
        """Bool, of the shape of NumPy or JAX values: which are inside; not NaN."""
        slack = _ROUNDING if self.upper < math.inf else 0.0
        above = values > self.lower if self.open_lower else values >= self.lower - slack
        below = (
            values < self.upper
            if self.upper == math.inf
            else (values <= self.upper + slack)
        )
        return above & below

    def confine(self, values: Any) -> Any:
        """The values, rounding clipped, with NaN outside; a derivative of 1 inside."""
        if not jnp.issubdtype(values.dtype, jnp.floating):
            return values
        inside = self.holds(values)
        if isinstance(values, np.ndarray):
            confined = np.clip(values, self.lower, self.upper)
            return np.where(inside, confined, np.float32(np.nan))
        if self.upper < math.inf:
            moved = jax.lax.stop_gradient(jnp.clip(values, self.lower, self.upper))
            values = jnp.where(moved == values, values, moved)
        return jnp.where(inside, values, jnp.nan)


CONFIDENCE = Domain(
    0.0,
    1.0,
    "Divide percent by 100, turn logits into confidences with top1, scaled_softmax or "
    "calibrate, or mask the rows with where=.",
)
OUTCOME = Domain(
    0.0,
    1.0,
    "Outcomes say whether an answer is right: compare predictions with labels, or mask "
    "the rows with where=.",
)
# Of every class, one row for each example.
PROBABILITY = dataclasses.replace(CONFIDENCE, rows=0)
SHARE = Domain(0.0, 1.0)
Confidence = Annotated[jax.Array, CONFIDENCE]
Outcome = Annotated[jax.Array, OUTCOME]
Probabilities = Annotated[jax.Array, PROBABILITY]
LogProbability = Annotated[jax.Array, Domain(-math.inf, 0.0)]
NON_NEGATIVE = Domain(0.0, math.inf)
Weights = Annotated[jax.Array, NON_NEGATIVE]
Share = Annotated[jax.Array, SHARE]
Positive = Annotated[jax.Array, Domain(0.0, math.inf, open_lower=True)]
NonNegative = Weights
Difference = Annotated[jax.Array, Domain(-1.0, 1.0)]


def of_parameters(function: Callable[..., Any]) -> dict[str, Domain]:
    """Domains of the annotated parameters of a function, by name."""
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kinds = [parameter.annotation, *typing.get_args(parameter.annotation)]
        for kind in kinds:
            for extra in getattr(kind, "__metadata__", ()):
                if isinstance(extra, Domain):
                    found[name] = extra
    return found


def check_host(arguments: Mapping[str, Any], domains: Mapping[str, Domain]) -> None:
    """Raises `ValueError` for the first host array with a valid value outside.

    Arrays of a device are not waited for, but for a mask once something is outside.
    """
    for name, domain in domains.items():
        values = arguments.get(name)
        if not isinstance(values, (np.ndarray, np.generic)) or values.dtype == bool:
            continue
        if not values.size or (
            domain.holds(values.min()) and domain.holds(values.max())
        ):
            continue
        outside = ~domain.holds(values) & ~np.isnan(values)
        # The reference sample of a comparison has a mask of its own.
        sample = "reference_" if name.startswith("reference") else ""
        removed = _removed(
            arguments.get(f"{sample}where"), arguments.get(f"{sample}weights")
        )
        if removed is None:
            continue
        if values.ndim:
            if removed.ndim == 1:
                shape = [1] * values.ndim
                shape[domain.rows] = -1
                removed = removed.reshape(shape)
            outside = outside & ~removed
        if outside.any():
            raise ValueError(_message(name, domain, values, np.argwhere(outside)))


def _removed(where: Any, weights: Any) -> Any:
    """Which rows are removed; None where a mask cannot be read, because it is traced
    or spread over processes."""
    for mask in (where, weights):
        if isinstance(mask, jax.core.Tracer) or (
            isinstance(mask, jax.Array) and not mask.is_fully_addressable
        ):
            return None
    removed = np.zeros((), bool) if where is None else ~np.asarray(where)
    return removed if weights is None else removed | (np.asarray(weights) == 0)


def _message(name: str, domain: Domain, values: Any, places: np.ndarray) -> str:
    first = tuple(int(i) for i in places[0])
    value = f"{float(values[first]):.7g}"
    hint = f" {domain.hint}" if domain.hint else ""
    if not first:
        return f"{name}: expected a number in {domain}, got {value}.{hint}"
    place = f"row {first[0]}" if len(first) == 1 else f"entry {list(first)}"
    more = f" ({len(places) - 1} more outside)" if len(places) > 1 else ""
    return f"{name}: expected values in {domain}, {place} holds {value}{more}.{hint}"
