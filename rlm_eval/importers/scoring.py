"""Scores of imported answers: what the log states, and what our scorers say of the same answers.

Only stored samples are read (target, answer, `answer_type`), as `rlm-eval score-answers` does: the
task that asked is not at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Outcome, Score
from rlm_eval.scoring.registry import SCORERS, find_scorer
from rlm_eval.storage.cell_store import CellStore, RolloutResult, stored_sample

THEIRS = "theirs"
"""Name of the verdict that a log states."""
OURS = "ours"
SAME = 1e-6
"""Scores that differ by no more agree."""
SETTING = "scorer"
"""Key of a manifest's `imported`: the scorer of ours that scores its answers."""


def theirs(value: Any) -> Score:
    """The log's verdict; a value that is no share is not a score, and says so."""
    if isinstance(value, bool):
        return Score(THEIRS, float(value))
    if value is None:
        return Score(THEIRS, None, flag="the log states no score")
    found = float(value)
    if not 0 <= found <= 1:
        return Score(THEIRS, None, str(value), flag=f"the log's {value} is not in [0, 1]")
    return Score(THEIRS, found)


def ours(name: str, gold: Any, answer: str, answer_type: str | None) -> Score:
    """Our verdict on an answer. Raises `RlmEvalError` for a scorer that is not there."""
    row = {"gold": _as_asked(name, gold), "output": answer, "answer_type": answer_type or ""}
    try:
        found = find_scorer(name)(row)
    except (KeyError, AttributeError, TypeError, ValueError, SyntaxError) as error:
        return Score(name, None, flag=f"{name} cannot read the row ({type(error).__name__})")
    value = found.get("score")
    return Score(
        name,
        None if value is None else float(value),
        None if found.get("parsed") is None else str(found["parsed"]),
        version="imported 1",
        flag=found.get("flag"),
    )


def _as_asked(name: str, gold: Any) -> Any:
    """OOLONG's scorers read the gold as the text of a list, as the data set has it."""
    if not name.startswith("oolong"):
        return gold
    values = gold if isinstance(gold, list | tuple) else [gold]
    text = gold if isinstance(gold, str) and gold.strip().startswith("[") else None
    return text if text is not None else repr([_number_or_text(value) for value in values])


def _number_or_text(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.strip().isdigit() else value


def with_headline(scores: Sequence[Score], headline: str) -> tuple[Score, ...]:
    """The verdicts with the one that counts first."""
    stated = [s for s in scores if s.scorer == THEIRS]
    if headline != OURS:
        return (*stated, *(s for s in scores if s.scorer != THEIRS))
    own = [s for s in scores if s.scorer in SCORERS]
    # A log may state several verdicts (rewards of an environment): none of them is ours.
    rest = [s for s in scores if s.scorer != THEIRS and s.scorer not in SCORERS]
    return (*own, *stated, *rest)


@dataclass(frozen=True)
class Disagreement:
    """An answer whose stated score is not ours."""

    sample: str
    """Sample id."""
    epoch: int
    """Repeat."""
    answer: str
    """The answer."""
    target: Any
    """The gold."""
    stated: float
    """Their score."""
    ours: float
    """Ours."""
    scorer: str
    """Name of ours."""
    place: str
    """Where the row stands in its file."""


def disagreements(folder: Path) -> tuple[int, list[Disagreement]]:
    """(answers with both verdicts, those that differ) of a cell, from what is stored."""
    store = CellStore(folder)
    samples = _samples(folder)
    both, found = 0, []
    for (sample, epoch), attempt in sorted(store.attempts.items()):
        known = {s.scorer: s.value for s in attempt.scores if s.value is not None}
        stated = known.pop(THEIRS, None)
        for name, value in known.items():
            if stated is None or name not in SCORERS:
                continue
            both += 1
            if abs(value - stated) > SAME:
                answer = attempt.trajectory.answer.text or ""
                place = str(attempt.trajectory.notes.get("source_row", ""))
                target = samples[sample].target
                found.append(
                    Disagreement(sample, epoch, answer, target, stated, value, name, place)
                )
    return both, found


def unstated(folder: Path) -> int:
    """Answers of a cell with a score of ours of which the log states none."""
    scores = [attempt.scores for attempt in CellStore(folder).attempts.values()]
    known = [{s.scorer for s in own if s.value is not None} for own in scores]
    return sum(bool(names & SCORERS.keys()) and THEIRS not in names for names in known)


def _samples(folder: Path) -> Mapping[str, Any]:
    from rlm_eval.storage.jsonl import read_lines

    return {line["id"]: stored_sample(line) for line in read_lines(folder / "samples.jsonl")}


def scored_again(folder: Path, name: str | None, headline: str | None) -> Iterator[RolloutResult]:
    """The attempts of an imported cell with scores of today; theirs stay as the log states them.

    `name` is a scorer for all; `None` = the one that each answer has, or the map named. Raises
    `RlmEvalError` for one that is not there.
    """
    if name is not None:
        find_scorer(name)
    samples = _samples(folder)
    for (sample_id, _), attempt in sorted(CellStore(folder).attempts.items()):
        sample, outcome = samples[sample_id], attempt.trajectory.outcome
        text = attempt.trajectory.answer.text
        if outcome.is_missing:
            continue
        own = [s for s in attempt.scores if s.scorer in SCORERS]
        names = [name] if name else [s.scorer for s in own]
        again = []
        if text is not None and sample.target is not None and not outcome.scores_zero:
            kind = sample.meta.get("answer_type")
            again = [ours(one, sample.target, text, kind) for one in names]
        # What no scorer of ours makes (a judge's verdict of the log) stays.
        kept = [s for s in attempt.scores if s.scorer not in SCORERS]
        first = headline or (
            THEIRS if not attempt.scores or attempt.scores[0].scorer == THEIRS else OURS
        )
        yield replace(attempt, scores=with_headline([*kept, *again], first))


def score_run_cell(folder: Path, name: str | None, headline: str | None) -> dict[str, float]:
    """Append today's verdicts to an imported cell; the mean of every scorer, by name.

    Raises `LeaseHeld` where another process writes it.
    """
    from contextlib import closing

    from rlm_eval.storage.cell_logs import writer_of
    from rlm_eval.storage.cell_store import score_line
    from rlm_eval.storage.jsonl import JsonlLog
    from rlm_eval.storage.lease import Lease

    values: dict[str, list[float]] = {}
    with Lease(folder) as lease:
        writer = writer_of(folder, lease)
        with closing(JsonlLog(folder / "scores.jsonl", False, writer)) as file:
            for attempt in scored_again(folder, name, headline):
                file.append(score_line(attempt))
                for score in attempt.scores:
                    if (
                        score.value is not None
                        and attempt.trajectory.outcome is not Outcome.UNKNOWN
                    ):
                        values.setdefault(score.scorer, []).append(score.value)
        lease.check()
    return {name: sum(found) / len(found) for name, found in values.items()}


def check_scorer(name: str) -> None:
    """Raises `RlmEvalError` naming the near ones where there is no scorer of that name."""
    if name not in SCORERS and name != THEIRS:
        try:
            find_scorer(name)
        except RlmEvalError as error:
            raise RlmEvalError(f"{error}; `theirs` is the log's own verdict") from error
