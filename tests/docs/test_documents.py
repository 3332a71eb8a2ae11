"""The README's snippets and numbers stand."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]


def snippets() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def two_models() -> SimpleNamespace:
    """Two over-confident models of one task, and labels of which some are flipped."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (2, 600))
    signal = np.eye(5)[labels]
    logits = [
        jnp.asarray(3 * (strength * signal + rng.normal(size=signal.shape)))
        for strength in (1.0, 2.5)
    ]
    best = [jax.vmap(cj.top1)(model) for model in logits]
    correct = [model.prediction == labels for model in best]
    return SimpleNamespace(labels=labels, logits=logits, best=best, correct=correct)


def halves(values: object) -> SimpleNamespace:
    calibration, test = values
    return SimpleNamespace(calibration=calibration, test=test)


def test_readme_snippets_run_as_they_stand(capsys):
    data = two_models()
    small, large = data.best
    given = np.where(np.arange(600) % 10 == 0, (data.labels[1] + 1) % 5, data.labels[1])
    # Of those on Flax see test_flax.py.
    calibrate, cascade, clean, error_bars, promise, *_ = snippets()

    exec(
        calibrate,
        {
            "calibration_logits": data.logits[0][0],
            "calibration_labels": data.labels[0],
            "test_logits": data.logits[0][1],
            "test_labels": data.labels[1],
        },
    )
    first, before, after = capsys.readouterr().out.splitlines()
    assert first.endswith("CONVERGED")
    assert float(after.split()[-1]) < float(before.split()[-1])

    shared = {"cj": cj}
    names = shared | {
        "small": halves(small.confidence),
        "large": halves(large.confidence),
        "small_correct": halves(data.correct[0]),
        "large_correct": halves(data.correct[1]),
    }
    exec(cascade, names)
    apgr = re.search(r"APGR (\S+)", capsys.readouterr().out)[1]
    assert 0.5 < float(apgr) < 1.5

    exec(error_bars, names)
    first, second = capsys.readouterr().out.splitlines()
    estimate, chance, p_value, lower, upper = map(float, re.findall(r"\d\.\d+", first))
    assert p_value < 0.05 and chance < estimate and lower <= estimate <= upper
    assert re.findall(r"\d\.\d+", second)[0] == apgr

    names |= {
        f"{name}_{kind}": jnp.concatenate([*values])
        for name, model, right in (
            ("small", small, data.correct[0]),
            ("large", large, data.correct[1]),
        )
        for kind, values in (("scores", model.confidence), ("right", right))
    }
    exec(promise, names)
    chosen = names["promised"].selection
    # The half that K is chosen on is the larger one.
    assert chosen.num_rows == 601 and not chosen.same_rows
    assert capsys.readouterr().out.split()[0] == str(chosen.num_small_bins)

    names = shared | {
        "confidences": halves(jnp.stack([small.confidence, large.confidence], 1)),
        "predictions": halves(jnp.stack([small.prediction, large.prediction], 1)),
        "correct": halves(jnp.stack(data.correct, 1)),
        "probabilities": cj.scaled_softmax(data.logits[1][1], 2.0),
        "labels": given,
    }
    exec(clean, names)
    wrong = given != data.labels[1]
    assert np.mean(wrong[np.asarray(names["flagged"])]) > 0.6
    assert (names["repaired"] == data.labels[1]).mean() > (~wrong).mean()


def test_readme_reads_blocks(tmp_path, capsys):
    data = two_models()
    np.save(tmp_path / "logits.npy", np.asarray(data.logits[0][0], np.float32))
    logits = np.load(tmp_path / "logits.npy", mmap_mode="r")
    labels = data.labels[0]
    (snippet,) = [text for text in snippets() if "streaming.blocks.from_arrays" in text]
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


def test_readme_decodes_and_reads(tmp_path, monkeypatch, capsys):
    loop, reading = (
        text for text in snippets() if "decoding" in text or "read_log" in text
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


def test_readme_quotes_the_results_of_its_figures():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
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
    quoted = f"halves: {recovered[1]:.3f},\nuncalibrated (UC) {recovered[0]:.3f}"
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
    assert f"above 0 for {better} of\n{len(low)} pairs, below 0 for {worse}," in text

    cleaning = results["Cleaning labels"]["imagenet"]
    found = 100 * cleaning["method_1"]["precision"][-1]
    overall = 100 * cleaning["num_wrong"] / cleaning["num_judged"]
    assert f"contradict {found:.0f} %" in text and f"where {overall:.0f} %" in text
    for name in re.findall(r'(?:srcset|src)="(benchmarks/.*?)"', text):
        assert (ROOT / name).is_file(), name
