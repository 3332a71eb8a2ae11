"""Reads a file of outputs: its format, its rows, their labels."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import host
from . import (
    checking,
    content,
    inspect_logs,
    joining,
    label_files,
    labelling,
    names,
    tables,
    tools,
)
from .asked import Asked, one_of
from .left_out import LeftOut, Places
from .record import Outputs
from .rows import KINDS, Rows, choices_of


def read_outputs(
    path: str | os.PathLike[str] | Any,
    *,
    kind: str | None = None,
    format: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    choices: Sequence[str] | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    model: str | int | None = None,
    smoothing: float | None = None,
    repeats: str | None = None,
    drop_malformed: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Outputs:
    """Reads a model's outputs from a file of arrays, a harness or a server.

    The format is found by the file's content, not by its name, and text may be gzipped:

    - `npy`, `npz`, `safetensors`, `hdf5`, `parquet` (columns of numbers, or of lists of
      one length), `csv` and `jsonl`. Names say what is what: `logits`,
      `log_probabilities`, `probabilities` or `scores`, also shorter (`probs`), with a
      model in front (`small_probs`), with a part of the data set behind (`probs_test`),
      or with a number for each class (`prob_0`, `prob_1`); and `labels`, `outcomes`
      (`correct`), `predictions`, `ids`, `groups` (`subject`, `task`) and `cost`. An
      array without such a name needs `kind`. The score of `logits [N, T, V]` beside
      `tokens [N, T]`, or of `token_logits [N, T]`, is the mean over the tokens where
      bool `token_where [N, T]` is True.
    - `lm-eval`: a samples_*.jsonl file of lm-evaluation-harness, or one model's folder
      with those of many tasks. Multiple-choice tasks have the log-likelihood of each
      option.
    - `helm`: a run of HELM, its scenario_state.json or its folder, or a folder of one
      model's runs. Answers have a score, the mean log-likelihood of their tokens, and
      the outcome that per_instance_stats.json beside it says; runs that ask for each
      reference have the log-likelihoods of these.
    - `lighteval`: a details_*.parquet file, or the folder of one model's. Multiple
      choice has the log-likelihood of each option; generated answers have a score.
    - `answers`: chat completions, completions, bodies of the Responses API and batches
      of these, by OpenAI, vLLM and others, and bodies that Ollama, llama.cpp, SGLang,
      Text Generation Inference and vLLM without a server write in shapes of their own.
      With `choices` each row has their log-probabilities where the answer is given;
      without, the mean log-likelihood of its tokens is the score.
    - `inspect`: a log of inspect_ai, `.eval` or `.json`, or a folder of one model's
      logs; or what its `eval` and `read_eval_log` return, in place of a path. Answers
      need log-probabilities. Where samples have choices, each row has those of their
      letters where the answer is given; otherwise as for `answers`.
    - `decisions`: answers with a probability for each option, in both forms that
      servers use. Each question of a response is a row. Options are in sorted order.

    Whether numbers are logits or probabilities is never guessed from their values.
    Probabilities are kept as their logarithms, which `calib_jax.fit_temperature` and
    `calib_jax.top1` take: 0 becomes -inf, and `notes` says how often. Nothing is
    normalised, so that equal probabilities stay equal.

    Args:
      path: of a file, or of a folder of JSON files, which are read one after another;
        other files in it are named in `notes`, and such as hold rows, too, raise. In
        its place, logs that inspect_ai returned.
      kind: `"logits"`, `"log_probabilities"`, `"probabilities"` or `"scores"`, where
        names do not say it; of decisions, `"scores"` reads the confidence that the
        server states; of answers, `"logits"` reads the raw logits that vLLM writes with
        `--logprobs-mode raw_logits`: their mean, or with `choices` those of the
        options. With `"probabilities"` one number a row is the probability of
        class 1 of the classes 0 and 1.
      format: one of the names above, to read a file as that.
      labels: path of a file with right options, or with outcomes: npy, npz, csv or
        jsonl, with names as above or `answer`, or results of EvalPlus or BigCodeBench,
        whose samples are joined by task and order, in a folder that of the numbers in
        the names of files. Others are joined by ids, or by
        order where neither file has ids and they have equally many rows, malformed ones
        included. For decisions `{"id": ..., "labels": {question: answer}}`. Labels are
        numbers of options, counted from 0, or their texts, the same in all rows. An
        answer's id is its `custom_id`, that of a wrapper around it, or its file's name
        in a folder.
      choices: texts of the options: for answers, those that are looked for; for
        arrays, the names of the columns, which an npz file may have in an array
        `choices [C]`; for decisions and objects, their order.
      columns: names of arrays or columns that are not those above, such as
        `{"probabilities": "wide_probs", "labels": "y"}`; a list of names has one for
        each class. Of logs of inspect_ai `{"outcomes": "choice"}` takes that scorer, of
        HELM and lighteval that metric.
      model: the name of one of several models, or its number, counted from 0, where a
        file has an array `models [M]` and others are `[M, N]` or `[M, N, C]`; in HDF5
        the path of a group, such as `"dataset/model"`. A text such as `"7"` is a number
        if no model has that name. Of answers, those of the model are read.
      smoothing: the share of an even distribution over a row's options that is mixed
        into its probabilities, so that none is 0; above 0 and below 1.
      repeats: `"first"` or `"last"`: which of several rows of one id is kept, as
        reruns, epochs and several answers to a request have; without it they raise.
        Equal rows are kept once.
      drop_malformed: whether malformed lines are left out; otherwise they raise.
      progress: called with the number of bytes read so far and in all, while text is
        read, about every 64 KiB.

    Returns:
      `Outputs`. What was left out is in `dropped`, with reasons and places: failed
      requests, refusals, tasks without log-probabilities, rows with NaN or without a
      label.

    Raises:
      ValueError: in one line that says what to do: for unknown, damaged or empty files,
        pickles, arrays of more than 4 GiB when unpacked, more than 100 million rows,
        lines longer than 256 MiB, as much in blank lines, and documents longer than 1
        GiB; where names do not tell what is what; for malformed
        lines, with their numbers; for values outside their kind's domain; for labels
        that are none of the options, or of another length, or that may be names as well
        as numbers of options; for folders with the runs of two models, and answers of
        several; if no row is left.
      ImportError: if reading parquet, safetensors or HDF5 needs a missing package.
      OSError: if the file cannot be read.

    References:
      EleutherAI/lm-evaluation-harness, `save_results_samples`; stanford-crfm/helm,
      `RequestState`; huggingface/lighteval, `DetailsLogger`; OpenAI API reference,
      "Chat completions", "Responses", "Batch" and "Decisions"; vLLM,
      "OpenAI-compatible server"; UKGovernmentBEIS/inspect_ai, `EvalLog`; those of local
      servers are in `docs/local_servers.md`.

    Examples:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "outputs.csv"
      >>> _ = path.write_text("id,prob_0,prob_1,label\\na,0.9,0.1,0\\nb,0.4,0.6,1\\n")
      >>> outputs = read_outputs(path)
      >>> print(outputs.ids, outputs.labels, np.exp(outputs.log_probabilities))
      ('a', 'b') [0 1] [[0.9 0.1] [0.4 0.6]]
    """
    return read_file(
        path,
        labels=labels,
        progress=progress,
        kind=kind,
        format=format,
        choices=choices,
        columns=columns,
        model=model,
        smoothing=smoothing,
        repeats=repeats,
        drop_malformed=drop_malformed,
    )


def read_file(
    path: str | os.PathLike[str] | Any,
    *,
    labels: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **more: Any,
) -> Outputs:
    """`read_outputs`, with more to ask for.

    Args:
      path: of a file or folder.
      labels: as in `read_outputs`.
      progress: the same.
      **more: of `read_outputs`, too. `labelled=False` leaves out labels and outcomes,
        but no row for lack of one. `unique=False` keeps all rows of an id.
        `missing=True` keeps rows whose score or values are NaN, infinite or empty, with
        NaN in all of them, and counts them in `dropped` all the same; if no row has a
        number they are scores.
    """
    check_progress(progress)
    asked = asked_of(more)
    labels = None if labels is None else host.path("labels", labels)
    if inspect_logs.are_objects(path):
        if asked.format not in (None, inspect_logs.NAME):
            raise ValueError(f"format: expected that of a log, got {asked.format!r}.")
        source = inspect_logs.name_of(path)
        look = functools.partial(content.look_at_objects, path)
        return _read(source, source.name, look, asked, labels)
    source = host.path("path", path)
    look = functools.partial(
        content.look, source, asked.format, progress=progress, named=asked.named
    )
    name = os.path.basename(os.path.abspath(source))
    return _read(source, name, look, asked, labels)


def read_lines(
    lines: Iterable[str | bytes | Mapping[str, Any]],
    *,
    name: str,
    num_before: int = 0,
    before: "Before | None" = None,
    **more: Any,
) -> Outputs:
    """Reads outputs from lines of JSON, such as a batch of those of standard input.

    Args:
      lines: text, bytes or parsed objects. `json_lines.lines_of` gives those of a
        stream, and refuses lines that are too long.
      name: what messages call them.
      num_before: how many lines were read before: numbers of lines, and of rows without
        ids, go on behind them.
      before: in its place, all that earlier batches of the stream said, so that no
        answer depends on how lines come together; it is brought up to date.
      **more: as in `read_file`; format is that of an earlier batch, if there was one.

    Raises:
      ValueError: as `read_outputs`; `left_out.NoRowError` if no row is left.
    """
    path, asked = Path(name), asked_of(more)
    if before is None:
        before = Before(num_before, num_before, asked.format)
    lines = list(lines)
    places = Places([path], "line")
    places.num_read = before.num_rows

    def look(left_out: LeftOut) -> content.Content:
        looked = content.look_at_lines(
            path,
            before.format,
            left_out,
            lines=lines,
            places=places,
            num_before=before.num_lines,
            first=before.first,
            named=asked.named,
        )
        # Failed requests look alike in all formats.
        if not content.failed(looked.first):
            before.format, before.first = looked.format, looked.first
        return looked

    try:
        return _read(path, name, look, asked, None)
    finally:
        before.num_lines += len(lines)
        before.num_rows = places.num_read


@dataclasses.dataclass
class Before:
    """What earlier batches of a stream of lines said.

    Attributes:
      num_lines: how many lines there were, blank ones too.
      num_rows: how many rows.
      format: their format, once a line told it.
      first: the first line, which says what the lines hold and whether they have ids.
    """

    num_lines: int = 0
    num_rows: int = 0
    format: str | None = None
    first: Mapping[str, Any] | None = None


def check_progress(progress: Any) -> None:
    if progress is not None and not callable(progress):
        raise ValueError(f"progress: expected a function or None, got {progress!r}.")


def asked_of(more: Mapping[str, Any]) -> Asked:
    asked = Asked(**more)
    one_of("format", asked.format, content.FORMATS)
    return asked


def _read(
    path: Path,
    name: str,
    look: Callable[[LeftOut], content.Content],
    asked: Asked,
    labels: Path | None,
) -> Outputs:
    left_out = LeftOut(
        path, drop_malformed=asked.drop_malformed, keeps_missing=asked.missing
    )
    with printable_errors():
        looked = look(left_out)
        given = None if labels is None else label_files.read(labels)
        rows = checked_rows(looked, tables.of, asked, left_out, given)
        if given is not None:
            rows = joining.join(rows, given, left_out)
        rows = labelling.numbered(rows, left_out)
        return outputs_of(name, rows, left_out, asked.smoothing)


def checked_rows(
    looked: content.Content,
    table_of: Callable[[content.Content], tables.Table],
    asked: Asked,
    left_out: LeftOut,
    given: joining.Given | None = None,
) -> Rows:
    """Rows with values of their kind, and labels as the file has them.

    Where `given`, labels of another file, are of several samples of a task, so are ids.
    """
    rows = _rows(looked, table_of, asked, left_out)
    if looked.unread:
        rows.notes.append(note_of_unread(looked.unread))
    left_out.check(len(rows))
    if not asked.labelled:
        rows.labels = rows.outcomes = None
    if given is not None and given.samples is not None:
        rows = joining.name_samples(rows, given, asked.repeats, left_out)
    if asked.unique:
        rows = checking.unique(rows, asked.repeats, left_out)
    rows = checking.checked(rows, left_out, asked.smoothing)
    left_out.check(len(rows))
    return rows


def note_of_unread(unread: Sequence[str]) -> str:
    return f"Files of the folder that were not read: {names.shown(unread)}."


@contextlib.contextmanager
def printable_errors() -> Iterator[None]:
    """Names in a file may hold anything, and a message is one line of text."""
    try:
        yield
    except ValueError as error:
        if (message := str(error)).isprintable():
            raise
        error.args = (printable(message), *error.args[1:])
        raise


def printable(text: str) -> str:
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _rows(
    looked: content.Content,
    table_of: Callable[[content.Content], tables.Table],
    asked: Asked,
    left_out: LeftOut,
) -> Rows:
    choices, places = asked.choices, looked.places
    if tool := tools.BY_NAME.get(looked.format):
        if asked.model is not None and not tool.several:
            raise ValueError(
                f"model: {tool.name} files hold one model, got {asked.model!r}."
            )
        columns = asked.columns
        if columns is not None and not (columns and tool.columns.issuperset(columns)):
            only = f"; only {', '.join(tool.columns)} may be named" * bool(tool.columns)
            raise ValueError(
                f"columns: {tool.name} files have fields of their own{only}."
            )
        return tool.read(looked.lines, places, left_out, asked, looked.first)
    rows = tables.read(
        table_of(looked),
        format=looked.format,
        kind=asked.kind,
        columns=asked.columns,
        model=asked.model,
        places=places,
        left_out=left_out,
    )
    if choices is not None:
        named = choices_of(rows)
        if named is not None:
            if set(named) != set(choices):
                raise ValueError(
                    f"choices: expected the options of {left_out.path}, in any order: "
                    f"{', '.join(named[:8])}{' and so on' if len(named) > 8 else ''}."
                )
            parts = (rows.labels, rows.predictions)
            given = [one for part in parts if part is not None for one in part]
            if list(named) != choices and not all(
                one is None or isinstance(one, str) for one in given
            ):
                raise ValueError(
                    "choices: another order than the file's, and its labels or "
                    "predictions are numbers, which may count in either: leave out "
                    "choices=, or write them as texts."
                )
            rows.values = rows.values[:, [named.index(one) for one in choices]]
        elif rows.values.ndim == 2 and rows.values.shape[1] != len(choices):
            raise ValueError(
                f"choices: expected {rows.values.shape[1]} names for the columns of "
                f"{left_out.path}, got {len(choices)}."
            )
        rows.options = [tuple(choices)] * len(rows)
    return rows


def outputs_of(
    name: str, rows: Rows, left_out: LeftOut, smoothing: float | None
) -> Outputs:
    values = {KINDS[rows.kind]: rows.values}
    predictions = rows.predictions
    if predictions is not None and np.all(np.asarray(predictions) < 0):
        predictions = None

    def texts(given: Sequence[str] | None) -> tuple[str, ...] | None:
        return None if given is None else tuple(given)

    return Outputs(
        ids=tuple(rows.ids),
        format=rows.format,
        kind=rows.kind,
        name=printable(name),
        **values,
        scale=rows.scale,
        labels=None if rows.labels is None else np.asarray(rows.labels),
        outcomes=None if rows.outcomes is None else rows.outcomes.astype(np.float32),
        predictions=None if predictions is None else np.asarray(predictions),
        choices=choices_of(rows),
        class_where=rows.class_where,
        groups=texts(rows.groups),
        cost=rows.cost,
        texts=texts(rows.texts),
        fingerprints=texts(rows.fingerprints),
        model=printable(rows.model),
        task=printable(rows.task),
        smoothing=smoothing,
        of_class_one=rows.of_class_one,
        has_ids=rows.has_ids,
        dropped={printable(one): num for one, num in left_out.counts.items()},
        dropped_at={printable(one): tuple(at) for one, at in left_out.places.items()},
        notes=tuple(map(printable, rows.notes)),
    )
