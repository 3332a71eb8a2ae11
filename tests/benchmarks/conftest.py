"""The paper's study on made-up outputs: prepared, and each section evaluated, once."""

import dataclasses
import functools
from typing import Any

import pytest


@pytest.fixture(scope="session")
def paper_study(tmp_path_factory):
    """A small study of made-up outputs, for the sections of benchmarks/paper."""
    import paper_data

    from benchmarks.paper import ablation_bins, batches, routing
    from benchmarks.paper.study import Settings, prepare

    names = paper_data.NAMES + paper_data.FURTHER
    folder = paper_data.write(tmp_path_factory.mktemp("outputs"), names=names)
    settings = Settings(
        num_halves=2, num_draws=16, num_repeats=1, num_train=100, num_epochs=1
    )
    with pytest.MonkeyPatch.context() as patch:
        # With few jobs, padding a batch would cost more here than the jobs.
        patch.setattr(routing, "_BATCH", 32)
        patch.setattr(batches, "_BATCH", 8)
        # Fewer numbers of bins, which take a tenth of the time.
        patch.setattr(ablation_bins, "COUNTS", (5, 15, 40))
        yield prepare(folder, settings)


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """One section: its numbers, the steps it announced, and what it trained."""

    numbers: Any
    steps: list[str]
    trained: list[Any]


@pytest.fixture(scope="session")
def paper_section(paper_study):
    """A function from the name of a section to `Evaluated`."""
    return functools.cache(functools.partial(_evaluate, paper_study))


def _evaluate(study, name):
    from benchmarks.paper import expert_pairs, shift
    from benchmarks.paper.__main__ import SECTIONS

    steps, trained = [], []
    with pytest.MonkeyPatch.context() as patch:
        for module, train in ((shift, "logits"), (expert_pairs, "train")):
            function = getattr(module, train)
            patch.setattr(module, train, functools.partial(_keep, trained, function))
        numbers = SECTIONS[name].evaluate(study, steps.append)
    return Evaluated(numbers, steps, trained)


def _keep(found, function, *arguments):
    found.append(function(*arguments))
    return found[-1]
