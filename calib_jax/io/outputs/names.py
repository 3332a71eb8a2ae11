"""Which array or column of a file holds what, by its name alone."""

import collections
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import timm
from .rows import KINDS

# Names of what a file may hold, the best first, without case.
NAMES: dict[str, tuple[str, ...]] = {
    "logits": ("logits", "logit"),
    "log_probabilities": (
        *("log_probabilities", "log_probability", "log_probs", "log_prob"),
        *("logprobs", "logprob"),
    ),
    "probabilities": (
        *("probabilities", "probability", "probs", "prob", "probas", "proba"),
    ),
    "scores": ("scores", "score", "confidences", "confidence", "conf"),
    "labels": (
        *("labels", "label", "targets", "target", "y_true", "gold", "gold_label"),
        *("gold_index", "ground_truth"),
    ),
    "outcomes": ("outcomes", "outcome", "correct", "is_correct", "passed"),
    "predictions": ("predictions", "prediction", "preds", "pred", "predicted"),
    "ids": (
        *("ids", "id", "example_id", "question_id", "custom_id", "filename", "doc_id"),
        "task_id",
    ),
    "groups": ("groups", "group", "subject", "task", "category"),
    "cost": ("cost", "costs", "cost_usd"),
}
_SCORES = "scores", "score"
# Parts of a data set, as names end in them: probs_test.
_PART = re.compile(r"_(cal|calib|val|valid|validation|dev|test|eval|train)")
_ANY = -math.inf, math.inf
_NUMBERED = re.compile(r"(?P<stem>.+?)[_.]?(?P<number>0|[1-9]\d*)")

#: A column, or one column for each class, for each thing that a file holds.
Plan = dict[str, str | list[str]]


def plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def holds_values(first: Mapping[str, Any]) -> bool:
    """Whether an object has numbers called logits, probabilities or scores."""
    known = {one for field in KINDS for one in NAMES[field]}
    return any(
        plain(str(name)) in known
        and bool(cells := _cells(value))
        and all(isinstance(cell, (int, float)) for cell in cells)
        for name, value in first.items()
    )


