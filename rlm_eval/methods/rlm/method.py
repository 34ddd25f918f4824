"""The Recursive Language Model as a method: its settings, all of them recorded.

The context is a variable of a Python REPL; the root model writes code that slices it and queries
sub-models about the slices (arXiv:2512.24601). `protocol` sets the dialect; points that the paper
leaves open are fields here. Sampling and output caps are settings of the models.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rlm_eval.core.renamed import current
from rlm_eval.core.types import Answer, Context, Sample, canonical_text
from rlm_eval.methods.prompts import load_prompt
from rlm_eval.methods.rlm.loop import Loop
from rlm_eval.methods.rlm.own import Own
from rlm_eval.methods.rlm.protocol import RlmProtocol
from rlm_eval.methods.rlm.settings import Compaction
from rlm_eval.methods.rlm.subcalls import RolloutState
from rlm_eval.methods.text import sections
from rlm_eval.protocols import Session

_CHOICES = {
    "turns_out": ("ask", "end"),
    "on_limit": ("end", "last_turn"),
    "output_side": ("head", "tail", "middle"),
    "context_type": ("as_given", "text", "documents"),
    "failed_sub_calls": ("raise", "text"),
    "on_subcall_failure": ("fail", "show"),
}


@dataclass(frozen=True)
class RLM:
    """See the module's docstring."""

    runs_code: ClassVar[bool] = True
    VERSION: ClassVar[int] = 2  # 2: a sub-call's provider failure makes the sample missing

    protocol: RlmProtocol = field(default_factory=Own)
    """The dialect: prompts, parsing, and the format of observations."""
    depth: int = 1
    """0: no sub-calls; 1: `llm_query`; N: `rlm_query` starts child loops down to depth N - 1."""
    max_turns: int = 30
    """Maximum turns of the root."""
    child_max_turns: int | None = None
    """Maximum turns of a child; `None` = as the root."""
    turns_out: str = "ask"
    """After the last turn: `ask` for an answer once more, or `end` with the best one so far."""
    on_limit: str = "end"
    """When tokens, cost, calls or time run out: `end`, or make one `last_turn`: a single call for
    the answer only, beyond the sample's limit (never beyond the sweep's budget)."""
    output_chars: int = 20_000
    """Maximum characters of a block's output in the root's prompt."""
    output_side: str = "head"
    """Part of a longer output that is kept: `head`, `tail`, `middle`."""
    context_type: str = "as_given"
    """`as_given`: documents as a list, else a str; `text`: always one str; `documents`: a list."""
    sub_models: list[str] = field(default_factory=lambda: ["sub"])
    """Model slot of `llm_query`, by the depth of the calling loop; the last one repeats."""
    child_models: list[str] = field(default_factory=lambda: ["sub"])
    """Model slot of a child loop, by the depth of the calling loop; the last one repeats."""
    max_concurrent_sub_calls: int | None = None
    """Concurrent plain sub-calls of a sample; `None` = the endpoint's own limit."""
    max_sub_calls_per_block: int | None = None
    """Maximum prompts per block; the model sees an error above it."""
    failed_sub_calls: str = "raise"
    """`raise` in the model's code; `text`: return `Error: ...`, as the official code does."""
    on_subcall_failure: str = "fail"
    """After a provider's final failure: `fail`: the sample is missing and is retried, unless the
    same request succeeded later in the block; `show`: the rollout continues with the model's
    handling of the error."""
    compact_chars: int | None = None
    """Characters of history above which a summary replaces it; `None` = never."""
    label: str = ""
    """Name in tables; empty = derived."""

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)}: one of {', '.join(allowed)}")
        for name in ("max_turns", "output_chars", "child_max_turns", "max_concurrent_sub_calls",
                     "max_sub_calls_per_block", "compact_chars"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: at least 1")
        if self.depth < 0:
            raise ValueError(f"depth={self.depth}: 0 (no sub-calls) or more")
        if not (self.sub_models and self.child_models):
            raise ValueError("sub_models and child_models name at least one slot each")
        self.protocol.check(self.depth)

    @property
    def mode_version(self) -> int:
        """Its own for child loops of the official dialects.

        3: prompts and batches of `rlm_query` are read and refused as in the package.
        """
        has_children = getattr(self.protocol, "has_children", False)
        return 3 if self.depth > 1 and has_children else self.VERSION

    @property
    def former_name(self) -> str:
        """Table name in the first release: with the protocol, even for ours (`rlm_own`)."""
        depth = "" if self.depth == 1 else f"_d{self.depth}"
        return self.label or f"rlm_{self.protocol.name}{depth}"

    @property
    def name(self) -> str:
        """`rlm`, or `rlm_<protocol>` for another dialect; with the depth where it is not 1."""
        return current(self.former_name)

    @property
    def remark(self) -> str:
        """A sentence required in every figure with this protocol's numbers."""
        return str(getattr(self.protocol, "remark", ""))

    @property
    def slots(self) -> tuple[str, ...]:
        """Model slots that it calls."""
        return tuple(dict.fromkeys(("root", *self.sub_models, *self.child_models)))

    @property
    def history(self) -> tuple[str, ...]:
        """Roles of the protocol's turns: see `methods.history_of`."""
        return tuple(getattr(self.protocol, "history", ("system", "user", "assistant", "user")))

    @property
    def prompt_id(self) -> str:
        """Name and hash of the protocol's prompt."""
        return self.protocol.prompt_id

    @property
    def compaction(self) -> Compaction:
        """The prompts of a compaction."""
        return Compaction(**sections(load_prompt("rlm/compaction").text))

    async def solve(self, sample: Sample, session: Session) -> Answer:
        """Run one trajectory. Parser modes and other counts become its notes."""
        session.shows_failures = self.on_subcall_failure == "show"
        session.keeps_raw = bool(getattr(self.protocol, "raw_replies", False))
        most = self.max_concurrent_sub_calls
        tree = RolloutState(self, session, gate=asyncio.Semaphore(most) if most else None)
        context = context_value(sample.context, self.context_type)
        key = sample.context.hash if isinstance(context, str) else None
        try:
            return await Loop(tree, context, sample.question).run(key)
        finally:
            for name, count in tree.notes.items():
                if count:
                    session.note(name, count)


def context_value(context: Context, context_type: str) -> Any:
    """The variable `context`: a str, or a list of documents."""
    value = context.value()
    if context_type == "text":
        return canonical_text(value)
    if isinstance(value, tuple):
        return list(value)
    return [value] if context_type == "documents" else value
