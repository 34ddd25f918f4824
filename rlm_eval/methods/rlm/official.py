"""The published dialects: `paper_v1`, `paper_v1_strict`, `official_0_1_1`, `official_latest`.

Every long text is read from the official wheels (`official_prompts.py`) or a user's file and never
stored here. Differences from the paper's own text (arXiv:2512.24601 v1, appendix D):

- `paper_v1` reads rlms 0.1.0. Its system prompt adds lines on `llm_query_batched`, `SHOW_VARS` and
  a warning about FINAL_VAR; the metadata sentence is a second message (assistant) instead of the
  end of the system prompt; braces in its examples are doubled in the prompt, as 0.1.0 sends them.
  FINAL is greedy, FINAL_VAR is looked up; for an unknown variable the package's error text is the
  answer, as in the package.
- `paper_v1_strict` reproduces the code of December 2025 (commit 08e0813) with its bugs: FINAL ends
  at its first bracket, and the answer is the parser's tuple as text; the variable is not looked up.
- `official_0_1_1` is the depth study's dialect: FINAL with `rlm_query`; metadata as a user message.
- `official_latest` is rlms 0.1.3: `answer` dict, kept `Turn i/N`, joined outputs.

The REPL's namespace and the sub-calls also follow the release (`repl.scaffold`, `official_calls`);
`paper_v1_strict` has those of 0.1.0. Reasoning that a server leaves in a reply is parsed and sent
back, as in the package. The compaction prompts and the isolation of the code are ours in all
dialects. docs/rlm.md lists the remaining differences.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Message
from rlm_eval.methods.prompts import PromptText, fill, load_prompt
from rlm_eval.methods.rlm import official_prompts
from rlm_eval.methods.rlm.parsing import Blocks, Parsed, Tag, parse
from rlm_eval.methods.rlm.protocol import ExecutedBlock, OutputClip, PromptVars
from rlm_eval.methods.text import sections
from rlm_eval.repl import BlockResult

_LATER = "The history before is your previous interactions with the REPL environment. "
_MOST_LENGTHS = 100

# With a prompt file in place of the wheel, the environment's few texts are ours.
_UNKNOWN_VARIABLE = "Error: Variable '{variable_name}' not found. Try one of {available}."
_CALL_TEXTS = {
    "no_prompt": "the prompt is empty",
    "prompt_type": "a prompt must be a str or a list of messages, not {type(prompt)}",
}


@dataclass(frozen=True)
class _Official:
    """Base class of the four dialects."""

    prompt_file: str | None = None
    """A verbatim system prompt of the user (the paper's appendix, for example) in place of the
    wheel's.

    `{context_type}`, `{context_total_length}` and `{context_lengths}` in it are filled in; where it
    has them, no metadata message follows. A file in sections (`=== system`, `=== metadata`, `===
    turn`, `=== turn_no_question`, `=== first`, `=== last`) replaces those texts too; missing
    sections come from the wheel."""
    addition: str = ""
    """Text appended to the system prompt, as a paper's addition for one model."""
    addition_file: str | None = None
    """The user's file with that text, for example the prologue that a model was trained with. The
    prompt's name ends with its hash."""
    addition_sha256: str | None = None
    """Required with `addition_file`: its hash, so that two runs use the same text."""
    addition_role: str = "system"
    """`system`: the addition ends the system prompt; `user`: it is a message after the metadata, as
    `user_prologue` of rlms 0.1.3."""

    RUNTIME: ClassVar[frozenset[str]] = frozenset(("addition_file",))  # its hash is included

    dialect: ClassVar[str]
    version: ClassVar[str]
    metadata_role: ClassVar[str] = "user"
    keeps_turn_prompt: ClassVar[bool] = False
    answer_dict: ClassVar[bool] = False
    raw_replies: ClassVar[bool] = True
    setup: ClassVar[str] = ""
    final_var_ends: ClassVar[bool] = False
    VERSION: ClassVar[int] = 3  # 2: namespace, sub-calls, reasoning of the release; 3: its files
    final_names: ClassVar[tuple[str, ...]] = ()
    runs_all_blocks: ClassVar[bool] = True
    one_argument_children: ClassVar[bool] = True
    greedy: ClassVar[bool] = True
    has_children: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.addition and self.addition_file:
            raise ValueError("addition and addition_file: give one of them")
        if (self.addition_file is None) != (self.addition_sha256 is None):
            raise ValueError("addition_file and addition_sha256: give both, or neither")
        if self.addition_role not in ("system", "user"):
            raise ValueError(f"addition_role={self.addition_role}: system or user")
        if self.addition_file is not None:
            _checked(self.addition_file, str(self.addition_sha256))

    @property
    def remark(self) -> str:
        """Remark for readers where the user's own file is in use."""
        if self.addition_file is None:
            return ""
        name = str(self.addition_sha256)[:12]
        return (
            f"The prompt holds a file of the user's own (SHA-256 {name}): "
            "what it says of the data, such as the names of categories, may not hold for these"
        )

    @property
    def name(self) -> str:
        """The dialect."""
        return self.dialect

    @property
    def prompt_id(self) -> str:
        """Name and hash of the user's file, else of the wheel's system prompt."""
        if self.prompt_file:
            own = load_prompt(self.dialect, self.prompt_file).id
        else:
            own = PromptText(f"{self.dialect}/rlms-{self.version}", self._words("system")).id
        return own if self.addition_file is None else f"{own}+{str(self.addition_sha256)[:8]}"

    @property
    def _added(self) -> str:
        if self.addition_file is None:
            return self.addition
        return _checked(self.addition_file, str(self.addition_sha256))

    def _words(self, name: str) -> str:
        """One text of the dialect: the user's, otherwise the wheel's."""
        if self.prompt_file:
            text = load_prompt(self.dialect, self.prompt_file).text
            given = sections(text) or {"system": text}
            if name in given:
                return given[name]
        return self._shipped(name)

    def _shipped(self, name: str) -> str:
        version = self.version
        match name:
            case "system":
                return official_prompts.constant(version, "RLM_SYSTEM_PROMPT")
            case "metadata":
                return official_prompts.local(version, "build_rlm_system_prompt", "metadata_prompt")
            case "turn":
                return official_prompts.constant(version, "USER_PROMPT_WITH_ROOT")
            case "turn_no_question":
                return official_prompts.constant(version, "USER_PROMPT")
            case "first":
                return official_prompts.local(version, "build_user_prompt", "safeguard")
            case _:
                return official_prompts.message(version, "_default_answer")

    def check(self, max_depth: int) -> None:
        """See `RlmProtocol.check`."""
        if max_depth == 0 and not self.prompt_file:
            raise ConfigError(
                f"method.depth=0: no release of rlms has a prompt without sub-calls for "
                f"{self.dialect}; give one as method.protocol.prompt_file=PATH, or use protocol own"
            )
        if max_depth > 1 and not (self.has_children or self.prompt_file):
            raise ConfigError(
                f"method.depth={max_depth}: the prompt of {self.dialect} does not know rlm_query; "
                "use official_0_1_1, official_latest or own, or give method.protocol.prompt_file"
            )

    @property
    def history(self) -> tuple[str, ...]:
        """Roles: metadata, a turn prompt, a reply, its block's output, the next turn prompt."""
        prologue = ("user",) if self._added and self.addition_role == "user" else ()
        return ("system", self.metadata_role, *prologue, "user", "assistant", "user", "user")

    @property
    def repl_options(self) -> Mapping[str, Any]:
        """The rules and texts of the release's REPL."""
        texts = {}
        if not self.answer_dict:
            texts["unknown_variable"] = (
                _UNKNOWN_VARIABLE
                if self.prompt_file
                else official_prompts.spoken(
                    self.version, official_prompts.LOCAL_REPL, "_final_var", "{available}"
                )
            )
        return {"scaffold": {"release": self.version, "texts": texts}}

    @property
    def call_texts(self) -> Mapping[str, str]:
        """The texts with which sub-calls reject a prompt."""
        if self.prompt_file:
            return _CALL_TEXTS
        return {
            "no_prompt": official_prompts.spoken(
                self.version, official_prompts.HANDLER, "handle", "Missing"
            ),
            "prompt_type": official_prompts.spoken(
                self.version, official_prompts.OPENAI, "completion", "type("
            ),
        }

    def opening(self, view: PromptVars) -> list[Message]:
        """System prompt and metadata."""
        system, values = self._words("system"), self._metadata_values(view)
        filled = fill(system, **values) if self.prompt_file else system
        added = self._added
        prologue = [Message("user", added)] if added and self.addition_role == "user" else []
        messages = [Message("system", f"{filled}\n\n{added}" if added and not prologue else filled)]
        if filled != system:
            return messages + prologue
        return [*messages, Message(self.metadata_role, self._metadata(view, values)), *prologue]

    def _metadata(self, view: PromptVars, values: Mapping[str, str]) -> str:  # noqa: ARG002 a subclass's
        return fill(self._words("metadata"), **values)

    def _metadata_values(self, view: PromptVars) -> dict[str, str]:
        lengths = str(list(view.lengths[:_MOST_LENGTHS]))
        if len(view.lengths) > _MOST_LENGTHS:
            lengths += f"... [{len(view.lengths) - _MOST_LENGTHS} others]"
        return {
            "context_type": view.context_type,
            "context_total_length": str(sum(view.lengths)),
            "context_lengths": lengths,
        }

    def turn_prompt(self, view: PromptVars, turn: int) -> Message:
        """The safeguard before the first turn, then the reminder."""
        if view.question:
            text = self._words("turn").replace("{root_prompt}", view.question)
        else:
            text = self._words("turn_no_question")
        return Message(
            "user", (f"{self._words('first').rstrip()}\n\n" if turn == 0 else _LATER) + text
        )

    def parse(self, reply: str, *, cut: bool) -> Parsed:
        """Parse `repl` fences, and FINAL tags at the start of any line."""
        return parse(
            reply, blocks=Blocks.REPL, tags=not self.answer_dict, greedy=self.greedy, cut=cut
        )

    def observe(self, reply: str, ran: Sequence[ExecutedBlock], shown: OutputClip) -> list[Message]:
        """One user message per block, the code repeated."""
        messages = [Message("assistant", reply)]
        for block in ran:
            output = official_output(block.result, shown)
            text = f"Code executed:\n```python\n{block.code}\n```\n\nREPL output:\n{output}"
            messages.append(Message("user", text))
        return messages

    @property
    def last_request(self) -> Message:
        """The official request, in the assistant role (some servers reject or continue that)."""
        return Message("assistant", self._words("last"))


@dataclass(frozen=True)
class PaperV1(_Official):
    """The paper's main protocol. See the module's docstring."""

    dialect: ClassVar[str] = "paper_v1"
    version: ClassVar[str] = "0.1.0"
    metadata_role: ClassVar[str] = "assistant"
    has_children: ClassVar[bool] = False
    final_var_ends: ClassVar[bool] = True


@dataclass(frozen=True)
class PaperV1Strict(PaperV1):
    """The code of December 2025 with its bugs. See the module's docstring."""

    dialect: ClassVar[str] = "paper_v1_strict"
    greedy: ClassVar[bool] = False

    def parse(self, reply: str, *, cut: bool) -> Parsed:
        """Parse the tag as the text of the tuple that this code returned."""
        parsed = super().parse(reply, cut=cut)
        if parsed.tag is None:
            return parsed
        kind = "FINAL_VAR" if parsed.tag.is_variable else "FINAL"
        return replace(parsed, tag=Tag(str((kind, parsed.tag.content)), is_variable=False))


@dataclass(frozen=True)
class Official011(_Official):
    """FINAL with `rlm_query`: the depth study (arXiv:2512.24601 v3)."""

    dialect: ClassVar[str] = "official_0_1_1"
    version: ClassVar[str] = "0.1.1"

    def _shipped(self, name: str) -> str:
        text = super()._shipped(name)
        # This release formats its template: unescape braces, list no custom tools.
        return text.format(custom_tools_section="") if name == "system" else text


@dataclass(frozen=True)
class OfficialLatest(_Official):
    """rlms 0.1.3: the `answer` dict, a growing prefix, the orchestrator's advice."""

    dialect: ClassVar[str] = "official_latest"
    version: ClassVar[str] = "0.1.3"
    keeps_turn_prompt: ClassVar[bool] = True
    answer_dict: ClassVar[bool] = True

    orchestrator: bool = True
    """Append the orchestrator addendum, as the release does by default."""

    @property
    def call_texts(self) -> Mapping[str, str]:
        """In this release a bad prompt fails alone, not its batch."""
        if self.prompt_file:
            return {**_CALL_TEXTS, "in_batch": "{content}"}
        own = official_prompts.spoken(
            self.version, official_prompts.HANDLER, "_handle_batched", "{content}"
        )
        return {**super().call_texts, "in_batch": own}

    def _shipped(self, name: str) -> str:
        version = self.version
        if name == "metadata":
            return official_prompts.local(version, "build_rlm_system_prompt", "metadata_body")
        if name == "turn":
            return official_prompts.constant(version, "USER_PROMPT")
        if name != "system":
            return super()._shipped(name)
        system = super()._shipped(name).format(custom_tools_section="")
        addendum = (
            official_prompts.constant(version, "ORCHESTRATOR_ADDENDUM") if self.orchestrator else ""
        )
        return f"{system}\n\n{addendum}" if addendum else system

    def _metadata(self, view: PromptVars, values: Mapping[str, str]) -> str:
        metadata = super()._metadata(view, values)
        # The wording of `build_rlm_system_prompt`.
        return f"Answer the following: {view.question}\n\n{metadata}" if view.question else metadata

    def turn_prompt(self, view: PromptVars, turn: int) -> Message:
        """`Turn i/N:`, the safeguard before the first."""
        place = {"iter_1": str(turn + 1), "max_iter": str(view.max_turns)}
        first = f"{self._words('first').rstrip()}\n\n" if turn == 0 else ""
        return Message("user", first + fill(self._words("turn"), **place))

    def observe(self, reply: str, ran: Sequence[ExecutedBlock], shown: OutputClip) -> list[Message]:
        """One user message with every block's output; the code is not repeated."""
        parts = []
        for number, block in enumerate(ran, 1):
            head = f"REPL output (block {number}):" if len(ran) > 1 else "REPL output:"
            parts.append(f"{head}\n{official_output(block.result, shown)}")
        messages = [Message("assistant", reply)]
        return [*messages, Message("user", "\n\n".join(parts))] if parts else messages


def _checked(file: str, sha256: str) -> str:
    """Read a user's file. Raises `ConfigError` where it is absent or has another hash."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"method.protocol.addition_file={file}: no such file; it is not shipped, name your copy"
        )
    data = path.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise ConfigError(
            f"method.protocol.addition_file={file}: its SHA-256 is {found}, "
            f"addition_sha256 is {sha256}; take the file that was meant, or that hash"
        )
    return data.decode("utf-8").strip()


def official_output(result: BlockResult, shown: OutputClip) -> str:
    """A block's output in the official format: stdout, error without traceback, variables."""
    parts = [f"\n{text}" for text in (result.stdout, result.stderr) if text]
    if result.variables:
        parts.append(f"REPL variables: {list(result.variables)}\n")
    text = "\n\n".join(parts) or "No output"
    dropped = result.stdout_chars - len(result.stdout) + result.stderr_chars - len(result.stderr)
    return shown.official(text, len(text) + dropped)
