"""python -m benchmarks.intervals"""

from benchmarks.kit import command

from . import calibration_errors, cascades, flags
from .report import write_results

# Of the setting that a percentile bootstrap is shown beside.
_BESIDE = {"num_rows": 1000, "num_bins": 15, "scores": "confident"}


def main() -> None:
    parser = command.parser(
        __package__,
        "How often the intervals of calib_jax hold what they are of.",
        samples=600,  # Of a setting; a quarter as many of 10,000 rows.
        draws=199,
        seed=0,
    )
    parser.add_argument(
        "--rows",
        type=int,
        nargs="+",
        choices=calibration_errors.NUM_ROWS,
        default=calibration_errors.NUM_ROWS,
        help="sizes of a sample (default: all)",
    )
    options = parser.parse_args()
    few = max(options.samples // 4, 1)

    def samples(num_rows: int) -> int:
        return few if num_rows >= 10_000 else options.samples

    errors, of_cascades, of_flags = [], [], []
    with command.progress() as bars:

        def each(title: str, settings: list):
            advance = command.bar(bars, title, len(settings))
            for setting in settings:
                yield setting
                advance(str(setting)[:60])

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
