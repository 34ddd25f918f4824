"""The journal of a cell: every finished model call, written before its reply is used.

One JSON object per line, append-only; kinds of line (fields equal to their default are left out):

- `{"k":"start","t":3,"sample":ID,"epoch":0,"context":HASH}`: trajectory 3 of this file begins.
- `{"k":"text","id":7,"v":"..."}`: a literal used by several prompts, named once.
- `{"k":"call","t":3,"c":41,...}`: call 41 of this file: its position, prompt, reply and usage.
  A prompt is a list of `[role, part, ...]`; a part is literal text, the number of a text line, or
  `[start, end]` in the sample's context.
- `{"k":"again","t":5,"of":41,...}`: trajectory 5 replayed the reply of call 41 from the journal.
- `{"k":"sent","t":3,"id":7,"slot":"sub","estimate":[812,256],"n":1}`: call 7 of trajectory 3 is
  about to be sent. Where no `call` line with this `t` and `id` follows, it was in flight when the
  process died: up to `n` attempts of it may have been billed.
- `{"k":"count","request":HASH,"tokens":812}`: a prompt's tokens by the model's own tokenizer.

A call survives `kill -9` as soon as `append` returned, and a lost machine once the group commit
(every 50 ms at most) has run. Torn lines and those of a lost lease (`jsonl.Fence`) are skipped.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Call, Prompt, PromptPart, Role, Slice, Times, Usage
from rlm_eval.storage.jsonl import LineLog, line_at, read_every, read_places

_SHARED_TEXT = 40  # literals at least this long are named once and referred to
FINAL_ERRORS = ("", "ContextOverflow", "CutShort", "Refused")  # of a request, every time
FROM = "from"  # of a call line: its number in the journal that it was copied from, unpaid here

Key = tuple[str, str]
"""(position, request hash)."""

Who = tuple[str, int]
"""(sample id, epoch)."""


@dataclass
class StoredReplies:
    """Stored calls of one sample and epoch, returned by position, request and occurrence."""

    by_key: dict[Key, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    unused: int = 0
    """Calls that were answered once and not replayed."""
    _overlaps: dict[str, bool] = field(default_factory=dict)

    def add(self, line: dict[str, Any]) -> None:
        """Keep a call line for `take`."""
        stored = self.by_key[line["position"], line["request"]]
        if all(other["c"] != line["c"] for other in stored):  # else a log joined with itself
            stored.append(line)
            self.unused += 1

    def overlap(self, position: str) -> bool:
        """Return whether calls of this position were in flight together, as far as the stored calls
        show; a single call may have overlapped others.
        """
        if position not in self._overlaps:
            times = sorted(
                (line["times"][0], line["times"][3])
                for (place, _), lines in self.by_key.items()
                if place == position
                for line in lines
            )
            met = any(later[0] < earlier[1] for earlier, later in itertools.pairwise(times))
            self._overlaps[position] = met or len(times) == 1
        return self._overlaps[position]

    def take(self, position: str, request: str, occurrence: int) -> dict[str, Any] | None:
        """Return the stored call line, or `None` where this request was never answered."""
        stored = self.by_key.get((position, request), ())
        if occurrence >= len(stored):
            return None
        self.unused -= 1
        return stored[occurrence]


class Journal:
    """Reads what a cell has paid for, and writes what it pays for now."""

    def __init__(
        self, log: LineLog, wanted: Mapping[Who, int] | None = None, free: int = 0
    ) -> None:
        """Read the whole of `log.path` once. Line numbers lost with a machine are not reused: a
        reference to them must not find another text or trajectory. Results have those below `free`.

        `wanted` names the samples that will run, each with the first trajectory whose replies still
        count (those before a redo do not); `None` keeps everything.
        """
        self._log = log
        self._texts: dict[bytes, int] = {}
        self._replies: dict[Who, StoredReplies] = defaultdict(StoredReplies)
        self._trajectories, self._calls, self._next_text = free, 0, 0
        self.torn = 0
        """Damaged lines that were skipped."""
        self.stale = 0
        """Lines that were skipped because their writer had lost the lease."""
        self.counts: dict[str, int] = {}
        """Counted tokens of prompts, by request: later requests may depend on them."""
        owner: dict[int, Who] = {}
        for _, line, is_rightful in read_every(log.path):
            if line is None or "k" not in line:
                self.torn += 1
                continue
            self.stale += not is_rightful
            self._trajectories = max(self._trajectories, line.get("t", -1) + 1)
            if line["k"] == "text":
                self._next_text = max(self._next_text, line["id"] + 1)
            elif line["k"] == "call":
                self._calls = max(self._calls, line["c"] + 1)
            if not is_rightful:
                continue
            if line["k"] == "start":
                owner[line["t"]] = (line["sample"], line["epoch"])
            elif line["k"] == "text":
                self._texts[_digest(line["v"])] = line["id"]
            elif line["k"] == "count":
                self.counts[line["request"]] = line["tokens"]
            elif line["k"] == "call":
                texts = (p for _, *parts in line["prompt"] for p in parts if isinstance(p, int))
                self._next_text = max(self._next_text, 1 + max(texts, default=-1))
                who = owner.get(line["t"])
                first = 0 if wanted is None or who is None else wanted.get(who)
                if who is not None and first is not None and line["t"] >= first:
                    self._keep(who, line)

    def _keep(self, who: Who, line: dict[str, Any]) -> None:
        if "cut" in line:  # the reply to a part of the prompt: called again, like a failed call
            return
        if line.get("error", "").partition(":")[0] in FINAL_ERRORS:
            del line["prompt"]  # the calling trajectory has it; keep memory small
            self._replies[who].add(line)

    def check(self) -> None:
        """Raise `RlmEvalError` where a reply could not be stored: the call must not be made."""
        self._log.check()

    def replies(self, sample: str, epoch: int) -> StoredReplies:
        """Return the replies of earlier attempts at this sample and epoch."""
        return self._replies.pop((sample, epoch), None) or StoredReplies()

    def start(self, sample: str, epoch: int, context: str) -> int:
        """Begin a trajectory; return its number in this file."""
        number = self._trajectories
        self._trajectories += 1
        self._log.append(
            {"k": "start", "t": number, "sample": sample, "epoch": epoch, "context": context}
        )
        return number

    def write(self, trajectory: int, request: str, call: Call, **more: Any) -> None:
        """Write a finished call; `more` is stored with it."""
        line = {"k": "call", "t": trajectory, "c": self._calls, "request": request} | more
        self._calls += 1
        texts: list[dict[str, Any]] = []
        prompt = [
            [role, *(self._part(part, texts) for part in parts)]
            for role, parts in call.prompt.messages
        ]
        try:
            self._log.append(*texts, line | _place(call) | {"prompt": prompt} | _result(call))
        except RlmEvalError:
            for text in texts:  # not on disk: a later call must not refer to them
                del self._texts[_digest(text["v"])]
            raise

    def write_sent(self, trajectory: int, call: Call, estimate: Usage, attempts: int) -> None:
        """Record that an attempt is about to be sent; `attempts` of the call may then be billed, 0
        where none was sent after all.

        Raises `RlmEvalError` where the journal cannot be written: then nothing is sent.
        """
        tokens = [estimate.input, estimate.output]
        line = {"k": "sent", "t": trajectory, "id": call.id, "slot": call.slot, "estimate": tokens}
        self._log.append({**line, "n": attempts})

    def write_count(self, request: str, tokens: int) -> None:
        """Keep the tokens of a prompt."""
        self.counts[request] = tokens
        self._log.append({"k": "count", "request": request, "tokens": tokens})

    def write_again(self, trajectory: int, stored: Mapping[str, Any], call: Call) -> None:
        """Record that a trajectory replayed a stored reply."""
        self._log.append({"k": "again", "t": trajectory, "of": stored["c"]} | _place(call))

    def _part(self, part: PromptPart, texts: list[dict[str, Any]]) -> int | str | list[int]:
        """Return the part as stored; a literal named for the first time is added to `texts`."""
        if isinstance(part, Slice):
            return [part.start, part.end]
        if len(part) < _SHARED_TEXT:
            return part
        digest = _digest(part)
        if (number := self._texts.get(digest)) is None:
            number = self._texts[digest] = self._next_text
            self._next_text += 1
            texts.append({"k": "text", "id": number, "v": part})
        return number


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _place(call: Call) -> dict[str, Any]:
    """Return the position of a call in its trajectory."""
    line: dict[str, Any] = {"id": call.id, "role": call.role.value, "position": call.position}
    if call.parent is not None:
        line["parent"] = call.parent
    kept = {"depth": call.depth, "turn": call.turn}
    line |= {k: v for k, v in kept.items() if v}
    if call.slot != call.role.value:
        line["slot"] = call.slot
    return line


def _result(call: Call) -> dict[str, Any]:
    """Return the result of a call."""
    times = call.times
    line: dict[str, Any] = {
        "model": call.model,
        "reply": call.reply,
        "usage": _usage(call.usage),
        "times": [
            None if t is None else round(t, 4)
            for t in (times.submit, times.start, times.first_token, times.end)
        ],
    }
    if call.finish_reason != "stop":
        line["finish"] = call.finish_reason
    kept = {"reasoning": call.reasoning, "raw": call.raw, "unknown": list(call.unknown)}
    line |= {k: v for k, v in {**kept, "lost": call.lost_attempts}.items() if v}
    if call.attempts != 1:
        line["attempts"] = call.attempts
    if call.error is not None:
        line["error"] = call.error
    if call.failed:
        line["failed_usage"] = [_usage(usage) for usage in call.failed]
    if call.prompt_tokens_at_least is not None:
        line["cut"] = call.prompt_tokens_at_least
    if call.estimate != Usage():
        line["estimate"] = [call.estimate.input, call.estimate.output]
    return line


def _usage(usage: Usage) -> list[int | None]:
    return [usage.input, usage.cached, usage.output, usage.reasoning]


def _failed(stored: Sequence[Any]) -> tuple[Usage, ...]:
    """Usage of each failed attempt; older journals hold only their sum."""
    if stored and not isinstance(stored[0], list):
        return (Usage(*stored),)
    return tuple(Usage(*usage) for usage in stored)


def estimate_of(line: Mapping[str, Any]) -> Usage:
    """Return the estimate of one attempt of a `call` or `sent` line."""
    tokens, output = line.get("estimate", (None, None))
    return Usage(input=tokens, output=output)


def stored_call(line: Mapping[str, Any], place: Mapping[str, Any], prompt: Prompt) -> Call:
    """Return the call of a journal line, at `place` (the line itself, or an `again` line)."""
    return Call(
        id=place["id"],
        parent=place.get("parent"),
        depth=place.get("depth", 0),
        role=Role(place["role"]),
        turn=place.get("turn", 0),
        position=place["position"],
        slot=place.get("slot", place["role"]),
        model=line["model"],
        prompt=prompt,
        reply=line["reply"],
        reasoning=line.get("reasoning", ""),
        finish_reason=line.get("finish", "stop"),
        usage=Usage(*line["usage"]),
        times=Times(*line["times"]),
        attempts=line.get("attempts", 1),
        error=line.get("error"),
        failed=_failed(line.get("failed_usage", ())),
        lost_attempts=line.get("lost", 0),
        estimate=estimate_of(line),
        replayed=place is not line or FROM in line,
        prompt_tokens_at_least=line.get("cut"),
        raw=line.get("raw", ""),
        unknown=tuple(line.get("unknown", ())),
    )


class JournalReader:
    """The calls of a journal by trajectory, read on demand: a journal may be large."""

    def __init__(self, path: Path) -> None:
        """Read `path` once and keep the places of its lines."""
        self._path = path
        self._texts: dict[int, int] = {}
        self.starts: dict[int, tuple[str, int, str]] = {}  # trajectory -> sample, epoch, context
        self._calls: dict[int, int] = {}  # number -> place
        self.counts: dict[str, int] = {}
        """See `Journal.counts`."""
        self._of: dict[int, dict[tuple[int, int], dict[str, Any] | None]] = defaultdict(dict)
        for place, line in read_places(path):
            if line is None or "k" not in line:
                continue
            if line["k"] == "start":
                began = (line["sample"], line["epoch"], line["context"])
                if self.starts.get(line["t"], began) != began:  # given twice by earlier releases
                    self._of.pop(line["t"], None)
                self.starts[line["t"]] = began
            elif line["k"] == "text":
                self._texts[line["id"]] = place
            elif line["k"] == "count":
                self.counts[line["request"]] = line["tokens"]
            elif line["k"] == "call":
                self._calls[line["c"]] = place
                self._of[line["t"]].setdefault((line["id"], line["c"]), None)
            elif line["k"] == "again" and line["of"] in self._calls:
                self._of[line["t"]].setdefault((line["id"], line["of"]), line)

    def __iter__(self) -> Iterator[int]:
        """Iterate over the trajectories that have calls."""
        return iter(self._of)

    def ids(self, trajectory: int) -> list[int]:
        """Return the ids of a trajectory's calls."""
        return [number for number, _ in self._of.get(trajectory, ())]

    def of(self, trajectory: int) -> tuple[Call, ...]:
        """Return the calls of a trajectory as written, prompts as slices of its context."""
        texts: dict[int, str] = {}
        context = self.starts[trajectory][2] if trajectory in self.starts else ""
        calls = []
        for line, again in self.lines(trajectory):
            messages = [
                (role, tuple(self._prompt_part(part, texts, context) for part in parts))
                for role, *parts in line["prompt"]
            ]
            calls.append(stored_call(line, again or line, Prompt(tuple(messages))))
        return tuple(calls)

    def lines(self, trajectory: int) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
        """Yield (call line, the `again` line that replayed it or `None`) of a trajectory."""
        with self._path.open("rb") as file:
            for (_, number), again in self._of.get(trajectory, {}).items():
                yield line_at(file, self._calls[number]), again

    def _prompt_part(self, part: Any, texts: dict[int, str], context: str) -> PromptPart:
        if isinstance(part, str):
            return part
        if not isinstance(part, int):
            return Slice(context, part[0], part[1])
        if part not in texts:
            with self._path.open("rb") as file:
                at = self._texts.get(part)
                damaged = f"[text {part} of the journal is damaged]"
                texts[part] = damaged if at is None else line_at(file, at)["v"]
        return texts[part]


class ReplayJournal(Journal):
    """The calls of one finished attempt, errors too, in place of a journal; writes nothing."""

    def __init__(self, calls: JournalReader, trajectory: int) -> None:
        self._own = StoredReplies()
        self.counts = calls.counts
        self._number = trajectory
        for line, _ in calls.lines(trajectory):
            self._own.add(line)

    def check(self) -> None:
        """Do nothing."""

    def replies(self, sample: str, epoch: int) -> StoredReplies:  # noqa: ARG002 - it holds one attempt
        """Return the attempt's calls."""
        return self._own

    def start(self, sample: str, epoch: int, context: str) -> int:  # noqa: ARG002
        """Return the number of the original trajectory."""
        return self._number

    def write(self, trajectory: int, request: str, call: Call, **more: Any) -> None:
        """Do nothing."""

    def write_sent(self, trajectory: int, call: Call, estimate: Usage, attempts: int) -> None:
        """Do nothing."""

    def write_count(self, request: str, tokens: int) -> None:
        """Write nothing to the disk."""
        self.counts[request] = tokens

    def write_again(self, trajectory: int, stored: Mapping[str, Any], call: Call) -> None:
        """Do nothing."""
