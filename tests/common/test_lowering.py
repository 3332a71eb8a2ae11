"""Every public function lowers for GPUs and TPUs, without calls into solvers there.

No accelerator is needed: JAX lowers a program for platforms that the machine lacks.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from registry import ROWS, cases, example

from calib_jax._core import dispatch, transforms

pytestmark = pytest.mark.once

CASES = [case for case in registry.CASES if case.make is not None and not case.host]
ONCE = list({case.name: case for case in reversed(CASES)}.values())[::-1]
# A system of equations with a row for each class is solved by its LU decomposition.
SOLVES = {"cleaning.true_label_probabilities"}
LU = {"cusolver_getrf_ffi", "cu_lu_pivots_to_permutation", "LuDecomposition"}
# Many rows take other paths than few; with an odd number no block is whole.
SIZES = (ROWS, 70_001)


def custom_calls(program):
    """Names of what a lowered program calls outside XLA."""
    return set(re.findall(r"custom_call @([\w.$]+)", program.as_text()))


@pytest.mark.parametrize("num_rows", SIZES)
@cases(ONCE)
def test_lowers_for_accelerators(case, num_rows):
    function, arrays = case.traced(example(case, num_rows))
    traced = jax.jit(function).trace(arrays)
    for platform in ("cuda", "tpu"):
        lowered = traced.lower(lowering_platforms=(platform,))
        allowed = LU if case.name in SOLVES else set()
        assert custom_calls(lowered) <= allowed, platform


def test_custom_calls_are_found():
    traced = jax.jit(jax.lax.linalg.lu).trace(jnp.eye(3))
    for platform in ("cuda", "tpu"):
        calls = custom_calls(traced.lower(lowering_platforms=(platform,)))
        assert calls and calls <= LU


def test_a_trace_knows_the_platform_of_its_arrays(monkeypatch):
    """In a process whose default device is a GPU, arrays put on a CPU run there."""
    cpu = jax.devices("cpu")[0]
    here = np.zeros(3, np.float32)
    there = jax.device_put(here, cpu)

    def traced_for(call):
        found = []

        @dispatch.core
        def core(x):
            found.append(transforms.platform())
            return x

        assert call(core).devices() == {cpu}
        return set(found)

    assert traced_for(lambda core: core(there)) == {"cpu"}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert traced_for(lambda core: core(there)) == {"cpu"}
    assert traced_for(lambda core: core(here)) == {"gpu"}
    assert traced_for(lambda core: jax.jit(core)(there)) == {"gpu"}
    with jax.default_device(cpu):
        assert traced_for(lambda core: core(here)) == {"cpu"}
