"""benchmarks/intervals from its command line, with made-up coverages of two kinds."""

import json
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("rich")

from benchmarks.intervals import __main__ as command  # noqa: E402
from benchmarks.intervals import calibration_errors, cascades, flags  # noqa: E402

pytestmark = pytest.mark.once


def covered(setting, *, seed, num_samples, num_percentile_draws):
    """Coverage too high for one bin and a clear error, else just right."""
    clear = setting.gap == "0.15 everywhere"
    return calibration_errors.Coverage(
        setting=setting,
        truth=0.15 * clear,
        noise=0.02,
        null_error=0.02,
        estimate=0.15,
        debiased=0.14,
        coverage=1.0 if setting.num_bins == 1 else 0.95,
        above=0.0,
        below=0.0,
        width=0.05,
        least_width=0.04,
        rejected=1.0,
        percentile_coverage=0.5 if num_percentile_draws else float("nan"),
    )


def cascade_covered(pair, num_rows, **_):
    return cascades.Coverage(
        pair=pair,
        num_rows=num_rows,
        coverage={"APGR": np.array(0.9), "PGR": np.array([1.0, 0.8])},
        width={"APGR": np.array(20.0), "PGR": np.array([0.1, 0.2])},
    )


def test_command(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration_errors, "cover", covered)
    monkeypatch.setattr(cascades, "cover", cascade_covered)
    one = list(flags.settings([200]))[:1]
    monkeypatch.setattr(flags, "settings", lambda rows: one)
    arguments = "--rows 200 1000 --samples 200 --draws 2 --output".split()
    monkeypatch.setattr(sys, "argv", ["intervals", *arguments, str(tmp_path)])
    command.main()
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "| 200 rows, 1 bin |" in text and "| 200 rows, 30 bins |" in text
    # Four kinds of scores, two numbers of rows and five numbers of bins; one kind
    # of few rows, two numbers each; and one of hardly any wrong answers, two each.
    assert "are 0 of 356 coverages; of the 44 of a clear error" in text
    assert "96.1 %, 10 are above 97 % by as much" in text
    assert "| APGR | small gap | 200 | 90.0 |  | wide |" in text
    assert len(json.loads((tmp_path / "results.json").read_text())) == 5
    assert (tmp_path / "figures/calibration-error-coverage-dark.png").is_file()
