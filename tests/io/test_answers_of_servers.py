"""What servers do beside the reference: duplicates, streams, parts, other formats."""

import copy
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from servers import batch, chat, completion, entry, responses

import calib_jax as cj

INF = np.inf

pytestmark = pytest.mark.once


def read_all(lines):
    """What is read, and what is reported of the rest."""
    reports = []
    read = cj.io.read_log_probabilities(
        lines, on_malformed=lambda number, reason: reports.append((number, reason))
    )
    return read, reports


def reason(line):
    """Why a line is refused, in both ways."""
    read, ((number, text),) = read_all([line])
    assert len(read.ids) == 0 and number == 1
    with pytest.raises(ValueError, match="lines: malformed line 1: ") as error:
        cj.io.read_log_probabilities([line])
    assert text in str(error.value)
    return text


def test_a_token_listed_twice_counts_once():
    """Tokens of one string and different values are two tokens."""
    twice = [entry("B", -0.7, ("B", -0.7), ("B", -0.7), ("A", -0.8))]
    other = [entry("B", -0.7, ("B", -0.7), ("B", -1.9), ("A", -1.3))]
    rounded = [entry("B", -0.7, ("B", -0.7004), ("A", -0.8))]
    for reduced in (chat, lambda name, *all: batch(name, chat("c", *all))):
        read = cj.io.read_log_probabilities([reduced("a", twice, other, rounded)])
        actual = cj.io.choice_log_probabilities(read, ["A", "B"])
        assert actual.dtype == np.float32
        both = np.logaddexp(-0.7, -1.9)
        expected = [[-0.8, -0.7], [-1.3, both], [-0.8, -0.7004]]
        np.testing.assert_allclose(actual, expected, rtol=1e-6)
        np.testing.assert_allclose(cj.top1(actual).confidence[0], 0.52498, rtol=1e-5)
    assert [token for token, _ in read.alternatives(0, 0)] == ["B", "A"]
    assert [token for token, _ in read.alternatives(1, 0)] == ["B", "B", "A"]


def piece(name, text, finish, index=0):
    line = completion(name, [text], [-0.5], finish_reason=finish)
    line["choices"][0]["index"] = index
    return line


def test_pieces_of_streams_are_refused():
    stream = [piece("s", " The", None), piece("s", " B", None), piece("s", ".", "stop")]
    whole = [piece("w", "A", "length"), piece("s", "A", "stop", index=1)]
    for lines in ([*stream, *whole], [*whole, *reversed(stream)]):
        read, reports = read_all(lines)
        assert read.ids == ("w", "s") and read.choice_index.tolist() == [0, 1]
        assert len(reports) == 3
        assert all("a part of a stream" in text for _, text in reports)
        with pytest.raises(ValueError, match="part of a stream.*stream off"):
            cj.io.read_log_probabilities(lines)
    chunk = {"index": 0, "delta": {"content": "B"}, "finish_reason": None}
    assert "part of a stream" in reason({"id": "c", "choices": [chunk]})
    event = {"type": "response.output_text.delta", "delta": "B", "logprobs": []}
    assert "part of a stream" in reason(event)


def with_content(content, **more):
    line = chat("parts", [entry("B", -0.5)])
    line["choices"][0]["message"] = {"content": content, **more}
    return line


def test_contents_that_are_lists_of_parts():
    text = {"type": "text", "text": "B"}
    image = {"type": "image_url", "image_url": {"url": "x"}}
    no = {"type": "refusal", "refusal": "No."}
    contents = {
        "B": [text],
        "BB": [text, image, text],
        "": [],
        "B.": [{"text": "B"}, "."],
        "No.": [no],
    }
    lines = [with_content(content) for content in contents.values()]
    assert cj.io.read_log_probabilities(lines).texts == tuple(contents)
    refused = with_content(None, refusal="No."), with_content("", refusal=[no])
    assert cj.io.read_log_probabilities(refused).texts == ("No.", "No.")
    for wrong in (7, {"text": "B"}, [7], [{"type": "text"}], [{"text": ["B"]}], True):
        assert "expected" in reason(with_content(wrong))


