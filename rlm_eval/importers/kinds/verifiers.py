"""Results of verifiers: `traces.jsonl` (one episode a line), or the older `results.jsonl`.

A trace's prompt tokens exclude cache reads; here they are included. Rewards need not be in [0, 1]:
where one is outside, those of its task are not scored. Failed episodes may be missing from the
file: its rows are compared with the tasks times rollouts of the configuration beside it. `errors`
lists those of every attempt, so an episode that is `ok` may have some. Traces are in the order in
which they ended: of several agents the one that was rewarded is the root. Another one is its child
only where its name says so: else its depth is unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rlm_eval.core.outcomes import Outcome, Totals
from rlm_eval.core.types import Call, Prompt, Role, Score, Times, Usage
from rlm_eval.importers import expected, verdicts
from rlm_eval.importers.rows import BadLog, Options, Row, Source
from rlm_eval.importers.scoring import theirs
from rlm_eval.importers.tables import raw_rows

SUFFIXES = (".jsonl",)
_ENDS = {
    "max_turns_reached": Outcome.LIMIT_TURNS,
    "max_turns": Outcome.LIMIT_TURNS,
    "timeout": Outcome.LIMIT_TIME,
    "timeout_reached": Outcome.LIMIT_TIME,
    "max_total_tokens": Outcome.LIMIT_TOKENS,
    "max_input_tokens": Outcome.LIMIT_TOKENS,
    "max_output_tokens": Outcome.LIMIT_TOKENS,
    "compaction_failed": Outcome.TRUNCATED,
    "prompt_too_long": Outcome.CONTEXT_OVERFLOW,
    "context_length": Outcome.CONTEXT_OVERFLOW,
}
_CHILD = re.compile(r"(?:^|[^a-z])(?:sub|child)", re.IGNORECASE)
"""Name of an agent that another one calls."""
_SUB_CALLS = re.compile(r"(?:^|_)sub_?(?:llm|lm|rlm|agent|model)?_?(?:calls|count)$")
"""Name of a metric that counts sub-calls."""


def read(found: Iterable[Source], options: Options) -> Iterator[Row]:
    """Yield a row per episode. Raises `BadLog` for another kind of file."""
    for source in found:
        lines = list(raw_rows(source, None))
        lacking = expected.of_verifiers(source.path, len(lines))
        config = expected.beside(source.path)
        model = config.get("model")
        settings: dict[str, Any] = {
            "task_settings": _table(config.get("env_args")),
            "method_settings": _table(config.get("sampling_args") or config.get("sampling")),
        }
        for number, (at, line, _) in enumerate(lines):
            try:
                if "traces" in line:
                    row = _episode(source, at, line, number, options)
                    yield replace(row, lacking=lacking, **settings)
                elif "reward" in line and ("completion" in line or "example_id" in line):
                    row = _result(source, at, line, number, options)
                    root = model if isinstance(model, str) else ""
                    yield replace(row, lacking=lacking, root=root, **settings)
                else:
                    known = ", ".join(list(map(str, line))[:8])
                    raise BadLog(
                        f"{source.path}, {at}: neither `traces` nor `reward`: not a log of "
                        f"verifiers (it has: {known})"
                    )
            except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
                raise BadLog(
                    f"{source.path}, {at}: not as verifiers writes it "
                    f"({type(error).__name__}: {str(error)[:80]})"
                ) from error


def _table(value: Any) -> dict[str, Any] | None:
    return dict(value) if isinstance(value, Mapping) else None


def _episode(
    source: Source, at: str, line: Mapping[str, Any], number: int, options: Options
) -> Row:
    task = line.get("task") or {}
    data = task.get("data") or {}
    calls: list[Call] = []
    traces = _root_first(line["traces"])
    begins = [(c.get("time") or {}).get("start") for t in traces for c in t.get("calls") or ()]
    origin = min((b for b in begins if b is not None), default=0.0)
    for order, trace in enumerate(traces):
        calls += _calls(trace, order, len(calls), origin)
    first = traces[0] if traces else {}
    errors = [e for t in traces for e in t.get("errors") or ()]
    errors = [*(line.get("errors") or ()), *errors]
    scores, scorer = _rewards(first.get("rewards") or {}, options.their_scorer)
    last = next((c for c in reversed(calls) if c.depth == 0 and c.error is None), None)
    answer = first.get("root_reply")  # where children of the agent are branches of its own trace
    if answer is None and last is not None:
        answer = last.reply
    ended = str(first.get("stop_condition") or "")
    outcome = _ENDS.get(ended, Outcome.OK if answer else Outcome.NO_ANSWER)
    if last is not None and last.is_cut:
        outcome = Outcome.TRUNCATED
    told = f"{errors[0].get('type')}: {errors[0].get('message')}" if errors else None
    if line.get("ok") is False or (errors and "ok" not in line):
        outcome = Outcome.PROVIDER_ERROR
    times = [c.times.end for c in calls if "times" not in c.unknown]
    judge = [_usage(usage) for t in traces for usage in t.get("extra_usage") or ()]
    key = task.get("hash") or task.get("key")
    return Row(
        place=f"{source.name}, {at}",
        sha256=source.sha256,
        task=options.task or str((line.get("env") or {}).get("id") or task.get("type") or "task"),
        method=options.method or str((first.get("agent") or {}).get("name") or "verifiers"),
        root=calls[0].model if calls else "",
        item=None if key is None else str(key),
        question=_question(data, calls),
        gold=data.get("answer"),
        answer=answer,
        outcome=outcome,
        error=told if outcome is Outcome.PROVIDER_ERROR else None,
        scores=() if outcome.is_missing else scores,
        their_scorer=scorer,
        repeat=str(line.get("id") or number),
        seconds=max(times) if times and len(times) == len(calls) else None,
        calls=tuple(calls),
        totals=None if calls else Totals(),
        notes=_metrics(first.get("metrics"))
        | ({"stop_condition": ended} if ended else {})
        | ({"earlier_errors": len(errors)} if errors and not outcome.is_missing else {})
        | _judged(judge),
    )


def _root_first(traces: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The traces, the first one with a reward in front; unchanged where none or the first has."""
    rewarded = [n for n, t in enumerate(traces) if any((t.get("rewards") or {}).values())]
    at = rewarded[0] if rewarded else 0
    return [*traces[at : at + 1], *traces[:at], *traces[at + 1 :]]


