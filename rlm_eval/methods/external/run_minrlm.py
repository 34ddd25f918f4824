"""Run one job with `minrlm`, in its own environment. One model: sub-calls go to the root model.

A standalone script: it imports no module of the harness and is never imported by it. Exits with
code 3 where the package is absent.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

WAIT_S = 7 * 86400
"""Seconds that a request may take: the harness waits within it, and its own limit ends the run."""
NO_CODE = "ERROR: LLM response did not contain executable Python code"
"""The engine's answer where a reply had no code."""


def main(path: str) -> int:
    """Answer the job at `path`."""
    job = json.loads(Path(path).read_text("utf-8"))
    try:
        from minrlm import RLM  # type: ignore[import-not-found, unused-ignore]  # not installed here
        from openai import (  # type: ignore[import-not-found, unused-ignore]
            AsyncOpenAI,
            OpenAI,
        )
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        return 3

    # The harness's own client has already made all retries.
    where = {"base_url": job["base_url"], "api_key": job["api_key"]}
    once = {"max_retries": 0, "timeout": WAIT_S}
    engine = RLM(
        model="root",
        client=OpenAI(**where, **once),
        async_client=AsyncOpenAI(**where, **once),  # without it, batches run sequentially
        **job["settings"],
    )
    context = job["context"]
    text = context if isinstance(context, str) else "\n\n".join(context)
    done = engine.completion(job["question"], text)
    answer = None if done.response is None else str(done.response)
    # It always returns a text: its own error, or the last output with the values of all
    # variables. After a call of FINAL its history ends with the model's message, otherwise with its
    # own.
    result = {"answer": answer, "ended": "answer"}
    if not done.history or done.history[-1]["role"] != "assistant":
        result = {"answer": None, "ended": "turns"}
    elif answer is not None and answer.startswith(NO_CODE):
        result = {"answer": None, "ended": "error", "reason": "reply without code"}
    counted = {
        "calls": done.iterations,  # root calls only: it does not report sub-calls
        "input_tokens": done.input_tokens,
        "output_tokens": done.output_tokens,
    }
    told = {**result, "usage": counted, "version": version("minrlm")}
    Path(job["result"]).write_text(json.dumps(told), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