def test_bodies_of_the_responses_api():
    content = [entry("The", -0.5), entry(" B", -0.25, (" B", -0.25), (" A", -1.5))]
    for line in (
        responses("r", content),
        batch("r", responses("resp", content)),
        {"id": "r", "response": responses("resp", content)},
        json.dumps(responses("r", content)),
    ):
        read = cj.io.read_log_probabilities([line])
        assert read.ids == ("r",) and read.texts == ("The B",)
        np.testing.assert_array_equal(read.log_likelihoods, [[-0.5, -0.25]])
        options = cj.io.choice_log_probabilities(read, ["A", "B"], position=1)
        np.testing.assert_array_equal(options, [[-1.5, -0.25]])
    two = responses("r", content)
    two["output"] += responses("r", [entry(".", -1.0)])["output"]
    read = cj.io.read_log_probabilities([two])
    assert read.texts == ("The B.",) and read.starts.tolist() == [0, 3]


def test_responses_without_what_is_needed():
    good = responses("r", [entry("B", -0.5)])

    def changed(**more):
        line = copy.deepcopy(good)
        line["output"][1]["content"][0].update(more)
        return line

    for kept in (None, []):
        text = reason(changed(logprobs=kept))
        assert 'include=["message.output_text.logprobs"]' in text
        assert "reasoning models have none" in text
    assert "a refusal" in reason(changed(type="refusal", refusal="No."))
    assert "above 0" in reason(changed(logprobs=[entry("B", 0.5)]))
    assert "expected a list" in reason(changed(logprobs={"a": 1}))
    waiting = {**good, "output": good["output"][:1], "status": "incomplete"}
    assert "expected a message, got none (status 'incomplete')" in reason(waiting)
    failed = {**good, "error": {"message": "out of tokens"}, "status": "failed"}
    assert "a failed request, 'out of tokens'" in reason(failed)
    assert "failed request of status 200" in reason(batch("b", failed))


def test_rounding_and_nulls():
    above = [entry("B", 1.19e-7, ("B", 1.19e-7), ("A", -16.0)), entry(".", 1e-6)]
    read = cj.io.read_log_probabilities([chat("a", above)])
    np.testing.assert_array_equal(read.log_likelihoods, [[0, 0]])
    np.testing.assert_array_equal(read.top_values, [0, -16])
    for value in (1.1e-6, 1e-3, 5e-324 + 1e-5):
        assert "above 0" in reason(chat("a", [entry("B", value)]))
    null = entry("B", -0.5, ("B", -0.5), ("A", None))
    null["top_logprobs"].append(None)
    tops = [{"B": -0.5, "A": None}]
    lines = [chat("a", [null]), completion("b", ["B"], [-0.5], tops)]
    read = cj.io.read_log_probabilities(lines)
    assert read.alternatives(0, 0) == read.alternatives(1, 0) == [("B", -0.5)]
    options = cj.io.choice_log_probabilities(read, ["A", "B"])
    np.testing.assert_array_equal(options, [[-INF, -0.5]] * 2)


def test_a_bad_choice_leaves_the_others():
    line = chat("n", [entry("A", -0.5)], [entry("B", -1.0)], [entry("C", -1.5)])
    withheld = copy.deepcopy(line)
    withheld["choices"][1].update(
        logprobs=None, finish_reason="content_filter", message={"content": None}
    )
    for kept in (None, {"content": None, "refusal": None}, {"content": []}):
        withheld["choices"][1]["logprobs"] = kept
        read = cj.io.read_log_probabilities([withheld])
        assert read.texts == ("A", "C") and read.choice_index.tolist() == [0, 2]
        assert read_all([withheld])[1] == []
    withheld["choices"] = withheld["choices"][1:2]
    assert "withheld every choice" in reason(withheld)

    for change in (
        {"logprobs": None},
        {"logprobs": {"content": [entry("B", np.nan)]}},
        {"index": True},
    ):
        broken = copy.deepcopy(line)
        broken["choices"][1].update(change)
        read, ((number, text),) = read_all([broken])
        assert read.texts == ("A", "C") and number == 1 and "choices[1]" in text
        with pytest.raises(ValueError, match=r"line 1: choices\[1\]"):
            cj.io.read_log_probabilities([broken])