def _judged(usages: Sequence[Usage]) -> dict[str, Any]:
    """Notes on calls outside the agents' graph: judges. They are no calls of the method."""
    if not usages:
        return {}
    found: dict[str, Any] = {"extra_usage_calls": len(usages)}
    for name in ("input", "output"):
        values = [getattr(usage, name) for usage in usages]
        if None not in values:
            found[f"extra_{name}_tokens"] = sum(values)
    return found


def _calls(trace: Mapping[str, Any], order: int, start: int, origin: float) -> list[Call]:
    """The calls of a trace. `origin` is the start of the episode: its traces share one clock."""
    nodes = trace.get("nodes") or []
    known = list(trace.get("calls") or ())
    agent = str((trace.get("agent") or {}).get("name") or "")
    base = 0 if order == 0 else 1
    beside, is_known = _branches(trace, nodes, known)
    # Another agent of the episode need not be one that the root has called.
    is_known = is_known and (order == 0 or bool(_CHILD.search(agent)))
    above = None if order == 0 else 0
    asking = above  # the agent's last call of its own
    found: list[Call] = []
    for turn, call in enumerate(known):
        node = call.get("node")
        span = call.get("time") or {}
        timed = span.get("start") is not None and span.get("end") is not None
        begin = float(span["start"] - origin) if timed else 0.0
        error = call.get("error")
        lacking = ["attempts"] + ([] if timed else ["times"])
        if call.get("finish_reason") is None and error is None:
            lacking.append("finish_reason")
        path = _path(nodes, node)
        if path is None:
            lacking.append("prompt")
        if not is_known:
            lacking.append("depth")
        is_sub = turn in beside
        role = Role.SUB if is_sub else Role.CHILD_ROOT if order else Role.ROOT
        place = f"t{turn}" if order == 0 else f"{agent or 'agent'}{order}/t{turn}"
        found.append(
            Call(
                id=start + turn,
                parent=asking if is_sub else above,
                depth=base + is_sub,
                role=role,
                turn=turn - sum(n < turn for n in beside),
                position=place,
                slot="root" if role is Role.ROOT else "sub",
                model=str(call.get("model") or ""),
                prompt=Prompt(path or ()),
                reply="" if path is None else _content(nodes[node].get("message") or {}),
                reasoning="" if path is None else _reasoning(nodes[node].get("message") or {}),
                finish_reason=str(call.get("finish_reason") or ""),
                usage=_usage(call.get("usage")),
                times=Times(begin, begin, None, float(span["end"] - origin) if timed else 0.0),
                attempts=1,
                error=None if error is None else f"ProviderError: {_told(error)}",
                unknown=tuple(lacking),
            )
        )
        asking = asking if is_sub else found[-1].id
    return found