def _cells(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else [value]


def holds_any(names: Iterable[str]) -> bool:
    """Whether any is a name of what outputs hold, with a number or an ending."""
    given = [plain(str(name)) for name in names]
    known = {one for synonyms in NAMES.values() for one in synonyms} - set(NAMES["ids"])
    return any(
        name in known or name.rstrip("0123456789").rstrip("_.") in known
        for name in given
    ) or any(name.endswith(_ends(field)) for field in KINDS for name in given)


def check_once(path: Path, names: Iterable[str]) -> None:
    """Raises `ValueError` if two columns have the same name."""
    twice = [one for one, num in collections.Counter(names).items() if one and num > 1]
    if twice:
        raise ValueError(f"{path}: column {twice[0][:60]!r} is there twice.")


def plan(
    path: Path,
    names: Iterable[str],
    kind: str | None,
    columns: Mapping[str, str | Sequence[str]] | None,
    shapes: Mapping[str, Any],
) -> tuple[str | None, Plan, list[str]]:
    """The kind of the values, what is read, and notes on what is not.

    The kind is None where no name says it: then the plan has the only array as values.

    Raises:
      ValueError: if names do not tell, with the names that the file has.
    """
    given = list(names)
    found: Plan = {} if columns is None else _asked(path, given, columns)
    for field in KINDS:
        if isinstance(name := found.get(field), str) and _split(name)[1]:
            # Labels of the same part.
            _add_beside(given, found, field)
    free = _unread(given, found)
    images = timm.predicts(list(map(plain, given)))
    if images and "predictions" not in found:
        found["predictions"] = next(name for name in given if plain(name) == "index")
    asked = [name for name in KINDS if name in found]
    for field, synonyms in NAMES.items():
        if (
            field in found
            or (asked and field in KINDS)
            or (images and field == "labels")
        ):
            continue
        matches = _matches(free, synonyms)
        if len(matches) > 1 and field not in ("ids", "groups"):
            raise ValueError(
                f"{path}: {' and '.join(matches)} may all be the {field}; say which, "
                f"with columns={{{field!r}: ...}}."
            )
        if matches:
            found[field] = matches[0]
        elif field in KINDS and (numbered := _numbered(path, free, synonyms)):
            found[field] = numbered
    kinds = [name for name in KINDS if name in found]
    if not kinds:
        kinds = _by_ending(path, given, found, kind, shapes)
        if kinds:
            _add_beside(given, found, kinds[0])
    if kind == "scores" and len(kinds) == 1 and isinstance(found[kinds[0]], str):
        # One number a row is a score, whatever its name.
        found["scores"] = found.pop(kinds[0])
        kinds = ["scores"]
    one = found.get("scores")
    if kind == "probabilities" and kinds == ["scores"] and plain(str(one)) in _SCORES:
        # Where it is asked for, that of class 1: many call it a score.
        found[kind] = found.pop("scores")
        kinds = [kind]
    if kind is not None and kind not in kinds:
        if kinds:
            raise ValueError(
                f"{path}: kind={kind!r}, and the names of its columns say "
                f"{' and '.join(kinds)}; say which column holds them, with "
                f"columns={{{kind!r}: ...}}."
            )
        found[kind] = _only(path, given, found, shapes)
        kinds = [kind]
    if not kinds:
        found["values"] = _only(path, given, found, shapes)
        return None, found, _notes(given, found, [])
    chosen = kind or kinds[0]
    rest = [name for name in kinds if name != chosen]
    notes = _notes(given, found, rest)
    for name in rest:
        del found[name]
    return chosen, found, notes


def _notes(given: list[str], found: Plan, rest: list[str]) -> list[str]:
    notes = [f"The file also holds {' and '.join(rest)}."] if rest else []
    if (others := _unread(given, found)) and not {"labels", "outcomes"} & set(found):
        notes.append(f"No name says labels or outcomes; not read: {shown(others)}.")
    return notes


def scale(name: str) -> tuple[float, float]:
    """The least and the largest score that a column of this name may have."""
    words = _split(name)[0]
    confidences = (one for one in NAMES["scores"] if "conf" in one)
    shares = (*NAMES["probabilities"], *confidences)
    for known, limits in (
        (NAMES["log_probabilities"], (-math.inf, 0.0)),
        (shares, (0.0, 1.0)),
    ):
        if words in known or words.endswith(tuple(f"_{one}" for one in known)):
            # That of a logarithm or of log-odds.
            return limits if "log" not in words or limits[1] == 0 else _ANY
    return _ANY


def scale_name(name: str) -> str | None:
    """What scores in a column of this name are, as `Outputs.scale` says it."""
    return {0.0: "log_probability", 1.0: "confidence"}.get(scale(name)[1])


def _matches(given: list[str], synonyms: tuple[str, ...]) -> list[str]:
    known = [(plain(name), name) for name in given]
    return [name for one in synonyms for form, name in known if form == one]


def _asked(
    path: Path, given: list[str], columns: Mapping[str, str | Sequence[str]]
) -> Plan:
    if (
        not isinstance(columns, Mapping)
        or not set(columns) <= set(NAMES)
        or not all(isinstance(one, (str, list, tuple)) for one in columns.values())
    ):
        raise ValueError(
            f"columns: expected names of columns for {', '.join(NAMES)}, got "
            f"{columns!r}."
        )
    found: Plan = {}
    for field, wanted in columns.items():
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        for name in names:
            if name not in given:
                raise ValueError(f"{path}: has no {name!r}; it has {shown(given)}.")
        found[field] = wanted if isinstance(wanted, str) else names
    used = [name for one in found.values() for name in _listed(one)]
    if twice := [name for name, num in collections.Counter(used).items() if num > 1]:
        raise ValueError(f"columns: {twice[0]!r} is there twice.")
    return found


def _numbered(path: Path, given: list[str], synonyms: tuple[str, ...]) -> list[str]:
    """Columns such as prob_0, prob_1 and so on, one for each class."""
    found: dict[int, str] = {}
    # Alone it may be any number.
    stems = ("p",) if "probs" in synonyms else ()
    for name in given:
        match = _NUMBERED.fullmatch(plain(name))
        if match and match["stem"] in (*synonyms, *stems):
            found[int(match["number"])] = name
    if len(found) < 2 or set(found) != set(range(len(found))):
        return []
    if {"index_0", "label_0"} & set(map(plain, given)):
        raise timm.top_few(path, f"{found[0]} to {found[len(found) - 1]}")
    return [found[number] for number in range(len(found))]


def _by_ending(
    path: Path,
    given: list[str],
    found: Plan,
    kind: str | None,
    shapes: Mapping[str, Any],
) -> list[str]:
    """The kind of the only array whose name ends in one, such as small_probs.

    Behind it may stand a part of the data set, such as in probs_test.
    """
    ends = {
        name: field
        # The name small_log_probs ends in probs, too.
        for field in reversed(KINDS)
        for name in _unread(given, found)
        if _split(name)[0].endswith(_ends(field))
        or (_split(name)[1] and _split(name)[0] in NAMES[field])
    }
    if kind is not None:
        ends = {name: field for name, field in ends.items() if field == kind}
    if len(ends) > 1:
        raise ValueError(
            f"{path}: {shown(ends, shapes)} may all be the values; say which, with "
            f"columns={{{next(iter(ends.values()))!r}: {next(iter(ends))!r}}}."
        )
    for name, field in ends.items():
        found[field] = name
    return list(ends.values())


def _add_beside(given: list[str], found: Plan, kind: str) -> None:
    """What has the same name around it as the values, such as test_labels."""
    chosen, part = _split(str(found[kind]))
    fronts = {chosen.removesuffix(end) for end in _ends(kind) if chosen.endswith(end)}
    front = f"{min(fronts, key=len)}_" if fronts else ""
    if not fronts and chosen not in NAMES[kind]:
        return
    for field, synonyms in NAMES.items():
        matches = _matches(given, tuple(f"{front}{one}{part}" for one in synonyms))
        if field not in (*found, *KINDS) and len(matches) == 1:
            found[field] = matches[0]


def _split(name: str) -> tuple[str, str]:
    """A name without the part of the data set that it ends in, and that ending."""
    words = plain(name)
    match = _PART.search(words)
    ends = match is not None and match.end() == len(words)
    return (words[: match.start()], match[0]) if match and ends else (words, "")


def _ends(field: str) -> tuple[str, ...]:
    return tuple(f"_{name}" for name in NAMES[field])


def _only(path: Path, given: list[str], found: Plan, shapes: Mapping[str, Any]) -> str:
    """The only array that is not something else."""
    rest = _unread(given, found)
    if len(rest) != 1:
        raise ValueError(
            f"{path}: expected logits, log_probabilities, probabilities or scores, got "
            f"{shown(given, shapes)}; say which holds them, with "
            "columns={'logits': ...} or the like."
        )
    return rest[0]


def _listed(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else names


def _unread(given: Iterable[str], found: Plan) -> list[str]:
    """Names of which nothing is read."""
    read = {name for columns in found.values() for name in _listed(columns)}
    return [name for name in given if name not in read]


def shown(names: Iterable[str], shapes: Mapping[str, Any] | None = None) -> str:
    """Names for a message, with the shapes that are known."""
    listed = list(names)
    parts = []
    for name in listed[:12]:
        shape = (shapes or {}).get(name)
        size = "" if shape is None else str([n or "C" for n in shape]).replace("'", "")
        parts.append(f"{name[:60]}{' ' if size else ''}{size}" or "an array")
    more = f" and {len(listed) - 12} more" if len(listed) > 12 else ""
    return (", ".join(parts) or "nothing") + more
