"""Bodies and streams as servers send them, for tests that write them by hand."""

import json

from fake_server import Fault

SOME = {"prompt_tokens": 25, "completion_tokens": 2, "total_tokens": 27}
ZERO = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
OVERFLOW = "prompt is too long: 9000 tokens > 8192 maximum"


def chat(content, end="stop", usage=SOME, **more):
    """The body of a chat completion."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": end}
    return {"model": "m-1", "choices": [choice], "usage": usage, **more}


def events(*bodies, end="\n\n", done=True):
    """Objects, or texts as they are, as a stream."""
    texts = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
    lines = [f"data: {text}{end}" for text in texts] + ([f"data: [DONE]{end}"] if done else [])
    return "".join(lines)


def sent(body, kind="body"):
    """A fault that sends this body, or stream, instead of a reply."""
    return Fault(kind, body=body if isinstance(body, str) else json.dumps(body))


def with_end(kind, end):
    """A reply of either dialect that ended so."""
    usage = {"input_tokens": 25, "output_tokens": 2}
    anthropic = {"type": "message", "content": [{"type": "text", "text": "a b"}], "usage": usage}
    return chat("a b", end) if kind == "openai" else anthropic | {"stop_reason": end}
