"""Read strings, ask three models, calibrate, cascade and clean.

Calibrators, bins, routers and the number of bins kept small come from the calibration
half, whose labels are taken as checked; the labels of the test half are those of the
locales.

Shapes: N strings in a half.
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from .. import calibration, cascade, cleaning
from ..calibration import CALIBRATION, TEST
from ..results import Results
from . import models, strings
from .models import Model
from .strings import Shown, Strings

# So many strings go to a model at once.
_BATCH = 250


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything the results depend on.

    Attributes:
      seed: seed of the sample, its halves and the bootstrap.
      num_strings: how many strings to take.
      min_letters: strings with fewer letters are left out.
      min_translated: languages of which a smaller share is translated are left out.
      num_bins: number of equal-count bins of every table and router.
      num_draws: bootstrap draws.
    """

    seed: int = 0
    num_strings: int = 12_000
    min_letters: int = 4
    min_translated: float = 0.5
    num_bins: int = 15
    num_draws: int = 1000


def draw(
    key: jax.Array,
    shown: list[Shown],
    identifiers: Mapping[str, Model],
    settings: Settings,
) -> Strings:
    """A sample of the strings in languages that all models know."""
    known = frozenset.intersection(*(one.languages for one in identifiers.values()))
    languages = strings.choose_languages(shown, known, settings.min_translated)
    return strings.sample(key, shown, languages, settings.num_strings)


def ask(
    identifiers: Mapping[str, Model],
    some: Strings,
    advance: Callable[[str, int], None] = lambda name, num: None,
) -> dict[str, np.ndarray]:
    """Log-probabilities `[N, C]` of the languages of all strings, by model.

    Args:
      identifiers: the models, by name.
      some: the strings.
      advance: called with the name of a model and the number of strings it answered.
    """
    found = {}
    for name, model in identifiers.items():
        classify = model.restrict(some.languages)
        parts = []
        for start in range(0, len(some.texts), _BATCH):
            texts = some.texts[start : start + _BATCH]
            parts.append(models.log_probabilities(classify(texts)))
            advance(name, len(texts))
        found[name] = np.concatenate(parts)
    return found


def judge(
    key: jax.Array,
    some: Strings,
    values: Mapping[str, np.ndarray],
    settings: Settings,
) -> Results:
    """Calibrates, cascades and cleans with the answers of the models.

    Args:
      key: a JAX random key, for the bootstrap.
      some: the strings.
      values: log-probabilities `[N, C]` by model, "small" and "large" among them.
      settings: bins and draws.
    """
    labels, given = _halves(some.labels), _halves(some.given)
    fitted = {
        name: calibration.calibrate(_halves(one), labels, settings.num_bins)
        for name, one in values.items()
    }
    half = len(some.ids) // 2
    return Results(
        settings=settings,
        labels=labels,
        given=given,
        models=fitted,
        cascade=cascade.compare(
            key,
            fitted["small"],
            fitted["large"],
            settings.num_bins,
            settings.num_draws,
        ),
        cleaning=cleaning.clean(
            tuple(fitted.values()),
            fitted["large"],
            given[TEST],
            labels[TEST],
            settings.num_bins,
        ),
        ids={CALIBRATION: some.ids[:half], TEST: some.ids[half:]},
        choices=tuple(map(strings.english_name, some.languages)),
    )


def _halves(array: np.ndarray) -> dict[str, jax.Array]:
    half = len(array) // 2
    return {CALIBRATION: jnp.asarray(array[:half]), TEST: jnp.asarray(array[half:])}
