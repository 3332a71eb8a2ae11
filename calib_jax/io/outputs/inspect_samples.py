"""One sample of inspect_ai: its answer, its right option and its scores.

Source: inspect_ai/log/_log.py (`EvalSample`), model/_model_output.py and
solver/_multiple_choice.py of UKGovernmentBEIS/inspect_ai.
"""

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .. import answer_lines
from ..responses import Choice, MalformedError, UnansweredError, shown
from .asked import Asked
from .left_out import Place

_NONE = (
    "an answer without log-probabilities: nothing to calibrate; run inspect eval with "
    "--logprobs --top-logprobs 20"
)
SHUFFLED = (
    "multiple_choice(shuffle=True), whose log has the answers under other letters than "
    "the model saw: nothing to calibrate; shuffle the choices of the data set instead"
)
_MOST_OPTIONS = 100
# What a scorer writes for correct, incorrect, partly correct and no answer.
_GRADES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
# Where metadata name a subject.
_SUBJECTS = ("subject", "category")
_ATTACHMENT = "attachment://"
# What the scorer choice() says of an answer, and what multiple_choice() then writes for
# it; the tokens stay what the model said.
_EXPLAINED = "Choices were shuffled before generating a response"
_ANSWER = re.compile(r"ANSWER\s*:\s*([A-Za-z\d])\b", re.ASCII | re.IGNORECASE)


class Run(NamedTuple):
    """What the header of a log says."""

    model: str = ""
    task: str = ""
    arguments: str = ""
    shuffled: bool = False


class Sample(NamedTuple):
    """What is kept of a sample, and its values once they are known."""

    run: int
    place: Place
    epoch: int
    identity: int | str
    options: tuple[str, ...]
    label: int | str | None
    scores: Mapping[str, Any]
    subject: str
    fingerprint: str
    num_answers: int
    text: str
    shuffled: bool = False
    values: Sequence[float] = ()
    prediction: int | None = None


def is_sample(line: Mapping[str, Any]) -> bool:
    """Whether an object has the fields of a sample."""
    return all(name in line for name in ("id", "epoch", "target", "output"))


def run_of(path: Path, line: Mapping[str, Any], file: Path) -> Run:
    """What the header of a log says.

    Raises:
      ValueError: if it names no model and task; `path` is what is read.
    """
    run, plan = line.get("eval"), line.get("plan")
    if not isinstance(run, Mapping) or not all(
        isinstance(run.get(name), str) for name in ("model", "task")
    ):
        raise ValueError(
            f"{path}: {file.name} has no eval with the names of a model and a task: it "
            "is not a log of inspect_ai; copy it again."
        )
    steps = plan.get("steps") if isinstance(plan, Mapping) else None
    shuffled = False
    for step in steps if isinstance(steps, (list, tuple)) else ():
        if isinstance(step, Mapping) and isinstance(step.get("params"), Mapping):
            shuffled |= bool(step["params"].get("shuffle"))
    given = run.get("task_args_passed") or run.get("task_args")
    given = given if isinstance(given, Mapping) else {}
    arguments = (f"{name}={_shown(value)}" for name, value in sorted(given.items()))
    return Run(run["model"], run["task"], ",".join(arguments), shuffled)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, default=str)


def parsed(
    sample: Any, runs: list[Run], place: Place, asked: Asked, tokens: dict[str, str]
) -> tuple[Sample, Choice]:
    """A sample of the last of the runs, without its values, and its answer.

    Raises:
      MalformedError: if it is not one; `UnansweredError` if it says nothing.
    """
    if not isinstance(sample, Mapping) or not is_sample(sample):
        raise MalformedError("not a sample: it has no id, epoch, target or output")
    identity, epoch = sample["id"], sample["epoch"]
    if not (isinstance(identity, str) and identity) and not _is_whole(identity):
        raise MalformedError(f"id: expected a number or a text, got {shown(identity)}")
    if not _is_whole(epoch):
        raise MalformedError(f"epoch: expected a number, got {shown(epoch)}")
    if sample.get("error"):
        raise UnansweredError("a sample that ended with an error")
    if sample.get("invalidation"):
        raise UnansweredError("a sample that was invalidated")
    texts = _options(sample.get("choices"))
    options: tuple[str, ...] = ()
    if asked.kind != "scores":
        options = letters(len(texts)) if asked.choices is None else tuple(asked.choices)
        if options and runs[-1].shuffled:
            raise UnansweredError(SHUFFLED)
    attachments = sample.get("attachments")
    attachments = attachments if isinstance(attachments, Mapping) else {}
    choice = _choice(sample["output"], attachments, tokens)
    metadata = sample.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    subjects = (metadata.get(name) for name in _SUBJECTS)
    return Sample(
        run=len(runs) - 1,
        place=place,
        epoch=epoch,
        identity=identity,
        options=options,
        label=_label(sample["target"], options, texts, asked.choices is not None),
        scores=_scores(sample),
        subject=next((one for one in subjects if isinstance(one, str)), ""),
        fingerprint=_fingerprint(sample.get("input"), attachments),
        num_answers=len(sample["output"]["choices"]),
        text=choice.text,
        shuffled=bool(options) and _is_shuffled(sample, choice, attachments),
    ), choice


