"""Runs as Inspect logs (`.eval`), one per cell, through inspect_ai's public classes.

An export only: Inspect cannot rerun or rescore it. A call becomes a model event, a block a tool
event; slices of a context are given by position, without the context's text. Unknown token counts
stay absent. Text of protected tasks is excluded. https://inspect.aisi.org.uk/eval-logs.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.renamed import current
from rlm_eval.core.types import Call, Outcome, PromptPart, Role, Sample, Slice, Step, Usage
from rlm_eval.core.whole_text import whole_text
from rlm_eval.records.record import load_records
from rlm_eval.report.exports.counted import cells
from rlm_eval.stats.intervals import mean_interval
from rlm_eval.storage.cell_store import RolloutResult, output_folder

_STOPS = {
    "stop": "stop",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "tool_calls": "tool_calls",
}
_LIMITS = {
    Outcome.LIMIT_TOKENS: "token",
    Outcome.LIMIT_COST: "cost",
    Outcome.LIMIT_TIME: "time",
    Outcome.CONTEXT_OVERFLOW: "context",
}
_HIDDEN = "[protected: not exported]"


def inspect_logs(run_dirs: Sequence[Path], out: Path, **_: Any) -> list[Path]:
    """Write `<run>-<cell>.eval` for every cell with a finished sample, copied cells once.

    Raises `RlmEvalError` if inspect_ai is not installed.
    """
    try:
        from inspect_ai.log import write_eval_log
    except ImportError as error:
        raise RlmEvalError(
            "export inspect needs the package inspect_ai: pip install -e '.[inspect]' (in an "
            "environment of its own where its versions clash with yours)"
        ) from error

    output_folder(out)
    paths = []
    for name, found in cells(run_dirs, load_records(run_dirs)):
        path = out / f"{name}.eval"
        write_eval_log(_log(found), str(path), format="eval")
        paths.append(path)
    return paths


def _log(found: Sequence[tuple[dict[str, Any], Sample, RolloutResult]]) -> Any:
    from inspect_ai import log

    manifest = found[0][0]
    facts, code = manifest["facts"], manifest.get("code", {})
    samples = [_Export(manifest, sample, attempt).sample() for _, sample, attempt in found]
    spec = log.EvalSpec(
        created=_started(manifest).isoformat(),
        task=str(facts["task"]),
        solver=current(str(facts["method"])),
        model=str(facts["root"]),
        dataset=log.EvalDataset(name=str(facts["task"]), samples=len({s.id for s in samples})),
        config=log.EvalConfig(epochs=max(s.epoch for s in samples)),
        revision=log.EvalRevision(type="git", origin="", commit=code["git"])
        if code.get("git")
        else None,
        packages={name: str(version) for name, version in manifest.get("packages", {}).items()},
        metadata={"rlm_eval": facts, "command": manifest.get("command")},
    )
    results = log.EvalResults(
        total_samples=len(samples),
        completed_samples=sum(not a.trajectory.outcome.is_missing for _, _, a in found),
        scores=[_mean(name, found) for name in dict.fromkeys(_scorers(found))],
    )
    return log.EvalLog(status="success", eval=spec, results=results, samples=samples)


def _scorers(found: Sequence[tuple[Any, Sample, RolloutResult]]) -> Iterator[str]:
    return (score.scorer for _, _, attempt in found for score in attempt.scores)


def _mean(name: str, found: Sequence[tuple[Any, Sample, RolloutResult]]) -> Any:
    """Return a scorer's mean with our interval, repeats of a sample averaged first."""
    from inspect_ai.log import EvalMetric, EvalScore

    values: dict[tuple[str, str], list[float]] = {}
    for _, sample, attempt in found:
        for score in attempt.scores:
            if score.scorer == name and score.value is not None:
                values.setdefault((sample.id, sample.cluster), []).append(score.value)
    means = [sum(repeats) / len(repeats) for repeats in values.values()]
    interval = mean_interval(means, [cluster for _, cluster in values])
    numbers = {"mean": interval.estimate, "ci_low": interval.low, "ci_high": interval.high}
    return EvalScore(
        name=name,
        scorer=name,
        scored_samples=interval.n,
        metrics={k: EvalMetric(name=k, value=v) for k, v in numbers.items()},
        metadata={"interval": interval.method, "clusters": interval.clusters},
    )


def _started(manifest: Mapping[str, Any]) -> datetime:
    """Return the start time of the cell; its samples have no start time."""
    return datetime.fromisoformat(manifest.get("started", "1970-01-01T00:00:00+00:00")).astimezone()


