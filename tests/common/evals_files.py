"""Objects in the shapes of HELM and lighteval."""

TEXTS = ("Rome", "Oslo", "Lima")
OPTIONS = dict(zip("ABC", TEXTS, strict=True))


def token(text, value, top=None):
    found = {"text": text, "logprob": value}
    return found if top is None else {**found, "top_logprobs": top}


def completion(*tokens):
    total = sum(one["logprob"] for one in tokens)
    written = "".join(one["text"] for one in tokens)
    return {"text": written, "logprob": total, "tokens": list(tokens)}


def instance(name, right=(0,), texts=TEXTS, **more):
    references = [
        {"output": {"text": text}, "tags": ["correct"] if k in right else []}
        for k, text in enumerate(texts)
    ]
    return {
        "input": {"text": f"Question {name}?"},
        "references": references,
        "split": "test",
        "id": name,
        **more,
    }


def state(question, *completions, trial=0, options=OPTIONS, **more):
    """The state of a request; options are those of a joint question, or None."""
    joint = {} if options is None else {"output_mapping": options}
    return {
        "instance": question,
        "train_trial_index": trial,
        **joint,
        "request": {"model": "acme/m", "prompt": "Q"},
        "result": {"success": True, "completions": list(completions), "cached": False},
        "num_train_instances": 0,
        "prompt_truncated": False,
        **more,
    }


def scenario(*states, method="multiple_choice_joint", model="acme/m", **more):
    spec = {"method": method, "model": model, "num_outputs": 5, **more}
    return {"adapter_spec": spec, "request_states": list(states)}


def echoes(question, values, mode="original", **more):
    """The states of a question, one for each reference: of a space and a word."""
    texts = [one["output"]["text"] for one in question["references"]]
    return [
        state(
            question,
            completion(
                token("Answer:", -9.0), token(f" {text[:2]}", value), token(text[2:], 0)
            ),
            options=None,
            reference_index=k,
            request_mode=mode,
            **more,
        )
        for k, (text, value) in enumerate(zip(texts, values, strict=True))
    ]


def statistics(name, trial=0, **means):
    """What per_instance_stats.json says of a question."""
    return {
        "instance_id": name,
        "train_trial_index": trial,
        "stats": [
            {"name": {"name": metric, "split": "test"}, "count": 1, "mean": mean}
            for metric, mean in means.items()
        ],
    }


def detail(number, values, gold=0, *, metric=None, **more):
    """A row of a multiple-choice task; of a generated answer with `text`."""
    document = {
        "query": f"Question {number}?",
        "choices": [" A", " B", " C"],
        "gold_index": gold,
        "id": str(number),
        "task_name": "toy|0",
        "sampling_methods": ["GENERATIVE" if "text" in more else "LOGPROBS"],
        "specific": None,
    }
    response = {"text": [], "logprobs": values, "unconditioned_logprobs": None}
    for name, value in more.items():
        (response if name in response else document)[name] = value
    return {"doc": document, "model_response": response, "metric": metric}
