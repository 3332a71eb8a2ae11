"""Commands, names and numbers in the README, the changelog and pages are right.

`test_pages` runs their blocks as they are; here some run on other data.
"""

import dataclasses
import json
import pkgutil
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL)


def test_readme_is_short_and_has_the_two_commands():
    text = text_of("README.md")
    assert text.count("\n") < 200
    assert re.findall(r"```sh\n(.*?)\n```", text, re.DOTALL) == [
        'pip install ".[demo]" && calib-jax demo',
        'pip install -e ".[test]" && pytest && JAX_ENABLE_X64=1 pytest -m "not once"',
    ]
    linked = re.findall(r"\]\((?!http)(.*?)\)", text)
    linked += re.findall(r'(?:srcset|src)="(.*?)"', text)
    assert len(linked) > 10
    for name in linked:
        assert (ROOT / name).is_file(), name


def test_index_names_every_page():
    index = text_of("docs/index.md")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    listed = set(re.findall(r"\(([a-z_]+\.md)\)", index)) | {"reference.md"}
    assert pages == listed


def test_pictures_are_small():
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert len(pictures) == 2
    assert all(path.stat().st_size < 100 * 1024 for path in pictures)


def resolve(name: str) -> object:
    """The object of a name in the changelog; the last part may be a field."""
    name = re.sub(r"^cj\.", "calib_jax.", name)
    try:
        return pkgutil.resolve_name(name)
    except AttributeError:
        record, _, field = name.rpartition(".")
        fields = dataclasses.fields(pkgutil.resolve_name(record))
        (found,) = (one for one in fields if one.name == field)
        return found