THREE = [
    chat("a", [entry("A", -0.5)]),
    responses("b", [entry("\u2028[{", -0.25)]),
    batch("c", completion("d", ["B"], [-1.0])),
]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        (json.dumps(THREE), [1, 1, 1]),
        ("\n" + json.dumps(THREE, indent=1), None),
        (json.dumps(THREE, ensure_ascii=False, indent="\t"), None),
        ("[" + ",\n".join(map(json.dumps, THREE)) + "\n]\n", [1, 2, 3]),
        ("\n".join(json.dumps(one, indent=2) for one in THREE), None),
        ("\n".join(json.dumps([one]) for one in THREE), [1, 2, 3]),
    ],
)
def test_files_of_indented_json_and_arrays(tmp_path, text, numbers, mark):
    path = tmp_path / "answers.json"
    path.write_text(mark + text, encoding="utf-8")
    read = cj.io.read_log_probabilities(path)
    assert read.ids == ("a", "b", "c") and read.texts == ("A", "\u2028[{", "B")
    if numbers is None:
        lines = text.split("\n")
        numbers = read.line_numbers.tolist()
        assert numbers == sorted(set(numbers))
        assert all(lines[number - 1].strip() == "{" for number in numbers)
    assert read.line_numbers.tolist() == numbers


def test_lists_in_lines():
    read = cj.io.read_log_probabilities([THREE[:2], json.dumps(THREE[2:])])
    assert read.ids == ("a", "b", "c") and read.line_numbers.tolist() == [1, 1, 2]
    read, reports = read_all([[THREE[0], {"error": "busy"}, THREE[2]]])
    assert read.ids == ("a", "c") and reports == [(1, "a failed request, 'busy'")]


def test_broken_documents(tmp_path):
    path = tmp_path / "answers.json"
    broken = json.dumps(THREE, indent=1)
    path.write_text(broken[:-20])
    read, reports = read_all(path)
    assert read.ids == ("a", "b")
    ((number, text),) = reports
    assert "not JSON" in text and "the rest of the file is not read" in text
    with pytest.raises(ValueError, match=f"{path}: malformed line {number}: not JSON"):
        cj.io.read_log_probabilities(path)
    # The first line is cut off: these are lines.
    lines = [json.dumps(one) for one in THREE]
    for cut in ("{", lines[0][:60], '{"choices": ['):
        path.write_text("\n".join([cut, *lines]))
        read, reports = read_all(path)
        assert read.ids == ("a", "b", "c") and [at for at, _ in reports] == [1]
    path.write_text("[" + ",\n".join(lines) + ",\n")
    read, reports = read_all(path)
    assert read.ids == ("a", "b", "c") and len(reports) == 1
    assert reports[0][1] == "not JSON, the array does not end"
    indented = json.dumps(THREE[0], indent=1).splitlines()
    assert "for indented JSON pass the file's path" in read_all(indented)[1][0][1]


# Parts of bodies, without what they should hold.
FOREIGN = {
    "llama.cpp": [
        {"completion_probabilities": [{"token": "B", "logprob": -1}]},
        {"stop": True, "generation_settings": {}},
    ],
    "Ollama": [{"model": "m", "done": True, "logprobs": []}],
    "SGLang": [{"meta_info": {"output_token_logprobs": [[-1, 5, None]]}}],
    "Text Generation Inference": [
        {"details": {"tokens": [{"text": "B", "logprob": -1}]}},
        [{"generated_text": "B"}],
    ],
    "vLLM without a server": [{"task_id": "a", "cumulative_logprob": -1}],
}


@pytest.mark.parametrize("name", FOREIGN)
def test_parts_of_other_bodies_are_named(name):
    for body in FOREIGN[name]:
        wrapped = [{"id": 1, "response": body}] if isinstance(body, dict) else []
        for line in [body, json.dumps(body), *wrapped]:
            text = reason(line)
            assert name in text and "request /v1/chat/completions" in text


