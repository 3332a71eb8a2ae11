"""benchmarks/guarantees from its command line, with made-up outputs and judgements."""

import sys

import paper_data
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("rich")

from benchmarks.guarantees import __main__ as command  # noqa: E402
from benchmarks.guarantees import real, simulation  # noqa: E402

pytestmark = pytest.mark.once


def simulated(seed, num_rows, num_repeats, delta):
    one = simulation.Simulated(
        kind="regret",
        num_rows=num_rows,
        level=0.1,
        broken=0.0,
        risk=0.05,
        risk_error=0.01,
        saved=0.4,
        feasible=1.0,
    )
    return [one]


def judged(task, params, halves, pair, num_bins, delta):
    """Every pair breaks one limit, and exceeds another on average."""
    assert halves[0].shape[0] == 2
    return {
        kind: real.Judged(
            broken=1.0 if kind == "drop 0.03" else 0.0,
            risk=0.02 if kind == "regret 0.01" else 0.005,
            risk_error=0.001,
            level=0.01,
            saved=0.3,
            feasible=0.9,
            off=0.01,
        )
        for kind in real.KINDS
    }


def test_command(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "simulate", simulated)
    monkeypatch.setattr(real, "platt", lambda task, rows: None)
    monkeypatch.setattr(real, "judge", judged)
    folder = paper_data.write(tmp_path / "outputs")
    arguments = [str(folder), "--num-splits", "2", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["guarantees", *arguments])
    command.main()
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "| regret | 5000 |" in text
    # A mean risk above its limit counts as broken, like a share of splits above theirs.
    for kind, kept in (("drop 0.01", True), ("drop 0.03", False)):
        (line,) = [x for x in text.splitlines() if x.startswith(f"| {kind} |")]
        pairs = int(line.split(" of ")[1].split(" |")[0])
        assert pairs > 2 and f"| {pairs if kept else 0} of {pairs} |" in line
    (line,) = [x for x in text.splitlines() if x.startswith("| regret 0.01 |")]
    assert f"| 0 of {pairs} |" in line
    assert (tmp_path / "figures/broken.png").is_file()
