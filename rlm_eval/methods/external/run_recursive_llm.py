"""Run one job with `recursive-llm`, in its own environment.

A standalone script: it imports no module of the harness and is never imported by it. Exits with
code 3 where the package is absent.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

WAIT_S = 7 * 86400
"""Seconds that a request may take: the harness waits within it, and its own limit ends the run."""
PROTOCOL = ("RLMError", "REPLError")
"""The engine's errors that mean that the model's replies led to no answer."""


def main(path: str) -> int:
    """Answer the job at `path`."""
    job = json.loads(Path(path).read_text("utf-8"))
    # Otherwise litellm downloads a price list on import.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    try:
        # Not at the top: the engine's worker imports this file again, and has 10 s to start.
        from rlm import RLM  # type: ignore[import-not-found, unused-ignore]  # not installed here
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        return 3

    engine = RLM(
        "openai/root",
        recursive_model="openai/sub",
        api_base=job["base_url"],
        api_key=job["api_key"],
        max_retries=0,  # the harness's own client has already made all retries
        **{"timeout": WAIT_S, **job["settings"]},
    )
    context = job["context"]
    text = context if isinstance(context, str) else "\n\n".join(context)
    done = engine.try_complete_result(job["question"], text)
    result: dict[str, Any] = {"answer": None, "version": version("recursive-llm")}
    if done.succeeded:
        result |= {"answer": done.answer, "ended": "answer"}
    elif done.error_type == "MaxIterationsError":
        result |= {"ended": "turns"}
    else:
        sys.stderr.write(f"{done.error_type}: {done.error}\n")
        fault = "protocol" if done.error_type in PROTOCOL else "engine"
        result |= {"ended": "error", "fault": fault, "reason": done.error_type}
    result["usage"] = {
        "calls": done.stats["llm_calls"],
        "input_tokens": done.stats["prompt_tokens"],
        "output_tokens": done.stats["completion_tokens"],
    }
    Path(job["result"]).write_text(json.dumps(result), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
