"""Workloads, their cases, candidates and targets.

A workload is one call that users make. It has cases (sizes of its inputs), and every
case is run by the same candidates: calib_jax, other libraries, well-written NumPy, and
the floor, a program that does only what the machine must.
"""

import dataclasses
import enum
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

# By name; uint16 holds the bits of bfloat16, which `.npy` files do not support.
Inputs = Mapping[str, np.ndarray]
Result = Mapping[str, np.ndarray]
Call = Callable[[], Result]

OURS = "calib_jax"


class Kind(enum.StrEnum):
    """The role of a candidate in comparisons."""

    OURS = "calib_jax"
    LIBRARY = "library"
    YARDSTICK = "yardstick"
    FLOOR = "floor"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to compute a workload.

    Attributes:
      make: function from the inputs to the call that is timed. It converts the inputs,
        so that the call starts from arrays of its own library and returns NumPy arrays.
      kind: its role in comparisons.
      package: the module it needs beyond calib_jax and NumPy, or "".
      scale: factor for a measured time, if the call does only a part.
    """

    make: Callable[[Inputs], Call]
    kind: Kind = Kind.LIBRARY
    package: str = ""
    scale: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """Measurements of one candidate.

    Attributes:
      name: name of the candidate.
      kind: kind of the candidate.
      first: seconds of the first call in a fresh process, the median over several; None
        for a call that does only a part.
      warm: seconds, one entry for each round.
      peak: most bytes beyond the inputs, over all calls; None where unknown.
      warm_peak: the same over the warm calls only.
      error: error against the float64 reference, or None if it computes another
        quantity.
      failure: why there is no measurement, or "".
    """

    name: str
    kind: Kind
    first: float | None = None
    warm: Sequence[float] = ()
    peak: int | None = None
    warm_peak: int | None = None
    error: float | None = None
    failure: str = ""

    @property
    def median(self) -> float:
        """Seconds of a warm call."""
        return statistics.median(self.warm)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaseResult:
    """Measurements of one case.

    Attributes:
      name: name of the case.
      input_bytes: size of the inputs.
      rows: one for each candidate that was installed.
      missing: candidates whose package is not installed.
    """

    name: str
    input_bytes: int
    rows: Sequence[Measurement]
    missing: Sequence[str] = ()

    def row(self, name: str) -> Measurement | None:
        """The measured candidate of that name, if there is one."""
        found = (row for row in self.rows if row.name == name and row.warm)
        return next(found, None)

    def best(self, kind: Kind) -> Measurement | None:
        """The fastest measured candidate of a kind."""
        rows = [row for row in self.rows if row.kind == kind and row.warm]
        return min(rows, key=lambda row: row.median, default=None)


def ratio(slow: Measurement | None, fast: Measurement | None) -> float | None:
    """How many times longer one takes: the median of the ratios in each round."""
    if slow is None or fast is None:
        return None
    return statistics.median(a / b for a, b in zip(slow.warm, fast.warm, strict=False))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """A target for a case.

    Attributes:
      text: description.
      value: measured value, or None.
      limit: limit of the value.
      at_least: whether the value must be above the limit, else below it.
      unit: unit of value and limit.
    """

    text: str
    value: Callable[[CaseResult], float | None]
    limit: float
    at_least: bool = False
    unit: str = "x"

    def met(self, result: CaseResult) -> bool | None:
        """Whether the target is met; None where it was not measured."""
        value = self.value(result)
        if value is None:
            return None
        return value >= self.limit if self.at_least else value <= self.limit


def _pick(result: CaseResult, name: str) -> Measurement | None:
    """A candidate by name, or the best of a kind."""
    return result.best(Kind(name)) if name in set(Kind) else result.row(name)


def _named(name: str) -> str:
    groups = {
        str(Kind.LIBRARY): "the best library",
        str(Kind.YARDSTICK): "the best NumPy",
        str(Kind.FLOOR): "the floor",
    }
    return groups.get(name, name)


def faster(than: str, times: float, by: str = OURS) -> Target:
    """At least so many times faster than a candidate, or the best of a kind."""
    return Target(
        text=f"{by}: at least {times:g}x faster than {_named(than)}",
        value=lambda result: ratio(_pick(result, than), result.row(by)),
        limit=times,
        at_least=True,
    )


def at_most(other: str, times: float, note: str = "") -> Target:
    """At most so many times the time of a candidate, or the best of a kind."""
    return Target(
        text=f"at most {times:g}x {_named(other)}{note}",
        value=lambda result: ratio(result.row(OURS), _pick(result, other)),
        limit=times,
    )


def _of_ours(attribute: str, factor: float = 1.0) -> Callable[..., float | None]:
    def value(result: CaseResult) -> float | None:
        row = result.row(OURS)
        number = None if row is None else getattr(row, attribute)
        return None if number is None else number * factor

    return value


def error_below(limit: float, what: str) -> Target:
    """An error at or below a limit."""
    text = f"{what} at most {limit:g}"
    return Target(text=text, value=_of_ours("error"), limit=limit, unit="")


def memory_below(megabytes: float) -> Target:
    """Peak memory beyond the inputs at or below a limit."""
    text = f"at most {megabytes:g} MB beyond the input"
    value = _of_ours("peak", 1e-6)
    return Target(text=text, value=value, limit=megabytes, unit="MB")


def first_below(seconds: float) -> Target:
    """A first call, which compiles, at or below a limit."""
    text = f"first call at most {seconds:g} s"
    return Target(text=text, value=_of_ours("first"), limit=seconds, unit="s")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One size of a workload.

    Attributes:
      name: such as "50,000 x 1,000".
      size: arguments of `Workload.make_inputs`.
      small: the same, for a run that only checks that everything works; not a multiple
        of a block.
      targets: targets for calib_jax.
      without: candidates that are left out, since they take too long at this size.
      other_quantity: candidates that compute another number here, so have no error.
    """

    name: str
    size: Mapping[str, Any]
    small: Mapping[str, Any]
    targets: Sequence[Target] = ()
    without: Sequence[str] = ()
    other_quantity: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workload:
    """One call that users make.

    Attributes:
      name: name of its module.
      title: description.
      notes: Markdown on what is computed and how the candidates differ.
      make_inputs: function from a size to NumPy arrays.
      candidates: by name; OURS among them.
      reference: function from inputs to float64 results, independent of calib_jax.
      error: function from a result and the reference to the error.
      error_text: name of that error.
      cases: the sizes to measure.
      growth: sizes with 1, 4 and 16 times the data.
    """

    name: str
    title: str
    notes: str
    make_inputs: Callable[..., Inputs]
    candidates: Mapping[str, Candidate]
    reference: Callable[[Inputs], Result]
    error: Callable[[Result, Result], float]
    error_text: str
    cases: Sequence[Case]
    growth: Sequence[Mapping[str, Any]]
