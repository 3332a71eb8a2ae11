"""Every test runs on 8 virtual CPU devices, with JAX at its strictest."""

import gc
import itertools
import os
import pathlib
import re
import tempfile
from importlib.metadata import version

# Most of a run is spent compiling. Workers share what they compile in a folder that the
# first process makes and its children inherit.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    folder = tempfile.TemporaryDirectory(prefix="calib_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
flags = "--xla_force_host_platform_device_count=8"
known = version("jaxlib").startswith("0.10.")  # Other versions refuse unknown flags.
if known:
    # Each core has its own worker, and programs are small.
    flags += " --xla_cpu_parallel_codegen_split_count=1"
if not os.environ.get("JAX_ENABLE_X64"):
    # The first run, of all tests, compiles with few optimisations in half the time.
    # The second, of tests about numbers, runs the programs that users run.
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    if known:
        # An older code generator, quicker too.
        flags += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"

import jax  # noqa: E402
import pytest  # noqa: E402
from _pytest.doctest import DoctestModule  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


TESTS = pathlib.Path(__file__).parent


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run tests marked slow too")
    parser.addoption(
        "--slow-only", action="store_true", help="run tests marked slow and no others"
    )


def pytest_ignore_collect(collection_path, config):
    """Ignores benchmarks and their imports, unless slow tests run or they are named."""
    asked = config.getoption("--slow") or config.getoption("--slow-only")
    named = any(
        "benchmarks" in pathlib.Path(argument).parts for argument in config.args
    )
    if collection_path == TESTS / "benchmarks" and not (asked or named):
        return True


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path):
    """Only the library has docstring examples."""
    found = yield
    if file_path.is_relative_to(TESTS):
        found = [file for file in found if not isinstance(file, DoctestModule)]
    return found


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Marks by folder, then keeps or drops the slow tests before any `-m`."""
    for item in items:
        if not item.path.is_relative_to(TESTS):
            # Other tests check the numbers of docstring examples in both modes.
            item.add_marker(pytest.mark.once)
        elif item.path.is_relative_to(TESTS / "benchmarks"):
            item.add_marker(pytest.mark.slow)
    only = config.getoption("--slow-only")
    if only or not config.getoption("--slow"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        rest = [item for item in items if not item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=rest if only else slow)
        items[:] = slow if only else rest


def pytest_collection_finish():
    """Spares the garbage collector what stays anyway: a twelfth of a run's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


# Linux lets a process have 65,530 memory mappings, and each compiled program takes
# some: a worker that kept the programs of all its tests would crash.
MAPPINGS, MOST_MAPPINGS = pathlib.Path("/proc/self/maps"), 40_000
tests_run = itertools.count(1)


def pytest_runtest_teardown(item):
    # Counting them takes as long as a short test.
    if next(tests_run) % 20 == 0 and MAPPINGS.is_file():
        if MAPPINGS.read_bytes().count(b"\n") > MOST_MAPPINGS:
            jax.clear_caches()


# One worker runs all tests of a file, which share programs. The longest files are dealt
# out by the function that is tested. Other files share a fixture that takes long.
BY_FUNCTION = ("test_properties.py", "test_gradients.py", "test_sharding.py")
BY_FUNCTION += ("test_shard_map.py", "test_export.py")
SHARED = ("test_paper",)


def group_of(nodeid):
    """A name that tests of the same worker have in common."""
    path, _, test = nodeid.partition("::")
    file = pathlib.PurePath(path).name
    if file in BY_FUNCTION and "[" in test:
        return re.split("[]-]", test.partition("[")[2])[0]
    return next((name for name in SHARED if file.startswith(name)), path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return group_of(nodeid)

    # Examples of docstrings, the smallest groups, come last: both workers end together.
    config.option.loadscopereorder = False
    return GroupScheduling(config, log)


@pytest.fixture(scope="session")
def data_folder():
    """Folder of real model outputs; tests that need it are skipped without it."""
    checkout = pathlib.Path(__file__).resolve().parents[1]
    beside = checkout.parent / "shared" / "data"
    folder = pathlib.Path(os.environ.get("CALIB_JAX_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real model outputs at {folder}: set CALIB_JAX_DATA")
    return folder
