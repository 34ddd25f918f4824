"""Run one job with the official package `rlms` (github.com/alexzhang13/rlm), in its environment.

A standalone script: it imports no module of the harness and is never imported by it. Exits with
code 3 where the package is absent.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

WAIT_S = 7 * 86400
"""Seconds that a request may take: the harness waits within it, and its own limit ends the run."""


def main(path: str) -> int:
    """Answer the job at `path`."""
    job = json.loads(Path(path).read_text("utf-8"))
    try:
        from rlm import RLM  # type: ignore[import-not-found, unused-ignore]  # not installed here
        from rlm.core import comms_utils  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        return 3

    class Watched(RLM):  # type: ignore[misc, unused-ignore]
        """Records whether the turns ran out and an answer was requested, which the result omits."""

        turns_out = False

        def _default_answer(self, *given: Any, **named: Any) -> Any:
            self.turns_out = True
            return super()._default_answer(*given, **named)

    def endpoint(slot: str) -> dict[str, object]:
        # The harness's own client has already made all retries.
        where = {"base_url": job["base_url"], "api_key": job["api_key"]}
        return {"model_name": slot, "max_retries": 0, "timeout": WAIT_S, **where}

    # A sub-call also passes a socket of the engine, which otherwise gives up after 300 s: the code
    # then reads an error, while the request goes on.
    ask = comms_utils.socket_request

    def patient(address: Any, data: Any, timeout: float = WAIT_S) -> Any:
        return ask(address, data, max(timeout, WAIT_S))

    comms_utils.socket_request = patient

    engine = Watched(
        backend="openai",
        backend_kwargs=endpoint("root"),
        other_backends=["openai"],
        other_backend_kwargs=[endpoint("sub")],
        **job["settings"],
    )
    done = engine.completion(job["context"], root_prompt=job["question"])
    usage = done.usage_summary
    counted = {
        "calls": sum(m.total_calls for m in usage.model_usage_summaries.values()),
        "input_tokens": usage.total_input_tokens,
        "output_tokens": usage.total_output_tokens,
    }
    result = {
        "answer": done.response,
        "ended": "forced" if engine.turns_out else "answer",
        "usage": counted,
        "version": version("rlms"),
    }
    Path(job["result"]).write_text(json.dumps(result), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
