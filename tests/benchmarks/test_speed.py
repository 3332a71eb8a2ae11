"""The speed benchmarks run end to end, at sizes that measure nothing.

Numbers are checked against the float64 references of the workloads, and reports by
their contents; times are not tested.
"""

import dataclasses
import json
import sys

import jax
import numpy as np
import pytest

import calib_jax as cj
from benchmarks.kit import machine, report
from benchmarks.speed import (
    accelerated,
    accelerator,
    cases,
    child,
    cold,
    cold_calls,
    command,
    device_calls,
    growth,
    measure,
    process,
    programs,
    results,
    stored,
    tables,
)
from benchmarks.speed.__main__ import WORKLOADS
from benchmarks.speed.cases import OURS, CaseResult, Kind, Measurement

pytestmark = pytest.mark.once

SETTINGS = measure.Settings(rounds=2, starts=1, budget=0.0)
# Allowed errors of calib_jax, in the unit of each workload.
LIMITS = {
    "temperature": 1e-5,
    "platt": 1e-5,
    "isotonic": 1e-6,
    "vector_scaling": 1e-6,
    "dirichlet": 1e-6,
    "calibration_error": 1e-6,
    "bootstrap": 4.0,
    "confident_learning": 0.0,
    "sequences": 1e-6,
    "cascade": 1e-6,
    "many_errors": 1e-6,
    "smooth": 1e-5,
    "risk_coverage": 1e-6,
}
# Allows for float32 and for their stopping rules; torch sums bfloat16 logits in
# bfloat16; scikit-learn ties float32 scores that are close.
PEERS = LIMITS | {
    "temperature": 1e-2,
    "platt": 1e-2,
    "calibration_error": 1e-4,
    "isotonic": 1e-2,
    "smooth": 1e-2,
}


@pytest.fixture(scope="module")
def measured():
    """Results by workload, each computed when first asked for."""
    found = {}

    def of(name: str) -> tables.WorkloadResult:
        if name not in found:
            found[name] = command.run_workload(
                child.load(name), SETTINGS, small=True, start=measure.here
            )
        return found[name]

    return of


# What peers deprecate of each other is theirs to mend.
@pytest.mark.filterwarnings("ignore::FutureWarning:(torch|netcal)")
@pytest.mark.parametrize("name", WORKLOADS)
def test_workload_agrees_with_its_reference(measured, name):
    result = measured(name)
    workload = result.workload
    assert workload.name == name
    assert len(result.results) == len(result.cases) >= 1
    for case, found in zip(result.cases, result.results, strict=True):
        expected = set(workload.candidates) - set(case.without) - set(found.missing)
        assert {row.name for row in found.rows} == expected
        assert found.input_bytes > 0
        for row in found.rows:
            assert not row.failure
            assert 1 <= len(row.warm) <= SETTINGS.rounds
            assert all(seconds > 0 for seconds in row.warm)
            partial = workload.candidates[row.name].scale != 1
            assert (row.first is None) == partial
            if row.kind == Kind.FLOOR or row.name in case.other_quantity:
                assert row.error is None
            else:
                limits = LIMITS if row.name.startswith(OURS) else PEERS
                loose = 1e-2 if "torch cross-entropy" in row.name else 0.0
                assert row.error <= max(limits[name], loose), row.name


@pytest.mark.parametrize("name", WORKLOADS)
def test_workload_is_complete(name):
    workload = child.load(name)
    assert workload.candidates[OURS].kind == Kind.OURS
    assert "floor" in workload.candidates
    assert len(workload.growth) == len(growth.FACTORS)
    for case in workload.cases:
        assert case.targets
        assert set(case.without) <= set(workload.candidates)
        assert set(case.other_quantity) <= set(workload.candidates)


def test_growth_sizes_are_1_4_and_16_times_the_data():
    for name in WORKLOADS:
        sizes = [
            np.prod([value for value in size.values() if isinstance(value, int)])
            for size in child.load(name).growth
        ]
        assert [size / sizes[0] for size in sizes] == list(growth.FACTORS)


