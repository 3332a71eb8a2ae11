"""Runs of inspect_ai with its mock model, which says made-up answers."""

import math

import inspect_ai
import numpy as np
from inspect_ai import model, scorer, solver
from inspect_ai.dataset import MemoryDataset, Sample


def output(tokens):
    """An answer of tokens, each with its log-probability and alternatives."""
    content = [
        model.Logprob(
            token=token,
            logprob=value,
            top_logprobs=[model.TopLogprob(token=t, logprob=v) for t, v in top],
        )
        for token, value, top in tokens
    ]
    message = model.ChatMessageAssistant(content="".join(one[0] for one in tokens))
    choice = model.ChatCompletionChoice(
        message=message, stop_reason="stop", logprobs=model.Logprobs(content=content)
    )
    # Without it the mock model counts tokens, with a tokenizer from the network.
    usage = model.ModelUsage(input_tokens=9, output_tokens=3, total_tokens=12)
    return model.ModelOutput(model="mockllm", choices=[choice], usage=usage)


def letter(probabilities):
    """An answer such as "ANSWER: B", of probabilities of A, B and so on."""
    pairs = [
        (f" {one}", math.log(p))
        for one, p in zip("ABCDEFGH", probabilities, strict=False)
    ]
    best = max(pairs, key=lambda pair: pair[1])
    return output(
        [
            ("ANSWER", -0.01, [("ANSWER", -0.01), ("The", -5.0)]),
            (":", -0.001, [(":", -0.001)]),
            (*best, pairs),
        ]
    )


def said(text, *values):
    """An answer of one word a token."""
    words = text.split(" ")
    words = [words[0], *(f" {one}" for one in words[1:])]
    return output([(w, v, [(w, v)]) for w, v in zip(words, values, strict=True)])


def questions(counts, seed=0):
    """Samples with so many options each, whose target is a letter."""
    rng = np.random.default_rng(seed)
    return [
        Sample(
            id=f"q{number}",
            input=f"Question {number}? " + "It is long. " * 12 * (number == 0),
            choices=[f"option {k}" for k in range(count)],
            target="ABCDEFGH"[rng.integers(count)],
            metadata={"subject": ("law", "art")[number % 2]},
        )
        for number, count in enumerate(counts)
    ]


def shares(counts, seed=0):
    """Probabilities of the options of each question, which add up to 0.9."""
    rng = np.random.default_rng(seed)
    return [(0.9 * rng.dirichlet(np.ones(count))).tolist() for count in counts]


def task(name, samples, how=None, scored=None):
    return inspect_ai.Task(
        name=name,
        dataset=MemoryDataset(samples, name=name),
        solver=how or solver.multiple_choice(),
        scorer=scored or scorer.choice(),
    )


def run(one, answers, folder, *, model_name="small", **more):
    """The log of a run in which the model says one answer after another."""
    answers = iter(answers)
    (log,) = inspect_ai.eval(
        one,
        model=f"mockllm/{model_name}",
        model_args={"custom_outputs": lambda *_: next(answers)},
        log_dir=str(folder),
        display="none",
        max_samples=1,
        **more,
    )
    return log
