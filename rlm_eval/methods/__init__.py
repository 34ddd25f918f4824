"""HOW a question is answered. A `Method` knows a session and a sample's context, never a task."""

from __future__ import annotations

from typing import Protocol

from rlm_eval.core.types import Answer, Sample
from rlm_eval.session.session import Session


class Method(Protocol):
    """A method's configuration: a frozen dataclass, one YAML in `configs/method/`.

    A class that sets `writes_plain_text` (what it starts keeps files of its own) gets no protected
    task. One whose root sends more than a user turn names the roles in `history`: the preflight
    tries them.
    """

    @property
    def name(self) -> str:
        """Name in tables, variant included (`rlm_own`, `rag_bm25`)."""
        ...

    @property
    def prompt_id(self) -> str:
        """Name and hash of the prompts it uses (`own@3f2a91bc`); `-` where it has none."""
        ...

    @property
    def runs_code(self) -> bool:
        """True where code runs in a REPL: only then is a sandbox started and required."""
        ...

    @property
    def slots(self) -> tuple[str, ...]:
        """The models it calls (`root`, `sub`, ...): others are neither opened nor recorded."""
        ...

    async def solve(self, sample: Sample, session: Session) -> Answer:
        """Answer `sample.question` over `sample.context`; every call goes through `session`.

        Must not read `sample.target` (only the `floor` method does). Raises what the session
        raises; the runner maps errors to outcomes.
        """
        ...


def history_of(method: Method) -> tuple[str, ...]:
    """Roles of the turns that a request to the root may have, in order; the longest kind."""
    return tuple(getattr(method, "history", ("user",)))
