"""Single numbers of results under flat names."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj

pytestmark = pytest.mark.once

PLATT = cj.Platt(slope=jnp.float32(0.1), intercept=jnp.float32(jnp.nan))
REPORT = cj.FitReport(
    converged=jnp.bool_(False),
    num_steps=jnp.int32(7),
    loss=jnp.float32(jnp.inf),
    gradient_norm=jnp.bfloat16(0.5),
    status=jnp.int32(cj.FitStatus.SEPARABLE),
)


def test_names_are_paths_and_values_are_floats():
    given = {
        "fit": (PLATT, REPORT),
        "val": {"ece": np.float64(0.1), "rows": 3, "ok": True},
        3: [jnp.float32(0.2)],
        "method": "platt",
        "verdict": None,
    }
    found = cj.io.scalars(given)
    assert math.isnan(found.pop("fit/0/intercept"))
    assert found == {
        "fit/0/slope": 0.1,
        "fit/1/converged": 0.0,
        "fit/1/num_steps": 7.0,
        "fit/1/loss": math.inf,
        "fit/1/gradient_norm": 0.5,
        "fit/1/status": 5.0,
        "val/ece": 0.1,
        "val/rows": 3.0,
        "val/ok": 1.0,
        "3/0": 0.2,
    }
    assert {type(value) for value in found.values()} == {float}
    assert cj.io.scalars([2**70, np.float16(0.1)]) == {"0": 2.0**70, "1": 0.1}
    texts = {"array": np.array("0.5"), "numpy": np.str_("1")}
    assert cj.io.scalars({**texts, "enum": cj.FitStatus.SEPARABLE}) == {}
    assert cj.io.scalars({}) == {}


def test_a_result_gives_what_is_one_number():
    """Arrays and lists inside are left out, numbers of results inside are not."""
    score = np.linspace(0.1, 0.9, 50, dtype=np.float32)
    right = np.arange(50) % 2 == 0
    bins = cj.equal_width_bins(5)
    interval = cj.calibration_error_interval(jax.random.key(0), bins, score, right)
    found = cj.io.scalars(interval)
    assert found["estimate"] == interval.to_dict()["estimate"]
    assert found["counts/num_rows"] == 50.0
    assert all("/" not in name or name.startswith("counts/") for name in found)
    curve = cj.cascade_curve(cj.fit_router(score, score), score, right, right)
    assert "accuracy" not in cj.io.scalars(curve) and curve.accuracy.ndim == 1
    assert cj.io.scalars(curve)["small_accuracy"] == 0.5


def test_nothing_is_left_out_unsaid():
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), PLATT)
    with pytest.raises(ValueError, match=r"^eces: expected a number, .* shape \[3\]"):
        cj.io.scalars({"eces": jnp.zeros(3)})
    with pytest.raises(ValueError, match="^a/b: .* got a Platt of arrays"):
        cj.io.scalars({"a": {"b": batch}})
    with pytest.raises(ValueError, match="^results: .* got a Platt of arrays"):
        cj.io.scalars(batch)
    with pytest.raises(ValueError, match="expected numbers or texts, got object"):
        cj.io.scalars({"a": object()})
    with pytest.raises(ValueError, match="^results: expected names, got one number"):
        cj.io.scalars(jnp.float32(0.3))
    with pytest.raises(ValueError, match="^n: expected a number below 1.8e308"):
        cj.io.scalars({"n": 10**400})


@pytest.mark.parametrize("given", [{"a/b": 1, "a": {"b": 2}}, {"a": {1: 2, "1": 2}}])
def test_two_numbers_of_one_name(given):
    with pytest.raises(ValueError, match="^a/(b|1): .* number with this name"):
        cj.io.scalars(given)


NEITHER = {
    "an array of datetime64": np.array(["2026-01-01"], "datetime64[D]"),
    "an array of timedelta64": np.timedelta64(3, "s"),
    r"an array of \|S1": np.array(b"1"),
    "bytes": b"1",
    "a masked array": np.ma.masked,
    "a masked array: fill it": np.ma.masked_less(np.arange(3.0), 1.0),
}


@pytest.mark.parametrize("named", NEITHER)
def test_what_is_neither_number_nor_text(named):
    value = dataclasses.replace(PLATT, slope=NEITHER[named])
    for function in (cj.io.scalars, cj.Platt.to_dict):
        with pytest.raises(ValueError, match=f"^expected numbers.*, got {named}"):
            function(value)


@pytest.mark.parametrize("function", [cj.io.scalars, cj.Platt.to_dict])
@pytest.mark.parametrize("under", [jax.jit, jax.vmap])
def test_traced_arrays_are_refused(function, under):
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), PLATT)
    with pytest.raises(ValueError, match="expected numbers, got a traced array"):
        under(lambda platt: function(dataclasses.replace(platt)))(batch)
