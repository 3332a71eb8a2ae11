"""Bodies as local servers write them at endpoints of their own.

Each takes the tokens of an answer, as lists of pairs of a token and its
log-probability: of the chosen token, and behind it of its alternatives.
"""

import math


def step(values, choices="ABC"):
    """The token of an answer of one letter, and all letters as alternatives."""
    best = max(range(len(choices)), key=list(values).__getitem__)
    pairs = list(zip(choices, map(float, values), strict=True))
    return [pairs[best], *pairs]


def text_of(steps):
    return "".join(step[0][0] for step in steps)


def number_of(token):
    """A token's number in some vocabulary."""
    return sum(ord(one) * 31**place for place, one in enumerate(token)) % 50_000


def _entry(token, value, **more):
    return {"token": token, "logprob": value, "bytes": list(token.encode()), **more}


def _entries(steps, **more):
    return [
        {**_entry(*step[0], **more), "top_logprobs": [_entry(*one) for one in step[1:]]}
        for step in steps
    ]


def ollama_chat(steps, **more):
    return {
        "model": "qwen3:1.7b",
        "created_at": "2026-11-29T20:08:00.204867Z",
        "message": {"role": "assistant", "content": text_of(steps)},
        "logprobs": _entries(steps),
        "done": True,
        "done_reason": "stop",
        "total_duration": 174560334,
        "eval_count": len(steps),
        **more,
    }


def ollama_generate(steps, **more):
    body = ollama_chat(steps)
    del body["message"]
    return {**body, "response": text_of(steps), "context": [1, 2, 3], **more}


def llama(steps, **more):
    return {
        "index": 0,
        "content": text_of(steps),
        "tokens": [],
        "id_slot": 0,
        "stop": True,
        "model": "qwen3:1.7b",
        "tokens_predicted": len(steps),
        "tokens_evaluated": 9,
        "generation_settings": {"n_probs": 20, "temperature": 0.8},
        "prompt": "Is it so?",
        "stop_type": "eos",
        "completion_probabilities": [
            {"id": number_of(step[0][0]), **entry}
            for step, entry in zip(steps, _entries(steps), strict=True)
        ],
        **more,
    }


def llama_sampled(steps, **more):
    """With post_sampling_probs."""
    entries = [
        {
            "id": number_of(step[0][0]),
            "token": step[0][0],
            "bytes": list(step[0][0].encode()),
            "prob": math.exp(step[0][1]),
            "top_probs": [
                {"id": number_of(token), "token": token, "prob": math.exp(value)}
                for token, value in step[1:]
            ],
        }
        for step in steps
    ]
    return llama(steps, completion_probabilities=entries, **more)


def llama_old(steps, **more):
    """As builds before December 2024 wrote it."""
    entries = [
        {
            "content": step[0][0],
            "probs": [
                {"tok_str": token, "prob": math.exp(value)} for token, value in step[1:]
            ],
        }
        for step in steps
    ]
    return llama(steps, completion_probabilities=entries, **more)


def sglang(steps, *, texts=True, **more):
    def triple(token, value):
        return [value, number_of(token), token if texts else None]

    meta = {
        "id": "b2f5f4a0c8d04c6fa4b0",
        "finish_reason": {"type": "stop", "matched": 151645},
        "prompt_tokens": 9,
        "weight_version": "default",
        "input_token_logprobs": [[None, 5, "Is"], [-1.5, 6, " it"]],
        "output_token_logprobs": [triple(*step[0]) for step in steps],
        "output_top_logprobs": [[triple(*one) for one in step[1:]] for step in steps],
        "completion_tokens": len(steps),
        "e2e_latency": 0.25,
    }
    ids = [number_of(step[0][0]) for step in steps]
    return {"text": text_of(steps), "output_ids": ids, "meta_info": meta, **more}


def inference(steps, **more):
    """Of Text Generation Inference, which ends with a special token."""

    def token(text, value, special=False):
        return {
            "id": number_of(text),
            "text": text,
            "logprob": value,
            "special": special,
        }

    ended = [*steps, [("</s>", -0.125)]]
    details = {
        "finish_reason": "eos_token",
        "generated_tokens": len(ended),
        "seed": None,
        "prefill": [{"id": 1, "text": "Is", "logprob": None}],
        "tokens": [token(*step[0], special=step[0][0] == "</s>") for step in ended],
        "top_tokens": [[token(*one) for one in step[1:]] for step in ended],
    }
    return {"generated_text": text_of(steps), "details": details, **more}


def vllm(steps, **more):
    """Saved as lists of log-probability, rank and text, the chosen token last."""
    return {
        "token_ids": [number_of(step[0][0]) for step in steps],
        "logprobs": [
            {
                str(number_of(token)): [value, rank + 1, token]
                for rank, (token, value) in enumerate(reversed(step))
            }
            for step in steps
        ],
        "cumulative_logprob": sum(step[0][1] for step in steps),
        "finish_reason": "stop",
        **more,
    }


def vllm_objects(steps, **more):
    """Saved with the names of `vllm.Logprob`."""
    logprobs = [
        {
            str(number_of(token)): {
                "logprob": value,
                "rank": rank + 1,
                "decoded_token": token,
            }
            for rank, (token, value) in enumerate(step)
        }
        for step in steps
    ]
    return vllm(steps, **{"logprobs": logprobs, "text": text_of(steps), **more})


ALL = {
    "ollama chat": ollama_chat,
    "ollama generate": ollama_generate,
    "llama.cpp": llama,
    "llama.cpp, sampled": llama_sampled,
    "llama.cpp, old": llama_old,
    "sglang": sglang,
    "text generation inference": inference,
    "vllm": vllm,
    "vllm, objects": vllm_objects,
}
