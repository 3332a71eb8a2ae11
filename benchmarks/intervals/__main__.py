"""python -m benchmarks.intervals"""

import argparse
from pathlib import Path

from benchmarks.speed.command import progress

from . import calibration_errors, cascades, flags
from .report import write_results

# Of the setting that a percentile bootstrap is shown beside.
_BESIDE = {"num_rows": 1000, "num_bins": 15, "scores": "confident"}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.intervals",
        description="How often the intervals of calib_jax hold what they are of.",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=600,
        help="samples of a setting, a quarter as many of 10,000 rows (default: 600)",
    )
    parser.add_argument(
        "--draws", type=int, default=199, help="bootstrap draws (default: 199)"
    )
    parser.add_argument(
        "--rows",
        type=int,
        nargs="+",
        choices=calibration_errors.NUM_ROWS,
        default=calibration_errors.NUM_ROWS,
        help="sizes of a sample (default: all)",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent,
        help="folder for RESULTS.md, results.json and figures (default: that of this "
        "module)",
    )
    options = parser.parse_args()
    few = max(options.samples // 4, 1)

    def samples(num_rows: int) -> int:
        return few if num_rows >= 10_000 else options.samples

    errors, of_cascades, of_flags = [], [], []
    with progress() as bars:

        def each(title: str, settings: list):
            task = bars.add_task(title, total=len(settings), step="")
            for setting in settings:
                bars.update(task, step=str(setting)[:60])
                yield setting
                bars.update(task, advance=1, step="")

        for setting in each(
            "calibration error", list(calibration_errors.settings(options.rows))
        ):
            beside = all(getattr(setting, k) == v for k, v in _BESIDE.items())
            errors.append(
                calibration_errors.cover(
                    setting,
                    seed=options.seed,
                    num_samples=samples(setting.num_rows),
                    num_percentile_draws=options.draws if beside else 0,
                )
            )
        for pair, num_rows in each("cascades", list(cascades.settings(options.rows))):
            of_cascades.append(
                cascades.cover(
                    pair,
                    num_rows,
                    seed=options.seed,
                    num_samples=samples(num_rows),
                    num_draws=options.draws,
                )
            )
        for num_rows, precision in each("flags", list(flags.settings(options.rows))):
            of_flags.append(
                flags.cover(
                    num_rows,
                    precision,
                    seed=options.seed,
                    num_samples=4 * options.samples,
                )
            )
    write_results(options.output, errors, of_cascades, of_flags, options.samples, few)
    least = min(one.coverage for one in errors)
    print(f"least coverage of the calibration error: {100 * least:.1f} %")


if __name__ == "__main__":
    main()
