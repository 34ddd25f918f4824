"""Fixed programs: the RLM's machinery with a hand-written program in place of the root model.

They measure what the root model's own strategy adds: the same REPL, sub-calls and metering, no root
calls. A program is a Markdown file: `=== code` runs in the REPL, which has `context`, `question`,
the other sections under `prompts`, the settings under `settings` and the `answer` dict. A printed
line `note: NAME` is counted in the records as `note_NAME`. `map` is the chunk-then-reduce strategy
that arXiv:2512.24601 describes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.core.types import Answer, Sample
from rlm_eval.methods.prompts import PromptText, load_prompt
from rlm_eval.methods.rlm.method import RLM, context_value
from rlm_eval.methods.rlm.subcalls import CallSite, RolloutState, SubCalls, no_child
from rlm_eval.methods.steps import producer, step_of
from rlm_eval.methods.text import sections
from rlm_eval.protocols import Session

_NOTE = re.compile(r"^note: (\w+)$", re.MULTILINE)


class ProgramError(RlmEvalError):
    """A fixed program raised: a bug in the program or its settings, not a model's error."""


@dataclass(frozen=True)
class Program:
    """One program, run once per sample. See the module's docstring."""

    runs_code: ClassVar[bool] = True
    plans_its_calls: ClassVar[bool] = True  # a prompt that the server cut spoils the answer
    VERSION: ClassVar[int] = 2  # 2: a caught provider failure also makes the sample missing

    program: str = "map"
    """Shipped program: a file of `prompts/program/`."""
    program_file: str | None = None
    """The user's own program file in its place."""
    wording: str | None = None
    """Shipped prompt (`program/map_brief`) whose sections replace the program's own."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Numbers and texts for the program; unknown ones have no effect (see the program's file)."""
    sub_model: str = "sub"
    """Model slot of the sub-calls."""
    max_concurrent_sub_calls: int | None = None
    """Maximum concurrent sub-calls; `None` = the endpoint's own limit."""
    label: str = ""
    """Name in tables; empty = derived."""

    def __post_init__(self) -> None:
        if "code" not in self._parts:
            raise ConfigError(f"program {self.prompt_id}: no section === code")
        if self._words.keys() - self._own.keys():
            raise ConfigError(f"wording={self.wording}: is for another program than {self.program}")

    @property
    def name(self) -> str:
        """`program_<name>`."""
        return self.label or f"program_{self.program}"

    @property
    def slots(self) -> tuple[str, ...]:
        """Model slots that it calls."""
        return (self.sub_model,)

    @property
    def prompt_id(self) -> str:
        """Name and hash of the program's file, or of its wording and the file together."""
        own = load_prompt(f"program/{self.program}", self.program_file)
        if self.wording is None:
            return own.id
        return PromptText(self.wording, f"{load_prompt(self.wording).text}\n{own.text}").id

    @property
    def _own(self) -> Mapping[str, str]:
        return sections(load_prompt(f"program/{self.program}", self.program_file).text)

    @property
    def _words(self) -> Mapping[str, str]:
        return sections(load_prompt(self.wording).text) if self.wording else {}

    @property
    def _parts(self) -> dict[str, str]:
        return {**self._own, **self._words}

    async def solve(self, sample: Sample, session: Session) -> Answer:
        """Run the program. Raises `ProgramError` where it raises; propagates session errors."""
        most = self.max_concurrent_sub_calls
        config = RLM(sub_models=[self.sub_model], max_concurrent_sub_calls=most)
        tree = RolloutState(config, session, gate=asyncio.Semaphore(most) if most else None)
        parts = self._parts
        code = parts.pop("code")
        calls = SubCalls(tree, 0, CallSite("t0.b0", 0, None), no_child, one_argument=False)
        context = context_value(sample.context, "as_given")
        variables = {"question": sample.question, "prompts": parts, "settings": self.settings}
        async with session.open_repl(
            context, calls.functions(), variables=variables, answer_dict=True
        ) as repl:
            result = await repl.run(code)
        # No model wrote the block, so its step refers to the first call that it made.
        first = session.calls[0].id if session.calls else 0
        shown = (result.stdout, result.stderr)
        for name in _NOTE.findall(result.stdout):
            session.note(name, True)
        session.add_step(step_of(session, first, "t0.b0", code, result, shown))
        if tree.stop is not None:
            raise tree.stop
        if result.error == "SubCallError" and tree.failed is not None:
            raise tree.failed
        if result.error is not None:
            raise ProgramError(f"{self.prompt_id}: {result.stderr.strip()[-500:]}")
        value = result.answer
        made = producer(value.text if value else "", session.calls)
        call = made.id if made else None
        if value is None:
            return Answer(None, call=call, provenance="program")
        plain = value.value if value.is_plain and not isinstance(value.value, str) else None
        return Answer(value.text, plain, call, "program")
