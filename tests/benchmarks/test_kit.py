"""The kit: results to JSON and back, templates, and no imports between benchmarks."""

import dataclasses
import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

for extra in ("jinja2", "matplotlib", "rich", "cleanlab"):
    pytest.importorskip(extra)

import jinja2  # noqa: E402

from benchmarks.kit import plain, report  # noqa: E402

pytestmark = pytest.mark.once

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


class Pair(NamedTuple):
    first: jax.Array
    second: jax.Array


@dataclasses.dataclass(frozen=True)
class Everything:
    name: str
    share: float
    missing: float
    rows: slice
    sizes: tuple[int, ...]
    pair: Pair
    tables: Mapping[int, Sequence[np.ndarray]]
    absent: Pair | None
    flag: bool


def test_results_come_back_from_json():
    pair = Pair(np.float32([0.5, np.inf]), np.float32([[0.25, np.nan]]))
    one = Everything(
        name="a",
        share=0.123456789,
        missing=float("nan"),
        rows=slice(2, 5),
        sizes=(3, 4),
        pair=pair,
        tables={15: [np.array([1, 2]), np.array([0.5])]},
        absent=None,
        flag=True,
    )
    tree = plain.as_plain(one)
    assert tree["share"] == 0.123457 and tree["missing"] is None
    back = plain.restore(Everything, tree | {"more": 1})
    assert (back.name, back.rows, back.sizes) == ("a", slice(2, 5), (3, 4))
    assert np.isnan(back.missing) and back.absent is None and back.flag is True
    for ours, theirs in zip(pair, back.pair, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert theirs.dtype == np.float32
    (counts, shares) = back.tables[15]
    assert counts.dtype.kind == "i" and shares.dtype == np.float64
    assert plain.as_plain(back) == tree


def test_templates_make_text_and_claims(tmp_path):
    (tmp_path / "one.md.jinja").write_text(
        "# Title\n{% call claim('so', 3, 4) %}\n{{ n | thousands }}\nof them"
        "{% endcall %}\n\n{% if not n %}\nnever\n\n{% endif %}\n"
        "{{ 0.5 | percent }} %, {{ [0.25, 1] | interval(2) }}\n"
    )
    made = report.section(tmp_path / "one.md.jinja", stored={}, figures={}, n=1234)
    assert (made.title, made.text) == ("Title", "50.0 %, [0.25, 1.00]")
    assert made.claims == [report.Claim("so", "holds in part", "1,234 of them")]
    (tmp_path / "two.md.jinja").write_text("{{ n }}")
    with pytest.raises(jinja2.UndefinedError, match="'n' is undefined"):
        report.render(tmp_path / "two.md.jinja")


@pytest.mark.parametrize(
    "name",
    [
        "alarms",
        "audits",
        "chains",
        "conferring",
        "guarantees",
        "intervals",
        "specialisation",
    ],
)
def test_results_match_their_template(name):
    """Up to digits, since results.json rounds the numbers that the text was made
    from.
    """

    def words(text):
        return re.sub(r"\d[\d,]*(\.\d+)?", "0", text).splitlines()

    kind = importlib.import_module(f"benchmarks.{name}.report").Results
    folder = BENCHMARKS / name
    made = plain.load(kind, folder / "results.json").text()
    assert words(made) == words((folder / "RESULTS.md").read_text(encoding="utf-8"))


def test_benchmarks_import_the_kit_and_not_each_other():
    for path in BENCHMARKS.glob("*/*.py"):
        text = path.read_text(encoding="utf-8")
        imported = set(re.findall(r"(?:from|import) benchmarks\.(\w+)", text))
        imported |= set(re.findall(r"from benchmarks import (\w+)", text))
        assert imported <= {"kit"}, path
