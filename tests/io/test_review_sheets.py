"""Review sheets: written out, filled in by people and spreadsheets, read back."""

import csv

import jax
import numpy as np
import pytest

import calib_jax as cj

NAMES = ["cat", "=dog", "épée, grand"]
LABELS, PREDICTIONS = [0, 1, 2, 1], [[1, 0, 0, 2], [1, 2, -1, 2]]
CONFIDENCES = [[0.9, 0.8, 0.7, 0.6], [0.5, 0.4, np.nan, 0.2]]


@pytest.fixture
def sheet(tmp_path):
    path = tmp_path / "sheet.csv"
    cj.io.write_review_sheet(
        path,
        [3, 0, 2, -1],
        LABELS,
        PREDICTIONS,
        CONFIDENCES,
        class_names=np.array(NAMES),
    )
    return path


def lines(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def fill(path, answers, change=lambda rows: rows, delimiter=",", encoding="utf-8-sig"):
    rows = lines(path)
    for row, answer in zip(rows[1:], answers, strict=True):
        row[-1] = answer
    with open(path, "w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(change(rows))
    return path


def test_written(sheet):
    assert sheet.read_bytes().startswith(b"\xef\xbb\xbf")
    header, first, _, third = lines(sheet)
    assert ",".join(header) == (
        "item,of,row,given,given_name,expert_1,expert_1_name,confidence_1,"
        "expert_2,expert_2_name,confidence_2,check,answer"
    )
    # No spreadsheet evaluates a name as a formula; a negative prediction has no name.
    assert first[:5] == ["1", "3", "3", "1", "'=dog"] and first[-1] == ""
    assert third[4] == "épée, grand" and third[8:11] == ["-1", "", "nan"]
    with pytest.raises(FileExistsError):
        cj.io.write_review_sheet(sheet, [0], LABELS, PREDICTIONS, CONFIDENCES)


def test_blank_ends_of_lines_are_left_out(sheet):
    fill(
        sheet,
        ["", "wrong", ""],
        lambda rows: [row if row[-1] else row[:-1] for row in rows],
    )
    found = cj.io.read_review_sheet(sheet)
    np.testing.assert_array_equal(found.answers, [-1, 0, -1])
    # The first was left out, so someone chose what to answer.
    assert (found.num_blank, found.num_skipped) == (2, 1)


@pytest.mark.parametrize("other", [[1, 2, 0], [0, 3, 2]])
def test_lines_of_two_sheets_are_refused(sheet, tmp_path, other):
    """Also if a row is item 1 of one sheet and item 2 of the other."""
    second = tmp_path / "second.csv"
    cj.io.write_review_sheet(
        second, other, LABELS, PREDICTIONS, CONFIDENCES, class_names=NAMES
    )
    theirs = lines(second)
    fill(sheet, ["wrong"] * 3, lambda rows: [*rows[:2], theirs[2], rows[3]])
    with pytest.raises(ValueError, match="csv: line 3: item, .* from another sheet"):
        cj.io.read_review_sheet(sheet)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_read_back(sheet, delimiter):
    fill(
        sheet,
        [" Wrong ", "CANNOT  TELL", ""],
        lambda rows: [[*row, "a remark"] for row in [rows[0], *rows[:0:-1]]] + [[]],
        delimiter,
        "utf-8",
    )
    found = cj.io.read_review_sheet(sheet)
    np.testing.assert_array_equal(found.rows, [2, 0, 3])
    np.testing.assert_array_equal(found.labels, [2, 0, 1])
    answer = cj.io.ReviewAnswer
    np.testing.assert_array_equal(found.answers, [-1, answer.CANNOT_TELL, answer.WRONG])
    np.testing.assert_array_equal(found.counts, [1, 0, 0, 1])
    assert (found.num_blank, found.num_skipped) == (1, 0)


def put(line, column, value):
    def change(rows):
        rows[line][rows[0].index(column)] = value
        return rows

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(2, "answer", "maybe"), "line 3: unknown answer 'maybe'; expected 'wrong'"),
        (put(1, "row", "7"), "csv: line 2: item, row or given label was changed"),
        (put(3, "given", "0"), "csv: line 4: item, row or given label was changed"),
        (lambda rows: rows[:1], "expected a line for each item, got none"),
        (put(3, "row", "two"), "line 4: row is not a whole number: 'two'"),
        (put(0, "answer", "verdict"), "missing column answer"),
        (lambda rows: [row[:-2] for row in rows], "missing column check, answer"),
        (lambda rows: rows[:3], "expected each of 3 items once, got 2 .* item 3"),
        (lambda rows: [*rows, rows[1]], "expected each of 3 items once, got 4 lines"),
        (lambda rows: [*rows[:2], rows[2][:3], rows[3]], "line 3: too few columns"),
        (lambda rows: [], "missing column item"),
    ],
)
def test_bad_lines_are_named(sheet, change, message):
    fill(sheet, ["wrong", "both", "right"], change)
    with pytest.raises(ValueError, match=message):
        cj.io.read_review_sheet(sheet)


@pytest.mark.parametrize("name", ["item", "row", "given", "answer", "check", "of"])
def test_a_column_twice_is_refused(sheet, name):
    fill(
        sheet,
        ["wrong", "both", "right"],
        lambda rows: [[*rows[0], f" {name.upper()} "], *([*r, ""] for r in rows[1:])],
    )
    with pytest.raises(ValueError, match=f"expected one column {name}, got 2"):
        cj.io.read_review_sheet(sheet)


