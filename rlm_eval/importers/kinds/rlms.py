"""Logs of the rlms library (RLMLogger JSON lines): whole trajectories, sub-calls and children.

A file holds one RLM object: a `metadata` line and `iteration` lines, of one answer or of several
(a persistent session). The files lack root tokens, so totals and costs are unknown; the sum of the
sub-calls would look like the total. Each sub-call of a batch carries the usage of one of them: that
is unknown too. `--golds FILE` gives gold answers, by file or in order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rlm_eval.core.amounts import known_sum
from rlm_eval.core.outcomes import Outcome
from rlm_eval.core.types import Call, Prompt, Role, Step, Times, Usage
from rlm_eval.importers.golds import Golds
from rlm_eval.importers.rows import BadLog, Options, Row, Source
from rlm_eval.importers.tables import raw_rows

SUFFIXES = (".jsonl", ".ndjson")
_ERROR = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Iteration))\b")
_ASKED = re.compile(r"Answer the following:\s*(.+?)\n\nYour context is", re.DOTALL)
_CONTEXTS = ("context_0", "context", "completion_context")
_LACKING = ("finish_reason", "attempts")
_ENDED = Outcome.CANCELLED
"""Outcome of a log that ends before the last turn without an answer."""


def read(found: Iterable[Source], options: Options) -> Iterator[Row]:
    """Yield a row per answer. Raises `BadLog` for another kind, or if a gold is missing."""
    golds = Golds.read(options.golds)
    ended: list[str] = []
    for source in found:
        lines = [(at, line) for at, line, _ in raw_rows(source, None)]
        if not any(line.get("type") == "iteration" for _, line in lines):
            types = ", ".join(sorted({str(line.get("type")) for _, line in lines})[:5])
            raise BadLog(
                f"{source.path}: no line of type `iteration` (types here: {types}): not a log of "
                "rlms, or the process ended before its first turn"
            )
        about: Mapping[str, Any] = {}
        parts = list(_answers(lines))
        own = golds.of(source, len(parts))
        for index, part in enumerate(parts):
            about = part.about or about
            try:
                row = _row(source, part, about, index, own[index], options)
            except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
                raise BadLog(
                    f"{source.path}, {part.place}: not as rlms writes it "
                    f"({type(error).__name__}: {str(error)[:80]})"
                ) from error
            if row.outcome is _ENDED:
                ended.append(f"{row.place}: {row.error}")
            yield row
    options.told.extend([*golds.told(), *_ended(ended)])


def _ended(rows: Sequence[str]) -> list[str]:
    """Return the line for the user about the logs that end early."""
    if not rows:
        return []
    return [
        f"{len(rows)} answers count as missing, not as wrong: their logs end early, because the "
        f"process died or an exception or another limit stopped it (first: {rows[0]})"
    ]


@dataclass
class _Part:
    """The lines of one answer."""

    place: str
    about: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    iterations: list[Mapping[str, Any]] = field(default_factory=list)


def _answers(lines: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[_Part]:
    """Split at the start of each run: at `run_context`, after an answer, or when turns restart."""
    part = _Part(lines[0][0])
    for place, line in lines:
        kind, turns = line.get("type"), part.iterations
        again = bool(turns) and line.get("iteration") == 1
        ended = bool(turns) and turns[-1].get("final_answer") is not None
        if turns and (kind in ("run_context", "metadata") or again or ended):
            yield part
            part = _Part(place)
        if kind == "metadata":
            part.about = line
        elif kind == "run_context":
            part.context = line
        elif kind == "iteration":
            turns = part.iterations
            turns.append(line)
    if part.iterations:
        yield part


def _outcome(part: _Part, limit: Any) -> tuple[Outcome, str | None]:
    """Return how an answer ended, and why it is none.

    After the last turn rlms forces an answer and logs it as turn `limit` + 1. A log that ends
    before the last turn is that of a process that died, or of one that an exception stopped.
    """
    first, last = part.iterations[0], part.iterations[-1]
    turns = int(last.get("iteration") or 0) - int(first.get("iteration") or 1) + 1
    known = isinstance(limit, int)
    if last.get("final_answer") is not None:
        forced = known and last.get("iteration_time") is None and turns > limit
        return (Outcome.LIMIT_TURNS if forced else Outcome.OK), None
    if known and max(turns, len(part.iterations)) >= limit:
        return Outcome.NO_ANSWER, "the log ends without an answer"
    most = f"of at most {limit}" if known else "of an unknown number"
    return _ENDED, f"the log ends without an answer after turn {turns} {most}"


def _row(
    source: Source,
    part: _Part,
    about: Mapping[str, Any],
    index: int,
    gold: Any,
    options: Options,
) -> Row:
    first, last = part.iterations[0], part.iterations[-1]
    start = _seconds_of(first, None)
    origin = None if start is None else start - (first.get("iteration_time") or 0.0)
    tree = _Tree(origin)
    for turn, line in enumerate(part.iterations):
        tree.iteration(line, turn, depth=0, parent=None, position=f"t{turn}")
    answer, limit = last.get("final_answer"), about.get("max_iterations")
    outcome, error = _outcome(part, limit)
    by_variable = any(
        block.get("result", {}).get("final_answer") is not None
        for block in last.get("code_blocks") or ()
    )
    end = _seconds_of(last, origin)
    kwargs = about.get("backend_kwargs") or {}
    return Row(
        place=f"{source.name}, {part.place}",
        sha256=source.sha256,
        task=options.task or "rlms",
        method=options.method or "rlms",
        root=str(about.get("root_model") or kwargs.get("model_name") or ""),
        depth_limit=about.get("max_depth"),
        question=_question(part, first),
        context=_context(part),
        gold=gold,
        answer=None if answer is None else _text(answer),
        provenance="variable" if by_variable else "root_text",
        outcome=outcome,
        error=error,
        repeat=f"{source.name} {index}",
        seconds=None if end is None else end,
        calls=tuple(tree.calls),
        steps=tuple(tree.steps),
        notes={
            name: value
            for name, value in (
                ("max_turns", limit),
                ("batch_usage", tree.batched or None),
                ("child_input_tokens", tree.child.input),
                ("child_output_tokens", tree.child.output),
                ("environment", about.get("environment_type")),
            )
            if value is not None
        },
        timestamp=str(about["timestamp"]) if about.get("timestamp") else None,
    )


class _Tree:
    """Calls and blocks of a trajectory, numbered in the order in which they started."""

    def __init__(self, origin: float | None) -> None:
        self.calls: list[Call] = []
        self.steps: list[Step] = []
        self.batched = 0
        """Number of sub-calls whose usage is copied from one call of their batch."""
        self.child = Usage()
        """Tokens of child trajectories, which are missing from their own calls."""
        self._origin = origin

    def iteration(
        self, line: Mapping[str, Any], turn: int, *, depth: int, parent: int | None, position: str
    ) -> None:
        blocks = line.get("code_blocks") or []
        spans = [block["result"].get("execution_time") for block in blocks]
        end, whole = _seconds_of(line, self._origin), line.get("iteration_time")
        timed = end is not None and whole is not None and whole >= 0 and None not in spans
        begin = max(0.0, round((end or 0.0) - (whole or 0.0), 6)) if timed else 0.0
        # An iteration's time covers the call and its code.
        replied = (
            max(begin, round((end or 0.0) - sum(s or 0.0 for s in spans), 6)) if timed else 0.0
        )
        number = len(self.calls)
        self.calls.append(
            Call(
                id=number,
                parent=parent,
                depth=depth,
                role=Role.ROOT if depth == 0 else Role.CHILD_ROOT,
                turn=turn,
                position=position,
                slot="root" if depth == 0 else "sub",
                model=str(line.get("root_model") or ""),
                prompt=_prompt(line.get("prompt")),
                reply=str(line.get("response") or ""),
                reasoning="",
                finish_reason="",
                usage=Usage(),
                times=Times(begin, begin, None, replied),
                attempts=1,
                unknown=_LACKING if timed else (*_LACKING, "times"),
            )
        )
        clock = replied
        for at, block in enumerate(blocks):
            place = f"{position}.b{at}"
            result = block["result"]
            first = len(self.calls)
            self._sub_calls(result.get("rlm_calls") or [], number, turn, depth, place, clock, timed)
            made = tuple(c.id for c in self.calls[first:] if c.parent == number)
            stderr = str(result.get("stderr") or "")
            stdout = str(result.get("stdout") or "")
            self.steps.append(
                Step(
                    call=number,
                    position=place,
                    code=str(block.get("code") or ""),
                    stdout=stdout,
                    stdout_chars=len(stdout),
                    stderr=stderr,
                    stderr_chars=len(stderr),
                    cpu_seconds=None,
                    wall_seconds=float(spans[at] or 0.0),
                    error=_exception(stderr),
                    calls=made,
                )
            )
            clock += spans[at] or 0.0

    def _sub_calls(
        self,
        found: Sequence[Mapping[str, Any]],
        parent: int,
        turn: int,
        depth: int,
        place: str,
        clock: float,
        timed: bool,
    ) -> None:
        keys = [_batch_key(call) for call in found]
        for call, key in zip(found, keys, strict=True):
            span = call.get("execution_time")
            inner = (call.get("metadata") or {}).get("iterations")
            if inner:
                about = (call["metadata"].get("run_metadata") or {}).get("root_model")
                self.child = _added(self.child, _usage(call))
                for inside, line in enumerate(inner):
                    named = {"root_model": call.get("root_model") or about, **line}
                    # Every turn of a child is below the block that started it.
                    self.iteration(
                        named, inside, depth=depth + 1, parent=parent, position=f"{place}/t{inside}"
                    )
                clock += span or 0.0
                continue
            together = keys.count(key) if key is not None else 1
            is_batch = together > 1
            self.batched += is_batch
            failed = call.get("error")
            known = timed and span is not None and not is_batch
            until = clock + (span or 0.0) * (together if is_batch else 1)
            self.calls.append(
                Call(
                    id=len(self.calls),
                    parent=parent,
                    depth=depth + 1,
                    role=Role.SUB,
                    turn=turn,
                    position=place,
                    slot="sub",
                    model=str(call.get("root_model") or ""),
                    prompt=_prompt(call.get("prompt")),
                    reply=_text(call.get("response") or ""),
                    reasoning="",
                    finish_reason="",
                    usage=Usage() if is_batch else _usage(call),
                    times=Times(clock, clock, None, until),
                    attempts=1,
                    error=None if failed is None else f"ProviderError: {failed}",
                    unknown=_LACKING if known else (*_LACKING, "times"),
                )
            )
            if not is_batch:
                clock = until


def _batch_key(call: Mapping[str, Any]) -> str | None:
    """Return a key that is equal for calls of one batch: equal usage and equal seconds."""
    if call.get("metadata") or call.get("error") is not None:
        return None
    usage, span = call.get("usage_summary"), call.get("execution_time")
    return None if not usage or span is None else json.dumps([usage, span], sort_keys=True)


def _usage(call: Mapping[str, Any]) -> Usage:
    models = ((call.get("usage_summary") or {}).get("model_usage_summaries") or {}).values()
    if not models:
        return Usage()
    names = ("total_input_tokens", "total_output_tokens")
    given = [known_sum(model.get(name) for model in models) for name in names]
    return Usage(input=given[0], output=given[1])


def _added(a: Usage, b: Usage) -> Usage:
    from rlm_eval.core.types import added

    return added(a, b)


def _prompt(value: Any) -> Prompt:
    """Return messages as literal text; a bare text is a user message."""
    if isinstance(value, str):
        return Prompt((("user", (value,)),))
    if isinstance(value, list) and all(isinstance(m, Mapping) for m in value):
        messages = ((str(m.get("role", "user")), (_text(m.get("content") or ""),)) for m in value)
        return Prompt(tuple(messages))
    return Prompt((("user", (_text(value),)),))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _question(part: _Part, first: Mapping[str, Any]) -> str:
    if asked := part.context.get("root_prompt"):
        return str(asked)
    messages = first.get("prompt")
    if isinstance(messages, str):
        return messages
    texts = [_text(m.get("content") or "") for m in messages or () if m.get("role") != "system"]
    for text in texts:
        if hit := _ASKED.search(text):
            return hit.group(1)
    users = [_text(m.get("content") or "") for m in messages or () if m.get("role") == "user"]
    return (users or texts or [""])[-1]


def _context(part: _Part) -> str | tuple[str, ...] | None:
    """Return the context text from a block's variables or the run's line; `None` if absent."""
    for line in part.iterations:
        for block in line.get("code_blocks") or ():
            variables = block["result"].get("locals") or {}
            for name in _CONTEXTS:
                if (found := _documents(variables.get(name))) is not None:
                    return found
    return _documents(part.context.get("prompt"))


def _documents(value: Any) -> str | tuple[str, ...] | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return tuple(value)
    return None


def _exception(stderr: str) -> str | None:
    lines = [line for line in stderr.splitlines() if line.strip()]
    hit = _ERROR.match(lines[-1].strip()) if lines else None
    return hit.group(1) if hit else None


def _seconds_of(line: Mapping[str, Any], origin: float | None) -> float | None:
    """Return a line's end in seconds since `origin`, or Unix time; `None` without a time.

    A time without a zone is read as UTC: our own zone may set its clock within the log.
    """
    try:
        told = datetime.fromisoformat(str(line.get("timestamp")))
        at = (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return at if origin is None else round(at - origin, 6)
