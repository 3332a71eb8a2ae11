"""Every public function, with example arguments and what it promises.

The property, sharding and error tests run over this registry, and one of them asserts
that it names exactly the functions that `calib_jax` exports. A `Case` is a function
with one kind of arguments; a function may have several.
"""

import dataclasses
import importlib
import operator
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import calib_jax as cj
from calib_jax._core import exact

NUM_BINS, NUM_CLASSES, NUM_MODELS, NUM_TOKENS = 5, 4, 2, 6
ROWS = 24  # The number of examples that most tests share, and with it the programs.


def public(name: str) -> Any:
    """What a public name such as `top1` or `stats.clopper_pearson` stands for."""
    return operator.attrgetter(name)(cj)


ROOMS = {
    name: value
    for name, value in vars(cj).items()
    if name in cj.__all__ and isinstance(value, ModuleType)
}
ROOMS["streaming.blocks"] = cj.streaming.blocks


def public_names() -> dict[str, Any]:
    """Functions and types by the shortest path from `calib_jax`."""
    found = {n: getattr(cj, n) for n in cj.__all__ if n not in ROOMS and n[0] != "_"}
    top = {id(value) for value in found.values()}
    for room, module in ROOMS.items():
        for name in module.__all__:
            value = getattr(module, name)
            if id(value) not in top and not isinstance(value, ModuleType):
                found[f"{room}.{name}"] = value
    return found


Arguments = dict[str, Any]
Maker = Callable[[np.random.Generator, int], Arguments]


def all_rows(result: Any) -> tuple[Any, Any]:
    """Every array of the result has an entry for each example, first axis."""
    return result, ()


def no_rows(result: Any) -> tuple[Any, Any]:
    """No array of the result has entries for the examples."""
    return (), result


@dataclasses.dataclass(frozen=True)
class Case:
    """A public function with one kind of arguments.

    Attributes:
      name: the function's public name.
      make: example arguments for N examples, by name.
      rows: arguments with an entry for each example, and the axis of the examples.
      variant: tells cases of one function apart.
      static: arguments that are no arrays.
      split: from the result to its parts with and without an entry for each example.
      exact: whether the latter do not depend on the order of the rows in any bit.
      where: whether there is a `where`.
      masked: arguments that `where` masks and the axis it runs along; None is `rows`.
      weights: whether there are `weights`.
      twice: whether weight 2 is the row twice; weight 0 always removes it.
      gradients: arguments by which the result can be differentiated.
      value: the part of the result that can be.
      call: how to call it with the arguments, where not by name.
      host: whether it works on the host, and not under `jax.jit`.
      again: whether another case runs nearly the same program: left out where each
        case costs seconds to compile.
    """

    name: str
    make: Maker | None
    rows: Mapping[str, int] = dataclasses.field(default_factory=dict)
    variant: str = ""
    static: tuple[str, ...] = ()
    split: Callable[[Any], tuple[Any, Any]] = no_rows
    exact: bool = True
    where: bool = False
    masked: Mapping[str, int] | None = None
    weights: bool = False
    twice: bool = False
    gradients: tuple[str, ...] = ()
    value: Callable[[Any], Any] = lambda result: result
    call: Callable[[Arguments], Any] | None = None
    host: bool = False
    again: bool = False

    def __str__(self) -> str:
        return f"{self.name}-{self.variant}" if self.variant else self.name

    def __call__(self, **arguments: Any) -> Any:
        if self.call is not None:
            return self.call(arguments)
        return public(self.name)(**arguments)

    def traced(self, arguments: Arguments) -> tuple[Callable[[Arguments], Any], Any]:
        """A function of the arrays alone, and the arrays."""
        fixed = {k: v for k, v in arguments.items() if k in self.static}
        arrays = {k: v for k, v in arguments.items() if k not in self.static}
        return lambda arrays: self(**arrays, **fixed), jax.tree.map(jnp.asarray, arrays)


