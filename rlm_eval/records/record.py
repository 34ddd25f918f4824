"""One flat row per (cell, sample, epoch): the table behind every statistic and figure.

No storage (`storage/cell_store.py` owns the run directory) and no statistics. `record_of` makes a
row, `to_frame` a typed table, `load_records` reads the tables of finished or running runs. Unknown
is null, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO

from rlm_eval.core import no_text, renamed
from rlm_eval.core.amounts import known_sum
from rlm_eval.core.errors import NoRecords, RlmEvalError
from rlm_eval.core.types import Call, Outcome, Role, Sample, Score, Trajectory, Usage
from rlm_eval.core.whole_text import whole_text
from rlm_eval.records import coverage
from rlm_eval.records.artefacts import fingerprints, is_runaway
from rlm_eval.records.call_patterns import habits
from rlm_eval.records.columns import COLUMNS as COLUMNS
from rlm_eval.records.columns import COUNTERFACTUAL as COUNTERFACTUAL
from rlm_eval.records.columns import CallCost as CallCost
from rlm_eval.records.union import distinct, united
from rlm_eval.storage.cell_folders import check_run
from rlm_eval.storage.damage import damaged
from rlm_eval.storage.plan import none_finished, why_no_run

if TYPE_CHECKING:
    import pandas as pd

    from rlm_eval.storage.server_usage import DeviceRate

SCHEMA_VERSION = 1
FILE = "records.parquet"


_SOURCE = ("source_sha256", "source_row")
"""Notes of an imported trajectory that are columns."""
_CHILDREN = (Role.SUB, Role.CHILD_ROOT)


def record_of(
    cell: Mapping[str, Any],
    sample: Sample,
    trajectory: Trajectory,
    scores: Sequence[Score],
    cost: CallCost,
    shares: Mapping[str, DeviceRate] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the row of one finished sample.

    `cell` has facts that the trajectory lacks, under the names of `COLUMNS`: run, cell_id,
    seed, task, task_variant, density, generated, protected, method, variant, depth_limit, root,
    sub, judge, prompt, prompt_hash, isolation, scripted, root_window, concurrency, remark, prices,
    re_rolls, diverged_calls. An absent fact becomes null. `shares` maps a call's slot to the device
    time and cost of one second of a call on servers that the harness started.
    """
    calls = [call for call in trajectory.calls if call.role is not Role.JUDGE]
    judges = [call for call in trajectory.calls if call.role is Role.JUDGE]
    roots = [call for call in calls if call.role is Role.ROOT]
    subs = [call for call in calls if call.role in _CHILDREN]
    share = reread = seen = None
    if not any(call.is_server_cut for call in calls):  # else the text that models read is unknown
        spans = coverage.slices_of(calls, sample.context.hash)
        share, reread = coverage.coverage(spans, sample.context.chars)
        seen = coverage.evidence_seen(sample.evidence, spans)
    outcome, answer = trajectory.outcome, trajectory.answer
    textless, replies = no_text.counts(calls)
    ends = {call.finish_reason or "none" for call in calls if call.has_unknown_end}
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {name: value for name, value in cell.items() if name in COLUMNS}
    row |= {
        "schema": SCHEMA_VERSION,
        "sample_id": sample.id,
        "item": sample.item,
        "cluster": sample.cluster,
        "epoch": trajectory.epoch,
        "index": sample.index,
        "length": sample.length,
        "tokens": sample.context.tokens,
        "tokenizer": sample.context.tokenizer,
        "chars": sample.context.chars,
        "outcome": outcome.value,
        "score": headline(outcome, scores),
        "scorer": scores[0].scorer if scores else None,
        "answer_chars": None if answer.text is None else len(answer.text),
        "provenance": answer.provenance,
        **fingerprints(sample, roots),
        "failure": coverage.failure(sample, trajectory, scores, seen),
        "n_calls": len(calls),
        "n_root_calls": len(roots),
        "n_sub_calls": sum(call.role is Role.SUB for call in calls),
        "n_child_calls": sum(call.role is Role.CHILD_ROOT for call in calls),
        "n_other_calls": len(calls) - len(roots) - len(subs),
        "n_judge_calls": len(judges),
        "used_recursion": bool(subs),
        "max_depth": max((call.depth for call in calls), default=0),
        "turns": len({call.turn for call in roots}),
        "first_sub_turn": _first_sub_turn(roots, subs),
        "max_fanout": _max_fanout(subs),
        "n_truncated_calls": sum(call.is_cut for call in calls),
        "n_runaway_calls": sum(map(is_runaway, calls)),
        "n_unknown_ends": sum(call.has_unknown_end for call in calls),
        "n_replies": replies,
        "n_textless_replies": textless,
        "unknown_ends": ", ".join(sorted(ends)) or None,
        "served_models": _served(trajectory.calls, cell),
        "n_failed_calls": sum(call.error is not None for call in calls),
        "n_server_cut_calls": sum(call.is_server_cut for call in trajectory.calls),
        "n_retried_calls": sum(call.attempts > 1 for call in calls),
        "n_lost_attempts": sum(call.lost_attempts for call in trajectory.calls),
        "n_replayed_calls": sum(call.replayed for call in calls),
        "input_tokens": _tokens(calls, "input"),
        "cached_tokens": _tokens(calls, "cached"),
        "output_tokens": _tokens(calls, "output"),
        "reasoning_tokens": _tokens(calls, "reasoning"),
        "root_input_tokens": _tokens(roots, "input"),
        "root_output_tokens": _tokens(roots, "output"),
        "sub_input_tokens": _tokens(subs, "input"),
        "sub_output_tokens": _tokens(subs, "output"),
        "judge_input_tokens": _tokens(judges, "input"),
        "judge_output_tokens": _tokens(judges, "output"),
        "peak_prompt_tokens": max((c.usage.input for c in calls if c.usage.input), default=None),
        "lost_tokens_estimated": sum(_estimated(call).total or 0 for call in trajectory.calls),
        "cost_cold": _cost(calls, cost, 0),
        "cost_observed": _cost(calls, cost, 1),
        "cost_with_gpu": _cost_with_gpu(calls, cost, shares),
        "failed_cost": _cost([_failed_part(call) for call in calls], cost, 0),
        "judge_cost": _cost(judges, cost, 0),
        "lost_cost_estimated": known_sum(_estimated_cost(c, cost) for c in trajectory.calls),
        "core_seconds": _share(trajectory.calls, shares, "core_s"),
        "gpu_seconds": _share(trajectory.calls, shares, "gpu_s"),
        "wall_seconds": trajectory.wall_seconds,
        "critical_path_seconds": coverage.critical_path(calls, trajectory.steps),
        "service_seconds": sum(call.times.end - call.times.start for call in calls),
        "queue_seconds": sum(call.times.start - call.times.submit for call in calls),
        "first_token_seconds": _mean(map(coverage.first_token_seconds, calls)),
        "token_seconds": _mean(map(coverage.token_seconds, calls)),
        "n_steps": len(trajectory.steps),
        "n_error_steps": sum(step.error is not None for step in trajectory.steps),
        "step_cpu_seconds": known_sum(step.cpu_seconds for step in trajectory.steps),
        "coverage": share,
        "reread": reread,
        "evidence_seen": seen,
    }
    row |= {f"score_{score.scorer}": counted(trajectory.outcome, score) for score in scores}
    notes = {k: v for k, v in trajectory.notes.items() if _flat(v)}
    row |= {k if k in _SOURCE else f"note_{k}": v for k, v in notes.items()}
    if trajectory.steps or subs:
        row |= {f"habit_{name}": found for name, found in habits(trajectory).items()}
        row |= _by_depth(calls)
    if cell.get("imported"):
        from rlm_eval.records.imported import unstated

        row |= unstated(trajectory, cost)
    return row | {f"meta_{k}": v for k, v in sample.meta.items() if _flat(v)}


