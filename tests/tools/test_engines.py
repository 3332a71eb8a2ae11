"""The examples of docs/clusters.md on the engines themselves."""

import cluster_page
import pytest

pytestmark = [pytest.mark.once, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    cluster_page.write(folder)
    return folder


@pytest.fixture(scope="module")
def expected(folder):
    return cluster_page.in_one_process(folder)


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("dask.bag", "dask_logs.py"),
        ("ray.data", "ray_logs.py"),
        ("apache_beam", "beam_logs.py"),
    ],
)
def test_the_same_bits_as_in_one_process(package, name, folder, expected):
    pytest.importorskip(package.partition(".")[0])
    assert cluster_page.finish(folder, [cluster_page.start(folder, name)]) == [expected]
