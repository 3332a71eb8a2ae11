"""What all commands share: help, errors, exit codes, streams, a missing extra."""

import ast
import json
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import time

import made_outputs
import numpy as np
import pytest
from made_outputs import as_json, one_line, run

import calib_jax as cj
from calib_jax import cli
from calib_jax.cli import commands, hints, options
from calib_jax.io import outputs

pytestmark = pytest.mark.once

# A file of each command's own, where it needs one.
COMMANDS = ["calibrate", "cascade", "clean", "compare", "apply", "demo"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.npz"
    values, labels = made_outputs.logits(rows=200)
    np.savez(path, logits=values, labels=labels)
    return path


def start(*arguments, code=None, **more):
    command = [sys.executable, *(["-c", code] if code else ["-m", "calib_jax"])]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more,
    )


def test_version(capsys):
    status, out, _ = run(capsys, "--version")
    assert status == 0 and out == f"calib-jax, version {cj.__version__}\n"


def test_module():
    process = start("--version")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out == f"calib-jax, version {cj.__version__}\n"


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help(capsys, command, flag):
    status, out, err = run(capsys, command, flag)
    assert status == 0 and err == ""
    assert out.startswith(f"Usage: calib-jax {command}")
    assert all(len(line) <= 88 for line in out.splitlines())
    if command != "demo":
        examples = out[out.index("Examples:") :].splitlines()[1:]
        assert len(examples) >= 3
        assert all(f"calib-jax {command} " in one for one in examples)


def test_help_of_all(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for command in COMMANDS:
        assert f"  {command} " in out


@pytest.mark.parametrize("command", ["calibrate", "cascade", "clean", "compare"])
def test_options_in_the_examples_exist(command):
    known = {
        one for param in commands.group.commands[command].params for one in param.opts
    }
    words = commands.group.commands[command].epilog.split()
    asked = {word for word in words if word.startswith("--")}
    assert asked and asked <= known


@pytest.mark.parametrize(
    "arguments",
    [
        ["calibrate"],
        ["clean"],
        ["paper"],
        ["calibrate", "FILE", "--no-such"],
        ["calibrate", "no-such-file"],
        ["calibrate", "FILE", "--confidence-level", "1"],
        ["calibrate", "FILE", "--seed", "-1"],
        ["calibrate", "FILE", "--kind", "guess"],
        ["calibrate", "FILE", "--method", "magic"],
        ["calibrate", "FILE", "--smoothing", "0"],
        ["calibrate", "FILE", "--column", "scores"],
        ["calibrate", "FILE", "--column", "colour=blue"],
        ["calibrate", "FILE", "--model", "a", "--model", "b"],
        ["clean", "FILE", "--top-bins", "0"],
        ["clean", "FILE", "--top-bins", "16"],
        ["clean", "FILE", "FILE", "FILE", "--model", "a", "--model", "b"],
        ["cascade", "FILE", "FILE", "--num-bins", "1"],
        ["cascade", "FILE", "FILE", "--num-bins", "201"],
    ],
    ids=" ".join,
)
def test_usage_errors(capsys, file, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = one_line(capsys, *(file if one == "FILE" else one for one in arguments))
    of_all = arguments[0] == "paper"
    command = "calib-jax" if of_all else f"calib-jax {arguments[0]}"
    assert found.endswith(f" See {command} --help.") or "expected --model" in found
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("module", ["click", "platformdirs"])
def test_without_the_extra(module):
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from calib_jax.cli import main; sys.exit(main(['--version']))"
    )
    process = start(code=code)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2 and out == ""
    assert err.count("\n") == 1
    assert err.startswith("calib-jax: commands need an extra: pip install 'calib-jax[")


def test_without_the_template_engine(file, tmp_path):
    code = (
        "import sys; sys.modules['jinja2'] = None\n"
        "from calib_jax.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    process = start("calibrate", file, "--output", tmp_path / "out", code=code)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2 and out == ""
    assert err.count("\n") == 1 and "calib-jax[report]" in err
    assert not (tmp_path / "out").exists()


def test_importing_the_library_imports_no_command_line():
    names = "('click', 'jinja2', 'rich', 'matplotlib', 'platformdirs', 'markupsafe')"
    code = f"import sys, calib_jax; sys.exit(sum(n in sys.modules for n in {names}))"
    process = start(code=code)
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a\nb   c"), "a b c"),
        (OSError(2, "No such file", "x.csv"), "x.csv: No such file"),
        (OSError(5, "Input/output error"), "[Errno 5] Input/output error"),
        (
            OSError(28, "No space left"),
            "No space left; make room or write elsewhere, and run it again.",
        ),
        (MemoryError(), "out of memory; read the rows in several files."),
        (ImportError("needs pyarrow"), "needs pyarrow"),
        (ValueError(), "ValueError"),
    ],
)
def test_errors_are_one_line(capsys, monkeypatch, file, error, line):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(options, "read", fail)
    found = one_line(capsys, "calibrate", file, "--output", file.parent / "out")
    assert found == line
    assert not (file.parent / "out").exists()


