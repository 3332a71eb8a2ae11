"""What the openai package makes of a server's answers, saved and read back."""

import http.server
import json
import threading

import numpy as np
import pytest
import servers

import calib_jax as cj

openai = pytest.importorskip("openai")

pytestmark = pytest.mark.once

CHOICES = ["A", "B", "C"]
VALUES = np.log([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.5, 0.25]])
TOP = [list(map(float, row)) for row in VALUES]


def chosen(row):
    return CHOICES[int(np.argmax(TOP[row]))]


def content(row):
    pairs = zip(CHOICES, TOP[row], strict=True)
    return [servers.entry(chosen(row), max(TOP[row]), *pairs)]


def chat(row):
    return servers.chat(f"chatcmpl-{row}", content(row), created=1, model="m")


def completion(row):
    top = dict(zip(CHOICES, TOP[row], strict=True))
    body = servers.completion(
        f"cmpl-{row}", [chosen(row)], [max(TOP[row])], [top], finish_reason="stop"
    )
    return {**body, "created": 1, "model": "m"}


def response(row):
    more = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return servers.responses(
        f"resp_{row}", content(row), created_at=1, model="m", **more
    )


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers a request whose prompt is the number of a row."""

    def do_POST(self):
        size = int(self.headers["Content-Length"])
        asked = json.loads(self.rfile.read(size))
        if self.path.endswith("/chat/completions"):
            assert asked["logprobs"] is True and asked["top_logprobs"] == 3
            body = chat(int(asked["messages"][0]["content"]))
        elif self.path.endswith("/completions"):
            assert asked["logprobs"] == 3
            body = completion(int(asked["prompt"]))
        else:
            assert asked["include"] == ["message.output_text.logprobs"]
            body = response(int(asked["input"]))
        self._send(json.dumps(body))

    def do_GET(self):
        assert self.path.endswith("/files/file-1/content")
        rows = range(len(VALUES))
        # Batches end in any order.
        lines = [servers.batch(f"q{row}", chat(row)) for row in reversed(rows)]
        self._send("\n".join(map(json.dumps, lines)))

    def _send(self, text):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def client():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    with openai.OpenAI(api_key="none", base_url=url, max_retries=0) as found:
        yield found
    server.shutdown()
    thread.join()
    server.server_close()


def of_chat(client, row):
    messages = [{"role": "user", "content": str(row)}]
    return client.chat.completions.create(
        model="m", messages=messages, logprobs=True, top_logprobs=3
    )


def of_completion(client, row):
    return client.completions.create(model="m", prompt=str(row), logprobs=3)


def of_response(client, row):
    return client.responses.create(
        model="m",
        input=str(row),
        include=["message.output_text.logprobs"],
        top_logprobs=3,
    )


def check(outputs):
    np.testing.assert_array_equal(outputs.log_probabilities, np.float32(VALUES))
    assert outputs.texts == tuple(map(chosen, range(len(VALUES))))
    assert outputs.model == "m" and not outputs.dropped


@pytest.mark.parametrize("ask", [of_chat, of_completion, of_response])
def test_answers(tmp_path, client, ask):
    answers = [ask(client, row) for row in range(len(VALUES))]
    lines = tmp_path / "answers.jsonl"
    lines.write_text("".join(f"{one.model_dump_json()}\n" for one in answers))
    check(outputs := cj.io.read_outputs(lines, choices=CHOICES))
    # The id that the server gave does not name the question.
    assert not outputs.has_ids
    folder = tmp_path / "answers"
    folder.mkdir()
    for row, one in enumerate(answers):
        (folder / f"q{row}.json").write_text(one.model_dump_json(indent=1))
    check(outputs := cj.io.read_outputs(folder, choices=CHOICES))
    assert outputs.ids == ("q0", "q1", "q2")
    wrapped = [
        {"id": f"q{row}", "response": one.model_dump(mode="json")}
        for row, one in enumerate(answers)
    ]
    lines.write_text("".join(json.dumps(line) + "\n" for line in wrapped))
    check(outputs := cj.io.read_outputs(lines, choices=CHOICES))
    assert outputs.ids == ("q0", "q1", "q2")
    found = cj.io.read_log_probabilities([one.model_dump() for one in answers])
    assert found.ids == tuple(one.id for one in answers)
    options = cj.io.choice_log_probabilities(found, CHOICES)
    np.testing.assert_array_equal(options, np.float32(VALUES))


def test_batch(tmp_path, client):
    path, labels = tmp_path / "batch.jsonl", tmp_path / "labels.csv"
    client.files.content("file-1").write_to_file(path)
    labels.write_text("id,answer\nq0,A\nq1,A\nq2,B\n")
    outputs = cj.io.read_outputs(path, choices=CHOICES, labels=labels)
    assert outputs.ids == ("q2", "q1", "q0")
    np.testing.assert_array_equal(outputs.log_probabilities, np.float32(VALUES[::-1]))
    assert outputs.labels.tolist() == [1, 0, 0] and outputs.model == "m"