def _branches(
    trace: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], calls: Sequence[Mapping[str, Any]]
) -> tuple[frozenset[int], bool]:
    """Return (indices of the calls beside the agent's own branch, whether those are sub-calls).

    The agent's own branch is that of its answer, else of its last call. A call beside it is a
    sub-call, or was made before the agent shortened its history: only a count of sub-calls in the
    metrics tells, and without one, or with another number, it is unknown.
    """
    placed = [n for n, call in enumerate(calls) if _path(nodes, call.get("node")) is not None]
    reply = trace.get("root_reply")
    said = [n for n in placed if _content(nodes[calls[n]["node"]].get("message") or {}) == reply]
    ends = said or placed
    own = _above(nodes, calls[ends[-1]]["node"]) if ends else set()
    beside = frozenset(n for n in placed if calls[n]["node"] not in own)
    counted = [
        value
        for name, value in (trace.get("metrics") or {}).items()
        if _SUB_CALLS.search(str(name)) and isinstance(value, int | float)
    ]
    return beside, len(beside) == max(counted) if counted else not beside


def _above(nodes: Sequence[Mapping[str, Any]], node: int) -> set[int]:
    """Return a node with all above it."""
    found: set[int] = set()
    at: Any = node
    while isinstance(at, int) and 0 <= at < len(nodes) and at not in found:
        found.add(at)
        at = nodes[at].get("parent")
    return found


def _path(
    nodes: Sequence[Mapping[str, Any]], node: Any
) -> tuple[tuple[str, tuple[str, ...]], ...] | None:
    """Return the messages from the root of the tree to the parent of a call's node."""
    if not isinstance(node, int) or not 0 <= node < len(nodes):
        return None
    messages = []
    seen = {node}
    at = nodes[node].get("parent")
    while isinstance(at, int) and 0 <= at < len(nodes) and at not in seen:
        seen.add(at)
        message = nodes[at].get("message") or {}
        messages.append((str(message.get("role", "user")), (_content(message),)))
        at = nodes[at].get("parent")
    return tuple(reversed(messages))


def _usage(found: Mapping[str, Any] | None) -> Usage:
    if not found or found.get("prompt_tokens") is None:
        return Usage()
    cached = found.get("cached_input_tokens")
    return Usage(
        input=int(found["prompt_tokens"]) + int(cached or 0),
        cached=None if cached is None else int(cached),
        output=found.get("completion_tokens"),
        reasoning=found.get("reasoning_tokens"),
    )


