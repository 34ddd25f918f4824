"""Logs of Inspect (`.eval`, or `.json` of the same tree); read as ZIP and JSON, without inspect_ai.

Model events become calls, tool events blocks. `model_usage` of a sample sums solver and judge if
they are the same model, so tokens are counted from the events. Logs written by `rlm-eval export
inspect` are restored exactly, except for context texts, which they do not contain.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rlm_eval.core.outcomes import Outcome, Totals
from rlm_eval.core.types import Call, Prompt, PromptPart, Role, Score, Slice, Step, Times
from rlm_eval.importers import verdicts
from rlm_eval.importers.inspect_about import About, about
from rlm_eval.importers.inspect_events import Placed, is_one_loop, placed
from rlm_eval.importers.inspect_file import opened
from rlm_eval.importers.inspect_values import is_unscored, number_of, part_of, unread, usage_of
from rlm_eval.importers.rows import BadLog, Options, Row, Source
from rlm_eval.importers.scoring import THEIRS, theirs

SUFFIXES = (".eval", ".json")
_LIMITS = {
    "token": Outcome.LIMIT_TOKENS,
    "cost": Outcome.LIMIT_COST,
    "time": Outcome.LIMIT_TIME,
    "working": Outcome.LIMIT_TIME,
    "message": Outcome.LIMIT_TURNS,
    "context": Outcome.CONTEXT_OVERFLOW,
    "operator": Outcome.CANCELLED,  # a person stopped the sample
}
_ENDS = {"max_tokens": "length", "model_length": "length", "unknown": ""}
_OURS = {role.value: role for role in Role}
CACHED = "cached_calls"
"""Note: number of a sample's calls that Inspect read from its cache."""
_SLOTS = {Role.JUDGE: "judge"}
_RUNS_CODE = re.compile(
    r"python|bash|shell|code|repl|exec|run|terminal|jupyter|notebook|interpreter|script",
    re.IGNORECASE,
)
"""Names of tools that run code: another tool's arguments are no program."""
_PLACE = re.compile(r"\[context (\d+) to (\d+)\]")
_FACTS = (
    "density", "generated", "protected", "prompt", "prompt_hash", "isolation", "scripted",
    "root_window", "concurrency", "remark", "seed", "judge",
)  # fmt: skip
"""Facts of the cell in our own export."""


def read(found: Iterable[Source], options: Options) -> Iterator[Row]:
    """Yield a row per sample and epoch. Raises `BadLog` for another kind or a truncated file."""
    odd: Counter[tuple[str, str]] = Counter()
    count = calls = cached = 0
    for source in found:
        header, samples = opened(source)
        place = "its header"
        try:
            log = about(header, samples, source.name, options.their_scorer)
            for place, sample in samples:
                row = _Sample(source, place, header, sample, log, options, odd).row()
                count, calls = count + 1, calls + len(row.calls)
                cached += row.notes.get(CACHED, 0)
                yield row
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise BadLog(
                f"{source.path}, {place}: not as Inspect writes it "
                f"({type(error).__name__}: {str(error)[:80]})"
            ) from error
    options.told.extend(unread(odd, count))
    if cached:
        options.told.append(
            f"{cached} of {calls} calls were read from Inspect's cache: their times are unknown, "
            "and their tokens and cost are those of the first run"
        )


