"""What files of outputs hold, and the rows that several of them share."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..._core import checks, plain
from ..responses import shown


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Outputs(plain.Result):
    """Outputs of one model, read by `read_outputs`; arrays of NumPy, on the host.

    Shapes: N rows and C options or classes. One of `logits`, `log_probabilities` and
    `scores` is there, and of the rest what the file or its labels say.

    Attributes:
      ids: N texts; the numbers of the rows, counted from 0, if the file has no ids.
      format: `"npy"`, `"npz"`, `"safetensors"`, `"hdf5"`, `"parquet"`, `"csv"`,
        `"jsonl"`, `"lm-eval"`, `"helm"`, `"lighteval"`, `"inspect"`, `"answers"` or
        `"decisions"`.
      kind: what the file holds: `"logits"`, `"log_probabilities"`, `"probabilities"` or
        `"scores"`.
      name: of the file or folder, without its path.
      logits: floating `[N, C]`: float32, float16 or bfloat16 as in the file, float64 as
        float32. Those of an npy file may stay on the disk until they are used.
      log_probabilities: float32 `[N, C]`, in nats, of log-probabilities and of
        probabilities. -inf is a probability of 0, or an option that the row lacks.
      scores: float32 `[N]`, one number for each answer, larger for surer ones.
      scale: what a score's name says: `"confidence"` in [0, 1], `"log_probability"`,
        `"logit"` for the mean raw logit of an answer's tokens, or None.
      labels: int32 `[N]`, the right options, counted from 0.
      outcomes: float32 `[N]`, whether answers are right, in [0, 1].
      predictions: int32 `[N]`, the options that the file says were chosen, -1 where it
        says none. They are not always those of the largest probability.
      choices: C names of the options, if all rows have the same.
      class_where: bool `[N, C]`, the options that each row has, or None if it has all:
        an argument of `calib_jax.fit_temperature` and `calib_jax.top1`.
      groups: N texts: the subject, task or question of each row.
      cost: float64 `[N]`, as the file has it.
      texts: N texts of servers' answers.
      fingerprints: N hashes that identify questions; `join` compares those of one
        format. "" where a row has none.
      model: name of the model, where the file says it; "" where it does not.
      task: name of the task, likewise. With several tasks in the file, `groups` has
        them.
      smoothing: the share of an even distribution that was mixed into probabilities.
      of_class_one: whether the file has one number a row, taken for that of class 1 of
        two. Outcomes of such scores are the labels: they do not say which answers are
        right.
      has_ids: False if `ids` are the numbers of the rows.
      dropped: number of rows that were left out, by reason.
      dropped_at: for each reason the places of the first five, such as "line 3".
      notes: sentences on what else to know, such as probabilities of 0.
    """

    ids: tuple[str, ...]
    format: str
    kind: str
    name: str = ""
    logits: np.ndarray | None = None
    log_probabilities: np.ndarray | None = None
    scores: np.ndarray | None = None
    scale: str | None = None
    labels: np.ndarray | None = None
    outcomes: np.ndarray | None = None
    predictions: np.ndarray | None = None
    choices: tuple[str, ...] | None = None
    class_where: np.ndarray | None = None
    groups: tuple[str, ...] | None = None
    cost: np.ndarray | None = None
    texts: tuple[str, ...] | None = None
    fingerprints: tuple[str, ...] | None = None
    model: str = ""
    task: str = ""
    smoothing: float | None = None
    of_class_one: bool = False
    has_ids: bool = True
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    dropped_at: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        parts = [f"{len(self)} rows"]
        parts += [f"{one}={getattr(self, one)!r}" for one in ("name", "format", "kind")]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                parts.append(f"{field.name}={value.dtype.name}{list(value.shape)}")
        if self.dropped:
            parts.append(f"dropped={dict(self.dropped)}")
        return f"Outputs({', '.join(parts)})"


#: Fields with an entry for each row.
PER_ROW = (
    *("ids", "logits", "log_probabilities", "scores", "labels", "outcomes"),
    *("predictions", "class_where", "groups", "cost", "texts", "fingerprints"),
)
_LOST = "not in all of the joined outputs"


def join(*outputs: Outputs) -> tuple[Outputs, ...]:
    """The rows that several outputs share, in one order.

    Rows are joined by their ids and stay in the order of the first outputs. Outputs
    without ids are joined by the numbers of their rows, if they had equally many; a
    note says so.

    Args:
      *outputs: two or more `Outputs`, for example of a small and of a large model.

    Returns:
      A tuple with each of them on the shared rows. What each lost is in its `dropped`
      and in the last of its `notes`.

    Raises:
      ValueError: if nothing or anything else was passed; if some have ids and others
        have none, or none and different lengths; if they share no row; if two give a
        row different groups, different fingerprints, or different labels for the same
        options, as those of different questions do.

    Examples:
      >>> import pathlib, tempfile
      >>> from calib_jax import io
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> small, large = folder / "small.csv", folder / "large.csv"
      >>> _ = small.write_text("id,score,correct\\na,0.5,0\\nb,0.9,1\\n")
      >>> _ = large.write_text("id,score,correct\\nc,0.7,1\\nb,0.8,1\\na,0.6,1\\n")
      >>> small, large = io.join(io.read_outputs(small), io.read_outputs(large))
      >>> print(large.ids, large.scores, large.notes[-1])
      ('a', 'b') [0.6 0.8] Joined 2 outputs: 2 rows, without 1 of 3 (first: 'c').
    """
    if not outputs:
        raise ValueError("outputs: expected two or more, got none.")
    for number, one in enumerate(outputs):
        checks.instance(f"outputs[{number}]", one, Outputs)
    _check_ids(outputs)
    names = _names_of(outputs)
    shared = set(outputs[0].ids).intersection(*(one.ids for one in outputs[1:]))
    if not shared:
        examples = " and ".join(
            shown(one.ids[0]) if one.ids else "no row" for one in outputs
        )
        raise ValueError(
            f"{' and '.join(names)}: no id is in all of them; the first ids are "
            f"{examples}: are they of the same questions?"
        )
    ordered = [one for one in outputs[0].ids if one in shared]
    by_order = _by_order(outputs, names)
    joined = tuple(_on(one, ordered, len(outputs), by_order) for one in outputs)
    others = [
        _checked(joined[0], one, f"{names[0]} and {name}")
        for one, name in zip(joined[1:], names[1:], strict=True)
    ]
    return joined[0], *others


def _names_of(outputs: tuple[Outputs, ...]) -> list[str]:
    """Names for messages: of the files, and numbers where these tell nothing."""
    names = [one.name for one in outputs]
    clear = "" not in names and len(set(names)) == len(names)
    return [
        name if clear else f"outputs {number}{f' ({name})' if name else ''}"
        for number, name in enumerate(names)
    ]


def _check_ids(outputs: tuple[Outputs, ...]) -> None:
    names = _names_of(outputs)
    given = [one.has_ids for one in outputs]
    if len(set(given)) > 1:
        raise ValueError(
            f"{names[given.index(True)]} has ids and {names[given.index(False)]} has "
            "none: give ids to all, or to none."
        )
    sizes = [len(one) + sum(one.dropped.values()) for one in outputs]
    if not any(given) and len(set(sizes)) > 1:
        raise ValueError(
            f"{' and '.join(names)}: without ids they need equally many rows, got "
            f"{' and '.join(map(str, sizes))}: give ids to all."
        )


def _by_order(outputs: tuple[Outputs, ...], names: list[str]) -> tuple[str, ...]:
    """A note on rows that nothing says to be the same, if there are several outputs."""
    if len(outputs) == 1 or outputs[0].has_ids:
        return ()
    none = "neither has" if len(outputs) == 2 else "none has"
    return (
        f"{' and '.join(names)} are joined by the order of their rows: {none} ids.",
    )


def _on(
    outputs: Outputs, ordered: list[str], num_joined: int, by_order: tuple[str, ...]
) -> Outputs:
    """The rows of these ids."""
    place = {one: row for row, one in enumerate(outputs.ids)}
    rows = np.array([place[one] for one in ordered])
    changes: dict[str, Any] = {}
    for name in PER_ROW:
        value = getattr(outputs, name)
        if isinstance(value, np.ndarray):
            changes[name] = value[rows]
        elif value is not None:
            changes[name] = tuple(value[row] for row in rows.tolist())
    kept = set(ordered)
    lost = [one for one in outputs.ids if one not in kept]
    note = f"Joined {num_joined} outputs: {len(ordered)} rows"
    if lost:
        note += f", without {len(lost)} of {len(outputs)} (first: {shown(lost[0])})"
        before = outputs.dropped.get(_LOST, 0)
        changes["dropped"] = {**outputs.dropped, _LOST: before + len(lost)}
        first = tuple(f"id {shown(one)}" for one in lost[:5])
        changes["dropped_at"] = {
            **outputs.dropped_at,
            _LOST: (*outputs.dropped_at.get(_LOST, ()), *first)[:5],
        }
    notes = (*outputs.notes, *by_order, f"{note}.")
    return dataclasses.replace(outputs, **changes, notes=notes)


def _checked(first: Outputs, other: Outputs, names: str) -> Outputs:
    """The other outputs, if groups and labels say that the questions are the same."""
    _check_same("groups", first, names, first.groups, other.groups)
    if first.format == other.format:
        # Each tool hashes questions in its own way.
        prints = first.fingerprints, other.fingerprints
        _check_same("fingerprints of questions", first, names, *prints)
    if first.labels is None or other.labels is None:
        return other
    same = first.choices == other.choices
    if not same and None not in (first.choices, other.choices):
        # In another order, or of scores, whose choices are those that occur.
        same = first.kind == other.kind == "scores"
        same |= set(first.choices or ()) == set(other.choices or ())
    if not same:
        note = f"{names} have different choices; labels are not compared."
        *before, joined = other.notes
        return dataclasses.replace(other, notes=(*before, note, joined))
    _check_same("labels", first, names, _named(first), _named(other))
    return other


def _named(outputs: Outputs) -> list[Any]:
    """Labels by name, if they have names."""
    labels = [] if outputs.labels is None else outputs.labels.tolist()
    return [outputs.choices[one] for one in labels] if outputs.choices else labels


def _check_same(
    name: str,
    first: Outputs,
    names: str,
    given: Sequence[Any] | None,
    others: Sequence[Any] | None,
) -> None:
    if given is None or others is None:
        return
    pairs = zip(given, others, strict=True)
    differ = [
        row
        for row, (one, two) in enumerate(pairs)
        if one != two and "" not in (one, two)
    ]
    if differ:
        row = differ[0]
        raise ValueError(
            f"{names} have different {name} in {len(differ)} of "
            f"{len(first)} rows (first: id {shown(first.ids[row])}, "
            f"{shown(given[row])} and {shown(others[row])}): are they of the same "
            "questions?"
            + (" Read both with the same labels=." if name == "labels" else "")
        )