FORMULAS = ["=1", " =1", "\ufeff@a", "+a", "-a", "@a", "\x00=1"]
FORMULAS += ["\uff1d1", "\uff0b1", "\uff0d1", " \uff20a", "\r1"]


def test_names_like_formulas(tmp_path):
    names = [*FORMULAS, "a=b", "cat", "", " x", "-1", "+1"]
    every = range(len(names))
    path = tmp_path / "sheet.csv"
    cj.io.write_review_sheet(
        path, every, every, [every], np.ones((1, len(names))), class_names=names
    )
    written = [row[4] for row in lines(path)[1:]]
    assert written == [f"'{name}" for name in FORMULAS] + names[len(FORMULAS) :]
    np.testing.assert_array_equal(cj.io.read_review_sheet(path).rows, every)


def test_ids_are_a_column_that_is_not_read(tmp_path):
    path = tmp_path / "sheet.csv"
    ids = ["a", "=cmd", "-1", "new\nline"]
    cj.io.write_review_sheet(
        path, [3, 1], LABELS, PREDICTIONS, CONFIDENCES, ids=ids, class_names=NAMES
    )
    header, first, second = lines(path)
    assert header[:6] == ["item", "of", "row", "id", "given", "given_name"]
    assert first[2:5] == ["3", "new\nline", "1"] and second[3] == "'=cmd"
    fill(path, ["wrong", "right"])
    sheet = cj.io.read_review_sheet(path)
    np.testing.assert_array_equal(sheet.rows, [3, 1])
    np.testing.assert_array_equal(sheet.labels, [1, 1])
    np.testing.assert_array_equal(sheet.counts, [1, 0, 1, 0])
    cj.io.write_review_sheet(
        tmp_path / "none.csv", [], LABELS, PREDICTIONS, CONFIDENCES, ids=ids
    )
    assert len(lines(tmp_path / "none.csv")[1]) == len(lines(tmp_path / "none.csv")[0])
    assert cj.io.read_review_sheet(tmp_path / "none.csv").rows.shape == (0,)
    for wrong, match in (
        (ids[:3], "ids: expected one for each of N = 4 rows, got 3"),
        ("abcd", "ids: expected a list of ids"),
        ([1, 2, 3, 4], "ids: expected a list of ids"),
        (["a", "b", "\ud800", "c"], "ids in Unicode, got .* for row 2"),
    ):
        with pytest.raises(ValueError, match=match):
            cj.io.write_review_sheet(
                tmp_path / "new.csv", [0], LABELS, PREDICTIONS, CONFIDENCES, ids=wrong
            )
    assert not (tmp_path / "new.csv").exists()


def test_wrong_arguments(tmp_path):
    path = tmp_path / "new.csv"

    def refuse(
        match,
        rows=(0,),
        labels=LABELS,
        predictions=PREDICTIONS,
        confidences=CONFIDENCES,
        **more,
    ):
        with pytest.raises(ValueError, match=match):
            cj.io.write_review_sheet(
                path, rows, labels, predictions, confidences, **more
            )

    refuse("rows: expected rows below N = 4, got 4", rows=[4])
    refuse("rows: expected rows below N = 4, got 5000000001", rows=[5_000_000_001])
    refuse("labels: .* row 3 holds 5000000001", labels=[0, 1, 2, 5_000_000_001])
    refuse(
        r"predictions: .* entry \[1, 0\] holds -3000000000",
        predictions=[[0] * 4, [-3_000_000_000, 0, 0, 0]],
    )
    refuse(
        r"confidences: expected values in \[0, 1\], entry \[0, 1\] holds 80",
        confidences=[[np.nan, 80, 0.7, 0.6], [0.5] * 4],
    )
    refuse("class_names: .*Unicode.* class 1", class_names=["a", "\ud800", "b"])
    given = dict(
        rows=[0], labels=LABELS, predictions=PREDICTIONS, confidences=CONFIDENCES
    )
    for name in given:
        shape = (2, 4) if name in ("predictions", "confidences") else (4,)
        dtype = np.float32 if name == "confidences" else np.int32
        with pytest.raises(ValueError, match=f"{name}: .* runs on the host"):
            jax.eval_shape(
                lambda x, name=name: cj.io.write_review_sheet(
                    path, **{**given, name: x}
                ),
                np.zeros(shape, dtype),
            )
    refuse("rows: expected every row once", rows=[1, 1])
    refuse("predictions, confidences: expected a row", predictions=PREDICTIONS[:1])
    refuse("expected one entry for each example", labels=[0])
    refuse("class_names: expected a name for each class", class_names=["cat"])
    refuse("class_names: expected a list of names", class_names="cat")
    assert not path.exists()
    path.write_bytes(b"item,answer\n\xff")
    with pytest.raises(ValueError, match="not UTF-8 at byte 12"):
        cj.io.read_review_sheet(path)
    path.unlink()
    cj.io.write_review_sheet(path, [-1], LABELS, PREDICTIONS, CONFIDENCES)
    found = cj.io.read_review_sheet(path)
    assert found.counts.sum() == found.num_blank == len(found.rows) == 0
