"""`own`: our dialect. A short prompt, a worked example as chat turns, an append-only history.

The example's task, wording and answer type differ from those of all shipped tasks. `rlm/search` was
selected on a small open model (`docs/rlm.md` describes how); `rlm/survey`, a second wording, was
tested on none: their scores are not those of the paper's prompt. The `answer` dict follows rlms
0.1.3, FINAL tags arXiv:2512.24601.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import RENAMED_PROMPTS, Message
from rlm_eval.methods.prompts import fill, load_prompt
from rlm_eval.methods.rlm import hints
from rlm_eval.methods.rlm.parsing import Blocks, Parsed, parse
from rlm_eval.methods.rlm.protocol import ExecutedBlock, OutputClip, PromptVars
from rlm_eval.methods.text import sections
from rlm_eval.repl import clip

ANSWER_MODES = ("answer_dict", "final_variable", "final_tags")
_OPENINGS = {"opening", "opening_no_question", "opening_parts", "opening_parts_no_question"}
_NEEDED = {"system", *_OPENINGS, "output", "nothing", "no_block", "last"}
_REMARKS = {
    "rlm/own": "The prompt of rlm_own was selected on a 0.5B model and needle tasks, with other "
    "seeds.",
    "rlm/read": "The prompt rlm/read was written for labelled lines and chosen on a 1.5B model, "
    "with other seeds: its three worked examples send every line to a sub-model. It is not the "
    "paper's.",
    "rlm/read_2": "The prompt rlm/read_2 is rlm/read with the question before the line; it was "
    "chosen on a 1.5B model and true and false statements, with other seeds. It is not the "
    "paper's.",
    "rlm/general": "The prompt rlm/general shows a search and a reading of every line; it was "
    "written for needles and labelled lines, with other seeds. It is not the paper's.",
}
"""Required remark on scores with a shipped prompt; `rlm/survey` was not selected on data."""
_TEXTS = {"list": "context", "dict": "context.values()"}
"""Code that reads a context in parts; a context of one text has other words and code."""


@dataclass(frozen=True)
class Own:
    """See the module's docstring."""

    answer_mode: str = "answer_dict"
    """`answer_dict`, `final_variable` (the loop ends when `Final` is set) or `final_tags`."""
    example: bool = True
    """Include the worked example."""
    prompt: str = "rlm/own"
    """Shipped prompt file. `rlm/own` is the first release's name of `rlm/search`."""
    prompt_file: str | None = None
    """The user's own prompt file in its place, with the same sections."""
    addition: str = ""
    """Text appended to the system prompt, for example for one model."""
    echo: bool = False
    """Print the value of a block's last expression, as an interactive interpreter does."""

    VERSION: ClassVar[int] = 5  # 3: more block forms, names restored, hints; 4, 5: yet more
    history: ClassVar[tuple[str, ...]] = ("system", "user", "assistant", "user", "user")
    keeps_turn_prompt: ClassVar[bool] = True
    runs_all_blocks: ClassVar[bool] = False
    one_argument_children: ClassVar[bool] = False
    setup: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for first, name in RENAMED_PROMPTS.items():
            if self.prompt == name:  # aliases of a prompt share one cell identity
                object.__setattr__(self, "prompt", first)
        if self.answer_mode not in ANSWER_MODES:
            raise ValueError(f"answer_mode={self.answer_mode}: one of {', '.join(ANSWER_MODES)}")
        missing = _NEEDED - set(self._sections)
        if missing:
            raise ValueError(f"prompt {self.prompt_id}: no section {', '.join(sorted(missing))}")

    @property
    def name(self) -> str:
        """`own`, with the answer mode where it is not the default one."""
        return "own" if self.answer_mode == "answer_dict" else f"own_{self.answer_mode}"

    @property
    def prompt_id(self) -> str:
        """Name and hash of the prompt file."""
        return load_prompt(self.prompt, self.prompt_file).id

    @property
    def remark(self) -> str:
        """Remark on how the selection of a shipped prompt affects its scores."""
        return "" if self.prompt_file else _REMARKS.get(self.prompt, "")

    @property
    def answer_dict(self) -> bool:
        """See `RlmProtocol.answer_dict`."""
        return self.answer_mode == "answer_dict"

    @property
    def repl_options(self) -> Mapping[str, Any]:
        """See `RlmProtocol.repl_options`."""
        return {"keep_names": True} | ({"echo": True} if self.echo else {})

    @property
    def final_names(self) -> tuple[str, ...]:
        """`Final`: in its mode, and where a model sets it in addition to the `answer` dict."""
        return () if self.answer_mode == "final_tags" else ("Final",)

    @property
    def reads_last_tag(self) -> bool:
        """True in the mode whose prompt asks for tags: see `RlmProtocol`."""
        return self.answer_mode == "final_tags"

    @property
    def mode_version(self) -> int:
        """Its own in the mode `final_tags`.

        6: a tag is also read in the reply after the last turn. 7: a tag ends at its own bracket,
        and every form of fence that is code for the loop is code here too.
        """
        return 7 if self.reads_last_tag else self.VERSION

    @property
    def _sections(self) -> Mapping[str, str]:
        return sections(load_prompt(self.prompt, self.prompt_file).text)

    def check(self, max_depth: int) -> None:
        """Check that the user's prompt file has the sections for sub-calls."""
        have = self._sections
        for depth, name in ((1, "sub_call_lines"), (2, "recursion_lines")):
            if max_depth >= depth and name not in have:
                raise ConfigError(f"method.depth={max_depth}: {self.prompt_file} has no === {name}")

    def opening(self, view: PromptVars) -> list[Message]:
        """System prompt, the worked examples as turns, the question.

        An example whose code calls a model is omitted where the view has no sub-calls.
        """
        part = self._sections
        lines = [part["sub_call_lines"]] if view.sub_calls else []
        lines += [part["recursion_lines"]] if view.recursion else []
        system = fill(
            part["system"],
            context_type=view.context_type,
            sub_call_lines="\n".join(lines),
            finish_line=part[f"finish_{self.answer_mode}"],
        )
        system = "\n".join(line for line in [*system.split("\n"), self.addition] if line)
        messages = [Message("system", system)]
        # An example whose code fails on this context would teach the model to fail.
        texts = _TEXTS.get(view.context_type)
        parts = "" if texts is None else "_parts"
        facts = {
            "context_type": view.context_type,
            "texts": texts or "",
            "count": str(len(view.lengths)),
            "chars": str(sum(view.lengths)),
            "question": view.question or "",
            "head": view.head,
            "sub_call_cue": part.get("sub_call_cue", "") if view.sub_calls else "",
        }
        if self.example:
            messages += self._worked_examples(parts, facts, sub_calls=view.sub_calls)
        kind = f"opening{parts}" if view.question else f"opening{parts}_no_question"
        return [*messages, Message("user", fill(part[kind], **facts).rstrip())]

    def _worked_examples(
        self, parts: str, facts: Mapping[str, str], *, sub_calls: bool
    ) -> list[Message]:
        """Four messages an example: opening, code, output, finish."""
        part = self._sections
        messages = []
        for name in example_names(part):
            code = part[f"{name}_code{parts}"]
            if "llm_query" in code and not sub_calls:
                continue
            asked = part.get(f"{name}_question", "")
            known = {**facts, "example_question": asked, "question": asked or facts["question"]}
            opening = part.get(f"{name}_opening{parts}", part[f"{name}_opening"])
            output = part[f"{name}_output"]
            if asked:  # the prompt's own frame, so that the example looks like a turn
                output = fill(part["output"], output=output, question=asked)
            messages += [
                Message("user", fill(opening, **known).rstrip()),
                Message("assistant", fill(code, **facts)),
                Message("user", output),
                Message("assistant", part[f"{name}_finish_{self.answer_mode}"]),
            ]
        return messages

    def turn_prompt(self, view: PromptVars, turn: int) -> Message | None:  # noqa: ARG002 the role's form
        """None: the output message already requests the next step."""
        return None

    def parse(self, reply: str, *, cut: bool) -> Parsed:
        """`repl` and `python` fences; FINAL tags in that mode, outside code only."""
        tags = self.answer_mode == "final_tags"
        return parse(reply, blocks=Blocks.LENIENT, tags=tags, cut=cut, outside_code=True)

    def observe(self, reply: str, ran: Sequence[ExecutedBlock], shown: OutputClip) -> list[Message]:
        """The reply, then one message with the output of its blocks."""
        messages = [Message("assistant", reply)]
        words = hints.Words(self._sections, self._searches_first)
        if not ran:
            hint = words.of_reply(reply) if self.answer_dict else ""
            text = "\n".join(filter(None, (self._sections["no_block"], hint)))
            return [*messages, Message("user", text)]
        outputs = []
        failed = ran[-1].result.error is not None and "error" in self._sections
        for block in ran:
            said = words.of_block(block, answer_mode=self.answer_mode)
            printed = _output(block, shown)
            nothing = [] if printed or said else [words.of_nothing(block.code)]
            outputs.append("\n".join(filter(None, (printed, *said, *nothing))))
        frame = self._sections["error" if failed else "output"]
        facts = {"output": "\n".join(outputs), "question": shown.question or ""}
        return [*messages, Message("user", fill(frame, **facts))]

    @property
    def _searches_first(self) -> bool:
        """True for the shipped prompt whose text for an empty output mentions a search."""
        return self.prompt == "rlm/own" and not self.prompt_file

    @property
    def last_request(self) -> Message:
        """The request for the bare answer."""
        return Message("user", self._sections["last"])


def example_names(part: Mapping[str, str]) -> list[str]:
    """Names of a prompt's worked examples in their order: `example`, or `example_1`, ..."""
    numbers = (re.fullmatch(r"example_(\d+)_code", name) for name in part)
    found = sorted(int(match[1]) for match in numbers if match)
    return [f"example_{number}" for number in found] or ["example"]


def _output(block: ExecutedBlock, shown: OutputClip) -> str:
    result = block.result
    parts = []
    for text, chars in ((result.stdout, result.stdout_chars), (result.stderr, result.stderr_chars)):
        bare = text.rstrip("\n")
        total = max(len(bare), chars - (len(text) - len(bare)))
        parts += [clip(bare, shown.chars, shown.side, total)] if bare else []
    return "\n".join(parts)
