"""Sub-calls under the rules of the official package (github.com/alexzhang13/rlm, `lm_handler.py`).

Differences from ours: an unknown model name is ignored; a prompt may be a list of chat messages; an
empty prompt, or one of another type, returns an error text without a call; a batch given as a
string is one prompt per character. With a depth of 2 or more, `rlm_query` follows `rlm.py` of the
package, also in the last child, where it makes a plain call; `repl.scaffold` checks its prompts.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlm_eval.core.types import Message
from rlm_eval.methods.rlm.subcalls import SubCalls
from rlm_eval.repl import HostFunction, ReplCallError


@dataclass
class OfficialCalls(SubCalls):
    """See the module's docstring."""

    texts: Mapping[str, str] = field(default_factory=dict)
    """The package's texts: `no_prompt`, `prompt_type`, `in_batch`; `in_batch` is absent for
    releases in which one bad prompt fails its whole batch."""
    has_children: bool = True
    """False for 0.1.0, which has no `rlm_query`."""

    def functions(self) -> dict[str, HostFunction]:
        """Host functions by their names in the REPL."""
        functions = super().functions()
        if self.has_children:
            return functions
        return {name: f for name, f in functions.items() if name.startswith("llm")}

    async def llm_query(self, prompt: Any, model: Any = None) -> str:
        """Make one plain call."""
        ask = self._plain(prompt, model) if prompt else _failing(self.texts["no_prompt"])
        return (await self._each([ask]))[0]

    async def llm_query_batched(self, prompts: Any, model: Any = None) -> Any:
        """Make plain calls concurrently. An invalid batch gets one text, as in the package."""
        if not isinstance(prompts, str | list | dict):
            return f"Error: {self.texts['no_prompt']}"
        each, first = list(prompts), self.texts.get("in_batch")
        bad = next((self._wrong(p) for p in each if self._wrong(p)), None)
        if bad and first is None:
            return await self._each([_failing(bad) for _ in each], batch=True)
        words = first or "{content}"
        asks = [
            _failing(words.replace("{content}", wrong))
            if (wrong := self._wrong(prompt))
            else self._plain(prompt, model)
            for prompt in each
        ]
        return await self._each(asks, batch=True)

    async def rlm_query_official(self, prompt: Any, model: Any = None) -> str:
        """Run a child loop over the whole prompt; at the depth limit, make a plain call."""
        if self.tree.config.depth > 1:
            return (await self._each([self._child(prompt, None, model)]))[0]
        self.tree.notes["rlm_query_fallbacks"] += 1
        return await self.llm_query(prompt, model)

    async def rlm_query_batched_official(self, prompts: Any, model: Any = None) -> Any:
        """Run child loops concurrently; at the depth limit, plain calls."""
        if self.tree.config.depth == 1:
            several = isinstance(prompts, str | list | dict)
            self.tree.notes["rlm_query_fallbacks"] += len(prompts) if several else 0
            return await self.llm_query_batched(prompts, model)
        if not isinstance(prompts, str | list | dict):
            return f"Error: {self.texts['no_prompt']}"
        asks = [self._child(prompt, None, model) for prompt in list(prompts)]
        return await self._each(asks, batch=True)

    def _wrong(self, prompt: Any) -> str:
        """Reason why a prompt cannot be sent; empty where it can."""
        chat = isinstance(prompt, list) and all(isinstance(part, dict) for part in prompt)
        if chat or isinstance(prompt, str):
            return ""
        return self.texts["prompt_type"].replace("{type(prompt)}", str(type(prompt)))

    def _plain(self, prompt: Any, model: Any) -> Callable[[], Awaitable[str]]:
        if wrong := self._wrong(prompt):
            return _failing(wrong)
        if isinstance(prompt, str):
            return super()._plain(prompt, model)
        messages = [
            Message(str(part.get("role", "user")), str(part.get("content") or ""))
            for part in prompt
        ]
        return self._sent(messages, self._slot(model, self.tree.config.sub_models, self.depth))

    def _child(self, context: Any, query: str | None, model: Any) -> Callable[[], Awaitable[str]]:
        """A child loop, at the depth limit a plain call; with the package's texts for failures."""
        is_plain = self.depth + 1 >= self.tree.config.depth
        at = "LM query failed at max depth" if is_plain else "Child RLM completion failed"
        try:
            if model:
                super()._slot(str(model), self.tree.config.child_models, self.depth)
            if is_plain:
                self.tree.notes["rlm_query_fallbacks"] += 1
                return self._plain(context, model)
            context_lengths(context)
            return super()._child(context, query, model)
        except (ReplCallError, TypeError, ValueError, AttributeError) as error:
            return _failing(f"{at} - {error}")

    def _slot(self, model: Any, by_depth: list[str], depth: int) -> str:
        """Select the slot; an unknown model name selects the default one."""
        try:
            return super()._slot(str(model) if model else None, by_depth, depth)
        except ReplCallError:
            return super()._slot(None, by_depth, depth)


def context_lengths(context: Any) -> tuple[str, tuple[int, ...]]:
    """(type, characters of each part) of a child's context, as the package counts them.

    Raises `TypeError`, `ValueError` or `AttributeError` where it cannot: then no child starts.
    """
    if isinstance(context, str):
        return "str", (len(context),)
    if isinstance(context, dict):
        parts = context.values()
        return "dict", tuple(len(p) if isinstance(p, str) else len(json.dumps(p)) for p in parts)
    first = context[0] if context else None
    if not isinstance(first, dict):
        return "list", tuple(map(len, context)) or (0,)
    if "content" in first:
        return "list", tuple(len(str(part.get("content", ""))) for part in context)
    return "list", tuple(len(json.dumps(part)) for part in context)


def _failing(message: str) -> Callable[[], Awaitable[str]]:
    """A call that fails without a request."""

    async def ask() -> str:
        raise ReplCallError(message, "error")

    return ask
