"""Separate the thoughts in a server's replies, by the rule of `reasoning`.

A reply alone does not show whether the chat template opened a thought in the prompt. That comes
from the model's configuration, else from the template of a server that we started. Where neither is
available, a closing tag without an opening one stays in the text, and the first one is reported.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from rlm_eval.core.reasoning import ends_foreign_thought, split
from rlm_eval.core.types import Reply


class Thoughts:
    """The thoughts of one model's replies."""

    def __init__(self, model: str, configured: bool | None) -> None:
        """`configured` is the model's `template_opens_thought`."""
        self._model, self._configured = model, configured
        self._reported = False

    def apart(self, reply: Reply, template_opens: bool | None) -> Reply:
        """Return `reply` with its thoughts in `reasoning`. `template_opens` is read from the
        server's template; `None` = unknown."""
        opens = template_opens if self._configured is None else self._configured
        cut = reply.finish_reason.lower() in ("length", "max_tokens")
        text, reasoning = split(reply.text, reply.reasoning, opened=bool(opens), cut=cut)
        if opens is None and not reasoning and not self._reported and ends_foreign_thought(text):
            self._reported = True
            sys.stderr.write(
                f"{self._model}: a reply closes a thought that it did not open, and is taken as it "
                "is. Where the model's chat template opens the thought, set "
                "root.template_opens_thought=true (sub., judge. for those models), or start the "
                "server with its reasoning parser; =false takes such replies without this notice\n"
            )
        raw = "" if text == reply.text else reply.text
        return replace(reply, text=text, reasoning=reasoning, raw=raw)
