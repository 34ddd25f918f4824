"""Run one job with `pyrlm-runtime`, in its own environment.

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
DEMANDED = "[max_steps_summary]"
"""Trace marker of the answer that the engine requests after its last step."""
COLLAPSED = "LOOP_COLLAPSED"
"""The engine's answer after too many consecutive replies without code or FINAL."""


def main(path: str) -> int:
    """Answer the job at `path`."""
    job = json.loads(Path(path).read_text("utf-8"))
    try:
        from pyrlm_runtime import (  # type: ignore[import-not-found, unused-ignore]
            RLM,
            Context,
            MaxStepsExceeded,
            Policy,
        )
        from pyrlm_runtime.adapters import (  # type: ignore[import-not-found, unused-ignore]
            GenericChatAdapter,
        )
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        return 3

    class Watched(Policy):  # type: ignore[misc, unused-ignore]
        """Records whether the steps ran out, which the engine's result omits."""

        steps_out = False

        def check_step(self) -> None:
            try:
                super().check_step()
            except MaxStepsExceeded:
                self.steps_out = True
                raise

    def adapter(slot: str) -> Any:
        # The harness's own client has already made all retries.
        where = {"base_url": job["base_url"], "api_key": job["api_key"]}
        return GenericChatAdapter(model=slot, max_retries=0, timeout=WAIT_S, **where)

    settings = dict(job["settings"])
    policy = Watched(**settings.pop("policy", {}))
    engine = RLM(adapter=adapter("root"), subcall_adapter=adapter("sub"), policy=policy, **settings)
    given = job["context"]
    make = Context.from_text if isinstance(given, str) else Context.from_documents
    answer, trace = engine.run(job["question"], make(given))
    result: dict[str, Any] = {"answer": answer, "ended": "answer"}
    if policy.steps_out:
        # Without that final call its "answer" is the last output of the code.
        forced = bool(trace.steps) and trace.steps[-1].prompt_summary == DEMANDED
        result = {"answer": answer, "ended": "forced"} if forced else {"ended": "turns"}
    elif answer == COLLAPSED:
        result = {"ended": "error", "reason": "replies in a row without code or FINAL"}
    used = [step.usage for step in trace.steps if step.usage is not None]
    counted = {
        "calls": len(used),
        "input_tokens": sum(usage.prompt_tokens for usage in used),
        "output_tokens": sum(usage.completion_tokens for usage in used),
    }
    told = {**result, "usage": counted, "version": version("pyrlm-runtime")}
    Path(job["result"]).write_text(json.dumps(told), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
