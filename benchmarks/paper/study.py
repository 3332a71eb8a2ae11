"""The input of every section: the outputs, their halves, and how much to compute."""

import dataclasses
from pathlib import Path

from benchmarks.kit import halves, outputs
from benchmarks.kit.command import Advance as Advance
from benchmarks.kit.halves import Halves
from benchmarks.kit.outputs import Outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How much to compute; everything random follows from `seed`.

    Attributes:
      seed: for splits, bootstrap draws, flipped labels and trained models.
      num_halves: random halves of every task.
      num_draws: bootstrap draws of an interval.
      num_bins: equal-count bins of every table and router.
      flipped_share: share of labels made wrong in simulations.
      num_repeats: repetitions where models are trained.
      num_train: digits to train such a model on.
      num_epochs: passes over them.
    """

    seed: int = 0
    num_halves: int = 20
    num_draws: int = 1000
    num_bins: int = 15
    flipped_share: float = 0.08
    num_repeats: int = 3
    num_train: int = 2000
    num_epochs: int = 10


@dataclasses.dataclass(frozen=True)
class Study:
    """The tasks under study.

    Attributes:
      settings: how much to compute.
      folder: the one with the outputs.
      tasks: `Outputs` by name, of every task whose files are there.
      halves: `Halves` by name.
      missing: tasks whose files are not there.
    """

    settings: Settings
    folder: Path
    tasks: dict[str, Outputs]
    halves: dict[str, Halves]
    missing: tuple[str, ...]


def prepare(
    folder: Path, settings: Settings, advance: Advance = lambda name: None
) -> Study:
    """Reads all tasks of a folder, splits and calibrates them.

    Args:
      folder: of saved outputs.
      settings: how much to compute.
      advance: called with the title of each task when it is done.
    """
    tasks, splits = {}, {}
    for name in outputs.find(folder):
        tasks[name] = outputs.read(folder, name)
        splits[name] = halves.split(tasks[name], settings.seed, settings.num_halves)
        advance(tasks[name].title)
    missing = tuple(name for name in outputs.descriptions() if name not in tasks)
    return Study(settings, folder, tasks, splits, missing)
