"""CodeAct: the model reasons in text, acts in Python, and answers with a line `ANSWER: ...`.

CodeAct (arXiv:2402.01030) as the baseline of the RLM paper (arXiv:2512.24601): the context is in
the prompt and not in the interpreter. Its variants are settings: `search` adds a function
`SEARCH(query)` over the chunks (the context may then be omitted from the prompt where it does not
fit), `sub_calls` adds `llm_query`. The prompts are ours; the paper does not print that of the
variant with sub-calls. The interpreter is the RLM's own sandboxed REPL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.core.spans import Span, share_within
from rlm_eval.core.types import Answer, Call, Message, Role, Sample
from rlm_eval.methods.agent_text import as_asked, directive, last_answer, load_parts
from rlm_eval.methods.context_window import refuse_overflow
from rlm_eval.methods.prompts import fill
from rlm_eval.methods.retrieval import Chunks, Passages
from rlm_eval.methods.rlm.method import RLM
from rlm_eval.methods.rlm.subcalls import CallSite, RolloutState, SubCalls, no_child
from rlm_eval.methods.steps import step_of
from rlm_eval.protocols import Model, Session
from rlm_eval.repl import HostFunction, Repl, ReplCallError, clip

SIDES = ("head", "tail", "middle")
_PARTS = (
    "system",
    "search",
    "sub_calls",
    "task",
    "task_search",
    "output",
    "early",
    "format",
    "last",
)
_BLOCK = re.compile(
    r"^```(?:python|py)[ \t]*\r?\n(.*?)^```", re.DOTALL | re.MULTILINE | re.IGNORECASE
)


@dataclass(frozen=True)
class CodeAct(Chunks):
    """Reason, run Python, answer. See the module's docstring."""

    VERSION: ClassVar[int] = 4
    """Defects of earlier versions. 1: the error of a missing package did not name `repl.packages`;
    a provider failure in a sub-call was scored. 2: text without spaces between words was not
    searched. 3: vowel signs, as of Hindi, split words into consonants."""
    runs_code: ClassVar[bool] = True
    history: ClassVar[tuple[str, ...]] = ("system", "user", "assistant", "user", "user")

    context_in_prompt: bool = True
    """If false, the context is reachable only through `search`."""
    search: bool = False
    """Provide `SEARCH(query)` in the REPL."""
    sub_calls: bool = False
    """Provide `llm_query(prompt)` and `llm_query_batched(prompts)` in the REPL."""
    search_k: int = 5
    """Chunks per search."""
    max_turns: int = 20
    """Maximum replies of the model before the final request for an answer."""
    format_patience: int = 3
    """Consecutive replies with neither code nor answer, after which the last one is the answer."""
    output_chars: int = 20_000
    """Maximum characters of a block's stdout, and of its stderr, in the observation."""
    truncate_side: str = "head"
    """Part of a longer output that is kept: `head`, `tail` or `middle`."""
    prompt: str = "codeact/plain"
    """Shipped prompt, in named parts."""
    prompt_file: str | None = None
    """The user's own prompt; a file without parts is the system prompt, as the paper's."""
    label: str = ""
    """Name in tables; empty = derived."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.context_in_prompt or self.search):
            raise ValueError("context_in_prompt=false needs search=true: nothing else reads it")
        if min(self.search_k, self.max_turns, self.output_chars, self.format_patience) < 1:
            raise ValueError("search_k, max_turns, output_chars, format_patience: 1 or more")
        if self.truncate_side not in SIDES:
            raise ValueError(f"truncate_side={self.truncate_side}: one of {', '.join(SIDES)}")
        load_parts(self.prompt, self.prompt_file, _PARTS, "system")

    @property
    def name(self) -> str:
        """`codeact`, `codeact_bm25`, `codeact_sub`."""
        derived = "codeact" + "_bm25" * self.search + "_sub" * self.sub_calls
        return self.label or derived

    @property
    def slots(self) -> tuple[str, ...]:
        """Model slots that it calls."""
        return ("root", "sub") if self.sub_calls else ("root",)

    @property
    def prompt_id(self) -> str:
        """Name and hash of the prompt."""
        return load_parts(self.prompt, self.prompt_file, _PARTS, "system")[0].id

    def check_fit(self, sample: Sample, models: Mapping[str, Model]) -> None:
        """Raise `ConfigError` where it searches documents and the context is one text."""
        if self.search:
            super().check_fit(sample, models)

    async def solve(self, sample: Sample, session: Session) -> Answer:
        """Make a root call per turn, and after the last turn one more that requests the answer."""
        _, parts = load_parts(self.prompt, self.prompt_file, _PARTS, "system")
        passages = await self.passages(sample) if self.search else None
        tools = _Tools(self, sample, session, passages)
        async with session.open_repl(None, tools.functions()) as repl:
            return await self._talk(sample, session, parts, tools, repl)

    async def _talk(
        self,
        sample: Sample,
        session: Session,
        parts: dict[str, str],
        tools: _Tools,
        repl: Repl,
    ) -> Answer:
        messages = self._opening(sample, parts)
        await refuse_overflow(sample, session, "root", messages)
        odd = early = in_a_row = 0
        for turn in range(self.max_turns):
            session.note("format_errors", odd)
            session.note("early_answers", early)
            call = await session.call(messages, role=Role.ROOT, position=f"t{turn}", turn=turn)
            blocks = [match.group(1).strip("\r\n") for match in _BLOCK.finditer(call.reply)]
            answer = directive(_BLOCK.sub("", call.reply), ("ANSWER",))
            if answer is not None and not blocks:
                return Answer(text=as_asked(answer[1], sample.question), call=call.id)
            in_a_row = 0 if blocks else in_a_row + 1
            odd += not blocks
            session.note("format_errors", odd)
            if in_a_row == self.format_patience:
                return Answer(text=call.reply, call=call.id, provenance="fallback")
            if blocks:
                shown = [
                    await self._run(session, repl, tools, call, i, b) for i, b in enumerate(blocks)
                ]
                observed = fill(parts["output"], output="\n\n".join(shown))
                if answer is not None:
                    # Written before the output was visible: a guess, not yet an answer.
                    early += 1
                    observed += "\n\n" + parts["early"]
            else:
                observed = parts["format"]
            messages += [Message("assistant", call.reply), Message("user", observed)]
        return await last_answer(session, messages, sample.question, parts["last"], self.max_turns)

    def _opening(self, sample: Sample, parts: dict[str, str]) -> list[Message]:
        tools = "\n".join(
            fill(parts[part], k=str(self.search_k))
            for part, on in (("search", self.search), ("sub_calls", self.sub_calls))
            if on
        )
        task = parts["task" if self.context_in_prompt else "task_search"]
        text = sample.context.text() if self.context_in_prompt else ""
        return [
            Message("system", fill(parts["system"], tools=tools).strip()),
            Message("user", fill(task, context=text, question=sample.question)),
        ]

    async def _run(
        self, session: Session, repl: Repl, tools: _Tools, call: Call, number: int, code: str
    ) -> str:
        """Run one block, record it as a step, and return the observation for the model.

        Raises `LimitReached` where a call in the block hit a limit of the sample.
        """
        position = f"t{call.turn}.b{number}"
        tools.calls.place = CallSite(position, call.turn, call.id)
        result = await repl.run(code)
        stdout = clip(result.stdout, self.output_chars, self.truncate_side, result.stdout_chars)
        stderr = clip(result.stderr, self.output_chars, "tail", result.stderr_chars)
        session.add_step(step_of(session, call.id, position, code, result, (stdout, stderr)))
        if (lost := session.outage()) is not None:  # the sample is missing: spend no more on it
            raise lost
        if tools.calls.tree.stop is not None:
            raise tools.calls.tree.stop
        limit = f"[{result.error}]" if result.error and result.error.startswith("limit:") else ""
        shown = [part.rstrip() for part in (stdout, stderr, limit) if part.strip()]
        return "\n".join(shown) or "(no output)"


class _Tools:
    """The host functions of one sample."""

    def __init__(
        self, method: CodeAct, sample: Sample, session: Session, passages: Passages | None
    ) -> None:
        self._method = method
        self._sample = sample
        self._session = session
        self._passages = passages
        tree = RolloutState(RLM(sub_models=["sub"]), session)
        self.calls = SubCalls(tree, 0, CallSite("", 0, None), no_child, one_argument=False)
        """Number of sub-calls of the running block."""
        self._found: list[Span] = []
        self._searches = self._empty = 0

    def functions(self) -> dict[str, HostFunction]:
        """Functions exposed in the REPL."""
        functions: dict[str, HostFunction] = {}
        if self._method.search:
            functions["SEARCH"] = self._search
        if self._method.sub_calls:
            functions["llm_query"] = self.calls.llm_query
            functions["llm_query_batched"] = self.calls.llm_query_batched
        return functions

    async def _search(self, query: str) -> list[str]:
        assert self._passages is not None
        if not isinstance(query, str):
            raise ReplCallError("SEARCH takes one string", "TypeError")
        hits = self._passages.search(query, self._method.search_k)
        self._found += [self._passages.spans[hit] for hit in hits]
        self._searches += 1
        self._empty += not hits
        self._session.note("searches", self._searches)
        self._session.note("empty_searches", self._empty)
        recall = share_within(self._sample.evidence, self._found)
        self._session.note("retrieval_recall", recall)
        return [self._passages.chunk(hit) for hit in hits]
