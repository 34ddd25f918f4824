"""Run one job with `dspy.RLM` and its local interpreter, in dspy's environment.

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
FORCED = "Extract forced final output"
"""Value of `final_reasoning` where the turns ran out and a further call wrote the answer."""


def main(path: str) -> int:
    """Answer the job at `path`."""
    job = json.loads(Path(path).read_text("utf-8"))
    os.environ["DSPY_CACHEDIR"] = str(Path.cwd() / "dspy_cache")
    try:
        import dspy  # type: ignore[import-not-found, unused-ignore]  # not installed here
        from dspy.primitives.local_interpreter import (  # type: ignore[import-not-found, unused-ignore]
            LocalInterpreter,
        )
        from dspy.utils.exceptions import (  # type: ignore[import-not-found, unused-ignore]
            AdapterParseError,
        )
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        return 3

    settings = dict(job["settings"])
    cell_seconds = settings.pop("execution_timeout", None)

    class Factory:
        """Makes interpreters; the action prompt quotes its `execution_instructions`."""

        execution_instructions = LocalInterpreter.execution_instructions

        def __call__(self) -> Any:
            return LocalInterpreter(execution_timeout=cell_seconds)

    def model(slot: str) -> Any:
        # Its cache would answer repeated requests; the harness's client makes the retries.
        return dspy.LM(
            f"openai/{slot}",
            api_base=job["base_url"],
            api_key=job["api_key"],
            cache=False,
            num_retries=0,
            timeout=WAIT_S,
            temperature=None,
            max_tokens=None,
        )

    root, sub = model("root"), model("sub")
    dspy.configure(lm=root)
    engine = dspy.RLM(
        "context, query -> answer", sub_lm=sub, interpreter_factory=Factory(), **settings
    )
    context = job["context"]
    text = context if isinstance(context, str) else "\n\n".join(context)
    result: dict[str, Any] = {"answer": None, "version": version("dspy")}
    try:
        done = engine(context=text, query=job["question"])
    except AdapterParseError as error:  # its message contains the reply
        result |= {"ended": "error", "reason": f"reply without the fields of {error.adapter_name}"}
    except Exception as error:  # noqa: BLE001 - record the usage whatever the error
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        result |= {"ended": "error", "fault": "engine", "reason": type(error).__name__}
    else:
        forced = getattr(done, "final_reasoning", None) == FORCED
        answer = None if done.answer is None else str(done.answer)
        result |= {"answer": answer, "ended": "forced" if forced else "answer"}
    result["usage"] = _account([*root.history, *sub.history])
    Path(job["result"]).write_text(json.dumps(result), "utf-8")
    return 0


def _account(history: list[Any]) -> dict[str, int]:
    """Calls and tokens recorded by the two language models."""
    used = [dict(entry.get("usage") or {}) for entry in history]
    return {
        "calls": len(used),
        "input_tokens": sum(int(own.get("prompt_tokens") or 0) for own in used),
        "output_tokens": sum(int(own.get("completion_tokens") or 0) for own in used),
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