def _is_shuffled(
    sample: Mapping[str, Any], choice: Choice, attachments: Mapping[str, Any]
) -> bool:
    """Whether the model saw the options under other letters than the log has.

    The plan says it of a solver in it, but not of one that another solver calls.
    """
    scores = sample.get("scores")
    every = list(scores.values()) if isinstance(scores, Mapping) else []
    for score in (*every, sample.get("score")):
        said = score.get("explanation") if isinstance(score, Mapping) else None
        said = _resolved(said, attachments)
        if isinstance(said, str) and said.startswith(_EXPLAINED):
            return True
    written = _resolved(sample["output"].get("completion"), attachments)
    after = _ANSWER.fullmatch(written.strip()) if isinstance(written, str) else None
    before = _ANSWER.findall("".join(choice.tokens))
    if after is None or not before:
        return False
    return after[1].upper() != before[-1].upper()


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63


@functools.cache
def letters(number: int) -> tuple[str, ...]:
    """What the options of a question are called: A to Z, then 1, 2 and so on."""
    if number < 2:
        return ()
    return tuple(chr(65 + k) if k < 26 else str(k - 25) for k in range(number))


def _choice(
    output: Any, attachments: Mapping[str, Any], tokens: dict[str, str]
) -> Choice:
    """The first answer of an output, which is the one that scorers look at."""
    if not isinstance(output, Mapping):
        raise MalformedError(f"output: expected an object, got {shown(output)}")
    choices = output.get("choices")
    if choices is not None and not isinstance(choices, (list, tuple)):
        raise MalformedError(f"output.choices: expected a list, got {shown(choices)}")
    if not choices:
        raise UnansweredError("a sample without an answer")
    first = choices[0]
    if not isinstance(first, Mapping):
        raise MalformedError(f"output.choices: expected an object, got {shown(first)}")
    kept = first.get("logprobs")
    if kept is None or (isinstance(kept, Mapping) and not kept.get("content")):
        raise UnansweredError(_NONE)
    # As in a chat completion but for its text, which may stand elsewhere.
    body = {
        "text": _resolved(output.get("completion"), attachments),
        "message": first.get("message") or {},
        "logprobs": kept,
    }
    found, reasons = answer_lines.parse({"choices": [body]}, tokens)
    if reasons:
        raise reasons[0]
    return found[0]


def _resolved(text: Any, attachments: Mapping[str, Any]) -> Any:
    """A text, which may stand among the attachments of a sample."""
    if isinstance(text, str) and text.startswith(_ATTACHMENT):
        return attachments.get(text.removeprefix(_ATTACHMENT), text)
    return text


def _fingerprint(question: Any, attachments: Mapping[str, Any]) -> str:
    """Of the texts of a question: messages have other ids in each run."""
    texts = [question]
    if isinstance(question, (list, tuple)):
        texts = []
        for message in question:
            content = message.get("content") if isinstance(message, Mapping) else None
            parts = content if isinstance(content, (list, tuple)) else [content]
            texts += [
                part.get("text") if isinstance(part, Mapping) else part
                for part in parts
            ]
    texts = [_resolved(one, attachments) for one in texts]
    written = json.dumps([one for one in texts if isinstance(one, str)])
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def _options(choices: Any) -> tuple[str, ...]:
    if choices is None:
        return ()
    if not isinstance(choices, (list, tuple)) or not all(
        isinstance(one, str) for one in choices
    ):
        raise MalformedError(f"choices: expected a list of texts, got {shown(choices)}")
    if len(choices) > _MOST_OPTIONS:
        raise UnansweredError(f"a question with more than {_MOST_OPTIONS} options")
    return tuple(one.strip() for one in choices)


def _label(
    target: Any, options: tuple[str, ...], texts: tuple[str, ...], named: bool
) -> int | str | None:
    """The number of the right option, if there is a single one.

    A target that is none of the options that the caller named stays a text.
    """
    targets = target if isinstance(target, (list, tuple)) else [target]
    if not all(isinstance(one, str) for one in targets):
        raise MalformedError(f"target: expected a text or texts, got {shown(target)}")
    if len(targets) != 1 or not options:
        return None
    word = targets[0].strip()
    if word not in options and texts.count(word) == 1:
        word = letters(len(texts))[texts.index(word)]
    for one in (word, word.capitalize(), word.lower()):
        if one in options:
            return options.index(one)
    return word if named and word else None


def _scores(sample: Mapping[str, Any]) -> dict[str, Any]:
    """The value of each scorer, and of each key where one gives several."""
    found: dict[str, Any] = {}
    scores = sample.get("scores")
    if scores is None and sample.get("score") is not None:
        scores = {"score": sample["score"]}
    if scores is None:
        return found
    if not isinstance(scores, Mapping) or not all(
        isinstance(one, Mapping) for one in scores.values()
    ):
        raise MalformedError(f"scores: expected an object, got {shown(scores)}")
    for name, score in scores.items():
        value = score.get("value")
        values = value if isinstance(value, Mapping) else {"": value}
        for key, one in values.items():
            grade = _GRADES.get(one, one) if isinstance(one, str) else one
            found[f"{name}/{key}" if key else name] = grade
    return found
