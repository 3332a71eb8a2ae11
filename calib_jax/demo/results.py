"""What a demo found, for `printing` and `saving`.

Shapes: N examples in a half.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from .calibration import CalibratedModel
from .cascade import Cascade
from .cleaning import Cleaning


@dataclasses.dataclass(frozen=True)
class Results:
    """Results of all stages.

    Attributes:
      settings: a dataclass, with `num_bins`.
      labels: int32 `[N]`, true labels, by half.
      given: int32 `[N]`, labels that may be wrong, by half.
      models: by name, among which are "small" and "large".
      cascade: of the small and the large model.
      cleaning: of the given labels of the test half.
      ids: names of the examples of each half, if they have any.
      choices: names of the classes, if they have any.
    """

    settings: Any
    labels: Mapping[str, jax.Array]
    given: Mapping[str, jax.Array]
    models: Mapping[str, CalibratedModel]
    cascade: Cascade
    cleaning: Cleaning
    ids: Mapping[str, Sequence[str]] | None = None
    choices: Sequence[str] | None = None
