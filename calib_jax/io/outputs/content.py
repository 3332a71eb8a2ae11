"""Which format a file has, by its content, and its lines if it is JSON."""

import gzip
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .. import answer_lines, json_lines, responses
from . import decisions, folders, frames, inspect_logs, names, servers, tools
from .left_out import LeftOut, Place, Places
from .rows import KINDS

# By the first bytes.
_STARTS = {
    b"\x93NUMPY": "npy",
    b"PK\x03\x04": "npz",
    b"PK\x05\x06": "npz",
    b"PAR1": "parquet",
    b"\x89HDF": "hdf5",
}
_PICKLE = (
    "a pickle, which is never loaded, as it may run code; save arrays with numpy.savez"
)
_FOREIGN_STARTS = {
    b"\x80": _PICKLE,
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it",
    b"BZh": "compressed with bzip2; unpack it",
    b"\xfd7zXZ": "compressed with xz; unpack it",
    b"ARROW1": "an Arrow file; save it as parquet",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"%PDF": "a PDF; give the numbers in it as CSV",
    b"\xd0\xcf\x11\xe0": "an old file of Office; save its sheet as CSV",
    **dict.fromkeys(
        (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*"),
        "a picture; give the numbers that it was drawn from",
    ),
    b"SQLite format 3": "a database of SQLite; save its table as CSV",
    b"version https://git-lfs": "a pointer of Git LFS; get the file with git lfs pull",
    **dict.fromkeys(
        (b"<!", b"<html", b"<HTML", b"<?xml"),
        "a page of HTML or XML; download the file itself, or save its table as CSV",
    ),
    # Pickles of the oldest form are text.
    **dict.fromkeys((b"(dp0", b"(lp0", b"ccopy_reg", b"cnumpy"), _PICKLE),
}
#: The formats that are objects, one after another.
LINES = ("jsonl", *tools.BY_NAME)
FORMATS = ("npy", "npz", "safetensors", "parquet", "hdf5", "csv", *LINES)
# Objects of other tools, by the keys that they have.
_FOREIGN = {
    ("custom_id", "method", "url"): "a file of requests; read the answers to them",
    (
        "results",
        "configs",
    ): "the summary of lm-eval; run it with --log_samples and read samples_*.jsonl",
    **dict.fromkeys(
        (("date", "eval"), ("eval", "pass_at_k"), ("pass_at_k",)),
        "results of EvalPlus or BigCodeBench, without log-probabilities: read the "
        "answers, with these as labels=",
    ),
    ("instance_id", "train_trial_index", "stats"): "statistics of HELM; read the "
    "scenario_state.json beside them",
    ("config_general", "results"): "the summary of lighteval; run it with "
    "--save-details and read details_*.parquet",
    ("task_id", "solution"): "samples of code without log-probabilities: there is "
    "nothing to calibrate; keep the log-probabilities of the tokens",
    ("format", "kind", "fields"): "a file of calib_jax.save; read it with "
    "calib_jax.load",
}
# Those of which a file may hold one, beside others in a folder.
_ANSWERS = (servers.NAME, decisions.NAME)
# So many bytes and lines are looked at to find the format.
_HEAD = 4096
_NUM_SEEN = 1000

Lines = Iterator[tuple[Place, Mapping[str, Any]]]


class Content(NamedTuple):
    """What is read: the format, and of JSON the lines and the first of them.

    Attributes:
      unread: names of the files of a folder that are not read.
    """

    format: str
    paths: list[Path]
    first: Mapping[str, Any]
    lines: Lines
    places: Places
    watch: json_lines.Watch | None
    unread: tuple[str, ...] = ()


def look(
    path: Path,
    format: str | None,
    left_out: LeftOut,
    *,
    progress: Callable[[int, int], None] | None = None,
    outputs: bool = True,
    named: bool = False,
) -> Content:
    """The format of a file or folder; JSON that need not hold outputs is a table.

    If it is named what holds the outputs, JSON of no other format is a table, too.

    Raises:
      ValueError: for any other content, in one line.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError(f"{path}: is neither a file nor a folder: save it to a file.")
    paths, unread = folders.files(path) if path.is_dir() else ([path], ())
    watch = None if progress is None else _watch(paths, progress)
    found = format or ("" if path.is_dir() else _by_start(path))
    if found and found not in LINES:
        unit = "line" if found == "csv" else "row"
        return Content(found, paths, {}, iter(()), Places(paths, unit), watch, unread)
    of_files = enumerate(_lines_of(path, watch) for path in paths)
    places = Places(paths, "line")
    form = found or None
    looked = _of_lines(of_files, places, form, left_out, outputs, named, watch)
    return looked._replace(unread=unread)


def _lines_of(path: Path, watch: json_lines.Watch | None) -> Iterator[tuple[int, Any]]:
    """Objects of a file with their numbers: of a tool's own form, or of JSON."""
    if not folders.is_json(path):
        if tool := tools.BY_NAME.get(_by_start(path)):
            return tool.lines_of(path, watch)
    return json_lines.of_file(path, watch)


def look_at_lines(
    path: Path,
    format: str | None,
    left_out: LeftOut,
    *,
    lines: Iterable[Any],
    places: Places,
    num_before: int = 0,
    first: Mapping[str, Any] | None = None,
    named: bool = False,
) -> Content:
    """As `look`, for lines of JSON that are not in a file.

    Args:
      path: their name, for messages.
      format: None for what the first line says.
      left_out: what is not read.
      lines: text, bytes or parsed JSON.
      places: of the rows; `num_read` is how many there were before.
      num_before: how many lines there were before.
      first: the first line of all, if it was before.
      named: whether it is named what holds the outputs.
    """
    if format is not None and format not in LINES:
        raise ValueError(
            f"{path}: lines are read of the formats {', '.join(LINES)}, not {format}: "
            "save them to a file."
        )
    checked = _checked(path, lines, first=not places.num_read)
    numbered = enumerate(checked, start=num_before + 1)
    looked = _of_lines([(0, numbered)], places, format, left_out, True, named, None)
    return looked if first is None else looked._replace(first=first)


def look_at_objects(objects: Any, left_out: LeftOut) -> Content:
    """As `look`, for logs that inspect_ai has read."""
    paths, lines = inspect_logs.lines_of_objects(objects)
    places, name = Places(paths, "sample"), inspect_logs.NAME
    return _of_lines(enumerate(lines), places, name, left_out, True, False, None)


def _checked(path: Path, lines: Iterable[Any], first: bool) -> Iterator[Any]:
    """The lines, if the first one is JSON."""
    for line in lines:
        if first and isinstance(line, (str, bytes)) and (bare := line.strip()):
            first = False
            if bare[:1] not in ("{", "[", b"{", b"[", b"\xef"):
                raise ValueError(
                    f"{path}: expected JSON lines, got {responses.shown(bare)}: read "
                    "other formats from a file."
                )
        if isinstance(line, bytes) and not line.endswith(b"\n"):
            # Only the last line of a file that is cut off has no end.
            line += b"\n"
        yield line


def _of_lines(
    of_files: Iterable[tuple[int, Iterable[tuple[int, Any]]]],
    places: Places,
    format: str | None,
    left_out: LeftOut,
    outputs: bool,
    named: bool,
    watch: json_lines.Watch | None,
) -> Content:
    path, paths = left_out.path, list(places.paths)
    lines = _parsed(of_files, places, left_out)
    # Failed requests look alike in all formats.
    seen: list[tuple[Place, Mapping[str, Any]]] = []
    for place, line in itertools.islice(lines, _NUM_SEEN):
        seen.append((place, line))
        if format or not outputs or not failed(line):
            break
    left_out.check(len(seen))
    line = seen[-1][1]
    if not format and not _by_tool(line):
        _check_form(path, line)
    found = format or (_by_keys(path, line, named) if outputs else "jsonl")
    rows = _alike(itertools.chain(seen, lines), found, places)
    return Content(found, paths, line, rows, places, watch)


def _watch(paths: list[Path], progress: Callable[[int, int], None]) -> json_lines.Watch:
    """Adds up what is read of all files."""
    total = sum(path.stat().st_size for path in paths)
    done = 0

    def watch(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    return watch


def _by_start(path: Path) -> str:
    """The format, or "" if it is JSON."""
    with json_lines.open_bytes(path) as file:
        head = json_lines.unpacked(path, file.read, _HEAD)
        packed = isinstance(file, gzip.GzipFile)
    for start, name in _STARTS.items():
        if head.startswith(start):
            if packed:
                raise ValueError(f"{path}: is a gzipped {name} file; unpack it.")
            for tool in tools.TOOLS:
                if tool.of_start == name and tool.is_file(path):
                    return tool.name
            return name
    size = int.from_bytes(head[:8], "little")
    if len(head) > 9 and head[8:9] == b"{" and 2 <= size <= 100 * 2**20:
        return "safetensors"
    for start, what in _FOREIGN_STARTS.items():
        if head.startswith(start):
            raise ValueError(f"{path}: is {what}.")
    if b"\0" in head:
        raise ValueError(
            f"{path}: holds bytes that are not text, in none of the formats "
            f"{', '.join(FORMATS)}: save it as one of these."
        )
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        what = "is empty" if len(head) < _HEAD else f"begins with {_HEAD} blanks"
        raise ValueError(f"{path}: {what}.")
    return "" if text[:1] in b"{[" else "csv"


def failed(line: Mapping[str, Any]) -> bool:
    """Whether a line says that a request failed, and nothing else."""
    kept = [line, line.get("response")]
    return any(isinstance(one, Mapping) and one.get("error") for one in kept) or (
        "response" in line and line["response"] is None
    )


def holds_one_answer(path: Path) -> bool:
    """Whether a file of JSON holds a single answer of a server, and no more."""
    lines = json_lines.of_file(path)
    left_out, places = LeftOut(path, drop_malformed=True), Places([path], "line")
    parsed = _parsed([(0, lines)], places, left_out)
    try:
        found = [line for _, line in itertools.islice(parsed, 2)]
    except (ValueError, OSError):
        # Whoever reads it says so.
        return False
    # A failed request is an answer, too.
    return len(found) == 1 and (_by_tool(found[0]) in _ANSWERS or failed(found[0]))


def _by_keys(path: Path, first: Mapping[str, Any], named: bool) -> str:
    for keys, what in _FOREIGN.items():
        if all(key in first for key in keys):
            raise ValueError(f"{path}: is {what}.")
    if found := _by_tool(first):
        return found
    if names.holds_values(first):
        return "jsonl"
    if answer_lines.is_foreign(first) or failed(first):
        return servers.NAME
    if named or names.holds_any(first):
        return "jsonl"
    raise ValueError(
        f"{path}: is in none of the formats {', '.join(FORMATS)}: its first object has "
        f"{names.shown(map(str, first))}."
    )


def _by_tool(line: Mapping[str, Any]) -> str | None:
    """The format of a line that a tool wrote."""
    return next((tool.name for tool in tools.TOOLS if tool.is_line(line)), None)


def _alike(lines: Lines, format: str, places: Places) -> Lines:
    """The lines, if each file of a folder begins as the first does."""
    file = 0
    for place, line in lines:
        if place.file != file:
            file = place.file
            if (other := _by_tool(line)) not in (None, format):
                raise ValueError(
                    f"{places.paths[file]}: is of format {other}, and files before it "
                    f"are {format}: put each format into a folder of its own."
                )
        yield place, line


# Of data frames and other columns in one document, by the keys that they have.
_OF_COLUMNS = ({"columns", "index", "data"}, {"schema", "data"})


def _check_form(path: Path, first: Mapping[str, Any]) -> None:
    """Raises `ValueError` for a document with columns, not rows."""
    values = list(first.values())
    sizes = {
        (tuple(one) or 0 if isinstance(one, dict) else len(one))
        if isinstance(one, (dict, list))
        else 0
        for one in values
    }
    # In a row only scores of options are lists or objects, and labels of questions.
    rows = {one for field in KINDS for one in names.NAMES[field]}
    columns = len(values) > 1 and len(sizes) == 1 and 0 not in sizes
    if set(first) in _OF_COLUMNS or (
        columns and not rows.issuperset(map(names.plain, map(str, first)))
    ):
        raise ValueError(
            f"{path}: holds columns, not rows (of a data frame?): write an object for "
            'each row, such as with pandas to_json(orient="records", lines=True).'
        )


def _parsed(
    of_files: Iterable[tuple[int, Iterable[tuple[int, Any]]]],
    places: Places,
    left_out: LeftOut,
) -> Lines:
    """All JSON objects with their places; other lines are refused."""
    for number_of_file, lines in of_files:
        before = places.num_read
        for number, line in lines:
            place = Place(number_of_file, number, places.num_read)
            try:
                for value in responses.values_of_line(line):
                    place = place._replace(order=places.num_read)
                    if not isinstance(value, Mapping):
                        raise responses.MalformedError(
                            f"expected an object, got {responses.shown(value)}"
                        )
                    for row in frames.rows(value):
                        place = place._replace(order=places.num_read)
                        places.num_read += 1
                        yield place, row
            except responses.MalformedError as error:
                places.num_read += 1
                left_out.refuse(_reason(error, line), places.name_of(place))
        if places.num_read == before and len(places.paths) > 1:
            name = places.name_of(Place(number_of_file, 0))
            left_out.drop("an empty file", name)


def _reason(error: Exception, line: Any) -> str:
    """Why a line is refused: of those of a file only the last one has no end."""
    reason = str(error)
    if reason.startswith("not JSON") and "Extra data" not in reason:
        if isinstance(line, bytes) and not line.endswith(b"\n"):
            reason += ", where the file ends (cut off?)"
    return reason
