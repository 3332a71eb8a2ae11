"""Bodies as OpenAI-compatible servers write them."""


def entry(token, logprob, *top):
    """A token of a chat completion with its alternatives."""
    return {
        "token": token,
        "logprob": logprob,
        "bytes": list(token.encode()),
        "top_logprobs": [
            {"token": name, "logprob": value, "bytes": None} for name, value in top
        ],
    }


def chat(name, *contents, key="content", **more):
    """A chat completion with a choice for each list of entries."""
    choices = [
        {
            "index": index,
            "message": {
                "role": "assistant",
                "content": None,
                key: "".join(token["token"] for token in content),
            },
            "logprobs": {"content": None, "refusal": None, key: content},
            "finish_reason": "stop",
        }
        for index, content in enumerate(contents)
    ]
    return {"id": name, "object": "chat.completion", "choices": choices, **more}


def completion(name, tokens, values, tops=None, **more):
    logprobs = {
        "tokens": tokens,
        "token_logprobs": values,
        "top_logprobs": tops,
        "text_offset": list(range(len(tokens))),
    }
    choice = {"index": 0, "text": "".join(tokens), "logprobs": logprobs, **more}
    return {"id": name, "object": "text_completion", "choices": [choice]}


def batch(name, body, status=200, error=None):
    response = {"status_code": status, "request_id": "r", "body": body}
    return {"id": "b", "custom_id": name, "response": response, "error": error}


def responses(name, content, **more):
    """A body of the Responses API with one message of one part."""
    text = "".join(token["token"] for token in content)
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": content}
    message = {"id": "msg", "type": "message", "role": "assistant", "content": [part]}
    thought = {"id": "rs", "type": "reasoning", "summary": []}
    output = [thought, {**message, "status": "completed"}]
    body = {"id": name, "object": "response", "status": "completed", "error": None}
    return {**body, "output": output, **more}
