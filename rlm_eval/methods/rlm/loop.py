"""The loop of a Recursive Language Model: call the root, run the blocks, show the output, repeat.

One `Loop` is one root or one child over its own context and REPL. The protocol provides the
messages, the session meters usage; this module defines the sequence. Follows arXiv:2512.24601,
algorithm 1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

from rlm_eval.core.errors import LimitReached, ReplCrash, ReplUnavailable
from rlm_eval.core.types import Answer, Call, Message, Outcome, Role
from rlm_eval.methods.rlm.official_calls import OfficialCalls, context_lengths
from rlm_eval.methods.rlm.parsing import Parsed, Tag
from rlm_eval.methods.rlm.protocol import (
    ExecutedBlock,
    OutputClip,
    PromptVars,
    head_of,
    lengths_of,
)
from rlm_eval.methods.rlm.subcalls import CallSite, RolloutState, SubCalls
from rlm_eval.methods.steps import step_of
from rlm_eval.repl import Repl, ReplCallError, ReplValueError, Value, clip

_LONG_CHARS = 8_000
"""A reply with more characters than this is parsed in a thread."""
_NO_ANSWERS = {
    "NoneType",
    "_SpecialForm",  # `Final` of the module typing, as `from typing import *` binds it
    "module",
    "function",
    "builtin_function_or_method",
    "type",
}
"""Types of values that are no answer: nothing, imported objects, functions and classes."""


class Loop:
    """See the module's docstring."""

    def __init__(
        self,
        tree: RolloutState,
        context: Any,
        question: str | None,
        *,
        depth: int = 0,
        prefix: str = "",
        parent: int | None = None,
        slot: str = "root",
    ) -> None:
        """`prefix` is the position of the call that started this loop; `slot` its model."""
        config = tree.config
        is_official_child = depth > 0 and config.protocol.one_argument_children
        kind, lengths = (context_lengths if is_official_child else lengths_of)(context)
        turns = config.max_turns if depth == 0 else config.child_max_turns or config.max_turns
        self.tree, self.context, self.slot = tree, context, slot
        self.prefix, self.parent = prefix, parent
        head = head_of(context)
        self.view = PromptVars(question, kind, lengths, depth, config.depth, turns, head)
        self.words = config.protocol
        self.shown = OutputClip(config.output_chars, config.output_side, question)
        self.subcalls = self._sub_calls(CallSite(prefix, 0, parent))
        self.history: list[Message] = []
        self.names: set[str] = set()

    def _sub_calls(self, place: CallSite) -> SubCalls:
        depth, official = self.view.depth, self.words.one_argument_children
        given = (self.tree, depth, place, self._run_child, official)
        texts = getattr(self.words, "call_texts", None)
        if texts is None:
            return SubCalls(*given)
        return OfficialCalls(*given, texts, bool(getattr(self.words, "has_children", True)))

    async def run(self, key: str | None = None) -> Answer:
        """Run turns until an answer, a limit or the last turn. `key`: context hash, if known.

        Propagates exceptions of the session and the REPL; `LimitReached` where a limit ends the
        loop.
        """
        functions = self.subcalls.functions()
        self.history = self.words.opening(self.view)
        # The first request needs no REPL: send it while the worker starts.
        first = asyncio.create_task(self._request(0))
        try:
            async with self.tree.session.open_repl(
                self.context,
                functions,
                answer_dict=self.words.answer_dict,
                key=key,
                **self._repl_options(),
            ) as repl:
                if self.words.setup:
                    await repl.run(self.words.setup)
                for turn in range(self.view.max_turns):
                    await self._compact(turn)
                    asked = first if turn == 0 else self._request(turn)
                    answer = await self._turn(repl, turn, asked)
                    if answer is not None:
                        return answer
                    if self.tree.stop is not None:
                        return await self._stopped(repl, turn + 1, self.tree.stop)
                if self.tree.config.turns_out == "ask":
                    return await self._last(repl, self.view.max_turns, Outcome.LIMIT_TURNS)
        except ReplUnavailable:
            await asyncio.wait([first])  # billed: the journal keeps it for the next attempt
            raise
        finally:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
        partial = self.tree.session.partial
        text = partial.text if partial and self.view.depth == 0 else None
        return Answer(text, provenance="fallback", outcome=Outcome.LIMIT_TURNS)

    def _repl_options(self) -> dict[str, Any]:
        """The dialect's options; a scaffold also gets what `rlm_query` starts at this depth."""
        options = dict(self.words.repl_options)
        if "scaffold" in options and self.view.max_depth > 1:
            children = "loops" if self.view.recursion else "calls"
            options["scaffold"] = {**options["scaffold"], "children": children}
        return options

    async def _ask(
        self,
        turn: int,
        messages: list[Message],
        part: str = "",
        role: Role | None = None,
        *,
        closing: bool = False,
    ) -> Call:
        if role is None:
            role = Role.CHILD_ROOT if self.view.depth else Role.ROOT
        return await self.tree.session.call(
            messages,
            role=role,
            position=f"{self.prefix}t{turn}{part}",
            model=self.slot,
            depth=self.view.depth,
            turn=turn,
            parent=self.parent,
            closing=closing,
        )

    async def _request(self, turn: int) -> Call:
        """Make the root's (or child root's) request of a turn."""
        prompt = self.words.turn_prompt(self.view, turn)
        messages = self.history + ([prompt] if prompt else [])
        if self.words.keeps_turn_prompt:
            self.history = messages
        return await self._ask(turn, messages)

    async def _turn(self, repl: Repl, turn: int, asked: Awaitable[Call]) -> Answer | None:
        try:
            call = await asked
        except LimitReached as error:
            return await self._stopped(repl, turn, error)
        parsed = await self._parse(call)
        ran: list[ExecutedBlock] = []
        found: Answer | None = None
        for number, code in enumerate(parsed.blocks):
            ran.append(ExecutedBlock(code, await self._run(repl, code, turn, number, call)))
            if (kind := ran[-1].result.error or "").startswith("exit:"):
                return self._ended(kind.removeprefix("exit:"), call)
            found = found or await self._look(repl, ran[-1], call)
            if found and not self.words.runs_all_blocks:
                break
        if found is None and parsed.tag is not None:
            found = await self._tagged(repl, parsed.tag, call)
        self._count(parsed)
        self.history = self.history + self.words.observe(call.as_sent, ran, self.shown)
        if found is None:
            await self._offer(repl, parsed, call)
            return None
        stop = self.tree.stop
        if stop is None:
            return found
        if stop.scope != "sample":
            raise stop  # the sweep's budget is spent: no outcome of this sample
        return replace(found, outcome=stop.outcome)

    async def _parse(self, call: Call) -> Parsed:
        """Parse a reply; a long one in a thread, so that the other samples go on meanwhile."""
        text, cut = call.as_sent, call.is_cut
        if len(text) <= _LONG_CHARS:
            return self.words.parse(text, cut=cut)
        return await asyncio.to_thread(self.words.parse, text, cut=cut)

    async def _run(self, repl: Repl, code: str, turn: int, number: int, call: Call) -> Any:
        """Run one block and record its step."""
        session = self.tree.session
        position = f"{self.prefix}t{turn}.b{number}"
        self.subcalls.place = CallSite(position, turn, call.id)
        result = await repl.run(code)
        self.names = set(result.variables)
        chars, side = self.shown.chars, self.shown.side
        shown = (
            clip(result.stdout, chars, side, result.stdout_chars),
            clip(result.stderr, chars, side, result.stderr_chars),
        )
        session.add_step(step_of(session, call.id, position, code, result, shown))
        if (lost := session.outage()) is not None:  # the sample is missing: spend no more on it
            raise lost
        for name, hit in (("repl_restored", result.restored), ("repl_diverged", result.diverged)):
            self.tree.notes[name] += hit
        return result

    def _ended(self, kind: str, call: Call) -> Answer:
        """Return no answer: the code raised an error that ends the official package's process.

        Raises `ReplCrash` in a child, as an error for the code that called it.
        """
        if self.view.depth:
            raise ReplCrash(f"the code raised {kind}")
        self.tree.session.note("official_process_ended_by", kind)
        return Answer(None, call=call.id, outcome=Outcome.REPL_CRASH)

    async def _look(self, repl: Repl, ran: ExecutedBlock, call: Call) -> Answer | None:
        """The answer that a block left in the namespace."""
        if ran.result.answer is not None:
            return self._answer(ran.result.answer, call)
        self.tree.notes["parser_name_restored"] += len(ran.result.replaced)
        for name in self.words.final_names:
            if self.words.answer_dict and name not in ran.result.variables:
                continue
            value = await _value(repl, name)
            if value is not None and value.type_name not in _NO_ANSWERS:
                self.tree.notes["parser_final_in_answer_mode"] += self.words.answer_dict
                return self._answer(value, call)
        return None

    def _answer(self, value: Value, call: Call) -> Answer:
        """The answer from a REPL value, with the provenance of its text."""
        text = value.text.strip()
        for other in reversed(self.tree.session.calls):
            mine = other.role is Role.SUB and other.position.startswith(f"{self.prefix}t")
            if mine and text and other.as_sent.strip() == text:
                return Answer(value.text, _plain(value), other.id, "sub_call")
        written = text and len(text) >= 2 and text in call.as_sent
        kind = "root_text" if written else "variable"
        return Answer(value.text, _plain(value), call.id, kind)

    async def _tagged(self, repl: Repl, tag: Tag, call: Call) -> Answer | None:
        """The answer of a FINAL tag; `None` where the FINAL_VAR name is unbound."""
        if tag.is_variable and getattr(self.words, "raw_replies", False):
            return await self._final_var(repl, tag.content.strip().strip("\"'"), call)
        if tag.is_variable:
            value = await _value(repl, tag.content)
            if value is None:
                self.tree.notes["parser_final_var_unknown"] += 1
                return None
            return self._answer(value, call)
        if tag.content.isidentifier() and tag.content in self.names:
            self.tree.notes["parser_final_names_variable"] += 1
        return Answer(tag.content, call=call.id)

    async def _final_var(self, repl: Repl, name: str, call: Call) -> Answer | None:
        """Look up FINAL_VAR in the reply as the releases with a scaffold do."""
        value, ends = await _value(repl, name), getattr(self.words, "final_var_ends", False)
        text = value.text.strip() if value else ""
        if value is None:
            self.tree.notes["parser_final_var_unknown"] += 1
        # The package runs this code, so a `print` defined by the model also decides.
        if (value is None and ends) or await _value(repl, "print") is not None:
            ran = await repl.run(f"print(FINAL_VAR({name!r}))")
            text = ran.stdout.strip()
            if ends and not text:  # the error text becomes the answer
                text = ran.stderr.strip()
        error = all(part in text for part in ("Variable '", "' not found", "FINAL_VAR"))
        if not ends and (not text or error):
            return None
        return self._answer(Value(text, "str", text, is_plain=True), call)

    def _count(self, parsed: Parsed) -> None:
        self.tree.notes.update(f"parser_{mode}" for mode in parsed.modes)

    async def _offer(self, repl: Repl, parsed: Parsed, call: Call) -> None:
        """Record the best answer so far, for a limit that ends the trajectory."""
        if self.view.depth:
            return
        text, provenance = "" if parsed.blocks else call.reply.strip(), "fallback"
        if self.words.answer_dict and parsed.blocks:
            draft = await _value(repl, "answer")
            value = draft.value if draft and isinstance(draft.value, dict) else {}
            text, provenance = str(value.get("content", "")), "variable"
        if text:
            self.tree.session.offer(Answer(text, call=call.id, provenance=provenance))

    async def _stopped(self, repl: Repl, turn: int, stop: LimitReached) -> Answer:
        """Handle a limit hit by this loop's own request or inside its block."""
        asks = self.tree.config.on_limit == "last_turn" and self.view.depth == 0
        if asks and stop.scope == "sample" and not stop.outcome.is_missing:
            return await self._last(repl, turn, stop.outcome, closing=True)
        raise stop

    async def _last(
        self, repl: Repl, turn: int, outcome: Outcome, *, closing: bool = False
    ) -> Answer:
        """Make one more request for the answer only; blocks in its reply do not run."""
        messages = [*self.history, self.words.last_request]
        call = await self._ask(turn, messages, closing=closing)
        found = None
        if getattr(self.words, "reads_last_tag", False):
            parsed = await self._parse(call)
            if parsed.tag is not None:
                self._count(parsed)
                found = await self._tagged(repl, parsed.tag, call)
        if found is not None:
            return replace(found, outcome=outcome)
        return Answer(call.as_sent, call=call.id, provenance="fallback", outcome=outcome)

    async def _compact(self, turn: int) -> None:
        """Replace a long history by the model's summary of it (our wording, recorded)."""
        config = self.tree.config
        limit = config.compact_chars
        if limit is None or sum(len(m.content) for m in self.history) < limit or turn == 0:
            return
        request = Message("user", config.compaction.request)
        call = await self._ask(turn, [*self.history, request], ".summary", Role.SUMMARY)
        self.tree.notes["compactions"] += 1
        self.history = [
            *self.words.opening(self.view),
            Message("assistant", call.reply),
            Message("user", config.compaction.resume),
        ]

    async def _run_child(
        self, place: CallSite, position: str, context: Any, question: str | None, slot: str
    ) -> str:
        """Run a child loop; return its answer as text, or raise an error in the calling code."""
        child = Loop(
            self.tree,
            context,
            question,
            depth=self.view.depth + 1,
            prefix=f"{position}.",
            parent=place.call,
            slot=slot,
        )
        answer = await child.run()
        if answer.text is None:
            raise ReplCallError(f"no answer within {child.view.max_turns} turns", "NoAnswer")
        return answer.text


async def _value(repl: Repl, name: str) -> Value | None:
    try:
        return await repl.get(name)
    except ReplValueError:
        return None  # its own __str__ failed: there is no text to use as an answer


def _plain(value: Value) -> Any:
    """The object for scorers that accept objects; a text is its own object."""
    return value.value if value.is_plain and not isinstance(value.value, str) else None
