"""Loaders of PyTorch, Grain, pandas and polars as blocks."""

import numpy as np
import pytest

import calib_jax as cj
from tests.streaming.test_streaming import same

# Fits of blocks are run in 64-bit mode by the registry.
pytestmark = pytest.mark.once


@pytest.fixture
def rng():
    return np.random.default_rng(0)


LOADERS = {
    "torch": lambda rows: torch_loader(rows, 70),
    "torch, bfloat16 and gradients": lambda rows: torch_loader(rows, 70, "bfloat16"),
    "grain": lambda rows: grain_loader(list(zip(*rows, strict=True))),
    "grain dataset": lambda rows: grain_dataset(list(zip(*rows, strict=True))),
    "pandas": lambda rows: pandas_blocks(rows),
    "pandas from_arrays": lambda rows: cj.streaming.blocks.from_arrays(
        *pandas_blocks(rows, 600)[0], size=70
    ),
    "polars from_arrays": lambda rows: polars_blocks(rows),
}


def torch_loader(rows, size, dtype=None, **more):
    torch = pytest.importorskip("torch")
    first, *rest = map(torch.tensor, rows)
    if dtype:
        first = first.to(getattr(torch, dtype)).requires_grad_()
    data = torch.utils.data.TensorDataset(first, *rest)
    return torch.utils.data.DataLoader(data, batch_size=size, **more)


def grain_loader(examples, num_workers=0):
    grain = pytest.importorskip("grain")
    return grain.DataLoader(
        data_source=examples,
        sampler=grain.samplers.SequentialSampler(len(examples)),
        operations=[grain.transforms.Batch(70)],
        worker_count=num_workers,
    )


def grain_dataset(examples):
    grain = pytest.importorskip("grain")
    return grain.MapDataset.source(examples).batch(70).to_iter_dataset()


def pandas_blocks(rows, size=70):
    """Their rows have labels that are not their places."""
    pd = pytest.importorskip("pandas")
    places = pd.RangeIndex(len(rows[0]))[::-1]
    made = [
        (pd.Series if np.ndim(row) == 1 else pd.DataFrame)(row, index=places)
        for row in rows
    ]
    return [
        [row.iloc[start : start + size] for row in made]
        for start in range(0, len(places), size)
    ]


def polars_blocks(rows):
    pl = pytest.importorskip("polars")
    made = ((pl.Series if np.ndim(row) == 1 else pl.DataFrame)(row) for row in rows)
    return cj.streaming.blocks.from_arrays(*made, size=70)


@pytest.mark.parametrize("loader", LOADERS)
def test_loaders_are_blocks(loader, rng):
    """Of 600 rows; the last block is smaller. The logits are exact in bfloat16."""
    logits, labels = rng.integers(-8, 8, (600, 5)) / 4, rng.integers(0, 5, 600)
    logits = np.float32(logits + 2 * np.eye(5)[labels])
    scores, where = logits[:, 0], rng.random(600) < 0.8
    outcomes, make = labels == 0, LOADERS[loader]
    plain = cj.streaming.blocks.from_arrays
    for function, rows in (
        (cj.streaming.blocks.fit_temperature, (logits, labels, where)),
        (cj.streaming.blocks.fit_platt, (scores, outcomes)),
        (cj.streaming.blocks.reliability_table, (scores, outcomes, where)),
    ):
        same(function(make(rows)), function(plain(*rows, size=70)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torch", "grain"])
def test_loaders_with_workers(kind, rng):
    """Processes that hand over batches, the logits in bfloat16 by PyTorch.

    Grain's workers cut batches of rows of their own.
    """
    logits, labels = rng.integers(-8, 8, (600, 5)) / 4, rng.integers(0, 5, 600)
    rows = np.float32(logits + 2 * np.eye(5)[labels]), labels
    if kind == "torch":
        # Threads of JAX do not go on in a process that is forked.
        more = {"num_workers": 2, "multiprocessing_context": "spawn"}
        blocks = torch_loader(rows, 70, "bfloat16", **more)
        blocks.dataset.tensors[0].requires_grad_(False)
    else:
        # Grain's workers ask for flags, which absl.app.run parses.
        pytest.importorskip("absl.flags").FLAGS.mark_as_parsed()
        blocks = grain_loader(list(zip(*rows, strict=True)), num_workers=2)
    plain = cj.streaming.blocks.from_arrays(*rows, size=70)
    fit = cj.streaming.blocks.fit_temperature
    if kind == "torch":
        same(fit(blocks), fit(plain))
        return
    found, expected = (fit(one)[0].temperature for one in (blocks, plain))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["torch", "grain", "grain examples"])
def test_loaders_that_can_be_read_once(kind, rng):
    rows = np.float32(rng.normal(size=600)), rng.random(600) < 0.5
    examples = list(zip(*rows, strict=True))
    if kind == "torch":
        blocks = iter(torch_loader(rows, 70))
        shows = "got an iterator .*DataLoaderIter"
    elif kind == "grain":
        blocks = iter(grain_loader(examples))
        shows = "got an iterator .*DataLoaderIterator"
    else:
        # Without `batch`.
        grain = pytest.importorskip("grain")
        blocks = grain.MapDataset.source(examples).to_iter_dataset()
        shows = r"blocks\[0\]: expected arrays \[n, ...\], got a scalar"
    with pytest.raises(ValueError, match=shows):
        cj.streaming.blocks.fit_platt(blocks)


def test_torch_data_that_can_be_read_once(rng):
    """Every `iter()` of the loader is another one, but its data is used up."""
    torch = pytest.importorskip("torch")
    rows = np.float32(rng.normal(size=600)), rng.random(600) < 0.5

    class Stream(torch.utils.data.IterableDataset):
        examples = iter(list(zip(*rows, strict=True)))

        def __iter__(self):
            return self.examples

    blocks = torch.utils.data.DataLoader(Stream(), batch_size=70)
    with pytest.raises(ValueError, match="same 600 rows .* got 0"):
        cj.streaming.blocks.fit_platt(blocks)
