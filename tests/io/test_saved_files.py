"""Files that `save` writes and `load` reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import INF, NAN

import calib_jax as cj

# Values by hand are the same in both precision modes.
pytestmark = pytest.mark.once


LARGE = np.array([0.6, 0.7, 0.8, 0.5, 0.6, 0.4, 0.9, 1.0])
SMALL = np.array([0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9])
SMALL_OUTCOME = np.array([0, 0, 1, 0, 1, 1, 1, 1])


def test_save_and_load_keep_every_bit(tmp_path):
    router = cj.fit_router(SMALL, LARGE, num_bins=4)
    bins = cj.equal_count_bins(np.array([0.1, 0.3]), 4)  # edges of +inf
    histogram, _ = cj.fit_histogram(SMALL, SMALL_OUTCOME, num_bins=3)
    temperature = cj.Temperature(temperature=jnp.float32(1 / 3))
    platt = cj.Platt(slope=jnp.float32(NAN), intercept=jnp.float32(-INF))
    for params in (bins, histogram, temperature, platt, router):
        cj.save(tmp_path / "params.json", params)
        loaded = cj.load(tmp_path / "params.json")
        assert jax.tree.structure(loaded) == jax.tree.structure(params)
        leaves = zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True)
        for new, old in leaves:
            assert new.dtype == old.dtype
            assert np.asarray(new).tobytes() == np.asarray(old).tobytes()


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", '{"version": 1}', "\x80pickle"])
def test_load_refuses_what_it_did_not_write(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError):
        cj.load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "params.json"
    cj.save(path, cj.Temperature(temperature=jnp.float32(2.0)))
    with pytest.raises(ValueError):
        cj.save(path, {"temperature": object()})
    assert cj.load(path).temperature == 2.0
    assert list(tmp_path.iterdir()) == [path]