class _Sample:
    """One sample and epoch of a log."""

    def __init__(
        self,
        source: Source,
        name: str,
        header: Mapping[str, Any],
        sample: Mapping[str, Any],
        log: About,
        options: Options,
        odd: Counter[tuple[str, str]],
    ) -> None:
        self._source, self._name, self._sample, self._options = source, name, sample, options
        self._log, self._odd = log, odd
        self._eval = header.get("eval") or {}
        self._attachments = sample.get("attachments") or {}
        self._own = dict((self._eval.get("metadata") or {}).get("rlm_eval") or {})
        context = (sample.get("metadata") or {}).get("context") if self._own else None
        self._hash = context.get("hash") if isinstance(context, Mapping) else None

    def row(self) -> Row:
        sample, own = self._sample, self._own
        about = dict(sample.get("metadata") or {})
        ours = about if own and "outcome" in about else {}
        calls, steps = self._events()
        totals = None if calls else self._totals()
        scores = tuple(self._scores(bool(ours)))
        stated = scores and not ours
        output = sample.get("output") or {}
        answer = self._said((output.get("choices") or [{}])[0].get("message") or {})
        error = (sample.get("error") or {}).get("message")
        if invalid := sample.get("invalidation"):
            error = f"marked as invalid: {invalid.get('reason') or 'no reason stated'}"
        target = sample.get("target")
        if ours.get("several_golds") is False and isinstance(target, list) and len(target) == 1:
            target = target[0]
        context = ours.get("context") or {}
        cached = 0 if ours else sum(call.replayed for call in calls)
        seconds = None if cached else sample.get("total_time")
        item = str(sample["id"])
        return Row(
            place=f"{self._source.name}, {self._name}",
            sha256=self._source.sha256,
            task=self._options.task or str(own.get("task") or self._eval.get("task") or "inspect"),
            method=self._options.method or str(own.get("method") or self._solver()),
            root=str(own.get("root") or self._eval.get("model") or ""),
            sub=own.get("sub"),
            task_variant=own.get("task_variant"),
            variant=own.get("variant"),
            depth_limit=own.get("depth_limit"),
            length=ours.get("length"),
            item=str(ours.get("item") or item),
            question=self._resolved(self._input()),
            context_hash=context.get("hash"),
            context_id=context.get("hash"),
            context_chars=context.get("chars"),
            tokenizer=context.get("tokenizer"),
            context_tokens=context.get("tokens"),
            cluster=ours.get("cluster"),
            gold=None if target in ("", [], None) else target,
            answer=answer or None if ours else answer,
            provenance=str(ours.get("provenance") or "imported"),
            outcome=self._outcome(error, ours, answer),
            error=error,
            scores=scores,
            their_scorer=self._log.scorer_told if stated else None,
            repeat=str(sample.get("epoch", 1)),
            seconds=None if seconds is None else float(seconds),
            calls=tuple(calls),
            steps=tuple(steps),
            totals=totals,
            evidence=tuple((int(a), int(b)) for a, b in ours.get("evidence") or ()),
            meta=_flat(ours.get("meta") or {}) if ours else _flat(about),
            facts={k: v for k, v in own.items() if k in _FACTS} if ours else {},
            notes={CACHED: cached} if cached else {},
            timestamp=self._eval.get("created"),
            sample_id=item if ours else None,
            task_settings=None if own else self._log.task_settings,
            method_settings=None if own else self._log.method_settings,
            lacking=self._log.lacking,
        )

    def _solver(self) -> str:
        return str(self._eval.get("solver") or "solver")

    def _input(self) -> str:
        given = self._sample.get("input")
        if isinstance(given, str):
            return given
        return "\n\n".join(self._content(m.get("content")) for m in given or ())

    def _outcome(self, error: Any, ours: Mapping[str, Any], answer: str) -> Outcome:
        if self._sample.get("invalidation"):  # somebody found after the run that it does not count
            return Outcome.CANCELLED
        if ours:
            return Outcome(ours["outcome"])
        if error:
            return Outcome.PROVIDER_ERROR
        if limit := (self._sample.get("limit") or {}).get("type"):
            return _LIMITS.get(str(limit), Outcome.UNKNOWN)
        choice = ((self._sample.get("output") or {}).get("choices") or [{}])[0]
        if choice.get("stop_reason") in ("max_tokens", "model_length"):
            return Outcome.TRUNCATED
        if choice.get("stop_reason") == "content_filter":
            return Outcome.REFUSED
        return Outcome.OK if answer else Outcome.NO_ANSWER

    def _scores(self, is_ours: bool) -> Iterator[Score]:
        """Yield the verdicts: the log's headline first, for a foreign log under our name of it."""
        stated = self._sample.get("scores") or {}
        first = self._log.scorer
        if is_ours:
            for name, score in stated.items():
                stored, parsed = self._value(score)
                value = number_of(stored)
                yield Score(name, None if value is None else float(value), parsed, "inspect")
            return
        if stated and first is not None and first not in stated:
            yield verdicts.lacking(first)
        for name in sorted(stated, key=lambda name: name != first):
            value, parsed = self._value(stated[name])
            if name == first:
                place = f"{self._source.path}, {self._name}"
                value = part_of(value, name, self._log.part, place)
                if self._log.part and value is None:
                    yield verdicts.lacking(f"{name}.{self._log.part}")
                    continue
            found = theirs(number_of(value))
            flag = found.flag or name
            if found.value is None and found.parsed is None and not is_unscored(value):
                self._odd[name, repr(value)] += 1
                flag = f"the value {value!r:.60} of {name} is not a number"
            label = THEIRS if name == first else verdicts.other(name)
            yield Score(label, found.value, parsed or found.parsed, "1", flag)

    def _value(self, score: Any) -> tuple[Any, str | None]:
        """Return (value, the text that was scored) of a verdict."""
        found = score if isinstance(score, Mapping) else {}
        return found.get("value"), self._resolved(str(found.get("answer") or "")) or None

    def _totals(self) -> Totals:
        """Return totals for a log without model events: usage by model, if it excludes a judge.

        Solver and judge may be one model. Then only what ran tells whether there was a judge.
        """
        usages = list((self._sample.get("model_usage") or {}).values())
        judged = not self._log.calls_no_model or self._sample.get("role_usage")
        if judged or len(usages) != 1:
            return Totals()
        usage = usage_of(usages[0])
        return Totals(usage.input, usage.cached, usage.output, usage.reasoning)

    def _events(self) -> tuple[list[Call], list[Step]]:
        calls: list[Call] = []
        places: list[Placed] = []
        steps: list[tuple[Placed, Step]] = []
        for place in placed(self._sample.get("events") or ()):
            if place.event.get("event") == "model":
                calls.append(self._call(place, calls, places))
                places.append(place)
            elif not place.judging:
                before = [c for c, p in zip(calls, places, strict=True) if p.path == place.path]
                steps.append((place, self._step(place.event, before or calls)))
        made = {  # level -> the calls on it
            path: [c for c, p in zip(calls, places, strict=True) if p.path == path]
            for path in {p.path for p in places}
        }
        unknown = {
            call.id
            for path, own in made.items()
            if not self._own and (not path or any(c.role is Role.CHILD_ROOT for c in own))
            if not is_one_loop(c.prompt.messages for c in own if c.role is not Role.JUDGE)
            for call in own
            if call.role is not Role.JUDGE
        }
        told = [replace(c, unknown=(*c.unknown, "depth")) if c.id in unknown else c for c in calls]
        return told, [
            replace(step, calls=tuple(c.id for c in made.get((*place.path, place.inside), ())))
            if place.inside is not None and not step.calls
            else step
            for place, step in steps
        ]

    def _call(self, place: Placed, calls: Sequence[Call], places: Sequence[Placed]) -> Call:
        event, number = place.event, len(calls)
        about = event.get("metadata") or {}
        given = str(event.get("role") or "")
        role = Role.ROOT
        if place.judging or given == "grader":
            role = Role.JUDGE
        elif place.path:
            role = Role.CHILD_ROOT if place.is_agent else Role.SUB
        role = _OURS.get(given, role)
        before = [
            (c, p.path) for c, p in zip(calls, places, strict=True) if c.role is not Role.JUDGE
        ]
        turn = sum(path == place.path for _, path in before)
        parent = next((c for c, path in reversed(before) if path == place.path[:-1]), None)
        nested = role in (Role.SUB, Role.CHILD_ROOT)
        block = parent.id if parent and role is Role.SUB else number
        output = event.get("output") or {}
        choice = (output.get("choices") or [{}])[0]
        start, took = event.get("working_start"), event.get("working_time", output.get("time"))
        cached = event.get("cache") == "read"
        timed = start is not None and took is not None and not cached
        begin = float(start or 0.0)
        message = choice.get("message") or {}
        stop = str(choice.get("stop_reason") or "")
        error = event.get("error")
        prompt = tuple(
            (str(m.get("role", "user")), self._parts(self._content(m.get("content"))))
            for m in self._asked(event)
        )
        submit = about.get("submit")
        lacking = ("attempts",) if "retries" not in event else ()
        return Call(
            id=int(about.get("call", number)),
            parent=about.get("parent", parent.id if parent and nested else None),
            depth=int(about.get("depth", (len(place.path) or 1) if nested else 0)),
            role=role,
            turn=int(about.get("turn", turn)),
            position=str(about.get("position", f"t{block}")),
            slot=str(about.get("slot") or _SLOTS.get(role, "sub" if nested else "root")),
            model=str(event.get("model") or ""),
            prompt=Prompt(prompt),
            reply=self._said(message),
            reasoning=self._thoughts(message.get("content")),
            finish_reason="" if error else _ENDS.get(stop, stop),
            usage=usage_of(output.get("usage")),
            times=Times(
                begin if submit is None else float(submit), begin, None, begin + float(took or 0.0)
            ),
            attempts=int(event.get("retries") or 0) + 1,
            error=None if not error else f"ProviderError: {self._resolved(str(error))}",
            replayed=bool(about.get("replayed")) or cached,
            unknown=lacking if timed else (*lacking, "times"),
        )

    def _step(self, event: Mapping[str, Any], calls: Sequence[Call]) -> Step:
        about = event.get("metadata") or {}
        arguments, name = event.get("arguments") or {}, str(event.get("function") or "")
        code = arguments.get("code") or arguments.get("cmd")
        is_code = isinstance(code, str) and (self._own or _RUNS_CODE.search(name))
        clock = calls[-1].times.end if calls else 0.0
        place = f"at {clock:g}" if is_code else f"{name} {json.dumps(arguments)}"[:200]
        result = self._content(event.get("result"))
        error = (event.get("error") or {}).get("message")
        number = int(about.get("call", calls[-1].id if calls else 0))
        position = str(event.get("id") or "").removeprefix(f"call-{number}-")
        took, cpu = event.get("working_time"), about.get("cpu_seconds")
        split = len(result) - int(about.get("stderr_chars") or 0)
        return Step(
            call=number,
            position=(is_code and position) or place,
            code=self._resolved(str(code)) if is_code else "",
            stdout=result[:split],
            stdout_chars=split,
            stderr=result[split:],
            stderr_chars=len(result) - split,
            cpu_seconds=None if cpu is None else float(cpu),
            wall_seconds=float(took or 0.0),
            error=None if error is None else self._resolved(str(error)),
            calls=tuple(int(c) for c in about.get("sub_calls") or ()),
        )

    def _asked(self, event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return a model event's messages; newer logs reference a list shared by the events."""
        shared = (self._sample.get("events_data") or {}).get("messages") or []
        found = list(event.get("input") or ())
        for place in event.get("input_refs") or ():
            first, last = place if isinstance(place, list) else (place, place + 1)
            found += shared[first:last]
        return found

    def _parts(self, text: str) -> tuple[PromptPart, ...]:
        """Split a prompt into slices and literals: our export references context positions."""
        hashed = self._hash
        if hashed is None:
            return (text,)
        parts: list[PromptPart] = []
        at = 0
        for hit in _PLACE.finditer(text):
            if hit.start() > at:
                parts.append(text[at : hit.start()])
            parts.append(Slice(hashed, int(hit.group(1)), int(hit.group(2))))
            at = hit.end()
        return (*parts, text[at:]) if at < len(text) else tuple(parts)

    def _said(self, message: Mapping[str, Any]) -> str:
        return self._content(message.get("content"))

    def _content(self, content: Any) -> str:
        if isinstance(content, str):
            return self._resolved(content)
        parts = content if isinstance(content, list) else []
        texts = (p.get("text") for p in parts if isinstance(p, Mapping) and p.get("type") == "text")
        return "\n".join(self._resolved(str(text)) for text in texts)

    def _thoughts(self, content: Any) -> str:
        parts = content if isinstance(content, list) else []
        return "\n".join(
            self._resolved(str(p.get("reasoning") or ""))
            for p in parts
            if isinstance(p, Mapping) and p.get("type") == "reasoning"
        )

    def _resolved(self, text: str) -> str:
        if text.startswith("attachment://"):
            return str(self._attachments.get(text.removeprefix("attachment://"), text))
        return text


def _flat(about: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in about.items() if isinstance(v, str | int | float | bool)}
