"""Every test runs on 8 virtual CPU devices, with JAX at its strictest."""

import os
import pathlib

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def data_folder():
    """Folder of real model outputs; the tests that need it are skipped without it."""
    checkout = pathlib.Path(__file__).resolve().parents[1]
    beside = checkout.parent / "shared" / "data"
    folder = pathlib.Path(os.environ.get("CALIB_JAX_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real model outputs at {folder}: set CALIB_JAX_DATA")
    return folder