def test_changelog_has_every_new_name():
    text = text_of("CHANGELOG.md")
    rows = re.findall(r"^\| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    new = {name for _, cell in rows for name in re.findall(r"`([\w.]+)`", cell)}
    new = {name for name in new if name.startswith(("cj.", "benchmarks."))}
    assert len(new) > 70
    for name in sorted(new):
        resolve(name)
    # Old names are gone.
    old = {name for cell, _ in rows for name in re.findall(r"`(\w+)`", cell)}
    assert len(old) > 90
    assert {name for name in old if hasattr(cj, name)} <= {"confidence", "curve"}


def test_page_on_streams_reads_blocks(tmp_path, capsys):
    """Several blocks of a memory map of an over-confident model."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 600)
    logits = 3 * (np.eye(5)[labels] + rng.normal(size=(600, 5)))
    np.save(tmp_path / "logits.npy", np.asarray(logits, np.float32))
    logits = np.load(tmp_path / "logits.npy", mmap_mode="r")
    (snippet,) = [
        text for text in blocks("docs/streams.md") if "blocks.from_arrays" in text
    ]
    # In memory it would be one block.
    snippet = snippet.replace("size=4096", "size=250")
    names = {"cj": cj, "logits": logits, "labels": labels}
    exec(snippet, names)
    expected, _ = cj.fit_temperature(logits, labels)
    params = names["params"]
    np.testing.assert_allclose(params.temperature, expected.temperature, rtol=1e-6)
    best = cj.top1(np.asarray(logits), params.temperature)
    error = cj.expected_calibration_error(best.confidence, best.prediction == labels)
    assert abs(names["ece"].value - error) <= names["ece"].error_bound + 1e-6
    assert capsys.readouterr().out.splitlines()[-1].startswith("T = ")


def test_page_on_language_models_decodes_and_reads(tmp_path, monkeypatch):
    loop, reading = (
        text
        for text in blocks("docs/language_models.md")
        if "decoding" in text or "read_log" in text
    )
    rng = np.random.default_rng(0)
    table, prompt = jnp.float32(2 * rng.normal(size=(9, 9))), jnp.arange(4)
    kept = []

    def model(cache, tokens):
        logits = table[tokens] + cache
        jax.debug.callback(lambda logits: kept.append(np.asarray(logits)), logits)
        return logits, cache + 0.01

    names = {"cj": cj, "jax": jax, "jnp": jnp, "model": model, "prompt": prompt}
    names |= {"end": 0, "key": jax.random.key(1), "cache": jnp.float32(0.0)}
    exec(loop, names)
    jax.effects_barrier()
    answers, logits = np.asarray(names["answers"]).T, np.stack(kept, axis=1)
    ended = np.cumsum(answers == 0, axis=1) - (answers == 0)
    expected = cj.sequence_mean_logit(logits, answers, where=ended == 0)
    np.testing.assert_allclose(names["scores"].mean_logit, expected, rtol=1e-6)
    np.testing.assert_array_equal(names["scores"].num_tokens, np.sum(ended == 0, 1))

    lines = []
    for number in range(60):
        sure = rng.uniform(0.3, 1.0)
        options = dict(zip("ABCD", np.log([sure, *[(1 - sure) / 3] * 3]), strict=True))
        top = [{"token": token, "logprob": p} for token, p in options.items()]
        content = [{"token": "A", "logprob": np.log(sure), "top_logprobs": top}]
        choice = {"message": {"content": "A"}, "logprobs": {"content": content}}
        lines.append(json.dumps({"id": f"{sure} {number}", "choices": [choice]}))
    (tmp_path / "responses.jsonl").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names = {"cj": cj, "np": np}
    names |= {"judge": lambda name, _: rng.random() < float(name.split()[0])}
    exec(reading, names)
    assert names["params"].slope > 0 and names["confidence"].shape == (60,)
    assert names["options"].shape == (60, 4)
    assert (cj.top1(names["options"]).prediction == 0).mean() > 0.9


def test_figures_of_the_page_on_benchmarks_are_quoted_right():
    text = " ".join(text_of("docs/measured.md").split())
    path = ROOT / "benchmarks" / "paper" / "results.json"
    results = {
        title.split(" (")[0]: numbers
        for title, numbers in json.loads(path.read_text(encoding="utf-8")).items()
    }
    cascades = results["Cascades of a small and a large model"]

    def of_pair(task: str, pair: str) -> tuple[np.ndarray, np.ndarray, dict]:
        """Means over the halves of UC and CC: APGR, saved at no loss; and the curve."""
        numbers = cascades[task]
        place = numbers["pairs"].index(pair)
        recovered, saved = (
            np.mean(
                [[kind[place] for kind in split] for split in numbers[name]], axis=0
            )
            for name in ("recovered", "calls_saved")
        )
        curve = {k: v[1][place] for k, v in numbers["curve"].items() if k != "gain"}
        return recovered, saved[:, 0], curve

    recovered, _, curve = of_pair("imagenet", "MobileNetV3-L → ViT-B/16")
    quoted = f"halves: {recovered[1]:.3f}, uncalibrated (UC) {recovered[0]:.3f}"
    assert quoted in text
    wins = np.array(curve["accuracy"]) > curve["large_accuracy"]
    share = np.max(np.array(curve["small_share"])[wins])
    assert f"answers {100 * share:.0f} %" in text

    recovered, saved, _ = of_pair("emotion", "Qwen 1.8B → Qwen 14B")
    assert f"APGR {recovered[1]:.3f} against {recovered[0]:.3f}" in text
    saved = [f"{100 * share:.0f} %" for share in saved]
    assert f"{saved[1]} of the calls" in text
    assert f"without calibration {saved[0]}" in text

    ends = [np.array(task["area_interval"][2]) for task in cascades.values()]
    low, high = np.concatenate(ends).T
    better, worse = np.sum(low > 0), np.sum(high < 0)
    assert f"above 0 for {better} of {len(low)} pairs, below 0 for {worse}," in text

    cleaning = results["Cleaning labels"]["imagenet"]
    found = 100 * cleaning["method_1"]["precision"][-1]
    overall = 100 * cleaning["num_wrong"] / cleaning["num_judged"]
    assert f"contradict {found:.0f} %" in text and f"where {overall:.0f} %" in text