def headline(outcome: Outcome, scores: Sequence[Score]) -> float | None:
    """Return the headline score, in [0, 1]; `None` = not scored."""
    if outcome.is_missing:
        return None
    return 0.0 if outcome.scores_zero else scores[0].value if scores else None


def counted(outcome: Outcome, score: Score) -> float | None:
    """Return what a verdict counts, in [0, 1]: 0 where the outcome scores 0; `None` = not scored.

    A verdict of a log stays as it is in the stored line.
    """
    return 0.0 if outcome.scores_zero else score.value


def means(attempts: Iterable[tuple[Outcome, Sequence[Score]]]) -> dict[str, float]:
    """Return the mean of every scorer, in [0, 1]: the headline's first, over the `score` column.

    The headline's name is that of the first attempt with a verdict. Scorers without a value are
    left out.
    """
    first: str | None = None
    values: dict[str, list[float]] = {}
    for outcome, scores in attempts:
        first = first or next((score.scorer for score in scores), None)
        own = {score.scorer: counted(outcome, score) for score in scores}
        if first is not None:
            own[first] = headline(outcome, scores)
        for name, value in own.items():
            if value is not None:
                values.setdefault(name, []).append(value)
    names = dict.fromkeys([first, *values]) if first in values else values
    return {name: sum(values[name]) / len(values[name]) for name in names if name is not None}


