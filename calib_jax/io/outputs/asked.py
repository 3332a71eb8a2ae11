"""What the caller wants to read, checked."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..._core import checks
from .rows import KINDS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What the caller wants, checked: arguments of `read_outputs` and `read_file`.

    `format` is checked where the formats are known.
    """

    kind: str | None = None
    format: str | None = None
    choices: Sequence[str] | None = None
    columns: Mapping[str, str | Sequence[str]] | None = None
    model: str | int | None = None
    smoothing: float | None = None
    repeats: str | None = None
    drop_malformed: bool = False
    labelled: bool = True
    unique: bool = True
    missing: bool = False

    def __post_init__(self) -> None:
        one_of("kind", self.kind, tuple(KINDS))
        one_of("repeats", self.repeats, ("first", "last"))
        checks.flag("drop_malformed", self.drop_malformed)
        if isinstance(self.model, bool) or not isinstance(
            self.model, (str, int, type(None))
        ):
            raise ValueError(f"model: expected a name or a number, got {self.model!r}.")
        if self.smoothing is not None and not (
            isinstance(self.smoothing, (int, float)) and 0 < self.smoothing < 1
        ):
            raise ValueError(
                "smoothing: expected a number above 0 and below 1, got "
                f"{self.smoothing!r}."
            )
        if self.choices is not None:
            object.__setattr__(self, "choices", _choices(self.choices))

    @property
    def named(self) -> bool:
        """Whether it is named what holds the outputs."""
        return self.kind is not None or self.columns is not None

    def only(self, name: str, *kinds: str, hint: str = "") -> None:
        """Raises `ValueError` if a format holds none of the kind that is wanted."""
        if self.kind is not None and self.kind not in kinds:
            raise ValueError(
                f"kind: {name} files hold {' or '.join(kinds)}, got {self.kind!r}"
                f"{hint}."
            )


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raises `ValueError` for a text that is none of these."""
    if value is not None and (not isinstance(value, str) or value not in allowed):
        raise ValueError(
            f"{name}: expected one of {', '.join(allowed)}, got {value!r}."
        )


def _choices(choices: Sequence[str]) -> list[str]:
    if (
        isinstance(choices, str)
        or not isinstance(choices, Sequence)
        or not all(isinstance(one, str) for one in choices)
    ):
        raise ValueError(f"choices: expected a list of texts, got {choices!r}.")
    if len(set(choices)) < len(choices) or len(choices) < 2:
        raise ValueError(f"choices: expected two texts or more, got {choices!r}.")
    return list(choices)
