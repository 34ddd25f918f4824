"""The journal of a cell: every finished model call, written before its reply is used.

One JSON object a line, append-only; kinds of line (fields equal to their default are left out):

- `{"k":"start","t":3,"sample":ID,"epoch":0,"context":HASH}`: trajectory 3 of this file begins.
- `{"k":"text","id":7,"v":"..."}`: a literal used by several prompts, named once.
- `{"k":"call","t":3,"c":41,...}`: call 41 of this file: who asked, the prompt, the reply, usage.
  A prompt is a list of `[role, part, ...]`; a part is literal text, the number of a text line, or
  `[start, end]` in the sample's context.
- `{"k":"again","t":5,"of":41,...}`: trajectory 5 took the reply of call 41 from the journal.

A call survives `kill -9` as soon as `append` returned, and a lost machine once the group commit
(every 50 ms at most) has run. A torn last line is reported and skipped.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from rlm_eval.errors import RlmEvalError
from rlm_eval.types import Call, Prompt, PromptPart, Role, Slice, Times, Usage

SYNC_SECONDS = 0.05
_SHARED_TEXT = 40  # literals at least this long are named once and referred to


class AppendLog:
    """An append-only file of JSON lines with group fsync. Use as an async context manager."""

    def __init__(self, path: Path) -> None:
        """Opens `path` for appending, ending a torn last line first."""
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            os.write(self._fd, b"\n")
        self._dirty = asyncio.Event()
        self._syncer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> AppendLog:
        self._syncer = asyncio.create_task(self._sync_loop())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._syncer is not None:
            self._syncer.cancel()
            await asyncio.gather(self._syncer, return_exceptions=True)
        os.fsync(self._fd)
        os.close(self._fd)

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line. Raises `RlmEvalError` where the disk takes no more."""
        line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise RlmEvalError(
                f"{self.path}: cannot write ({error.strerror}); free the disk and run the same "
                "command again, nothing finished is lost"
            ) from error
        if written != len(line):
            raise RlmEvalError(
                f"{self.path}: the disk is full; free it and run the same command again"
            )
        self._dirty.set()

    async def _sync_loop(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(SYNC_SECONDS / 2)
            self._dirty.clear()
            await asyncio.to_thread(os.fsync, self._fd)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a log; a torn or damaged one is skipped (`count_torn` tells)."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError:
                continue


def count_torn(path: Path) -> int:
    """Lines of a log that are not whole JSON objects."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        whole = sum(1 for _ in read_lines(path))
        return sum(1 for line in file if line.strip()) - whole


Key = tuple[str, str]
"""(position, request hash)."""


@dataclass
class Replies:
    """Stored calls of one sample and epoch, handed out by place, request and occurrence."""

    by_key: dict[Key, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def take(self, position: str, request: str, occurrence: int) -> dict[str, Any] | None:
        """The stored call line, or `None` where this was never answered."""
        stored = self.by_key.get((position, request), ())
        return stored[occurrence] if occurrence < len(stored) else None


class Journal:
    """Reads what a cell has paid for, and writes what it pays for now."""

    def __init__(self, log: AppendLog) -> None:
        """Reads the whole of `log.path` once."""
        self._log = log
        self._texts: dict[str, int] = {}
        self._replies: dict[tuple[str, int], Replies] = defaultdict(Replies)
        self._trajectories = 0
        self._calls = 0
        owner: dict[int, tuple[str, int]] = {}
        for line in read_lines(log.path):
            kind = line["k"]
            if kind == "start":
                owner[line["t"]] = (line["sample"], line["epoch"])
                self._trajectories = max(self._trajectories, line["t"] + 1)
            elif kind == "text":
                self._texts[line["v"]] = line["id"]
            elif kind == "call":
                self._calls = max(self._calls, line["c"] + 1)
                if "error" not in line and line["t"] in owner:
                    del line["prompt"]  # the asking trajectory has it; keep memory small
                    key = (line["position"], line["request"])
                    self._replies[owner[line["t"]]].by_key[key].append(line)

    def replies(self, sample: str, epoch: int) -> Replies:
        """What earlier attempts at this sample and epoch have already been answered."""
        return self._replies[sample, epoch]

    def start(self, sample: str, epoch: int, context: str) -> int:
        """Begin a trajectory; returns its number in this file."""
        number = self._trajectories
        self._trajectories += 1
        self._log.append(
            {"k": "start", "t": number, "sample": sample, "epoch": epoch, "context": context}
        )
        return number

    def write(self, trajectory: int, request: str, call: Call) -> None:
        """Store a finished call."""
        line: dict[str, Any] = {"k": "call", "t": trajectory, "c": self._calls, "request": request}
        self._calls += 1
        prompt = [
            [role, *(self._part(part) for part in parts)] for role, parts in call.prompt.messages
        ]
        self._log.append(line | _place(call) | {"prompt": prompt} | _result(call))

    def write_again(self, trajectory: int, stored: Mapping[str, Any], call: Call) -> None:
        """Note that a trajectory was served a stored reply."""
        self._log.append({"k": "again", "t": trajectory, "of": stored["c"]} | _place(call))

    def _part(self, part: PromptPart) -> int | str | list[int]:
        if isinstance(part, Slice):
            return [part.start, part.end]
        if len(part) < _SHARED_TEXT:
            return part
        number = self._texts.get(part)
        if number is None:
            number = self._texts[part] = len(self._texts)
            self._log.append({"k": "text", "id": number, "v": part})
        return number


def _place(call: Call) -> dict[str, Any]:
    """Where a call stands in its trajectory."""
    line: dict[str, Any] = {"id": call.id, "role": call.role.value, "position": call.position}
    if call.parent is not None:
        line["parent"] = call.parent
    if call.depth:
        line["depth"] = call.depth
    if call.turn:
        line["turn"] = call.turn
    if call.slot != call.role.value:
        line["slot"] = call.slot
    return line


def _result(call: Call) -> dict[str, Any]:
    """What came of a call."""
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
    if call.reasoning:
        line["reasoning"] = call.reasoning
    if call.attempts != 1:
        line["attempts"] = call.attempts
    if call.error is not None:
        line["error"] = call.error
    if call.failed_usage != Usage():
        line["failed_usage"] = _usage(call.failed_usage)
    return line


def _usage(usage: Usage) -> list[int | None]:
    return [usage.input, usage.cached, usage.output, usage.reasoning]


def stored_call(line: Mapping[str, Any], place: Mapping[str, Any], prompt: Prompt) -> Call:
    """The call of a journal line, standing at `place` (the line itself, or an `again` line)."""
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
        failed_usage=Usage(*line.get("failed_usage", ())),
        replayed=place is not line,
    )


def read_calls(path: Path) -> dict[int, list[Call]]:
    """Every call of a journal by trajectory number, prompts as slices of the contexts."""
    texts: dict[int, str] = {}
    contexts: dict[int, str] = {}
    lines: dict[int, dict[str, Any]] = {}
    prompts: dict[int, Prompt] = {}
    calls: dict[int, list[Call]] = defaultdict(list)
    for line in read_lines(path):
        kind = line["k"]
        if kind == "start":
            contexts[line["t"]] = line["context"]
        elif kind == "text":
            texts[line["id"]] = line["v"]
        elif kind == "call":
            lines[line["c"]] = line
            prompts[line["c"]] = _prompt(line["prompt"], texts, contexts.get(line["t"], ""))
            calls[line["t"]].append(stored_call(line, line, prompts[line["c"]]))
        elif kind == "again" and line["of"] in lines:
            calls[line["t"]].append(stored_call(lines[line["of"]], line, prompts[line["of"]]))
    return dict(calls)


def _prompt(messages: Sequence[Sequence[Any]], texts: Mapping[int, str], context: str) -> Prompt:
    def part(value: Any) -> PromptPart:
        if isinstance(value, int):
            return texts[value]
        return value if isinstance(value, str) else Slice(context, value[0], value[1])

    return Prompt(tuple((role, tuple(part(v) for v in parts)) for role, *parts in messages))
