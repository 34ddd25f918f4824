"""Where each event of an Inspect sample stands: which agents and tools are around it.

The nesting of spans (in older logs, of the events inside a tool event) is all that tells a sub-call
from a turn of the root. Where a log has neither, a sequence of calls may hold both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Event = Mapping[str, Any]
_SCORERS = ("scorer", "scorers")


@dataclass(frozen=True)
class Placed:
    """An event with its place."""

    event: Event
    """The event."""
    judging: bool
    """True inside a scorer."""
    path: tuple[str, ...]
    """Ids of the tools and agents around it, outermost first; empty = the root's own level."""
    is_agent: bool
    """True where the innermost of `path` is an agent: a loop of its own, and no single call."""
    inside: str | None = None
    """Of a tool event: id of the level of the calls that the tool made; `None` = unknown."""


@dataclass
class _Spans:
    """Spans of a sample, by id."""

    kinds: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def begin(self, event: Event) -> None:
        """Record a span. Without a stated parent it is in the one that was opened last."""
        name = str(event.get("id"))
        stated = event.get("parent_id")
        inside = self.open[-1] if self.open and "parent_id" not in event else None
        self.parents[name] = str(stated) if stated is not None else inside
        self.kinds[name] = str(event.get("type") or "")
        self.names[name] = str(event.get("name") or "")
        self.open.append(name)

    def end(self, event: Event) -> None:
        """Close a span."""
        if (name := str(event.get("id"))) in self.open:
            self.open.remove(name)

    def around(self, event: Event) -> list[tuple[str, str]]:
        """Return (kind, id) of the spans around an event, outermost first."""
        stated = str(event.get("span_id"))
        at = stated if stated in self.kinds else self.open[-1] if self.open else None
        found: list[tuple[str, str]] = []
        seen: set[str] = set()
        while at is not None and at in self.kinds and at not in seen:
            seen.add(at)
            found.append((self.kinds[at], at))
            at = self.parents[at]
        return found[::-1]

    def of_tool(self, event: Event) -> str | None:
        """Return the span of a tool whose event stands beside it: the last one of its name."""
        name = str(event.get("function"))
        own = (s for s, kind in self.kinds.items() if kind == "tool" and self.names[s] == name)
        return next((s for s in reversed(list(own)) if s not in self.used), None)


def placed(events: Sequence[Event]) -> Iterator[Placed]:
    """Yield the model and tool events in order, those inside other events included."""
    yield from _placed(events, _Spans(), [])


def _placed(
    events: Sequence[Event], spans: _Spans, outside: list[tuple[str, str]]
) -> Iterator[Placed]:
    scoring = 0  # nesting depth of a scorer's steps, in older logs
    for number, event in enumerate(events):
        kind = event.get("event")
        if kind == "span_begin":
            spans.begin(event)
        elif kind == "span_end":
            spans.end(event)
        elif kind == "step" and event.get("type") == "scorer":
            scoring += 1 if event.get("action") == "begin" else -1
        elif kind in ("model", "tool", "subtask"):
            trail = [*outside, *spans.around(event)]
            inner = list(event.get("events") or ()) if not spans.kinds else []
            if kind == "tool":
                place, inside = _tool(event, trail, spans, scoring > 0, f"{len(outside)}.{number}")
                yield place
                yield from _placed(inner, spans, [*trail, ("tool", inside)])
            elif kind == "model":
                yield _place(event, trail, scoring > 0)
            else:
                yield from _placed(inner, spans, trail)


def _tool(
    event: Event, trail: list[tuple[str, str]], spans: _Spans, scoring: bool, number: str
) -> tuple[Placed, str]:
    """Return the place of a tool event, which is that of the call that asked for it."""
    if trail and trail[-1][0] == "tool" and spans.names.get(trail[-1][1]) == event.get("function"):
        own: str | None = trail[-1][1]
        trail = trail[:-1]
    else:
        own = spans.of_tool(event)
    if own is not None:
        spans.used.add(own)
    known = own is not None or "events" in event
    name = own or f"tool {event.get('id') or ''} {number}"
    return _place(event, trail, scoring, name if known else None), name


def _place(
    event: Event, trail: Sequence[tuple[str, str]], scoring: bool, inside: str | None = None
) -> Placed:
    path: list[str] = []
    is_agent = in_agent = after_tool = False
    for kind, name in trail:
        if kind == "tool":
            path.append(name)
            is_agent, after_tool = False, True
        elif kind == "agent":
            # An agent that a tool starts is that tool's level; the outermost agent is the root.
            if not after_tool and (path or in_agent):
                path.append(name)
            is_agent, in_agent, after_tool = bool(path), True, False
    judging = scoring or any(kind in _SCORERS for kind, _ in trail)
    return Placed(event, judging, tuple(path), is_agent, inside)


def is_one_loop(prompts: Iterable[Sequence[Any]]) -> bool:
    """Return true where the messages of each call continue those of the call before.

    Such calls are the turns of one loop. Others may be sub-calls that no span sets apart.
    """
    before: Sequence[Any] = ()
    for messages in prompts:
        if tuple(messages[: len(before)]) != tuple(before):
            return False
        before = messages
    return True