def tied(rng, n):
    """Scores in [0, 1], most of them several times."""
    return rng.choice(rng.random(max(1, n // 2)), n)


def partial(rng, n):
    """Outcomes in [0, 1]: wrong, right and partly right."""
    return rng.choice([0.0, 1.0, 1.0, 0.3], n)


def bins(rng):
    return cj.Bins(edges=jnp.asarray(np.sort(rng.random(NUM_BINS - 1)), jnp.float32))


def router(rng):
    blank = jnp.zeros(NUM_BINS, jnp.float32)
    table = cj.AdvantageTable(
        count=jnp.zeros(NUM_BINS, jnp.int32),
        weight=blank,
        small_confidence=blank,
        large_confidence=blank,
        advantage=blank,
    )
    order = jnp.asarray(rng.permutation(NUM_BINS), jnp.int32)
    return cj.Router(bins=bins(rng), table=table, order=order)


def chain(rng):
    """Of three models, two of them stages."""
    stages = [router(rng) for _ in range(2)]
    return cj.cascade.Chain(
        routers=jax.tree.map(lambda *leaves: jnp.stack(leaves), *stages)
    )


def chain_curve(rng):
    shares = rng.dirichlet(np.ones(3), (NUM_BINS + 1,) * 2)
    accuracy, cost = rng.choice([0.5, 0.75, 1.0], (2, *shares.shape[:2]))
    share = jnp.asarray(np.moveaxis(shares, -1, 0), jnp.float32)
    return cj.cascade.ChainCurve(
        accuracy=jnp.asarray(accuracy, jnp.float32),
        cost=jnp.asarray(cost, jnp.float32),
        share=share,
        right_share=share * 0.5,
    )


def _chained(rng, n, models=3):
    return {
        "confidences": np.stack([tied(rng, n) for _ in range(models)]),
        "outcomes": np.stack([partial(rng, n) for _ in range(models)]),
        "costs": rng.choice([0.25, 1.0, 1.5], (models, n)),
    }


def table(rng):
    count = rng.integers(0, 3, NUM_BINS)
    confidence, outcome = rng.choice([0.2, 0.4, 0.6, 0.8], (2, NUM_BINS))
    return cj.ReliabilityTable(
        count=jnp.asarray(count, jnp.int32),
        weight=jnp.asarray(count, jnp.float32),
        confidence=jnp.asarray(confidence, jnp.float32),
        outcome=jnp.asarray(outcome, jnp.float32),
    )


def experts(rng):
    size = (NUM_MODELS, NUM_BINS)
    edges = np.sort(rng.random((NUM_MODELS, NUM_BINS - 1)))
    blank = jnp.zeros(size, jnp.float32)
    order = np.stack([rng.permutation(NUM_BINS) for _ in range(NUM_MODELS)])
    return cj.ExpertBins(
        bins=cj.Bins(edges=jnp.asarray(edges, jnp.float32)),
        table=cj.ReliabilityTable(
            count=jnp.zeros(size, jnp.int32),
            weight=blank,
            confidence=blank,
            outcome=blank,
        ),
        order=jnp.asarray(order, jnp.int32),
    )


def curve(rng):
    share = np.sort(rng.random(NUM_BINS + 1))
    share[0], share[-1] = 0, 1
    accuracy = np.linspace(0.9, 0.6, NUM_BINS + 1) + 0.05 * rng.random(NUM_BINS + 1)
    return cj.CascadeCurve(
        small_share=jnp.asarray(share, jnp.float32),
        accuracy=jnp.asarray(accuracy, jnp.float32),
        small_accuracy=jnp.float32(accuracy[-1]),
        large_accuracy=jnp.float32(accuracy[0]),
    )


def class_rows(rng, n):
    """Logits, and labels drawn at temperature 2, so that the optimum is inside."""
    logits = 3 * rng.normal(size=(n, NUM_CLASSES))
    noise = rng.gumbel(size=logits.shape)
    return logits, np.argmax(logits / 2 + noise, axis=1)


def _probabilities(rng, n):
    logits, labels = class_rows(rng, n)
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True), labels


def _platt(rng, n):
    scores = rng.normal(size=n)
    outcomes = rng.random(n) < 1 / (1 + np.exp(-2 * scores + 0.5))
    return {"scores": scores, "outcomes": np.where(scores > 1.5, 0.7, outcomes)}


def _sequences(rng, n):
    return {
        "logits": 2 * rng.normal(size=(n, NUM_TOKENS, NUM_CLASSES)),
        "tokens": rng.integers(0, NUM_CLASSES, (n, NUM_TOKENS)),
    }


def _scored(rng, n, **more):
    return {"scores": tied(rng, n), "outcomes": partial(rng, n), **more}


def _floating(result):
    return [x for x in jax.tree.leaves(result) if jnp.issubdtype(x.dtype, jnp.floating)]


def _fit_parts(result):
    """Less the number of steps and the last gradient, which rounding decides."""
    params, report = result
    return (), (params, report.loss, report.status, report.converged)


def _issue_parts(result):
    return (result.flagged, result.suggestion), result.thresholds


def _deferred(rng, n):
    return {
        "small": _same,
        "large": _twice,
        "inputs": class_rows(rng, n)[0],
        "small_params": cj.Temperature(temperature=jnp.float32(1.7)),
        "large_params": cj.Temperature(temperature=jnp.float32(2.5)),
        "router": router(rng),
        "num_small_bins": jnp.int32(rng.integers(1, NUM_BINS)),
        "capacity": 7,
    }


def _same(inputs):
    return inputs


def _twice(inputs):
    return 2.0 * inputs


def _deferral_parts(result):
    return (result.prediction, result.confidence, result.used_large), result.overflow


def reliability_state(rng, n=ROWS):
    state = cj.streaming.init_reliability(bins(rng))
    return cj.streaming.update_reliability(state, tied(rng, n), partial(rng, n))


def cascade_state(rng, n=ROWS):
    state = cj.streaming.init_cascade(bins(rng))
    confidences, outcomes = tied(rng, 2 * n), partial(rng, 2 * n)
    return cj.streaming.update_cascade(
        state, confidences[:n], confidences[n:], outcomes[:n], outcomes[n:]
    )


def monitor(rng, n=ROWS):
    """Of some rows like the reference and some others."""
    state = cj.monitoring.init_monitor(
        jax.random.key(1), tied(rng, n), num_bins=NUM_BINS
    )
    return cj.monitoring.update_monitor(jax.random.key(2), state, tied(rng, n))


def decoding_state(rng, n=ROWS):
    """Of one token of each sequence."""
    return cj.confidence.update_decoding(
        cj.confidence.init_decoding(n),
        2 * rng.normal(size=(n, NUM_CLASSES)),
        rng.integers(0, NUM_CLASSES, n),
    )


def _decoding_parts(result):
    """Sums with their errors, which alone are but rounding."""
    sums = [
        result.sum_logit + result.logit_error,
        result.sum_log_likelihood + result.log_likelihood_error,
    ]
    return (result.num_tokens, sums, result.min_log_likelihood), ()


def _likelihood_parts(result):
    """Less the number of tokens: a constant without a mask, held by every device."""
    return _floating(result), ()


def temperature_state(rng, n=ROWS):
    state = cj.streaming.init_temperature([-1.0, 0.0, 1.0, 2.0])
    return cj.streaming.update_temperature(state, *class_rows(rng, n))


def platt_state(rng, n=ROWS):
    return cj.streaming.update_platt(cj.streaming.init_platt(512), **_platt(rng, n))


def _temperature_sums(given):
    """The sums of an update as floats, which rounding may change."""
    state = cj.streaming.update_temperature(**given)
    return exact.to_float(state.totals)[0], exact.to_float(state.curves)[0]


def _streamed_parts(result):
    """Less what is estimated from differences of rounded numbers."""
    params, fit = result
    return (), (params, fit.lower, fit.upper, fit.loss, fit.inside, fit.status)


def _summary_parts(result):
    """Less the infinite ends of empty buckets."""
    ends = [
        jnp.where(jnp.isinf(x), jnp.float32(0), x)
        for x in (result.least, result.greatest)
    ]
    return (), (result.sums, ends)


def curve_points(result):
    """A cleaning curve without the points that repeat another."""
    if isinstance(result.threshold, jax.core.Tracer):
        return (), result
    _, first = np.unique(-np.asarray(result.threshold), return_index=True)
    return (), jax.tree.map(lambda leaf: np.asarray(leaf)[first], result)


def weighted_mean(x, weights):
    return jnp.sum(weights * x) / jnp.sum(weights)


def label_noise(rng):
    return 0.7 * np.eye(NUM_CLASSES) + 0.3 * rng.dirichlet(
        np.ones(NUM_CLASSES), NUM_CLASSES
    )


def flags(rng, n):
    return rng.random(n) < 0.5


def _routed(rng, n):
    return {
        "router": router(rng),
        "small_confidence": tied(rng, n),
        "small_outcome": partial(rng, n),
        "large_outcome": partial(rng, n),
    }


_ROUTED = {"small_confidence": 0, "small_outcome": 0, "large_outcome": 0}
_SCORED = {"scores": 0, "outcomes": 0}
_FRESH = {"where": True, "weights": True}
_GIVEN = {**_FRESH, "twice": True}
_MODELS = {"predictions": 1, "confidences": 1, "labels": 0}


def _models(rng, n):
    return {
        "predictions": rng.integers(-1, 2, (NUM_MODELS, n)),
        "confidences": np.stack([tied(rng, n) for _ in range(NUM_MODELS)]),
        "labels": rng.integers(0, 2, n),
    }


def _calibrate(variant, params, x, **more):
    return Case(
        "calibrate",
        lambda rng, n: {"params": params(rng), "x": x(rng, n)},
        variant=variant,
        rows={"x": 0},
        split=all_rows,
        **more,
    )


def _of_curve(name, static=(), gradients=("curve",), **more):
    return Case(
        name,
        lambda rng, n: {"curve": curve(rng), **more},
        static=static,
        gradients=gradients,
    )


CASES = [
    # Confidence
    Case(
        "scaled_softmax",
        lambda rng, n: {"logits": class_rows(rng, n)[0], "temperature": 1.7},
        rows={"logits": 0},
        split=all_rows,
        gradients=("logits", "temperature"),
    ),
    Case(
        "top1",
        lambda rng, n: {"logits": class_rows(rng, n)[0], "temperature": 1.7},
        rows={"logits": 0},
        split=all_rows,
        gradients=("logits", "temperature"),
        value=lambda result: result.confidence,
    ),
    Case(
        "choice_logits",
        lambda rng, n: {
            "logits": class_rows(rng, n)[0],
            "choice_ids": np.array([2, 0]),
        },
        rows={"logits": 0},
        split=all_rows,
        gradients=("logits",),
    ),
    Case(
        "sequence_mean_logit",
        _sequences,
        rows={"logits": 0, "tokens": 0},
        split=all_rows,
        where=True,
        masked={"logits": 1, "tokens": 1},
        gradients=("logits",),
    ),
    *(
        Case(
            "sequence_log_likelihood",
            lambda rng, n, r=reduction: {**_sequences(rng, n), "reduction": r},
            variant=reduction,
            again=reduction != "mean",
            rows={"logits": 0, "tokens": 0},
            static=("reduction",),
            split=all_rows,
            where=True,
            masked={"logits": 1, "tokens": 1},
            gradients=("logits",),
        )
        for reduction in ("sum", "mean", "min")
    ),
    *(
        Case(
            name,
            # Inside the limits, where a finite difference is the derivative.
            lambda rng, n, k=argument, f=function: {k: f(0.1 + 0.8 * tied(rng, n))},
            rows={argument: 0},
            split=all_rows,
            gradients=(argument,),
        )
        for name, argument, function in (
            ("log_odds", "confidence", np.array),
            ("confidence.log_odds_from_log", "log_confidence", np.log),
        )
    ),
    # Decoding
    Case(
        "confidence.init_decoding",
        lambda rng, n: {"num_sequences": 7},
        static=("num_sequences",),
    ),
    Case(
        "confidence.update_decoding",
        lambda rng, n: {
            "state": decoding_state(rng, n),
            "logits": 2 * rng.normal(size=(n, NUM_CLASSES)),
            "tokens": rng.integers(0, NUM_CLASSES, n),
        },
        rows={"state": 0, "logits": 0, "tokens": 0},
        split=_decoding_parts,
        where=True,
        gradients=("logits",),
        value=_floating,
    ),
    Case(
        "confidence.sequence_scores",
        lambda rng, n: {"state": decoding_state(rng, n)},
        rows={"state": 0},
        split=all_rows,
    ),
    Case(
        "confidence.likelihood_scores",
        lambda rng, n: {
            "log_likelihoods": np.log(rng.uniform(0.1, 1.0, (n, NUM_TOKENS)))
        },
        rows={"log_likelihoods": 0},
        split=_likelihood_parts,
        where=True,
        masked={"log_likelihoods": 1},
        gradients=("log_likelihoods",),
        value=_floating,
    ),
    # Binning and tables
    Case(
        "equal_count_bins",
        lambda rng, n: {"scores": tied(rng, n), "num_bins": NUM_BINS},
        rows={"scores": 0},
        static=("num_bins",),
        where=True,
    ),
    Case(
        "equal_count_bins",
        lambda rng, n: {
            "scores": tied(rng, n),
            "num_bins": jnp.int32(rng.integers(2, NUM_BINS)),
            "max_bins": NUM_BINS,
        },
        variant="max_bins",
        rows={"scores": 0},
        static=("max_bins",),
        where=True,
    ),
    Case(
        "equal_width_bins",
        lambda rng, n: {"num_bins": NUM_BINS, "lower": -1.0, "upper": 2.0},
        static=("num_bins", "lower", "upper"),
    ),
    Case(
        "bin_index",
        lambda rng, n: {"bins": bins(rng), "scores": tied(rng, n)},
        rows={"scores": 0},
        split=all_rows,
    ),
    Case(
        "reliability_table",
        lambda rng, n: _scored(rng, n, bins=bins(rng)),
        rows=_SCORED,
        **_GIVEN,
    ),
    # Metrics
    Case(
        "expected_calibration_error",
        lambda rng, n: _scored(rng, n, num_bins=NUM_BINS),
        rows=_SCORED,
        static=("num_bins",),
        **_FRESH,
    ),
    Case(
        "expected_calibration_error",
        lambda rng, n: _scored(rng, n, bins=bins(rng)),
        variant="bins",
        again=True,
        rows=_SCORED,
        **_GIVEN,
    ),
    Case(
        "maximum_calibration_error",
        lambda rng, n: _scored(rng, n, num_bins=NUM_BINS),
        again=True,
        rows=_SCORED,
        static=("num_bins",),
        **_FRESH,
    ),
    *(
        Case(
            name,
            _scored,
            rows=_SCORED,
            exact=False,
            gradients=("scores", "outcomes", "weights"),
            **_GIVEN,
        )
        for name in ("brier_score", "log_loss")
    ),
    Case("area_under_roc", _scored, rows=_SCORED, exact=False, **_GIVEN),
    Case("metrics.rank_correlation", lambda rng, n: {"table": table(rng)}),
    Case("metrics.calibration_error_of_table", lambda rng, n: {"table": table(rng)}),
    # Calibration
    Case(
        "fit_temperature",
        lambda rng, n: dict(zip(("logits", "labels"), class_rows(rng, n), strict=True)),
        rows={"logits": 0, "labels": 0},
        split=_fit_parts,
        exact=False,
        gradients=("logits", "weights"),
        value=lambda result: result[0],
        **_GIVEN,
    ),
    *(
        Case(
            "fit_platt",
            lambda rng, n, s=smooth: {**_platt(rng, n), "smooth_targets": s},
            variant="smooth" if smooth else "",
            again=smooth,
            rows=_SCORED,
            static=("smooth_targets",),
            split=_fit_parts,
            exact=False,
            gradients=("scores", "outcomes", "weights"),
            value=lambda result: result[0],
            **_GIVEN,
        )
        for smooth in (False, True)
    ),
    Case(
        "fit_histogram",
        lambda rng, n: _scored(rng, n, num_bins=NUM_BINS),
        rows=_SCORED,
        static=("num_bins",),
        **_FRESH,
    ),
    _calibrate(
        "temperature",
        lambda rng: cj.Temperature(temperature=jnp.float32(1.7)),
        lambda rng, n: class_rows(rng, n)[0],
        gradients=("params", "x"),
    ),
    _calibrate(
        "platt",
        lambda rng: cj.Platt(slope=jnp.float32(2.5), intercept=jnp.float32(-1)),
        tied,
        gradients=("params", "x"),
    ),
    _calibrate(
        "histogram",
        lambda rng: cj.Histogram(
            bins=bins(rng), values=jnp.asarray(rng.random(NUM_BINS), jnp.float32)
        ),
        tied,
    ),
    # Cascade
    Case(
        "advantage_table",
        lambda rng, n: {
            "bins": bins(rng),
            "small_confidence": tied(rng, n),
            "large_confidence": tied(rng, n),
        },
        again=True,
        rows={"small_confidence": 0, "large_confidence": 0},
        **_GIVEN,
    ),
    Case(
        "advantage_table",
        lambda rng, n: {
            "bins": bins(rng),
            "small_confidence": tied(rng, n),
            "large_confidence": tied(rng, n),
            "small_outcome": partial(rng, n),
            "large_outcome": partial(rng, n),
        },
        variant="outcomes",
        rows={
            "small_confidence": 0,
            "large_confidence": 0,
            "small_outcome": 0,
            "large_outcome": 0,
        },
        **_GIVEN,
    ),
    Case(
        "fit_router",
        lambda rng, n: {
            "small_confidence": tied(rng, n),
            "large_confidence": tied(rng, n),
            "num_bins": NUM_BINS,
        },
        rows={"small_confidence": 0, "large_confidence": 0},
        static=("num_bins",),
        **_FRESH,
    ),
    Case(
        "fit_router",
        lambda rng, n: {
            "small_confidence": tied(rng, n),
            "large_confidence": tied(rng, n),
            "bins": bins(rng),
        },
        variant="bins",
        again=True,
        rows={"small_confidence": 0, "large_confidence": 0},
        **_GIVEN,
    ),
    Case(
        "use_small",
        lambda rng, n: {
            "router": router(rng),
            "small_confidence": tied(rng, n),
            "num_small_bins": jnp.int32(rng.integers(1, NUM_BINS)),
        },
        rows={"small_confidence": 0},
        split=all_rows,
    ),
    Case(
        "cascade_curve",
        lambda rng, n: {
            "router": router(rng),
            "small_confidence": tied(rng, n),
            "small_outcome": partial(rng, n),
            "large_outcome": partial(rng, n),
        },
        rows={"small_confidence": 0, "small_outcome": 0, "large_outcome": 0},
        **_GIVEN,
    ),
    Case(
        "defer",
        _deferred,
        rows={"inputs": 0},
        static=("small", "large", "capacity"),
        split=_deferral_parts,
        where=True,
    ),
    _of_curve("random_curve"),
    _of_curve("performance_gap_recovered"),
    _of_curve("average_performance_gap_recovered"),
    _of_curve("call_performance_threshold", target=0.4),
    _of_curve(
        "cascade.num_small_bins_for_large_share", gradients=(), max_large_share=0.5
    ),
    _of_curve("cascade.num_small_bins_for_accuracy", gradients=(), min_accuracy=0.7),
    _of_curve("cascade.best_num_small_bins", gradients=()),
    # Chains
    Case(
        "cascade.fit_chain",
        lambda rng, n: {
            "confidences": np.stack([tied(rng, n), tied(rng, n)]),
            "num_bins": NUM_BINS,
        },
        rows={"confidences": 1},
        static=("num_bins",),
        again=True,
        **_FRESH,
    ),
    Case(
        "cascade.chain_answers",
        lambda rng, n: {
            "chain": chain(rng),
            "confidences": _chained(rng, n)["confidences"],
            "num_kept_bins": rng.integers(1, NUM_BINS, 2),
        },
        rows={"confidences": 1},
        split=all_rows,
    ),
    Case(
        "cascade.chain_curve",
        lambda rng, n: {"chain": chain(rng), **_chained(rng, n)},
        rows={"confidences": 1, "outcomes": 1, "costs": 1},
        again=True,
        **_GIVEN,
    ),
    *(
        Case(name, lambda rng, n, m=more: {"curve": chain_curve(rng), **m}, again=True)
        for name, more in (
            ("cascade.cost_frontier", {}),
            ("cascade.best_within_cost", {"max_cost": 0.8}),
            ("cascade.selective_accuracy", {}),
        )
    ),
    Case(
        "cascade.with_abstaining",
        lambda rng, n: {**_chained(rng, n), "worth": 0.6, "cost": 2.0},
        rows={"confidences": 1, "outcomes": 1, "costs": 1},
        split=lambda rows: (jax.tree.map(jnp.transpose, rows), ()),
        again=True,
    ),
    # Streams
    Case(
        "streaming.score_buckets",
        lambda rng, n: {"num_buckets": 7},
        static=("num_buckets",),
    ),
    *(
        Case(name, lambda rng, n: {"buckets": bins(rng)})
        for name in ("streaming.init_reliability", "streaming.init_cascade")
    ),
    Case(
        "streaming.update_reliability",
        lambda rng, n: _scored(rng, n, state=cj.streaming.init_reliability(bins(rng))),
        rows=_SCORED,
        split=_summary_parts,
        **_FRESH,
    ),
    Case(
        "streaming.update_cascade",
        lambda rng, n: {
            "state": cascade_state(rng),
            "small_confidence": tied(rng, n),
            "large_confidence": tied(rng, n),
            "small_outcome": partial(rng, n),
            "large_outcome": partial(rng, n),
        },
        rows={
            "small_confidence": 0,
            "large_confidence": 0,
            "small_outcome": 0,
            "large_outcome": 0,
        },
        split=_summary_parts,
        again=True,
        **_FRESH,
    ),
    Case(
        "streaming.merge",
        lambda rng, n: {
            "first": (state := reliability_state(rng)),
            "second": cj.streaming.update_reliability(
                state, tied(rng, n), partial(rng, n)
            ),
        },
    ),
    *(
        Case(
            name,
            lambda rng, n, make=make: {"state": make(rng), "num_bins": NUM_BINS},
            static=("num_bins",),
            again=name != "streaming.expected_calibration_error",
        )
        for name, make in (
            ("streaming.reliability_table", reliability_state),
            ("streaming.expected_calibration_error", reliability_state),
            ("streaming.fit_router", cascade_state),
        )
    ),
    Case(
        "streaming.cascade_curve",
        lambda rng, n: {"state": cascade_state(rng), "router": router(rng)},
    ),
    Case(
        "streaming.average_performance_gap_recovered",
        lambda rng, n: {"state": cascade_state(rng), "router": router(rng)},
        again=True,
    ),
    Case(
        "streaming.init_temperature",
        lambda rng, n: {"log_temperatures": np.arange(5.0)},
    ),
    Case(
        "streaming.update_temperature",
        lambda rng, n: {
            "state": cj.streaming.init_temperature([-1.0, 0.0, 1.0, 2.0]),
            **dict(zip(("logits", "labels"), class_rows(rng, n), strict=True)),
        },
        rows={"logits": 0, "labels": 0},
        exact=False,
        call=_temperature_sums,
        again=True,
        **_GIVEN,
    ),
    Case(
        "streaming.fit_temperature",
        lambda rng, n: {"state": temperature_state(rng)},
        split=_streamed_parts,
    ),
    Case(
        "streaming.init_platt",
        lambda rng, n: {"num_buckets": 512},
        static=("num_buckets",),
    ),
    Case(
        "streaming.update_platt",
        lambda rng, n: {"state": platt_state(rng), **_platt(rng, n)},
        rows=_SCORED,
        split=_summary_parts,
        again=True,
        **_FRESH,
    ),
    Case("streaming.fit_platt", lambda rng, n: {"state": platt_state(rng)}, again=True),
    Case(
        "streaming.merge_fits",
        lambda rng, n: {
            "first": temperature_state(rng),
            "second": temperature_state(rng),
        },
    ),
    # See test_streaming_fits.py.
    *(
        Case(name, None, host=True)
        for name in (
            "streaming.psum_fit",
            "streaming.blocks.fit_temperature",
            "streaming.blocks.fit_platt",
        )
    ),
    # Inside a mapped function, and of blocks: see test_streaming.py.
    *(
        Case(name, None, host=True)
        for name in (
            "streaming.psum",
            "streaming.blocks.from_arrays",
            "streaming.blocks.reliability_table",
            "streaming.blocks.expected_calibration_error",
        )
    ),
    # Cleaning
    Case(
        "top1_disagreement",
        lambda rng, n: {k: v for k, v in _models(rng, n).items() if k != "confidences"},
        rows={"predictions": 1, "labels": 0},
        split=all_rows,
    ),
    Case(
        "fit_expert_bins",
        lambda rng, n: {
            "confidences": np.stack([tied(rng, n) for _ in range(NUM_MODELS)]),
            "correct": np.stack([partial(rng, n) for _ in range(NUM_MODELS)]),
            "num_bins": NUM_BINS,
        },
        rows={"confidences": 1, "correct": 1},
        static=("num_bins",),
        where=True,
    ),
    *(
        Case(
            "high_confidence_disagreement",
            lambda rng, n, c=consensus: {
                "experts": experts(rng),
                **_models(rng, n),
                "num_top_bins": jnp.int32(4),
                "consensus": c,
            },
            variant="consensus" if consensus else "",
            again=consensus,
            rows=_MODELS,
            static=("consensus",),
            split=all_rows,
        )
        for consensus in (False, True)
    ),
    Case(
        "cleaning.label_issue_score",
        lambda rng, n: _models(rng, n),
        rows=_MODELS,
        split=all_rows,
    ),
    Case(
        "suggest_labels",
        lambda rng, n: {**_models(rng, n), "flagged": rng.random(n) < 0.5},
        rows={**_MODELS, "flagged": 0},
        split=all_rows,
    ),
    Case(
        "confident_learning",
        lambda rng, n: dict(
            zip(("probabilities", "labels"), _probabilities(rng, n), strict=True)
        ),
        rows={"probabilities": 0, "labels": 0},
        split=_issue_parts,
        where=True,
    ),
    *(
        Case(
            "repair_labels",
            lambda rng, n, d=drop: {
                "labels": rng.integers(0, 3, n),
                "flagged": rng.random(n) < 0.5,
                "suggestion": rng.integers(0, 3, n),
                "drop": d,
            },
            variant="drop" if drop else "",
            rows={"labels": 0, "flagged": 0, "suggestion": 0},
            static=("drop",),
            split=all_rows,
        )
        for drop in (False, True)
    ),
    Case(
        "cleaning_curve",
        # Sums of these are exact in any order.
        lambda rng, n: {
            "score": tied(rng, n),
            "is_error": rng.choice([0.0, 0.25, 1.0], n),
        },
        rows={"score": 0, "is_error": 0},
        split=curve_points,
        **_GIVEN,
    ),
    # Resampling
    Case(
        "bootstrap",
        lambda rng, n: {
            "key": jax.random.key(rng.integers(1000)),
            "x": rng.random(n).astype(np.float32),
        },
        call=lambda given: cj.bootstrap(given["key"], weighted_mean, 3, given["x"]),
    ),
    # Which rows a draw takes depends on where they stand: no rows to move or remove.
    Case(
        "stats.bootstrap_reliability",
        lambda rng, n: _scored(
            rng, n, key=jax.random.key(0), bins=bins(rng), num_draws=3
        ),
        static=("key", "num_draws"),
    ),
    Case(
        "bootstrap_interval",
        lambda rng, n: {
            "key": jax.random.key(rng.integers(1000)),
            "x": rng.random(n).astype(np.float32),
        },
        again=True,
        call=lambda given: cj.bootstrap_interval(
            given["key"], weighted_mean, 3, given["x"]
        ),
    ),
    Case(
        "calibration_error_interval",
        lambda rng, n: _scored(
            rng, n, key=jax.random.key(0), bins=bins(rng), num_draws=3
        ),
        static=("key", "num_draws"),
        exact=False,
        again=True,
    ),
    Case(
        "cascade_interval",
        lambda rng, n: {
            "key": jax.random.key(0),
            **_routed(rng, n),
            "num_draws": 3,
        },
        static=("key", "num_draws"),
        exact=False,
        again=True,
    ),
    Case(
        "cascade.router_difference_interval",
        lambda rng, n: {
            "key": jax.random.key(0),
            "first": router(rng),
            "second": router(rng),
            "first_confidence": tied(rng, n),
            "second_confidence": tied(rng, n),
            "small_outcome": partial(rng, n),
            "large_outcome": partial(rng, n),
            "num_draws": 3,
        },
        static=("key", "num_draws"),
        exact=False,
        again=True,
    ),
    Case(
        "cleaning.cleaning_interval",
        lambda rng, n: {"flagged": rng.random(n) < 0.5, "is_error": partial(rng, n)},
        rows={"flagged": 0, "is_error": 0},
        split=lambda result: ((), dataclasses.replace(result, num_masked=None)),
        exact=False,
        where=True,
    ),
    # Audits and what is expected of them
    Case(
        "cleaning.uniform_label_noise",
        lambda rng, n: {"rate": rng.random(), "num_classes": NUM_CLASSES},
        static=("num_classes",),
    ),
    Case(
        "cleaning.estimate_label_noise",
        lambda rng, n: dict(
            zip(("probabilities", "labels"), _probabilities(rng, n), strict=True)
        ),
        rows={"probabilities": 0, "labels": 0},
        where=True,
        again=True,
    ),
    Case(
        "cleaning.true_label_probabilities",
        lambda rng, n: {
            "probabilities": _probabilities(rng, n)[0],
            "noise": label_noise(rng),
        },
        rows={"probabilities": 0},
        split=all_rows,
    ),
    Case(
        "cleaning.true_label_confidence",
        lambda rng, n: {
            "confidence": tied(rng, n),
            "rate": 0.1,
            "num_classes": NUM_CLASSES,
        },
        rows={"confidence": 0},
        static=("num_classes",),
        split=all_rows,
    ),
    Case(
        "cleaning.label_error_probability",
        lambda rng, n: {
            **dict(
                zip(("probabilities", "labels"), _probabilities(rng, n), strict=True)
            ),
            "noise": label_noise(rng),
        },
        rows={"probabilities": 0, "labels": 0},
        split=all_rows,
    ),
    Case(
        "cleaning.expected_precision",
        lambda rng, n: {"error_probability": tied(rng, n), "flagged": flags(rng, n)},
        rows={"error_probability": 0, "flagged": 0},
        where=True,
    ),
    Case(
        "cleaning.expected_precision_by_bin",
        lambda rng, n: {
            "bins": bins(rng),
            "scores": tied(rng, n),
            "error_probability": tied(rng, n),
            "flagged": flags(rng, n),
        },
        rows={"scores": 0, "error_probability": 0, "flagged": 0},
        where=True,
        again=True,
    ),
    Case(
        "cleaning.expected_false_flags",
        lambda rng, n: {
            "confidences": np.stack([tied(rng, n) for _ in range(NUM_MODELS)]),
            "candidates": rng.random(n) < 0.8,
            "flagged": flags(rng, n),
        },
        rows={"confidences": 1, "candidates": 0, "flagged": 0},
        split=lambda result: ((), dataclasses.replace(result, num_masked=None)),
        exact=False,
        where=True,
    ),
    # Which rows are drawn depends on where they stand: no rows to move or remove.
    Case(
        "cleaning.sample_audit",
        lambda rng, n: {
            "key": jax.random.key(0),
            "flagged": flags(rng, n),
            "num_audited": 4,
        },
        static=("key", "num_audited"),
    ),
    Case(
        "cleaning.audited_precision",
        lambda rng, n: {
            "num_wrong": rng.integers(0, 9),
            "num_audited": rng.integers(9, 20),
            "error_probability": 0.1,
            "num_flagged": rng.integers(20, 40),
        },
    ),
    Case(
        "cleaning.audited_rates",
        lambda rng, n: {
            "counts": rng.integers(0, 9, 4),
            "error_probability": 0.1,
            "num_flagged": rng.integers(40, 60),
        },
        again=True,
    ),
    Case(
        "cleaning.audit_size",
        lambda rng, n: {
            "min_precision": 0.7,
            "expected": 0.9,
            "error_probability": 0.1,
            "chance": 0.8,
            "num_flagged": rng.integers(40, 60),
            "max_audited": 60,
        },
        static=("max_audited",),
        again=True,
    ),
    Case(
        "cleaning.expert_dependence",
        lambda rng, n: {
            "wrong": rng.random((NUM_MODELS, n)) < 0.6,
            "confidences": np.stack([tied(rng, n) for _ in range(NUM_MODELS)]),
        },
        rows={"wrong": 1, "confidences": 1},
        split=lambda result: ((), dataclasses.replace(result, num_masked=None)),
        exact=False,
        where=True,
    ),
    # Of files: see test_review_sheets.py.
    Case("io.write_review_sheet", None, host=True),
    Case("io.read_review_sheet", None, host=True),
    # Bounds and guarantees
    Case(
        "stats.clopper_pearson",
        lambda rng, n: {
            "num_successes": rng.integers(0, 9),
            "num_trials": rng.integers(9, 20),
            "error_probability": 0.1,
        },
        again=True,
    ),
    Case(
        "stats.binomial_p_value",
        lambda rng, n: {
            "num_successes": rng.integers(0, 9),
            "num_trials": rng.integers(9, 20),
            "max_rate": 0.6,
        },
        again=True,
    ),
    Case(
        "stats.hoeffding_bentkus_p_value",
        lambda rng, n: {
            "total_loss": rng.uniform(0, 9),
            "num_rows": rng.integers(9, 20),
            "max_mean": 0.6,
        },
        again=True,
    ),
    Case(
        "stats.betting_p_value",
        lambda rng, n: {"losses": partial(rng, n), "max_mean": 0.6},
        rows={"losses": 0},
        exact=False,
        where=True,
    ),
    Case(
        "cascade.control_regret",
        lambda rng, n: {**_routed(rng, n), "max_regret": 0.3},
        rows=_ROUTED,
        where=True,
        again=True,
    ),
    Case(
        "cascade.control_accuracy_drop",
        lambda rng, n: {**_routed(rng, n), "max_drop": 0.6},
        rows=_ROUTED,
        where=True,
    ),
    Case(
        "cascade.control_accuracy_drop",
        lambda rng, n: {**_routed(rng, n), "max_drop": 0.6, "betting": False},
        variant="hoeffding_bentkus",
        static=("betting",),
        rows=_ROUTED,
        where=True,
        again=True,
    ),
    Case(
        "cascade.control_small_error",
        lambda rng, n: {
            "router": router(rng),
            "small_confidence": tied(rng, n),
            "small_outcome": rng.random(n) < 0.7,
            "max_error": 0.6,
        },
        rows={"small_confidence": 0, "small_outcome": 0},
        where=True,
        again=True,
    ),
    Case(
        "cascade.control_cost",
        lambda rng, n: {
            "router": router(rng),
            "small_confidence": tied(rng, n),
            "small_cost": rng.choice([0.0, 0.25], n),
            "large_cost": rng.choice([1.0, 1.5], n),
            "max_cost": 0.9,
            "cost_limit": 2.0,
        },
        rows={"small_confidence": 0, "small_cost": 0, "large_cost": 0},
        where=True,
        again=True,
    ),
    Case(
        "cascade.choose_by_confidence",
        lambda rng, n: {
            "router": cj.fit_router(tied(rng, n), tied(rng, n), num_bins=NUM_BINS),
            "max_loss": 0.1,
        },
    ),
    # Of functions: see test_guarantees.py.
    Case("cascade.fit_router_with_guarantee", None, host=True),
    # Drift. Which rows are drawn, and how ties are broken, depends on the key alone.
    Case(
        "monitoring.occupancy_drift",
        lambda rng, n: {
            "key": jax.random.key(0),
            "bins": bins(rng),
            "reference_scores": tied(rng, n),
            "scores": tied(rng, n),
            "num_draws": 3,
        },
        static=("key", "num_draws"),
        rows={"scores": 0},
        split=lambda result: ((), dataclasses.replace(result, num_masked=None)),
        exact=False,
        where=True,
        again=True,
    ),
    Case(
        "monitoring.estimated_accuracy",
        lambda rng, n: {
            "router": router(rng),
            "reference_confidence": tied(rng, n),
            "reference_small_outcome": partial(rng, n),
            "reference_large_outcome": partial(rng, n),
            "small_confidence": tied(rng, n),
            "large_confidence": tied(rng, n),
        },
        rows={"small_confidence": 0, "large_confidence": 0},
        split=lambda result: ((), dataclasses.replace(result, num_masked=None)),
        exact=False,
        where=True,
        again=True,
    ),
    Case(
        "monitoring.calibration_drift",
        lambda rng, n: {
            "key": jax.random.key(0),
            "bins": bins(rng),
            "reference_scores": tied(rng, n),
            "reference_outcomes": rng.random(n) < 0.5,
            "scores": tied(rng, n),
            "outcomes": rng.random(n) < 0.5,
            "num_draws": 3,
        },
        static=("key", "num_draws"),
        exact=False,
        again=True,
    ),
    Case(
        "monitoring.init_monitor",
        lambda rng, n: {
            "key": jax.random.key(0),
            "reference": tied(rng, n),
            "num_bins": NUM_BINS,
            "error_probability": 0.1,
        },
        static=("key", "num_bins"),
        again=True,
    ),
    Case(
        "monitoring.update_monitor",
        lambda rng, n: {
            "key": jax.random.key(0),
            "state": monitor(rng, n),
            "scores": tied(rng, n),
        },
        static=("key",),
        exact=False,
    ),
    Case("monitoring.read_monitor", lambda rng, n: {"state": monitor(rng, n)}),
    # On the host
    Case(
        "validate_logits",
        lambda rng, n: {"logits": class_rows(rng, n)[0]},
        rows={"logits": 0},
        where=True,
        host=True,
    ),
    Case(
        "validate_scores",
        lambda rng, n: {"scores": tied(rng, n)},
        rows={"scores": 0},
        where=True,
        host=True,
    ),
    Case(
        "validate_labels",
        lambda rng, n: {"labels": rng.integers(0, 3, n), "num_classes": 3},
        rows={"labels": 0},
        static=("num_classes",),
        where=True,
        host=True,
    ),
    # Of files: see test_log_probabilities.py and test_io.py.
    Case("io.read_log_probabilities", None, host=True),
    Case("io.choice_log_probabilities", None, host=True),
    Case("save", None, host=True),
    Case("load", None, host=True),
]

# Functions of any statistic, with arrays of any kind.
OF_STATISTICS = ("bootstrap", "bootstrap_interval")

GARBAGE = [np.nan, np.inf, -np.inf, 1e30]


def spoil(arrays: Any, index: np.ndarray, axis: int) -> Any:
    """An array, or those of a tree, with garbage at an index along an axis."""

    def one(array: np.ndarray) -> np.ndarray:
        moved = np.moveaxis(np.array(array), axis, 0)
        if moved.dtype.kind == "f":
            moved[index] = np.resize(GARBAGE, moved[index].shape)
        elif moved.dtype.kind == "i":
            moved[index] = np.resize([-1, 2**31 - 1], moved[index].shape)
        return np.moveaxis(moved, 0, axis)

    return jax.tree.map(one, arrays)


def take(case: Case, arguments: Arguments, index: np.ndarray) -> Arguments:
    """Arguments with the examples of an index only, in its order."""
    rows = {
        k: jax.tree.map(
            lambda leaf, axis=axis: np.take(np.asarray(leaf), index, axis),
            arguments[k],
        )
        for k, axis in case.rows.items()
    }
    return {**arguments, **rows}


def leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_same(actual: Any, expected: Any, *, exact: bool, rtol: float = 1e-5) -> None:
    """Equal trees: integers and bools always exactly, floats if `exact`."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for got, wanted in zip(leaves(actual), leaves(expected), strict=True):
        assert got.dtype == wanted.dtype
        if exact or got.dtype.kind != "f":
            np.testing.assert_array_equal(got, wanted)
        else:
            np.testing.assert_allclose(got, wanted, rtol=rtol, atol=0.1 * rtol)


def jitted_cores():
    """Every function that is jitted where it is defined in the library."""
    for info in pkgutil.iter_modules(cj.__path__, "calib_jax."):
        if info.name.rsplit(".")[-1] in ("plots", "flax", "demo"):
            continue
        for value in vars(importlib.import_module(info.name)).values():
            if hasattr(value, "_cache_size"):
                yield value


def num_compiled():
    """Entries in the caches of all jitted cores: what was compiled so far."""
    return sum(core._cache_size() for core in set(jitted_cores()))
