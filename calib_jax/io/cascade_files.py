"""Writing and reading a cascade as one file of plain JSON.

The file holds both calibrators, the router and K, the arbiter, what was promised, and
on how many rows; and the decision as steps, which serve without this library. Its
schema is `cascade.schema.json` in this folder. Files of schema 1, without an arbiter,
are read as well.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._core import checks, records, versions
from ..binning.tables import ReliabilityTable
from ..calibration.apply import CALIBRATORS, Calibrator, OfClasses, calibrate
from ..calibration.histogram import Histogram
from ..cascade import routers
from ..cascade.arbiters import Arbiter
from ..cascade.routers import Router
from ..cascade.selection import Selection
from . import host, plain_records, steps, writing
from .cascade_records import CHOOSING, CascadeRecord, Promise
from .responses import shown

_FORMAT = "calib_jax.cascade"
_SCHEMA, _BEFORE = 2, 1
_FIELDS = (
    *("format", "schema", "versions", "num_rows", "num_bins", "num_small_bins"),
    *("serve", "small", "large", "arbiter", "router", "promise", "selection"),
    "reference",
)
_CALIBRATORS = {kind.__name__: kind for kind in CALIBRATORS}
# Confidences that libraries compute differ by less than this.
_ROUNDING = 1e-5


def save_cascade(
    path: str | os.PathLike[str],
    *,
    router: Router,
    num_small_bins: int,
    small_params: Calibrator,
    large_params: Calibrator | None = None,
    arbiter: Arbiter | None = None,
    selection: Selection | None = None,
    num_rows: int | None = None,
    promise: Promise | None = None,
    reference: ReliabilityTable | None = None,
    small_input: str | None = None,
    large_input: str | None = None,
) -> None:
    """Writes a cascade to one JSON file that serves, with JAX or without.

    The file also holds the decision as steps of the raw input, found by asking this
    library at neighbouring float32 numbers. A service only compares with their edges,
    so tied scores are decided as here (docs/serving.md). The file is
    written completely or not at all.

    Args:
      path: of the file; an existing one is replaced.
      router: `Router`.
      num_small_bins: K, from 0 to num_bins, such as `int(selection.num_small_bins)`.
      small_params: what calibrated the confidences of the router, such as `Platt`:
        whatever a fit of `calib_jax.calibration` returns.
      large_params: the same for the large model; optional without an arbiter.
      arbiter: optional `Arbiter`: whose answer to take where the large model was asked.
        It needs `large_params`, because it compares the confidences of both. It is
        refused where the selection is not feasible, unless it always takes the large
        model: K = 0 is then safe for the large model alone.
      selection: optional `Selection` that chose K; leave it out for another K.
      num_rows: optional number of rows that K was chosen on; by default as in the
        selection.
      promise: optional `Promise`, which function chose K; needs the selection.
      reference: optional `ReliabilityTable` of the small model in the router's bins,
        `[num_bins]`, on the rows that K was chosen on, to compare new inputs with.
      small_input: optional one-line description of the score or logits, for the
        service, such as "mean log-probability of the answer's tokens".
      large_input: the same for the large model.

    Raises:
      ValueError: for arguments of other types, or that do not fit each other; traced
        arrays; and what is not a path.
      OSError: if the file cannot be written.

    Examples:
      >>> import pathlib, tempfile
      >>> import calib_jax as cj
      >>> scores, right = np.arange(8.0), [0, 0, 1, 0, 1, 1, 1, 1]
      >>> params, _ = cj.fit_platt(scores, right)
      >>> confidence = cj.calibrate(params, scores)
      >>> router = cj.fit_router(confidence, np.full(8, 0.75), num_bins=4)
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "cascade.json"
      >>> save_cascade(path, router=router, num_small_bins=2, small_params=params)
      >>> record = cj.load(path)
      >>> print(record.serve_edges, record.serve_keep_small)
      [4.] [False  True]
      >>> print(record.keep_small([3.0, 4.0, 5.0]))
      [False  True  True]
    """
    target = host.path("path", path)
    for name, value, kinds in (
        ("router", router, (Router,)),
        ("small_params", small_params, CALIBRATORS),
        ("large_params", large_params, CALIBRATORS),
        ("arbiter", arbiter, (Arbiter,)),
        ("selection", selection, (Selection,)),
        ("promise", promise, (Promise,)),
        ("reference", reference, (ReliabilityTable,)),
    ):
        if value is not None or name in ("router", "small_params"):
            checks.instance(name, value, *kinds)
            checks.on_host(name, value)
            if kinds != (Promise,):
                records.check(name, value)
    checks.on_host("num_small_bins", num_small_bins)
    budget = int(routers.checked_budget(router, num_small_bins))
    if num_rows is None and selection is not None and int(selection.num_rows) > 0:
        num_rows = int(selection.num_rows)
    if num_rows is not None:
        num_rows = checks.static_int("num_rows", num_rows, minimum=1)
    _line("small_input", small_input)
    _line("large_input", large_input)
    if large_input is not None and large_params is None:
        raise ValueError("large_input: expected large_params, too, which it is about.")
    content = {
        "format": _FORMAT,
        "schema": _SCHEMA,
        "versions": versions.of_libraries(),
        "num_rows": num_rows,
        "num_bins": router.bins.num_bins,
        "num_small_bins": budget,
        "serve": None,
        "small": {**_calibrator(small_params), "input": small_input},
        "large": None
        if large_params is None
        else {**_calibrator(large_params), "input": large_input},
        "arbiter": None if arbiter is None else plain_records.write(arbiter),
        "router": plain_records.write(router),
        "promise": None if promise is None else _promise(promise),
        "selection": None if selection is None else plain_records.write(selection),
        "reference": None if reference is None else plain_records.write(reference),
    }
    found = _read_rest(content)
    edges, keep = steps.of_cascade(found["router"], budget, found["small_params"])
    content["serve"] = {
        "input": _kind_of_input(found["small_params"]),
        "edges": plain_records.numbers(edges),
        "keep_small": keep.tolist(),
    }
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    writing.write_text(target, text)


def is_cascade(content: Any) -> bool:
    """Whether the content of a JSON file says that it is such a record."""
    return isinstance(content, dict) and content.get("format") == _FORMAT


def read(path: Any, content: dict[str, Any]) -> CascadeRecord:
    """The record of a file, or `ValueError` that names the file and the place."""
    schema = content.get("schema")
    if type(schema) is not int or schema not in (_SCHEMA, _BEFORE):
        raise ValueError(
            f"{path}: expected schema {_SCHEMA} or {_BEFORE}, got {shown(schema)}; "
            "read files of a newer release with that release."
        )
    try:
        if schema == _BEFORE:
            content = _of_schema_1(content)
        plain_records.check_fields("cascade", content, _FIELDS)
        found = _read_rest(content)
        edges, keep = _read_steps(content["serve"], found)
        return CascadeRecord(**found, serve_edges=edges, serve_keep_small=keep)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None


def _of_schema_1(content: dict[str, Any]) -> dict[str, Any]:
    """What a file of the schema before would hold today."""
    before = [name for name in _FIELDS if name != "arbiter"]
    plain_records.check_fields("cascade", content, before)
    large = content["large"]
    if large is not None:
        plain_records.check_fields("large", large, ("calibrator", "parameters"))
        large = {**large, "input": None}
    return {**content, "large": large, "arbiter": None}


def _calibrator(params: Any) -> dict[str, Any]:
    return {
        "calibrator": type(params).__name__,
        "parameters": plain_records.write(params),
    }


def _promise(promise: Promise) -> dict[str, Any]:
    level = promise.confidence_level
    return {
        "made_by": promise.made_by.__name__,
        "confidence_level": None if level is None else float(level),
    }


def _kind_of_input(params: Any) -> str:
    return "confidence" if isinstance(params, OfClasses) else "score"


def _read_rest(content: dict[str, Any]) -> dict[str, Any]:
    """Everything but the steps, checked: the fields of a `CascadeRecord`."""
    router = plain_records.read("router", Router, content["router"])
    num_bins = _whole("num_bins", content["num_bins"])
    if num_bins != router.bins.num_bins:
        raise ValueError(
            f"num_bins: expected {router.bins.num_bins}, as in router, got {num_bins}."
        )
    budget = _whole("num_small_bins", content["num_small_bins"])
    if budget > num_bins:
        raise ValueError(
            f"num_small_bins: expected at most num_bins = {num_bins}, got {budget}."
        )
    small_params, small_input = _read_model("small", content["small"])
    large_params = large_input = None
    if content["large"] is not None:
        large_params, large_input = _read_model("large", content["large"])
    rows = content["num_rows"]
    choice, promise = _read_choice(content["selection"], budget, num_bins), None
    if content["promise"] is not None:
        promise = _read_promise(content["promise"])
        if choice is None:
            raise ValueError(
                "promise: expected selection, too, which has its limit and whether it "
                "is met; got None."
            )
        if not np.isfinite(float(choice.level)):
            raise ValueError(
                "selection.level: expected a finite number, because there is a "
                f"promise, got {float(choice.level)}."
            )
    arbiter = _read_arbiter(content["arbiter"], large_params)
    if arbiter is not None and choice is not None:
        _check_confers(arbiter, choice, num_bins)
    return {
        "router": router,
        "num_small_bins": budget,
        "small_params": small_params,
        "large_params": large_params,
        "arbiter": arbiter,
        "small_input": small_input,
        "large_input": large_input,
        "num_rows": None if rows is None else _whole("num_rows", rows, minimum=1),
        "promise": promise,
        "selection": choice,
        "reference": _read_reference(content["reference"], num_bins),
        "versions": _read_versions(content["versions"]),
    }


def _whole(name: str, value: Any, *, minimum: int = 0) -> int:
    if type(value) is not int or not minimum <= value < 2**31:
        raise ValueError(
            f"{name}: expected a whole number of at least {minimum}, got "
            f"{shown(value)}."
        )
    return value


def _check_size(name: str, size: int, num_bins: int) -> None:
    if size != num_bins:
        raise ValueError(f"{name}: expected {num_bins} bins, as in router, got {size}.")


def _read_model(name: str, part: Any) -> tuple[Any, str | None]:
    """Its calibrator, and what this takes in words."""
    plain_records.check_fields(name, part, ("calibrator", "parameters", "input"))
    kind = _CALIBRATORS.get(part["calibrator"] if _is_text(part["calibrator"]) else "")
    if kind is None:
        raise ValueError(
            f"{name}.calibrator: expected {', '.join(_CALIBRATORS)}, got "
            f"{shown(part['calibrator'])}."
        )
    params: Any = plain_records.read(f"{name}.parameters", kind, part["parameters"])
    return params, _line(f"{name}.input", part["input"])


def _read_arbiter(part: Any, large_params: Any) -> Arbiter | None:
    if part is None:
        return None
    found = plain_records.read("arbiter", Arbiter, part)
    if large_params is None:
        raise ValueError(
            "arbiter: expected large_params, too, because it compares the calibrated "
            "confidences of both models; got None."
        )
    for name, value in vars(found).items():
        if not np.isfinite(value):
            raise ValueError(f"arbiter.{name}: expected a finite number, got {value}.")
    return found


def _check_confers(arbiter: Arbiter, choice: Selection, num_bins: int) -> None:
    """Refuses an arbiter where only the large model alone is safe."""
    takes_large = arbiter.small_slope == arbiter.large_slope == 0 <= arbiter.intercept
    if takes_large or choice.feasible or int(choice.num_small_bins) == num_bins:
        return
    raise ValueError(
        "arbiter: expected None, because the selection is not feasible: then K = "
        f"{int(choice.num_small_bins)} is safe only if the large model's answer is "
        "taken wherever it was asked. Leave the arbiter out, or choose K for a target "
        "that is feasible."
    )


def _read_choice(part: Any, budget: int, num_bins: int) -> Selection | None:
    if part is None:
        return None
    found = plain_records.read("selection", Selection, part)
    _check_size("selection", found.bound.shape[0] - 1, num_bins)
    if int(found.num_small_bins) != budget:
        raise ValueError(
            f"num_small_bins: expected {int(found.num_small_bins)}, as in selection, "
            f"got {budget}; leave the selection out if you choose K yourself."
        )
    return found


def _read_reference(part: Any, num_bins: int) -> ReliabilityTable | None:
    if part is None:
        return None
    found = plain_records.read("reference", ReliabilityTable, part)
    _check_size("reference", found.count.shape[0], num_bins)
    outcome = np.asarray(found.outcome)
    bad = outcome[~((outcome >= 0) & (outcome <= 1))]
    if bad.size:
        raise ValueError(
            f"reference.outcome: expected mean outcomes in [0, 1], got {bad[0]}."
        )
    total = int(np.asarray(found.count, np.int64).sum())
    if total >= 2**31:
        raise ValueError(
            f"reference.count: expected fewer than 2^31 rows in all, got {total}."
        )
    return found


def _read_promise(part: Any) -> Promise:
    plain_records.check_fields("promise", part, ("made_by", "confidence_level"))
    level = part["confidence_level"]
    function = CHOOSING.get(part["made_by"] if _is_text(part["made_by"]) else "")
    if level is not None and type(level) not in (int, float):
        raise ValueError(
            f"promise.confidence_level: expected a number, got {shown(level)}."
        )
    if function is None:
        raise ValueError(
            f"promise.made_by: expected one of {', '.join(CHOOSING)}, got "
            f"{shown(part['made_by'])}."
        )
    try:
        return Promise(made_by=function, confidence_level=level)
    except ValueError as error:
        raise ValueError(f"promise.{error}") from None


def _read_versions(part: Any) -> Mapping[str, str]:
    wanted = versions.of_libraries()
    plain_records.check_fields("versions", part, wanted)
    return {name: _line(f"versions.{name}", part[name]) or "" for name in wanted}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _line(name: str, value: Any) -> str | None:
    if value is not None and not (_is_text(value) and value.isprintable()):
        raise ValueError(f"{name}: expected one line of text, got {shown(value)}.")
    return value


def _read_steps(part: Any, found: dict[str, Any]) -> steps.Steps:
    plain_records.check_fields("serve", part, ("input", "edges", "keep_small"))
    wanted = _kind_of_input(found["small_params"])
    if part["input"] != wanted:
        raise ValueError(
            f"serve.input: expected {wanted!r}, because the calibrator is "
            f"{type(found['small_params']).__name__}, got {shown(part['input'])}."
        )
    edges = plain_records.array("serve.edges", part["edges"], np.float32)
    keep = plain_records.array("serve.keep_small", part["keep_small"], bool)
    if edges.ndim != 1 or not np.all(edges[1:] > edges[:-1]) or np.isnan(edges).any():
        got = np.array2string(edges, threshold=8, max_line_width=1000)
        raise ValueError(
            "serve.edges: expected a list of numbers, each above the one before, "
            f"without NaN, got {got}."
        )
    if keep.ndim != 1 or len(keep) != len(edges) + 1:
        raise ValueError(
            f"serve.keep_small: expected a list of {len(edges) + 1} bools, one more "
            f"than edges, got {np.size(keep)}."
        )
    _check_steps((edges, keep), found)
    return edges, keep


def _check_steps(given: steps.Steps, found: dict[str, Any]) -> None:
    """Raises `ValueError` if the steps are those of another K, router or calibrator.

    Those found by another version or on another device may differ by rounding.
    """
    router, params = found["router"], found["small_params"]
    wanted = steps.of_cascade(router, found["num_small_bins"], params)
    edges = np.union1d(given[0], wanted[0])
    edges = edges[np.isfinite(edges)].astype(np.float64)
    if edges.size:
        first, last = edges[0], edges[-1]
        edges = np.r_[first - abs(first) - 1, edges, last + abs(last) + 1]
    else:
        edges = np.zeros(2)
    with np.errstate(over="ignore"):
        probes = ((edges[1:] + edges[:-1]) / 2).astype(np.float32)
    if steps.is_confidence(params):
        probes = np.clip(probes, 0, 1)
    decisions = (
        keep[np.searchsorted(starts, probes, side="right")]
        for starts, keep in (given, wanted)
    )
    other = probes[np.not_equal(*decisions)]
    if other.size and not isinstance(params, OfClasses | Histogram):
        confidence = np.asarray(calibrate(params, other))
        distance = np.abs(confidence[:, None] - np.asarray(router.bins.edges))
        other = other[distance.min(axis=1, initial=1.0) > _ROUNDING]
    if other.size:
        raise ValueError(
            f"serve: its steps do not decide as router, num_small_bins and small do, "
            f"for example at {other[0]}; write the file again with save_cascade, "
            "rather than changing it by hand."
        )