def test_inputs_are_not_convenient():
    scores = child.load("calibration_error").make_inputs(100_000)
    gap = scores["outcomes"] - scores["scores"]
    means = [np.mean(gap[scores["scores"] // 0.1 == k]) for k in range(10)]
    assert min(means) < -0.03 and max(means) > 0.03
    tied = child.load("calibration_error").make_inputs(10_000, decimals=3)
    assert len(np.unique(tied["scores"])) <= 1001
    logits = child.load("temperature")
    fitted = logits.reference(logits.make_inputs(20_000, 10))["temperature"]
    assert fitted == pytest.approx(1.7, rel=0.03)


def test_report_holds_every_case_target_and_error(measured, tmp_path):
    all_results = [measured(name) for name in ("platt", "calibration_error")]
    tiny = dict(tokens=3, vocabulary=101, dtype="float32")
    growing = dataclasses.replace(
        child.load("sequences"),
        growth=[{"sequences": count, **tiny} for count in growth.FACTORS],
    )
    growths = [growth.run(growing, SETTINGS, start=measure.here)]
    assert [result.name for result in growths[0].results] == ["1x", "4x", "16x"]
    assert len(growths[0].times) == len(growth.FACTORS)
    compiled = [programs.Program(name="`top1`", logits=1000, temporary=10)]
    watch = machine.Watch()
    results.write_results(
        tmp_path, all_results, growths, compiled, watch.finish(), small=True
    )
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "benchmarks.speed.accelerator" in text and "Unmeasured" in text
    assert "measures nothing" in text
    for one in all_results:
        for case, found in zip(one.cases, one.results, strict=True):
            assert f"**{found.name}**" in text
            for target in case.targets:
                assert target.text in text
            for row in found.rows:
                assert row.name in text
    numbers = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    row = numbers["Platt fit"]["cases"][0]["rows"][0]
    assert row["name"] == OURS and row["error"] < 1e-5
    assert {"case", "target", "measured", "limit", "met"} == set(
        numbers["Platt fit"]["targets"][0]
    )
    assert numbers["Machine and method"]["versions"]["jax"] == jax.__version__
    for ending in (".png", "-dark.png"):
        assert (tmp_path / "figures" / f"growth{ending}").stat().st_size > 1000


def test_ratios_and_targets_are_taken_within_a_round():
    def row(name: str, kind: Kind, *warm: float) -> Measurement:
        return Measurement(name=name, kind=kind, first=0.5, warm=warm, peak=10**8)

    result = CaseResult(
        name="made up",
        input_bytes=1,
        rows=[
            row(OURS, Kind.OURS, 1.0, 2.0, 1.0),
            row("slow", Kind.LIBRARY, 30.0, 60.0, 10.0),
            row("fast", Kind.LIBRARY, 3.0, 8.0),
            row("floor", Kind.FLOOR, 0.5, 1.0, 0.5),
            Measurement(name="broken", kind=Kind.LIBRARY, failure="no"),
        ],
    )
    assert result.best(Kind.LIBRARY).name == "fast"
    assert cases.faster("slow", 30).value(result) == 30.0
    assert cases.faster(Kind.LIBRARY, 4).met(result) is False
    assert cases.faster(Kind.LIBRARY, 3.5).met(result) is True
    assert cases.at_most("floor", 2.0).met(result) is True
    assert cases.memory_below(99).met(result) is False
    assert cases.first_below(0.5).met(result) is True
    assert cases.faster("broken", 2).met(result) is None
    assert cases.faster("absent", 2).met(result) is None
    assert cases.error_below(1.0, "error").met(result) is None
    assert "failed: no" in "\n".join(tables.case_blocks(result, "error"))


def test_child_processes_answer_as_sessions_here_do(monkeypatch, capsys):
    options = ["speed", "--small", "--rounds", "2", "--json"]
    monkeypatch.setattr(sys, "argv", options)
    workload = child.load("sequences")
    quick = (f"{OURS}, mean logit", "floor")
    few = {name: workload.candidates[name] for name in quick}
    one = dataclasses.replace(workload, candidates=few, cases=workload.cases[:1])
    command.run_one(one)
    (case,) = json.loads(capsys.readouterr().out)["Sequence scores"]["cases"]
    ours, floor = case["rows"]
    assert ours["error"] < LIMITS["sequences"] and floor["error"] is None
    assert len(ours["warm"]) == 2 and ours["first"] > max(ours["warm"])
    # Compiling takes memory, if the system reports it.
    assert ours["peak"] is None or ours["peak"] > 10**5


def test_a_candidate_that_fails_is_reported_with_its_reason(tmp_path):
    with pytest.raises(process.Failure, match="FileNotFoundError|KeyError"):
        process.ChildSession("platt", "absent", tmp_path, 60.0)
    with pytest.raises(process.Failure, match="longer than"):
        process.ChildSession("platt", OURS, tmp_path, 0.01)


def test_a_slow_candidate_makes_no_further_call():
    settings = measure.Settings(rounds=3, starts=1, slow=-1.0)
    workload = child.load("platt")
    case = dataclasses.replace(workload.cases[0], size=workload.cases[0].small)
    found = measure.run_case(
        workload,
        case,
        settings,
        only=["scikit-learn"],
        start=measure.here,
    )
    (row,) = found.rows
    assert list(row.warm) == [row.first]


def test_accelerator_runs_small_on_this_device(monkeypatch, capsys, tmp_path):
    options = ["accelerator", "--small", "--rounds", "2", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", options)
    accelerator.main()
    printed = capsys.readouterr().out
    read = accelerated.Accelerated.read(tmp_path / accelerated.FILE)
    assert read.small and read.platform == jax.default_backend()
    assert len(read.rows) >= len(device_calls.WORKLOADS)
    assert all(row.error < 1e-5 and row.fraction > 0 for row in read.rows)
    assert "\n\n".join(read.blocks()) in printed


def test_compiled_programs_hold_no_buffer_of_the_size_of_the_logits():
    compiled = programs.compile_all()
    assert len(compiled) == 5
    for program in compiled:
        assert program.share is None or program.share <= programs.LARGEST_SHARE, program


def test_reference_programs_compute_what_the_library_does():
    given = cold_calls.made_up(500, 5)
    error, log_t = (reference() for reference in cold_calls.references(given))
    expected = cj.expected_calibration_error(given.confidence[0], given.correct[0])
    assert abs(error - expected) < 2e-3  # Other bins are one longer.
    params, report = cj.fit_temperature(given.logits[0], given.labels)
    assert report.converged
    np.testing.assert_allclose(np.exp(log_t), params.temperature, rtol=1e-4)


def test_plans_compile_nothing_and_other_first_calls_do():
    found = cold_calls.measure("plans", 500, 5)
    assert found["programs"] == 0 and found["seconds"] > 0
    jax.clear_caches()
    found = cold_calls.measure("expected_calibration_error", 500, 5)
    assert found["programs"] > 0 and len(found["references"]) == 2


@pytest.mark.parametrize("name", cold_calls.CALLS)
def test_first_calls_give_results(name):
    given = cold_calls.made_up(500, 5)
    results = cold_calls.CALLS[name](given)()
    if name == "fit_expert_bins":
        # A table of experts does not know the squared error.
        assert np.isnan(results.table.squared_error).all()
        table = dataclasses.replace(results.table, squared_error=results.order)
        results = dataclasses.replace(results, table=table)
    for leaf in jax.tree.leaves(results):
        assert leaf.dtype != np.float32 or np.isfinite(leaf).any()


def made_up_first(name, plan):
    """Twice the references, but the last call takes as long as ten."""
    factor = 10 if name == list(cold.LIMITS)[-1] else 2
    return {"references": [0.1, 0.3], "seconds": 0.4 * factor, "programs": 1}


@pytest.fixture(scope="module")
def first_calls():
    plan = dataclasses.replace(cold.SMALL, processes=3)
    steps = []
    found = cold.measure(
        plan, start=measure.here, first=made_up_first, advance=steps.append
    )
    assert len(steps) == cold.num_steps(plan)
    return found


def test_first_calls_are_compared_with_their_references(first_calls):
    assert set(cold.LIMITS) == set(cold_calls.CALLS)
    by_name = {one.name: one for one in first_calls.firsts}
    assert [one.ratio for one in first_calls.firsts] == pytest.approx([2.0] * 11 + [10])
    assert not by_name["fit_platt"].met and by_name["cascade_interval"].met
    quick = dataclasses.replace(by_name["plans"], seconds=[1e-3] * 3)
    assert not quick.met
    assert dataclasses.replace(quick, programs=[0] * 3).met
    one = first_calls.answers[0]
    assert one.results[0].row(OURS) is not None
    (first, *_), (hundred, *_) = one.times(OURS, 1), one.times(OURS, 100)
    assert first[0] == hundred[0] == cold.SMALL.counts[0]
    warm = one.results[0].row(OURS).median
    assert hundred[1] - first[1] == pytest.approx(99 * warm)


def test_targets_of_a_workload_take_the_place_of_those_before(tmp_path):
    table = report.grid(
        ("workload", "target", "measured", "met"),
        [["Old, 10", "a", 1, "yes"], ["New, 10", "a", 1, "yes"]],
    )
    kept = report.Section(title="Growth", text="It grows.", numbers=[1])
    report.write_sections(
        tmp_path, f"# Speed\n\n## Targets\n\n{table}\n\nMore.", [kept]
    )
    fresh = report.grid(("workload", "", "", ""), [["New, 10", "b", 2, "no"]])
    section = report.Section(title="New", text="New text.", numbers=[2])
    stored.put(tmp_path, [section], fresh)
    text = (tmp_path / "RESULTS.md").read_text("utf-8")
    assert "| Old, 10 | a | 1 | yes |\n| New, 10 | b | 2 | no |\n\nMore." in text
    assert "| New, 10 | a |" not in text
    assert text.index("## 1. New") < text.index("## 2. Growth")


def test_a_section_takes_the_place_of_the_one_before(first_calls, tmp_path):
    """The rest of RESULTS.md, results.json and the figures stays as it is."""
    preface, programs_text = "# Speed\n\n## Targets\n\nmet", "Few.\n\n| a |\n|---|"
    others = [
        report.Section(title="Machine and method", text="One.", numbers={"cores": 2}),
        report.Section(title="Compiled programs", text=programs_text, numbers=[1.5]),
        report.Section(title="On an accelerator", text="**Unmeasured.**"),
    ]
    report.write_sections(tmp_path, preface, others)
    before = json.loads((tmp_path / "results.json").read_text("utf-8"))
    (tmp_path / "figures" / "growth.png").write_bytes(b"kept")
    section = first_calls.section()
    whole = [others[0], dataclasses.replace(section, figures={}), *others[1:]]
    report.write_sections(tmp_path / "whole", preface, whole)
    expected = (tmp_path / "whole" / "RESULTS.md").read_text("utf-8")
    for _ in range(2):
        stored.put(tmp_path, [section])
        text = (tmp_path / "RESULTS.md").read_text("utf-8")
        assert text == expected
        assert "## 2. Cold\n" in text and "## 3. Compiled programs\n" in text
    numbers = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert list(numbers) == [one.title for one in (others[0], section, *others[1:])]
    assert {title: numbers[title] for title in before} == before
    assert len(numbers["Cold"]["firsts"]) == len(cold.LIMITS)
    assert (tmp_path / "figures" / "growth.png").read_bytes() == b"kept"
    for ending in (".png", "-dark.png"):
        assert (tmp_path / "figures" / f"cold{ending}").stat().st_size > 1000
    for one in cold.LIMITS.values():
        assert one.text in text


def test_first_calls_run_in_processes_of_their_own(monkeypatch, capsys, tmp_path):
    few = {name: cold.LIMITS[name] for name in ("fit_platt", "plans")}
    monkeypatch.setattr(cold, "LIMITS", few)
    monkeypatch.setattr(cold, "CURVES", {"platt": (OURS,)})
    monkeypatch.setattr(sys, "argv", ["cold", "--small"])
    cold.main()
    printed = capsys.readouterr().out
    assert "measures nothing" in printed
    rows = [line for line in printed.splitlines() if line.startswith("| scalars")]
    assert rows[0].split("|")[-3:-1] == [" 0 ", " yes "]