def _rewards(rewards: Mapping[str, Any], asked: str | None) -> tuple[tuple[Score, ...], str | None]:
    """Return (the weighted sum as their score, followed by each reward; the name of the sum).

    The name lists the rewards with their weights: another set is another measure. `asked` is the
    one reward to take instead.
    """
    values = {name: (r or {}).get("score") for name, r in rewards.items()}
    weights = {name: (r or {}).get("weight") for name, r in rewards.items()}
    if not values or (None in values.values() and asked is None):
        return (), None
    by = {name: 1.0 if weight is None else float(weight) for name, weight in weights.items()}
    named = []
    for name, value in values.items():
        score = theirs(value)
        named.append(Score(f"reward_{name}", score.value, score.parsed, "1", score.flag))
    if asked is not None:
        found = theirs(values[asked]) if asked in values else verdicts.lacking(asked)
        return (found, *named), asked
    total = sum(float(value or 0) * by[name] for name, value in values.items())
    parts = [name if by[name] == 1 else f"{by[name]:g} x {name}" for name in sorted(by)]
    return (theirs(total), *named), " + ".join(parts)


def _result(source: Source, at: str, line: Mapping[str, Any], number: int, options: Options) -> Row:
    usage = line.get("token_usage") or {}
    reward, error = line.get("reward"), line.get("error")
    completion = line.get("completion")
    answer = completion if isinstance(completion, str) else None
    if isinstance(completion, list):
        said = [m for m in completion if m.get("role") == "assistant"]
        answer = _content(said[-1]) if said else ""
    outcome = _ENDS.get(
        str(line.get("stop_condition") or ""), Outcome.OK if answer else Outcome.NO_ANSWER
    )
    if line.get("is_truncated"):
        outcome = Outcome.TRUNCATED
    if error:
        outcome = Outcome.PROVIDER_ERROR
    timing = line.get("timing") or {}
    seconds = timing.get("total") or timing.get("generation")
    item = line.get("example_id")
    return Row(
        place=f"{source.name}, {at}",
        sha256=source.sha256,
        task=options.task or str(line.get("task") or "verifiers"),
        method=options.method or "verifiers",
        item=None if item is None else str(item),
        question=_messages(line.get("prompt")),
        gold=line.get("answer"),
        answer=answer,
        outcome=outcome,
        error=_told(error) if error else None,
        scores=() if reward is None or outcome.is_missing else (theirs(reward),),
        repeat=str(line.get("rollout", line.get("trajectory_id", f"line {number}"))),
        seconds=_seconds(seconds),
        totals=Totals(input=usage.get("input_tokens"), output=usage.get("output_tokens")),
        notes=_metrics(line.get("metrics")),
    )


def _seconds(value: Any) -> float | None:
    if isinstance(value, Mapping):
        value = value.get("duration")
    return float(value) if isinstance(value, int | float) else None


def _question(data: Mapping[str, Any], calls: Sequence[Call]) -> str | None:
    for name in ("question", "prompt"):
        if data.get(name) is not None:
            return _messages(data[name])
    if not calls or not calls[0].prompt.messages:
        return None
    return "\n\n".join(str(part) for _, parts in calls[0].prompt.messages for part in parts)


def _messages(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n\n".join(_content(m) for m in value if isinstance(m, Mapping))
    return json.dumps(value, ensure_ascii=False)


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(p.get("text", "")) for p in content if isinstance(p, Mapping))
    return "" if content is None else str(content)


def _reasoning(message: Mapping[str, Any]) -> str:
    return str(message.get("reasoning_content") or "")


def _metrics(found: Any) -> dict[str, Any]:
    known = found if isinstance(found, Mapping) else {}
    return {
        f"metric_{k}": v
        for k, v in known.items()
        if isinstance(v, int | float) and not isinstance(v, bool)
    }


def _told(error: Any) -> str:
    if isinstance(error, Mapping):
        return f"{error.get('type', 'error')}: {error.get('message', '')}"
    return str(error)