def test_an_error_that_nobody_expects_is_not_hidden(monkeypatch, file):
    def fail(*_, **__):
        raise TypeError("a mistake of ours")

    monkeypatch.setattr(options, "read", fail)
    with pytest.raises(TypeError):
        cli.main(["calibrate", str(file), "--output", str(file.parent / "out")])


def test_a_crash_has_not_the_status_of_an_alarm(file):
    code = (
        "import sys; from calib_jax import cli; from calib_jax.cli import options; "
        "options.read = {}.pop; sys.exit(cli.main())"
    )
    process = start("calibrate", file, code=code)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2 and out == ""
    assert err.startswith("Traceback ") and "\nTypeError: " in err


def test_interrupted(capsys, monkeypatch, file):
    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(options, "read", fail)
    status, out, err = run(capsys, "calibrate", file, "--output", file.parent / "out")
    assert (status, out) == (2, "")
    assert err == "calib-jax: interrupted; nothing was written.\n"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("more", [["--json"], []])
def test_a_closed_pipe_is_no_error(file, more):
    read, write = os.pipe()
    os.close(read)
    process = start(
        "calibrate", file, *more, "--output", file.parent / "out", stdout=write
    )
    os.close(write)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0 and err == ""
    # The work was done; only its words were not read.
    assert (file.parent / "out" / "report.html").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device is full")
@pytest.mark.parametrize("more", [["--json"], []])
def test_what_cannot_be_printed(file, more):
    out = file.parent / "out"
    with open("/dev/full", "w") as full:
        process = start("calibrate", file, *more, "--output", out, stdout=full)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 2 and err == (
        "calib-jax: cannot print to standard output (No space left on device); print "
        f"elsewhere. All files were written to {out}.\n"
    )
    assert (out / "report.html").exists()


@pytest.mark.parametrize("output", ["/proc/x", "y" * 300, "y" * 250])
def test_a_folder_that_cannot_be_made(capsys, file, output, monkeypatch):
    monkeypatch.chdir(file.parent)
    monkeypatch.setattr(options, "read", pytest.fail)
    found = one_line(capsys, "calibrate", file, "--output", output)
    assert found.startswith(f"{output}: ")
    assert found.endswith("; choose another with --output.")
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("command", ["cascade", "clean"])
def test_a_file_given_twice(capsys, file, command, monkeypatch):
    link = file.parent / "link.npz"
    link.symlink_to(file)
    monkeypatch.setattr(options, "read", pytest.fail)
    more = ("--output", file.parent / "out")
    found = one_line(capsys, command, file, file, *more)
    assert found.startswith(f"{file}: given twice; give the outputs of two models.")
    found = one_line(capsys, command, file, link, *more)
    assert found.startswith(f"{file} and {link} are the same outputs; give those of ")


@pytest.mark.parametrize("command", ["cascade", "clean"])
def test_equal_outputs_are_refused(capsys, file, command):
    copy = file.parent / "copy.npz"
    copy.write_bytes(file.read_bytes())
    out = file.parent / "out"
    found = one_line(capsys, command, file, copy, "--output", out)
    assert found.startswith("model.npz and copy.npz: the same logits in all 200 rows")
    assert "Give the other model's file" in found and not out.exists()


