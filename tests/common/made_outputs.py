"""Files of outputs whose truth is known, and a command run on them."""

import json

import numpy as np

from calib_jax import cli

NUM_ROWS, NUM_OPTIONS = 1200, 4


def logits(seed=0, skill=2.0, rows=NUM_ROWS, options=NUM_OPTIONS):
    """Logits calibrated at a temperature of 2, and the true options."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, options)) * skill
    shares = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    truth = (shares.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1)
    return np.float32(2 * values), truth.clip(0, options - 1)


def flipped(truth, share=0.05, seed=9, options=NUM_OPTIONS):
    """Labels with some of them wrong, and which."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(truth)) < share
    moved = (truth + rng.integers(1, options, len(truth))) % options
    return np.where(wrong, moved, truth), wrong


def experts(num_models=2, share=0.05, skill=4.0, seed=3):
    """Logits `[M, N, C]` of models that err independently, labels and wrong ones."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, NUM_OPTIONS, NUM_ROWS)
    signal = skill * np.eye(NUM_OPTIONS)[truth]
    noise = rng.normal(size=(num_models, NUM_ROWS, NUM_OPTIONS)) * 2
    return (np.float32(signal + noise), *flipped(truth, share))


def run(capsys, *arguments):
    """Status, standard output and standard error of the command line."""
    status = cli.main([str(one) for one in arguments])
    return status, *capsys.readouterr()


def as_json(capsys, *arguments):
    """What a command prints with --json, which is one object alone."""
    status, out, _ = run(capsys, *arguments, "--json")
    assert status == 0
    assert out.count("\n") == 1
    return json.loads(out)


def one_line(capsys, *arguments):
    """The error of a command: one line, status 2, nothing on standard output."""
    status, out, err = run(capsys, *arguments)
    assert status == 2 and out == ""
    assert err.count("\n") == 1 and err.startswith("calib-jax: ")
    return err.removeprefix("calib-jax: ").strip()