def _served(calls: Sequence[Call], cell: Mapping[str, Any]) -> str | None:
    """Return `root: a, b; sub: c`, the models that replies named; `None` if none did.

    A call without such a name has the configured one.
    """
    own = {str(cell.get(slot) or "").partition(" [")[0] for slot in ("root", "sub", "judge")}
    named: dict[str, set[str]] = {}
    for call in calls:
        if call.error is None and call.model not in own:
            named.setdefault(call.slot, set()).add(call.model)
    return "; ".join(f"{slot}: {', '.join(sorted(named[slot]))}" for slot in sorted(named)) or None


def _flat(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _answered(calls: Sequence[Call]) -> list[Call]:
    """Return the calls whose usage counts: failed ones only with provider-reported tokens."""
    return [c for c in calls if c.error is None or c.usage.input is not None]


def _tokens(calls: Sequence[Call], kind: str) -> int | None:
    """Sum over calls, including billed failed attempts; `None` if any call lacks the number."""
    own = [getattr(call.usage, kind) for call in _answered(calls)]
    failed = [getattr(call.failed_usage, kind) or 0 for call in calls]
    total: int | None = known_sum(own + failed)
    return total


def _cost(calls: Sequence[Call], cost: CallCost, which: int) -> float | None:
    answered = {call.id for call in _answered(calls)}
    billed = [c for c in calls if c.id in answered or c.failed_usage.input is not None]
    return known_sum(cost(call)[which] for call in billed)


def _failed_part(call: Call) -> Call:
    own = () if call.error is None or call.usage == Usage() else (call.usage,)
    return replace(call, usage=Usage(), failed=call.failed + own, error="")


def _estimated(call: Call) -> Usage:
    """Return the estimated usage of all attempts of a call that reported no usage."""
    each, times = call.estimate, call.estimated_attempts
    return Usage(input=(each.input or 0) * times, output=(each.output or 0) * times)


def _estimated_cost(call: Call, cost: CallCost) -> float | None:
    if not call.estimated_attempts:
        return 0.0
    each = Usage(input=call.estimate.input, output=call.estimate.output or 0)
    found = cost(replace(call, usage=each, failed=(), error=None))[0]
    return None if found is None else found * call.estimated_attempts


def _cost_with_gpu(
    calls: Sequence[Call], cost: CallCost, shares: Mapping[str, DeviceRate]
) -> float | None:
    ours = [call for call in calls if call.slot in shares]
    hosted = _cost([call for call in calls if call.slot not in shares], cost, 0)
    parts = [_used(call, shares[call.slot].gpu_usd) for call in ours]
    return known_sum([hosted, *parts])


def _share(calls: Sequence[Call], shares: Mapping[str, DeviceRate], kind: str) -> float | None:
    found = [_used(c, getattr(shares[c.slot], kind)) for c in calls if c.slot in shares]
    known = [value for value in found if value is not None]
    return sum(known) if known else None


def _used(call: Call, rate: float | None) -> float | None:
    return None if rate is None else rate * (call.times.end - call.times.start)


def _by_depth(calls: Sequence[Call]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for depth in sorted({call.depth for call in calls}):
        own = [call for call in calls if call.depth == depth]
        found[f"depth{depth}_calls"] = len(own)
        for kind in ("input", "output"):
            found[f"depth{depth}_{kind}_tokens"] = _tokens(own, kind)
    return found


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _first_sub_turn(roots: Sequence[Call], subs: Sequence[Call]) -> int | None:
    turn_of = {call.id: call.turn for call in roots}
    turns = [turn_of[call.parent] for call in subs if call.parent in turn_of]
    return min(turns, default=None)


def _max_fanout(subs: Sequence[Call]) -> int:
    parents = [call.parent for call in subs]
    return max((parents.count(parent) for parent in set(parents)), default=0)


def to_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Build a typed table: every column of `COLUMNS`, then score, note and meta columns.

    A lone surrogate in a text is `?`.
    """
    import pandas as pd

    frame = pd.DataFrame([_whole(row) for row in rows])
    extra = sorted(c for c in frame.columns if c not in COLUMNS)
    frame = frame.reindex(columns=[*COLUMNS, *extra])
    dtypes: dict[str, Any] = {
        "int": "Int64",
        "float": "Float64",
        "bool": "boolean",
        "str": "string",
    }
    typed = {name: frame[name].astype(dtypes[kind]) for name, (kind, _) in COLUMNS.items()}
    for name in extra:
        column = frame[name].convert_dtypes()
        # A note that is a number in one cell and text in another is stored as text.
        typed[name] = column.astype("string") if column.dtype == object else column
    return pd.DataFrame(typed)


def _whole(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: whole_text(value) if isinstance(value, str | list | dict) else value
        for name, value in row.items()
    }


def load_records(
    run_dirs: Sequence[Path],
    read: Callable[[Path], pd.DataFrame] | None = None,
    *,
    stored_names: bool = False,
) -> pd.DataFrame:
    """Load the `records.parquet` of these run directories as one table.

    Samples of a cell that several runs contain are counted once: see `records.union`. `read`
    returns the rows of one run directory; default: `read_file`. Renamed methods get their present
    names (`core.renamed`); with `stored_names` those of the file, to compare with published tables.

    Raises `RlmEvalError` with the directory if it has no records, `NoRecords` if all are empty.
    """
    import pandas as pd

    frames = []
    run_dirs = distinct(run_dirs)
    for run_dir in run_dirs:
        check_run(Path(run_dir))
        frame = (read or read_file)(Path(run_dir))
        # The folder's present name: a copied run has the original's name in its rows.
        same = [other for other in run_dirs if Path(other).name == Path(run_dir).name]
        frame["run"] = str(run_dir) if len(same) > 1 else Path(run_dir).name
        if not stored_names:
            frame["method"] = _renamed(frame["method"], renamed.current)
            if "remark" in frame:
                frame["remark"] = _renamed(frame["remark"], renamed.in_text)
        frames.append(frame)
    if not frames:
        raise RlmEvalError("no run named; give at least one run directory")
    if not any(map(len, frames)):
        raise NoRecords(none_finished(run_dirs))
    return united(frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True))


def _renamed(names: pd.Series, now: Callable[[str], str]) -> pd.Series:
    """Rename texts of which few differ; where none has another name, the column itself."""
    changed = {name: new for name in names.dropna().unique() if (new := now(name)) != name}
    return names.replace(changed) if changed else names


def read_file(run_dir: Path) -> pd.DataFrame:
    """Read the stored records of one run. Raises `RlmEvalError` if it has none."""
    path = run_dir / FILE
    if not path.is_file():
        raise RlmEvalError(_why_unread(run_dir))
    way_out = f"`rlm-eval report {run_dir}` makes it again from the cells"
    if not (run_dir / "cells").exists():
        way_out = "restore it: there are no cells to make it from"
    with damaged(path, way_out):
        return read_typed(path)


def _why_unread(run_dir: Path) -> str:
    """Return the error text for a folder without records."""
    if any(run_dir.glob("cells/*/manifest.json")):
        return f"{run_dir}: no {FILE} yet; `rlm-eval report {run_dir}` makes it from the cells"
    return why_no_run(run_dir, FILE)


def read_typed(source: Path | BinaryIO) -> pd.DataFrame:
    """Read a stored table of records with nullable types."""
    import pandas as pd

    return pd.read_parquet(source, dtype_backend="numpy_nullable")