@pytest.mark.parametrize("command", ["cascade", "clean"])
def test_a_join_by_order_is_said(capsys, file, command):
    values, _ = made_outputs.logits(rows=200, seed=1)
    other = file.parent / "other.npz"
    np.savez(other, logits=values, labels=np.load(file)["labels"])
    out = file.parent / "out"
    status, printed, _ = run(capsys, command, file, other, "--output", out)
    said = "model.npz and other.npz are joined by the order of their rows: neither has"
    assert status == 0 and said in printed
    assert said in (out / "report.html").read_text(encoding="utf-8")


def test_what_is_no_number(capsys, file):
    for option in ("--max-drop", "--confidence-level", "--smoothing"):
        found = one_line(capsys, "cascade", file, file, option, "nan")
        assert f"{option}': expected a number, got nan." in found


def test_json_is_alone_and_quiet(file):
    process = start("calibrate", file, "--json", "--output", file.parent / "out")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and err == ""
    assert out.count("\n") == 1
    found = json.loads(out, parse_constant=pytest.fail)
    assert list(found)[:2] == ["num_rows", "accuracy"]
    assert found["command"] == "calibrate" and found["num_rows"] == 200
    assert [os.path.basename(path) for path in found["files"]] == [
        "report.html",
        "calibration.json",
        "confidences.csv",
    ]


def test_progress_is_shown_on_a_terminal_and_nothing_in_a_file(file):
    """Standard error is a terminal, standard output is not."""
    lines = file.parent / "model.jsonl"
    values, labels = made_outputs.logits(rows=5000)
    with lines.open("w") as text:
        for row, label in zip(values.tolist(), labels.tolist(), strict=True):
            text.write(json.dumps({"logits": row, "label": label}) + "\n")
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = start(
        *("calibrate", lines, "--json", "--output", file.parent / "out"),
        stderr=slave,
        env=environment,
    )
    os.close(slave)
    seen, end = b"", time.monotonic() + 120
    while time.monotonic() < end:
        ready, _, _ = select.select([master], [], [], 0.2)
        if ready:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            seen += part
    out, _ = process.communicate(timeout=60)
    os.close(master)
    assert process.returncode == 0 and json.loads(out)["num_rows"] == 5000
    for words in (b"Reading model.jsonl", b"Fitting and judging", b"Drawing and"):
        assert words in seen


def test_models_of_one_file(capsys, tmp_path):
    values, labels, _ = made_outputs.experts(3)
    path = tmp_path / "all.npz"
    names = np.array(["one", "two", "0"])
    np.savez(path, logits=values, models=names, labels=labels)
    several = as_json(
        capsys,
        *("clean", path, "--model", "two", "--model", "0"),
        *("--output", tmp_path / "out"),
    )
    assert [model["source"]["role"] for model in several["models"]] == [
        "model 1",
        "model 2",
    ]
    # One of them by its name and by its number.
    twice = "--model", "two", "--model", "1", "--output", tmp_path / "none"
    found = one_line(capsys, "clean", path, *twice)
    assert found.startswith("all.npz: the same logits in all 1,200 rows, so that both ")
    # A name goes before a number.
    for asked, number in (("1", 1), ("0", 2)):
        found = cj.io.read_outputs(path, model=asked)
        np.testing.assert_array_equal(found.logits, values[number])
    found = one_line(capsys, "calibrate", path, "--output", tmp_path / "none")
    assert "holds 3 models: one, two, 0; say which, with --model." in found
    found = one_line(capsys, "calibrate", path, "--model", "3")
    assert found.startswith("--model: ") and "has no models '3'" in found