class _Export:
    """One attempt at one sample, converted to Inspect's classes."""

    def __init__(self, manifest: Mapping[str, Any], sample: Sample, attempt: RolloutResult) -> None:
        self._hidden = bool(manifest["facts"].get("protected"))
        self._start = _started(manifest)
        self._sample, self._attempt = sample, attempt
        self._calls = attempt.trajectory.calls

    def sample(self) -> Any:
        """Return the sample with its events."""
        from inspect_ai import log, scorer
        from inspect_ai.model import ModelOutput

        sample, trajectory = self._sample, self._attempt.trajectory
        roots = [call for call in self._calls if call.role is Role.ROOT and call.error is None]
        model = roots[-1].model if roots else ""
        limit = _LIMITS.get(trajectory.outcome, "custom" if trajectory.outcome.is_cut else None)
        error = trajectory.error if trajectory.outcome.is_missing else None
        target = sample.target if isinstance(sample.target, list | tuple) else [sample.target]
        return log.EvalSample(
            id=sample.id,
            epoch=trajectory.epoch + 1,  # Inspect counts from 1
            input=self._text(sample.question),
            target=[self._text(str(value)) for value in target],
            messages=[*self._messages(roots[-1]), self._reply(roots[-1])] if roots else [],
            output=ModelOutput.from_content(model, self._text(trajectory.answer.text or "")),
            scores={
                score.scorer: scorer.Score(
                    value=score.value,
                    answer=self._text(str(score.parsed)) if score.parsed is not None else None,
                )
                for score in self._attempt.scores
                if score.value is not None
            },
            metadata=self._metadata(),
            events=self._events(),
            model_usage=_summed((call.model, call) for call in self._calls),
            role_usage=_summed((call.role.value, call) for call in self._calls),
            total_time=trajectory.wall_seconds,
            limit=log.EvalSampleLimit(type=limit, limit=-1) if limit else None,
            error=log.EvalError(message=self._text(error), traceback="", traceback_ansi="")
            if error
            else None,
        )

    def _metadata(self) -> dict[str, Any]:
        sample, trajectory = self._sample, self._attempt.trajectory
        context = sample.context
        return {
            "outcome": trajectory.outcome.value,
            "provenance": trajectory.answer.provenance,
            "length": sample.length,
            "context": {
                "hash": context.hash,
                "chars": context.chars,
                "tokens": context.tokens,
                "tokenizer": context.tokenizer,
            },
            "evidence": [list(span) for span in sample.evidence],
            "cluster": sample.cluster,
            "item": sample.item,
            "several_golds": isinstance(sample.target, list | tuple),
            "index": sample.index,
            "meta": whole_text(dict(sample.meta)),
        }

    def _events(self) -> list[Any]:
        """Return calls and blocks in the order in which they started."""
        events = [(call.times.start, self._call(call)) for call in self._calls]
        ends = {call.id: call.times.end for call in self._calls}
        events += [
            (ends.get(step.call, 0.0), self._step(step, ends.get(step.call, 0.0)))
            for step in self._attempt.trajectory.steps
        ]
        return [event for _, event in sorted(events, key=lambda pair: pair[0])]

    def _call(self, call: Call) -> Any:
        from inspect_ai.event import ModelEvent
        from inspect_ai.model import ChatCompletionChoice, GenerateConfig, ModelOutput

        stop: Any = _STOPS.get(call.finish_reason.lower(), "unknown")
        choice = ChatCompletionChoice(message=self._reply(call), stop_reason=stop)
        seconds = call.times.end - call.times.start
        usage = _usage(call.usage)
        return ModelEvent(
            model=call.model,
            role=call.role.value,
            input=self._messages(call),
            tools=[],
            tool_choice="none",
            config=GenerateConfig(),
            output=ModelOutput(model=call.model, choices=[choice], usage=usage, time=seconds),
            error=None if call.error is None else self._text(call.error),
            retries=call.attempts - 1,
            timestamp=self._start + timedelta(seconds=call.times.start),
            working_start=call.times.start,
            working_time=seconds,
            metadata={"call": call.id, "parent": call.parent, "depth": call.depth}
            | {"slot": call.slot, "submit": call.times.submit}
            | {"turn": call.turn, "position": call.position, "replayed": call.replayed},
        )

    def _step(self, step: Step, start: float) -> Any:
        from inspect_ai.event import ToolEvent
        from inspect_ai.tool import ToolCallError

        return ToolEvent(
            id=f"call-{step.call}-{step.position}",
            function="python",
            arguments={"code": self._text(step.code)},
            result=self._text(step.stdout + step.stderr),
            error=None
            if step.error is None
            else ToolCallError(type="unknown", message=self._text(step.error)),
            timestamp=self._start + timedelta(seconds=start),
            working_start=start,
            working_time=step.wall_seconds,
            metadata={"call": step.call, "sub_calls": list(step.calls)}
            | {"cpu_seconds": step.cpu_seconds, "stderr_chars": len(step.stderr)},
        )

    def _messages(self, call: Call) -> list[Any]:
        from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

        kinds = {"system": ChatMessageSystem, "assistant": ChatMessageAssistant}
        return [
            kinds.get(role, ChatMessageUser)(content="".join(map(self._part, parts)))
            for role, parts in call.prompt.messages
        ]

    def _reply(self, call: Call) -> Any:
        from inspect_ai.model import ChatMessageAssistant

        return ChatMessageAssistant(content=self._text(call.reply), model=call.model)

    def _part(self, part: PromptPart) -> str:
        if isinstance(part, Slice):
            return f"[context {part.start} to {part.end}]"
        return self._text(part)

    def _text(self, text: str) -> str:
        return _HIDDEN if self._hidden and text else str(whole_text(text))


def _usage(usage: Usage) -> Any:
    """Convert usage; `None` if the provider did not report tokens."""
    from inspect_ai.model import ModelUsage

    if usage.input is None or usage.output is None:
        return None
    return ModelUsage(
        input_tokens=usage.input - (usage.cached or 0),  # Inspect counts cached ones separately
        output_tokens=usage.output,
        total_tokens=usage.input + usage.output,
        input_tokens_cache_read=usage.cached,
        reasoning_tokens=usage.reasoning,
    )


def _summed(calls: Any) -> dict[str, Any]:
    """Return usage by name, without names that have a call of unknown usage."""
    found: dict[str, Any] = {}
    for name, call in calls:
        usage = _usage(call.usage)
        if name in found and usage is not None and found[name] is not None:
            usage = found[name] + usage
        elif name in found:
            usage = None
        found[name] = usage
    return {name: total for name, total in found.items() if total is not None}
