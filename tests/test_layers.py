"""What imports what, and what every public function says of itself."""

import ast
import inspect
import pathlib
import subprocess
import sys

import pytest
import registry

import calib_jax as cj

PACKAGE = pathlib.Path(cj.__file__).parent

# Modules import only what stands above them; those of one line not each other.
ORDER = """
_exact _masking _responses
_binomial _classes _checks
_hypergeometric _reduce review_sheets
bounds _tokens
confidence decoding
binning
summary
solvers
resampling
_gain_draws _urns temperature platt histogram
calibration
metrics
cascade _joint_bins
curves deferral chains
chain_curves
abstaining
cleaning label_issues
label_noise audits
expected_precision intervals
expert_dependence
calibration_intervals cascade_intervals
cascade_differences
alarms drift calibration_drifts estimated_accuracies
selection specialisation
run_gains
_first_bins
guarantees
budgets guaranteed_routers
streaming blocks
streamed
streaming_temperature streaming_platt
streaming_fits
block_fits
io log_probabilities plots validate
demo flax
""".strip().splitlines()
LEVEL = {name: level for level, line in enumerate(ORDER) for name in line.split()}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            yield path, parts


def imported(path, parts):
    """Modules of this package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".") if node.module else []
            if node.level == 0:
                if base[:1] != ["calib_jax"]:
                    continue
                base = base[1:]
            else:
                base = [*parts[: len(parts) - node.level], *base]
            yield from [base[0]] if base else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                package, _, name = alias.name.partition(".")
                if package == "calib_jax":
                    yield name.split(".")[0] or "the whole package"


def test_every_module_has_a_place():
    assert {parts[0] for _, parts in modules()} <= LEVEL.keys()


@pytest.mark.parametrize(
    ("path", "parts"), list(modules()), ids=[".".join(parts) for _, parts in modules()]
)
def test_imports_point_down(path, parts):
    if parts[0] == "demo":
        # The demo is a user of the library, by its public names too.
        return
    for name in imported(path, parts):
        if len(parts) > 1 and name == parts[0]:
            continue  # Parts of one package.
        assert LEVEL[name] < LEVEL[parts[0]], f"{parts[0]} imports {name}"


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
        if parts[0] not in ("blocks", "demo"):
            assert "rich" not in found, parts
        if parts[0] != "_checks":
            assert "chex" not in found, parts


def test_a_fresh_import_is_light():
    heavy = ("flax", "matplotlib", "mlxtend", "sklearn", "rich", "pandas", "orbax")
    code = (
        "import sys, calib_jax\n"
        f"found = [name for name in {heavy} if name in sys.modules]\n"
        "assert not found, found"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


FUNCTIONS = sorted({case.name for case in registry.CASES})
RETURN_NOTHING = {
    "save",
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
            or (parameter == "arrays" and "*arrays: " in text)
            or "Args, errors and NaN as for" in text
        ), parameter
    headings = ["Raises:", "Examples:"]
    headings += [] if name in RETURN_NOTHING else ["Returns:"]
    for heading in headings:
        assert f"\n{heading}\n" in text
    assert ">>> " in text
    # Shapes stand in brackets; scalars, names and files have none.
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
decoding_summary(num_sequences)
update_decoding(state, logits, tokens, *, where=None)
sequence_scores(state)
likelihood_scores(log_likelihoods, *, where=None)
read_log_probabilities(lines, *, on_malformed=None)
choice_log_probabilities(read, choices, *, position=0)
log_odds(confidence)
log_odds_of_log(log_confidence)
fit_temperature(logits, labels, *, where=None, weights=None, class_where=None, solver=None)
fit_platt(scores, outcomes, *, where=None, weights=None, smooth_targets=False, solver=None)
fit_histogram(scores, outcomes, *, num_bins=15, where=None, weights=None)
calibrate(params, x, *, class_where=None)
equal_count_bins(scores, num_bins=15, *, where=None, max_bins=None)
equal_width_bins(num_bins=15, *, lower=0.0, upper=1.0)
bin_index(bins, scores)
reliability_table(bins, scores, outcomes, *, where=None, weights=None)
expected_calibration_error(scores, outcomes, *, num_bins=15, bins=None, where=None, weights=None)
area_under_roc(scores, outcomes, *, where=None, weights=None)
rank_correlation(table)
table_calibration_error(table)
advantage_table(bins, small_confidence, large_confidence, *, small_outcome=None, large_outcome=None, where=None, weights=None)
fit_router(small_confidence, large_confidence, *, num_bins=15, bins=None, where=None, weights=None)
use_small(router, small_confidence, num_small_bins)
cascade_curve(router, small_confidence, small_outcome, large_outcome, *, where=None, weights=None)
random_curve(curve)
performance_gap_recovered(curve)
average_performance_gap_recovered(curve)
call_performance_threshold(curve, target)
top1_disagreement(predictions, labels)
fit_expert_bins(confidences, correct, *, num_bins=15, where=None)
high_confidence_disagreement(experts, predictions, confidences, labels, num_top_bins, *, consensus=False)
confident_learning(probabilities, labels, *, where=None)
repair_labels(labels, flagged, suggestion, *, drop=False)
cleaning_curve(score, is_error, *, where=None, weights=None)
save(path, params)
load(path)
bootstrap(key, statistic, num_draws, *arrays)
bootstrap_reliability(key, bins, scores, outcomes, num_draws, *, where=None, weights=None)
""".strip().splitlines()  # noqa: E501


@pytest.mark.parametrize("expected", SIGNATURES, ids=lambda s: s.partition("(")[0])
def test_signature(expected):
    """The names that outside callers rely on, exactly so."""
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
