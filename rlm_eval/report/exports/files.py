"""Exports: records with documented columns, a data set folder for the Hub, chat data for training.

Text of protected tasks is never exported. Contexts are not exported either, except the parts in a
chat line's own prompt. Chat data are successful trajectories as messages, so that training can
start from an evaluation: do not evaluate on those samples again.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Call, Outcome, Role, Slice
from rlm_eval.core.whole_text import whole_text
from rlm_eval.records.call_patterns import METRICS
from rlm_eval.records.coverage import FAILURES
from rlm_eval.records.record import COLUMNS, SCHEMA_VERSION, headline, load_records
from rlm_eval.report.exports.counted import counted
from rlm_eval.report.exports.inspect_log import inspect_logs
from rlm_eval.storage.cell_store import RolloutResult, output_folder

if TYPE_CHECKING:
    from rlm_eval.report.hooks import ContextOf


def columns(frame: pd.DataFrame) -> dict[str, str]:
    """Return column -> meaning for every column of a record table."""
    families = {"score_": "Score by this scorer.", "note_": "Noted by the method.",
                "meta_": "Property of the sample."}  # fmt: skip
    found = {}
    for name in frame.columns:
        if name in COLUMNS:
            found[name] = COLUMNS[name][1]
        elif name.startswith("habit_"):
            found[name] = METRICS.get(name.removeprefix("habit_"), "Habit of the trajectory.")
        else:
            prefix = name.split("_")[0] + "_"
            found[name] = families.get(prefix, "") + f" {name.removeprefix(prefix)}"
    return {name: words.strip() for name, words in found.items()}


def tables(run_dirs: Sequence[Path], out: Path, **_: Any) -> list[Path]:
    """Write `records.parquet`, `records.jsonl` and `columns.json`."""
    frame = load_records(run_dirs)
    output_folder(out)
    paths = [out / "records.parquet", out / "records.jsonl", out / "columns.json"]
    frame.to_parquet(paths[0], index=False)
    frame.to_json(paths[1], orient="records", lines=True)
    about = {"schema_version": SCHEMA_VERSION, "columns": columns(frame), "failures": FAILURES}
    paths[2].write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return paths


def hub(run_dirs: Sequence[Path], out: Path, **_: Any) -> list[Path]:
    """Write a data set repository: records, trajectories without contexts, README with its card."""
    frame = load_records(run_dirs)
    output_folder(out / "data")
    records = out / "data" / "records-00000-of-00001.parquet"
    calls = out / "data" / "calls-00000-of-00001.parquet"
    frame.to_parquet(records, index=False)
    lines = [whole_text(line) for line in _call_lines(run_dirs, frame)]
    pd.DataFrame(lines, columns=list(_CALL_COLUMNS)).to_parquet(calls, index=False)
    readme = out / "README.md"
    readme.write_text(_dataset_card(frame, len(lines)), encoding="utf-8")
    return [records, calls, readme]


_CALL_COLUMNS = {
    "run": "Name of the run.",
    "cell_id": "Hash of the cell's configuration.",
    "sample_id": "Sample.",
    "epoch": "Repeat.",
    "call": "Number within the trajectory.",
    "parent": "Call whose code made it.",
    "depth": "0 = root.",
    "role": "root, sub, child_root, judge, ...",
    "turn": "Turn.",
    "model": "Model as the provider named it.",
    "slices": "[start, end] of the context's characters in the prompt.",
    "reply": "Reply; null for protected tasks.",
    "code": "Blocks that the reply ran; null for protected tasks.",
    "finish_reason": "`stop`, `length`, `tool_calls`, else the provider's own word.",
    "input_tokens": "Prompt tokens.",
    "output_tokens": "Completion tokens.",
    "seconds": "Own seconds of the call.",
}


def _call_lines(run_dirs: Sequence[Path], frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for run, (manifest, sample, attempt) in counted(run_dirs, frame):
        hidden = bool(manifest["facts"].get("protected"))
        steps = attempt.trajectory.steps
        for call in attempt.trajectory.calls:
            parts = [part for _, parts in call.prompt.messages for part in parts]
            yield {
                "run": Path(run).name,
                "cell_id": manifest["identity"],
                "sample_id": sample.id,
                "epoch": attempt.trajectory.epoch,
                "call": call.id,
                "parent": call.parent,
                "depth": call.depth,
                "role": call.role.value,
                "turn": call.turn,
                "model": call.model,
                "slices": [[p.start, p.end] for p in parts if isinstance(p, Slice)],
                "reply": None if hidden else call.reply,
                "code": None if hidden else [s.code for s in steps if s.call == call.id],
                "finish_reason": call.finish_reason,
                "input_tokens": call.usage.input,
                "output_tokens": call.usage.output,
                "seconds": None if "times" in call.unknown else call.times.end - call.times.start,
            }


def _dataset_card(frame: pd.DataFrame, calls: int) -> str:
    def names(column: str) -> str:
        return ", ".join(sorted({str(v) for v in frame[column].dropna()})) or "none"

    described = [f"- `{name}`: {words}" for name, words in columns(frame).items()]
    described_calls = [f"- `{name}`: {words}" for name, words in _CALL_COLUMNS.items()]
    return "\n".join(
        [
            "---",
            "license: other",
            "tags: [long-context, evaluation, recursive-language-models]",
            "configs:",
            "- config_name: records",
            "  data_files: data/records-*.parquet",
            "  default: true",
            "- config_name: calls",
            "  data_files: data/calls-*.parquet",
            "---",
            "# Evaluation records of rlm_eval",
            "",
            f"{len(frame)} records, {calls} model calls. Tasks: {names('task')}. Methods: "
            f"{names('method')}. Models: {names('root')}. Prices: {names('prices')}.",
            "",
            "Replies belong under the terms of the models that wrote them; set `license` "
            "accordingly before publishing. Contexts are not included, only the places that calls "
            "read; text of protected tasks is null. Do not train on it what you want to evaluate.",
            *(
                ["", "Some replies are scripted: no model answered."]
                if frame["scripted"].any()
                else []
            ),
            "",
            "## records",
            "",
            *described,
            "",
            "## calls",
            "",
            *described_calls,
            "",
        ]
    )


def chat(
    run_dirs: Sequence[Path],
    out: Path,
    *,
    context_of: ContextOf | None = None,
    min_score: float = 1.0,
    sub_calls: bool = False,
    **_: Any,
) -> list[Path]:
    """Write `chat.jsonl`: the root conversation of every successful trajectory as messages.

    Only outcome `ok` with a headline score of `min_score` or more. `sub_calls` adds a line for each
    answered sub-call and for the conversation of each child loop, to train on whole trees: `tree`
    is equal for the lines of one trajectory, `call` and `parent` are the numbers of the line's call
    and of the call whose code made it, which may be an earlier turn of the conversation whose
    `position` has the same prefix. A trajectory whose prompts contain parts of the context needs
    `context_of`; without it, the trajectory is skipped and counted.
    """
    frame = load_records(run_dirs)
    output_folder(out)
    path, skipped, bare, unscored = out / "chat.jsonl", 0, 0, 0
    with path.open("w", encoding="utf-8") as file:
        for _run, (manifest, sample, attempt) in counted(run_dirs, frame):
            if manifest["facts"].get("protected"):
                continue
            if not _succeeded(attempt, min_score):
                unscored += headline(attempt.trajectory.outcome, attempt.scores) is None
                continue
            if attempt.trajectory.totals is not None:
                bare += 1  # an imported row without calls
                continue
            tree = f"{manifest['identity'][:12]}-{sample.id}-{attempt.trajectory.epoch}"
            about = {"sample_id": sample.id, "task": sample.task}
            calls = _last_calls(attempt, sub_calls)
            text = functools.cache(lambda m=manifest, s=sample: context_of and context_of(m, s.id))
            conversations = [_conversation(call, text) for call in calls]
            if not calls or None in conversations:
                skipped += 1
                continue
            for call, messages in zip(calls, conversations, strict=True):
                line = {"messages": messages, **about}
                if sub_calls:
                    line |= {"tree": tree, **_place_in_tree(call)}
                file.write(json.dumps(whole_text(line), ensure_ascii=False) + "\n")
    if skipped and not path.stat().st_size:
        raise RlmEvalError(
            f"{skipped} trajectories show context text that cannot be rebuilt here; "
            "run the export where the task's data are"
        )
    if bare and not path.stat().st_size:
        raise RlmEvalError(
            f"{bare} imported rows have no calls: there is no conversation to export"
        )
    if unscored and not path.stat().st_size:
        raise RlmEvalError(
            f"no conversation to export: {unscored} results have no score (of imported logs, "
            "`rlm-eval import --golds FILE` gives the golds)"
        )
    return [path]


def _succeeded(attempt: RolloutResult, min_score: float) -> bool:
    value = attempt.scores[0].value if attempt.scores else None
    return attempt.trajectory.outcome is Outcome.OK and value is not None and value >= min_score


def _last_calls(attempt: RolloutResult, sub_calls: bool) -> list[Call]:
    """Return the root loop's last answered call; with `sub_calls` every loop's, and all sub-calls.

    A loop's last prompt contains its whole conversation; a sub-call is a separate conversation.
    """
    last: dict[str, Call] = {}
    for call in attempt.trajectory.calls:
        if call.error is not None:
            continue
        if call.role is Role.ROOT:
            last["root"] = call
        elif sub_calls and call.role is Role.CHILD_ROOT:
            last[f"loop {_TURN.sub('', call.position)}"] = call
        elif sub_calls and call.role is Role.SUB:
            last[f"call {call.id}"] = call
    # Without its root's conversation a tree does not show how to make the sub-calls.
    return list(last.values()) if "root" in last else []


_TURN = re.compile(r"\.?t\d+[^/]*$")  # the turn within its loop, the last part of a position


def _place_in_tree(call: Call) -> dict[str, Any]:
    return {
        "call": call.id,
        "parent": call.parent,
        "position": call.position,
        "depth": call.depth,
        "role": call.role.value,
        "slot": call.slot,
        "model": call.model,
        "finish_reason": call.finish_reason,
    }


def _conversation(call: Call, text: Callable[[], str | None]) -> list[dict[str, str]] | None:
    """Return the call's prompt and its reply; `None` if the text of a slice is unavailable."""
    messages = []
    for role, parts in call.prompt.messages:
        texts = []
        for part in parts:
            if isinstance(part, Slice):
                context = text()
                if context is None:
                    return None
                texts.append(context[part.start : part.end])
            else:
                texts.append(part)
        messages.append({"role": role, "content": "".join(texts)})
    return [*messages, {"role": "assistant", "content": call.reply}]


KINDS: dict[str, Callable[..., list[Path]]] = {
    "tables": tables,
    "hub": hub,
    "chat": chat,
    "inspect": inspect_logs,
}
"""Export kind -> function, for `rlm-eval export`."""