def test_what_vllm_adds():
    content = [
        entry("token_id:33", -0.5, ("token_id:33", -0.5), ("token_id:34", -9999.0))
    ]
    line = chat("a", content, prompt_logprobs=[None, {"5": {"logprob": 7.0}}])
    line["choices"][0] |= {"token_ids": [33], "stop_reason": None}
    line["choices"][0]["message"]["content"] = "A"
    read = cj.io.read_log_probabilities([line])
    assert read.alternatives(0, 0) == [("token_id:33", -0.5), ("token_id:34", -INF)]
    options = cj.io.choice_log_probabilities(read, ["token_id:34", "token_id:33"])
    np.testing.assert_array_equal(options, [[-INF, -0.5]])
    options = cj.io.choice_log_probabilities(read, ["A", "B"])
    np.testing.assert_array_equal(options, [[-INF, -INF]])
    assert cj.io.answer_positions(read, ["A", "B"]).tolist() == [-1]


DEEP = "[" * 5000 + "]" * 5000
HOSTILE = {
    '{"id": "a", "id": "b"}': "an object has the key 'id' twice",
    '{"choices": [{"logprobs": {"tokens": ["B"], "token_logprobs": [-0.7], '
    '"top_logprobs": [{"B": -0.7, "B": -0.1}]}}]}': "the key 'B' twice",
    '{"choices": [{"logprobs": {"content": [{"token": "B", "logprob": -5, '
    '"logprob": -0.1}]}}]}': "the key 'logprob' twice",
    '{"choices": ' + DEEP + "}": "not readable JSON|expected an object",
    '{"x": ' + '{"a":' * 100_000 + "1" + "}" * 100_001: "not readable JSON",
    '{"id": ' + "9" * 5000 + "}": "not readable JSON",
    json.dumps(chat("a", [entry("B", -0.5)])) + "{}": "not JSON, Extra data",
    '{"id": "a\tb"}': "not JSON, Invalid control character at column 10",
    '{"id": "a': "not JSON, Unterminated string starting at column 8",
}


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_lines(number):
    line, expected = list(HOSTILE.items())[number]
    _, reports = read_all([line])
    assert any(part in reports[0][1] for part in expected.split("|"))
    assert len(reports[0][1]) < 300


WRONG = [10**5000, -(10**5000), 2**63, 1.5, True, ["a"], {"a": 1}]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_hostile_objects(number):
    wrong = WRONG[number]
    good = chat("a", [entry("B", -0.5)])
    assert "expected an id" in reason({**good, "custom_id": wrong})
    good["choices"][0]["index"] = wrong
    assert "expected an index" in reason(good)
    for field in ("token", "logprob"):
        for one in (entry("B", -0.5), entry("B", -0.5, ("A", -1.0))):
            line = chat("a", [one])
            (one["top_logprobs"] or [one])[0][field] = wrong
            text = reason(line)
            assert re.search("expected a |above 0|beyond every float", text)


def test_a_text_needs_tokens():
    line = chat("a", [])
    line["choices"][0]["message"]["content"] = "B"
    assert "has a text and no tokens" in reason(line)


MEMORY = """
import json, re, sys
import numpy as np
import calib_jax as cj

def answer(name, num_tokens):
    top = [{"token": f" t{k}", "logprob": -k - 0.5, "bytes": None} for k in range(20)]
    token = {"token": " t0", "logprob": -0.5, "bytes": None, "top_logprobs": top}
    text = ",".join([json.dumps(token)] * num_tokens)
    return (
        '{"id": "%s", "choices": [{"index": 0, "message": {"content": "x"}, '
        '"logprobs": {"content": [%s]}}]}' % (name, text)
    )

def lines():
    yield answer("long", 8000)
    short = answer("short", 3)
    for _ in range(10_000):
        yield short

read = cj.io.read_log_probabilities(lines())
assert len(read.ids) == 10_001 and read.starts[-1] == len(read.values) == 38_000
assert len(read.top_values) == 760_000
stored = sum(value.nbytes for value in vars(read).values() if hasattr(value, "nbytes"))
options = cj.io.choice_log_probabilities(read, ["t0", "t3"], position=2)
np.testing.assert_array_equal(options, [[-0.5, -3.5]] * 10_001)
assert read.log_likelihoods.shape == read.where.shape == (10_001, 8000)
assert read.where.sum() == 38_000
with open("/proc/self/status") as status:
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1]) * 1024
print(stored, peak)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_goes_by_the_tokens_read():
    """The peak of a program of its own, imports and padded arrays included."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(cj.__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    stored, peak = map(int, done.stdout.split())
    assert stored < 13 * 760_000 + 30 * 38_000 + 200_000
    assert peak < 1e9
