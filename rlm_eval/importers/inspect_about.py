"""What the header of an Inspect log says of all its samples: scorer, settings, invalid samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlm_eval.importers import expected
from rlm_eval.importers.settings import short_hash

_NO_MODEL = frozenset({
    "answer", "choice", "exact", "f1", "includes", "match", "math", "pattern",
})  # fmt: skip
"""Scorers of Inspect that call no model."""
_LIMITS = ("message_limit", "token_limit", "time_limit", "working_limit", "cost_limit")
_TRANSPORT = frozenset({
    "adaptive_connections", "attempt_timeout", "batch", "cache", "cache_prompt", "max_connections",
    "max_retries", "seed", "timeout",
})  # fmt: skip
"""Settings of a request that change no reply, and the seed: two seeds are two repeats."""


@dataclass(frozen=True)
class About:
    """Facts of one log."""

    scorer: str | None
    """Name of the scorer that is the headline; `None` = no sample has a score."""
    part: str | None
    """The value of it that was asked for, where its scores have several."""
    scorer_told: str | None
    """The same with the options that set it apart."""
    calls_no_model: bool
    """True where no scorer of the log calls a model, so that all tokens are the method's."""
    task_settings: Mapping[str, Any]
    """Settings that change what the task asks."""
    method_settings: Mapping[str, Any]
    """Settings that change how it is answered."""
    lacking: str | None
    """What the log lacks: a sentence for readers."""


def about(
    header: Mapping[str, Any],
    samples: Sequence[tuple[str, Mapping[str, Any]]],
    name: str,
    asked: str | None,
) -> About:
    """Return the facts of a log; `name` is that of its file, `asked` the scorer to prefer."""
    held = Counter(name for _, sample in samples for name in sample.get("scores") or {})
    stated = dict(_stated(header))
    part = None
    if asked is not None and asked not in held and asked.rpartition(".")[0] in held:
        asked, _, part = asked.rpartition(".")
    scorer = _headline(stated, held, asked)
    told = f"{scorer}.{part}" if part else scorer
    options = stated.get(scorer or "") or {}
    used = {*stated, *held}
    return About(
        scorer=scorer,
        part=part,
        scorer_told=f"{told} ({short_hash(options)})" if scorer and options else told,
        calls_no_model=used <= _NO_MODEL,
        task_settings=_task_settings(header),
        method_settings=_method_settings(header),
        lacking=_lacking(header, samples, name),
    )


def _stated(header: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the scorers that the header names, in its order, with the options of each."""
    found = (header.get("eval") or {}).get("scorers")
    key = "options"
    if not found:  # logs of 2024
        found, key = (header.get("results") or {}).get("scores"), "params"
    for one in found if isinstance(found, list) else ():
        if isinstance(one, Mapping) and one.get("name"):
            options = dict(one.get(key) or {})
            name = str(one["name"]).rpartition("/")[2]
            judge = ((header.get("eval") or {}).get("model_roles") or {}).get("grader")
            if judge and name not in _NO_MODEL:
                options["grader"] = judge
            yield name, options


def _headline(stated: Mapping[str, Any], held: Counter[str], asked: str | None) -> str | None:
    """Return the first scorer of the header that scored a sample, else the most common name.

    Never the first one of a sample: where that one gave no score, another would take its place.
    """
    if asked is not None:
        return asked
    first = next((name for name in stated if name in held), None)
    return first or min(held, key=lambda name: (-held[name], name), default=None)


def _task_settings(header: Mapping[str, Any]) -> dict[str, Any]:
    found = header.get("eval") or {}
    named = {
        "task": found.get("task"),  # `--task` may give several tasks one name
        "task_version": found.get("task_version") or None,
        "dataset": (found.get("dataset") or {}).get("name"),
    }
    return dict(found.get("task_args") or {}) | {k: v for k, v in named.items() if v is not None}


def _method_settings(header: Mapping[str, Any]) -> dict[str, Any]:
    found, plan = header.get("eval") or {}, header.get("plan") or {}
    limits = {name: (found.get("config") or {}).get(name) for name in _LIMITS}
    config = dict(found.get("model_generate_config") or {}) | dict(plan.get("config") or {})
    config = {k: v for k, v in config.items() if k not in _TRANSPORT}
    steps = [] if found.get("solver") else [_step(step) for step in plan.get("steps") or ()]
    settings = config | limits | {"plan": " > ".join(steps) or None}
    settings |= {"solver": found.get("solver")} | dict(found.get("solver_args") or {})
    return {name: value for name, value in settings.items() if value is not None}


def _step(step: Mapping[str, Any]) -> str:
    params = step.get("params") or {}
    return str(step.get("solver")) + (f" ({short_hash(params)})" if params else "")


def _lacking(
    header: Mapping[str, Any], samples: Sequence[tuple[str, Mapping[str, Any]]], name: str
) -> str | None:
    """Return what is missing, and how many samples were marked as invalid after the run."""
    marked = sum(bool(sample.get("invalidation")) for _, sample in samples)
    found = [expected.of_inspect(header, name, len(samples))]
    if marked:
        found.append(
            f"{name}: {marked} of {len(samples)} samples are marked as invalid in the log: they "
            "count as missing"
        )
    elif header.get("invalidated"):
        found.append(
            f"{name}: its header says that samples are invalid, and none of them is marked: which "
            "scores do not count is unknown"
        )
    return ". ".join(filter(None, found)) or None
