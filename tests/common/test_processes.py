"""Two processes joined by `jax.distributed` give the answers of one."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys

import cluster_page
import numpy as np
import pytest

import calib_jax as cj

pytestmark = pytest.mark.once

JOIN = """
import json, sys
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
number = int(sys.argv[2])
timeouts = "heartbeat_timeout_seconds", "shutdown_timeout_seconds"
jax.distributed.initialize(
    sys.argv[1], num_processes=2, process_id=number,
    **dict.fromkeys(timeouts, int(sys.argv[3])),
)
"""

# Computed from rows that are NumPy arrays, or sharded over both processes.
FUNCTIONS = """
import jax, numpy as np
import calib_jax as cj

rng = np.random.default_rng(0)
logits = 3 * rng.normal(size=(512, 4)).astype(np.float32)
labels = np.argmax(logits / 2 + rng.gumbel(size=logits.shape), axis=1).astype(np.int32)
scores = rng.random(512).astype(np.float32)
outcomes = (rng.random(512) < scores).astype(np.float32)
bins = cj.equal_width_bins(5)

def answers(logits, labels, scores, outcomes):
    table = cj.reliability_table(bins, scores, outcomes)
    return {
        "temperature": cj.fit_temperature(logits, labels)[0],
        "platt": cj.fit_platt(scores, outcomes)[0],
        "exact": (cj.expected_calibration_error(scores, outcomes), table),
    }

def summarise(scores, outcomes):
    start = cj.streaming.init_reliability(bins)
    return cj.streaming.update_reliability(start, scores, outcomes)

def shown(results):
    return {k: [np.asarray(x).tolist() for x in jax.tree.leaves(v)]
            for k, v in results.items()}
"""

PLACE = """
from jax.sharding import Mesh, NamedSharding, PartitionSpec

sharding = NamedSharding(Mesh(jax.devices(), "rows"), PartitionSpec("rows"))
half = slice(256 * number, 256 * (number + 1))
place = lambda x: jax.make_array_from_process_local_data(sharding, x[half])
"""

PROCESS = """
from jax.experimental import multihost_utils

assert jax.process_count() == 2 and jax.device_count() == 2
results = answers(*map(place, (logits, labels, scores, outcomes)))
# Each process summarises its own rows and hands the summary to the other.
mine = summarise(scores[half], outcomes[half])
both = multihost_utils.process_allgather(mine)
first, second = (jax.tree.map(lambda leaf: leaf[k], both) for k in range(2))
results["summary"] = cj.streaming.merge(first, second)
print(json.dumps(shown(results)))
"""


# The second process ends before the first one needs its rows.
LOSING = """
import os, signal

rows = place(scores), place(outcomes)
cj.fit_platt(*rows)[0].slope.block_until_ready()
print("joined", flush=True)
if number == 1 and sys.argv[4] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if number == 1:
    raise RuntimeError("an error in one process")
cj.expected_calibration_error(*rows).block_until_ready()
"""


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def start(code, *arguments):
    """Two processes that run the code."""
    address = free_address()
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
    return [
        subprocess.Popen(
            [sys.executable, "-c", code, address, str(number), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            cwd=pathlib.Path(cj.__file__).parent.parent,
        )
        for number in range(2)
    ]


def test_two_processes():
    processes = start(JOIN + FUNCTIONS + PLACE + PROCESS, "100")
    space = {}
    exec(FUNCTIONS, space)
    rows = [space[name] for name in ("logits", "labels", "scores", "outcomes")]
    expected = space["answers"](*rows)
    expected["summary"] = space["summarise"](*rows[2:])
    expected = space["shown"](expected)
    try:
        outputs = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (output, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors[-2000:]
        found = json.loads(output.splitlines()[-1])
        # Sums of integers, and what is computed from them, are the same in any order.
        assert found["summary"] == expected["summary"]
        assert found["exact"] == expected["exact"]
        for name in ("temperature", "platt"):
            np.testing.assert_allclose(found[name], expected[name], rtol=2e-6)


@pytest.mark.slow
def test_the_script_of_the_page(tmp_path):
    """Two processes that each read their parts have the bits of one."""
    cluster_page.write(tmp_path)
    expected = cluster_page.in_one_process(tmp_path)
    for of in (2, 1):
        more = "--of", str(of), "--coordinator", free_address()
        processes = [
            cluster_page.start(tmp_path, "summarise.py", "--process", str(k), *more)
            for k in range(of)
        ]
        assert cluster_page.finish(tmp_path, processes) == [expected] * of


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "shows"), [("killed", "JaxRuntimeError: .*"), ("failed", "task.*logs")]
)
def test_a_lost_process_ends_the_other(how, shows):
    """With an error, within a minute of the loss."""
    first, second = start(JOIN + FUNCTIONS + PLACE + LOSING, "10", how)
    try:
        joined = any(line == "joined\n" for line in first.stdout)
        _, errors = first.communicate(timeout=60)
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
    assert joined, errors[-2000:]
    assert first.returncode != 0
    assert re.search(shows, errors), errors[-2000:]
