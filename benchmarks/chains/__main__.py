"""python -m benchmarks.chains FOLDER"""

import functools
from pathlib import Path

import numpy as np

from benchmarks.kit import command

from . import abstaining, choices, comparing, problems
from .report import FRACTIONS, Compared, Results


def run(
    folder: Path,
    *,
    seed: int,
    num_halves: int,
    num_bins: int,
    few_bins: int,
    num_draws: int,
) -> Results:
    """Chooses, judges and compares for all tasks of the folder."""
    settings, sides = problems.read(folder, seed, num_halves)
    seen, new = sides
    subsets = choices.subsets(new.correct.shape[1])
    largest = np.sum(seen.cost[:, -1] * seen.where, axis=-1) / seen.where.sum(axis=-1)
    budgets = np.float32(largest[:, None] * np.array(FRACTIONS))
    judged = {num_bins: {}, few_bins: {}}
    differences, pairs_alone = {}, {}
    with command.progress() as bars:
        for size in (num_bins, few_bins):
            advance = command.bar(bars, f"chains, {size} bins", len(subsets))
            found = choices.choose(sides, budgets, size, advance)
            by_family = comparing.best_of(subsets, found, sides, budgets)
            for setting in settings:
                judge = functools.partial(
                    comparing.judge, setting, new=new, fractions=FRACTIONS
                )
                judged[size][setting.title] = {
                    family: judge(chosen) for family, chosen in by_family.items()
                }
                if size != num_bins:
                    continue
                single_pairs = comparing.pairs_of(setting, subsets, found)
                compare = functools.partial(
                    comparing.compare,
                    setting,
                    by_family[comparing.CHAIN],
                    new=new,
                    seed=seed,
                    num_draws=num_draws,
                )
                differences[setting.title] = Compared(
                    within=compare(
                        {rival: by_family[rival] for rival in comparing.RIVALS}
                    ),
                    at_equal_cost=compare(comparing.at_equal_cost(by_family)),
                    pairs=compare(single_pairs),
                )
                pairs_alone[setting.title] = {
                    name: judge(chosen) for name, chosen in single_pairs.items()
                }
        pairs = [subset for subset in subsets if len(subset) <= 2]
        advance = command.bar(bars, "abstaining", len(pairs) + 1)
        abstain = functools.partial(
            abstaining.abstain, settings, sides, num_bins=num_bins, advance=advance
        )
        chain = abstain(pairs, budgets)
        free = np.full(budgets.shape, np.inf, np.float32)
        alone = abstain([(new.correct.shape[1] - 1,)], free)
    return Results(
        settings=settings,
        judged=judged,
        differences=differences,
        pairs=pairs_alone,
        chain=chain,
        alone=alone,
        singles=[comparing.single(setting, new) for setting in settings],
        num_bins=num_bins,
        few_bins=few_bins,
        num_halves=num_halves,
    )


def main() -> None:
    command.main(
        run,
        __package__,
        "Chains of models with prices, against pairs and single models.",
        results=Results,
        num_halves=20,
        num_bins=15,
        few_bins=5,
        num_draws=1000,
        seed=0,
    )


if __name__ == "__main__":
    main()