def test_columns_of_other_names(capsys, tmp_path):
    rng = np.random.default_rng(0)
    sure = rng.random(200)
    right = rng.random(200) < sure
    path = tmp_path / "table.csv"
    rows = zip(sure.tolist(), right.tolist(), strict=True)
    lines = [f"{one:.6f},{1 - one:.6f},{1 - int(yes)}" for one, yes in rows]
    path.write_text("\n".join(["yes,no way,y", *lines]))
    first = ("calibrate", path, "--output", tmp_path / "out")
    assert "say which holds them, with --column logits=NAME" in one_line(capsys, *first)
    columns = ("probabilities=yes", "probabilities=no way", "labels=y")
    asked = [word for column in columns for word in ("--column", column)]
    found = as_json(capsys, *first, *asked)
    assert found["sources"][0]["kind"] == "probabilities"
    assert found["sources"][0]["num_options"] == 2


def test_what_was_left_out_is_said(capsys, tmp_path):
    path = tmp_path / "partial.csv"
    lines = [f"{k % 10 / 10},{'' if k % 3 else int(k % 10 > 4)}" for k in range(300)]
    path.write_text("\n".join(["score,correct", *lines]))
    status, out, err = run(capsys, "calibrate", path, "--output", tmp_path / "out")
    assert status == 0 and err == ""
    first, *_ = out.splitlines()
    assert first == (
        "partial.csv: 100 rows used. Left out 200 x no outcome (first: line 3)."
    )


def test_what_each_of_two_files_lost_is_said(capsys, tmp_path):
    values, labels = made_outputs.logits(rows=300)
    both = ("small", values, range(300)), ("large", values / 2, range(20, 320))
    for name, own, rows in both:
        lines = [
            {"id": k, "logits": own[k % 300].tolist(), "label": int(labels[k % 300])}
            for k in rows
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text)
    files = tmp_path / "small.jsonl", tmp_path / "large.jsonl"
    status, out, _ = run(capsys, "cascade", *files, "--output", tmp_path / "out")
    assert status == 0
    small, large, *_ = out.splitlines()
    assert small.startswith("small.jsonl: 280 rows used. Left out 20 x ")
    assert large.startswith("large.jsonl: 280 rows used. Left out 20 x ")
    assert small.endswith("(first: id '0').") and large.endswith("(first: id '300').")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("say which, with model=.", "say which, with --model."),
        ("if so say kind=.", "if so say --kind."),
        ("is kind='scores'.", "is --kind scores."),
        ("a: kind='logits', and", "a: --kind logits, and"),
        ("without choices= an", "without --choices an"),
        ("with drop_malformed=True.", "with --drop-malformed."),
        ('with repeats="first".', "with --repeats first."),
        ("with columns={'outcomes': ...}, if", "with --column outcomes=NAME, if"),
        ("with columns={'logits': 'a b'}.", "with --column 'logits=a b'."),
        ("try smoothing=0.05.", "try --smoothing 0.05."),
        ("kind: expected", "--kind: expected"),
        # Of a server, of a file's name, of a text in the file.
        ("ask for top_logprobs=20", "ask for top_logprobs=20"),
        ("data/model=small/a.npz: empty", "data/model=small/a.npz: empty"),
        ("no kind=x, kindly", "no kind=x, kindly"),
    ],
)
def test_advice_is_in_options(message, said):
    assert hints.as_options(message) == said


def texts_of(path):
    """All texts of a module but docstrings; !r becomes a quoted word, others a word."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                part.value
                if isinstance(part, ast.Constant)
                else "'word'"
                if part.conversion == ord("r")
                else "word"
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if "\n" not in node.value:
                yield node.value


def test_all_advice_of_the_readers_can_be_followed():
    """No message of theirs names an argument that the command line has not."""
    folder = pathlib.Path(outputs.__file__).parent
    argument = re.compile(rf"\b({'|'.join(hints.FLAGS)})=(?!\[)")
    advice = [
        text
        for path in sorted(folder.glob("*.py"))
        for text in texts_of(path)
        if argument.search(text) and not text.startswith("dropped=")
    ]
    assert len(advice) > 10
    for text in advice:
        assert not argument.search(hints.as_options(f"file: {text}")), text
    known = {
        one
        for command in ("cascade", "compare")
        for param in options_of(command)
        for one in param.opts
    }
    assert set(hints.FLAGS.values()) <= known


def options_of(command):
    return commands.group.commands[command].params
