"""python -m benchmarks.intervals"""

from benchmarks.kit import command

from . import calibration_errors, cascades, flags
from .report import Results

# The setting for which a percentile bootstrap is shown too.
_BESIDE = {"num_rows": 1000, "num_bins": 15, "scores": "confident"}


def run(*, rows: tuple[int, ...], samples: int, draws: int, seed: int) -> Results:
    """Counts how often intervals contain the truth, for samples of so many rows."""
    few = max(samples // 4, 1)

    def num_samples(num_rows: int) -> int:
        return few if num_rows >= 10_000 else samples

    def num_percentile_draws(setting: calibration_errors.Setting) -> int:
        beside = all(getattr(setting, k) == v for k, v in _BESIDE.items())
        return draws if beside else 0

    with command.progress() as bars:
        return Results(
            calibration_errors=[
                calibration_errors.cover(
                    setting,
                    seed=seed,
                    num_samples=num_samples(setting.num_rows),
                    num_percentile_draws=num_percentile_draws(setting),
                )
                for setting in command.each(
                    bars, "calibration error", list(calibration_errors.settings(rows))
                )
            ],
            cascades=[
                cascades.cover(
                    pair,
                    num_rows,
                    seed=seed,
                    num_samples=num_samples(num_rows),
                    num_draws=draws,
                )
                for pair, num_rows in command.each(
                    bars, "cascades", list(cascades.settings(rows))
                )
            ],
            flags=[
                flags.cover(num_rows, precision, seed=seed, num_samples=4 * samples)
                for num_rows, precision in command.each(
                    bars, "flags", list(flags.settings(rows))
                )
            ],
            num_samples=samples,
            num_samples_of_large=few,
        )


def main() -> None:
    command.main(
        run,
        __package__,
        "How often the intervals of calib_jax hold what they are of.",
        reads_folder=False,
        results=Results,
        rows=calibration_errors.NUM_ROWS,  # Sample sizes.
        samples=600,  # Samples of a setting; a quarter as many with 10,000 rows.
        draws=199,
        seed=0,
    )


if __name__ == "__main__":
    main()
