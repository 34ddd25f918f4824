"""Scores of imported answers: the log's verdicts, and our scorers' verdicts on the same answers.

Only stored samples are read (target, answer, `answer_type`), as in `rlm-eval score-answers`: the
original task is not available.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Outcome, Score
from rlm_eval.records.record import means
from rlm_eval.scoring.registry import SCORERS, find_scorer, is_known
from rlm_eval.storage.cell_store import CellStore, RolloutResult, stored_sample

THEIRS = "theirs"
"""Scorer name of a log's own verdict."""
OURS = "ours"
NO_TEXT = "[the log has no text of question"
"""Start of the stored question where the log has only an id of it; the id may hold its gold."""
SAME = 1e-6
"""Scores agree if they differ by at most this."""
SETTING = "scorer"
"""Key of a manifest's `imported`: our scorer for its answers."""


def theirs(value: Any) -> Score:
    """Return the log's verdict; a value outside [0, 1] gives a missing score with a note."""
    if isinstance(value, bool):
        return Score(THEIRS, float(value))
    if value is None:
        return Score(THEIRS, None, flag="the log states no score")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not -SAME <= found <= 1 + SAME:  # a weighted sum of rewards ends in 1.0000000000000002
        told = f"{value:.40g}" if isinstance(value, float) else str(value)[:40]
        return Score(THEIRS, None, told, flag=f"the log's {told} is not in [0, 1]")
    return Score(THEIRS, min(1.0, max(0.0, found)))


def ours(name: str, gold: Any, answer: str, answer_type: str | None) -> Score:
    """Return our verdict on an answer; a missing score with a note where the gold is unknown.

    Raises `RlmEvalError` for an unknown scorer.
    """
    if name in SCORERS and not is_known(name, gold):
        return Score(name, None, flag="the gold is null or blank")
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


def scored_text(answer: str | None, outcome: Outcome) -> str | None:
    """Return the text that our scorers read; `None` = unknown.

    A method that ended without an answer is wrong, as in our runs: its rows left out, a mean
    would be over completed samples only. What a row of `scores_zero` said is not read.
    """
    if outcome.scores_zero or (answer is None and outcome is Outcome.NO_ANSWER):
        return ""
    return answer


def _as_asked(name: str, gold: Any) -> Any:
    """Convert the gold for OOLONG's scorers: the text of a list, as in the data set."""
    if not name.startswith("oolong"):
        return gold
    values = gold if isinstance(gold, list | tuple) else [gold]
    text = gold if isinstance(gold, str) and gold.strip().startswith("[") else None
    return text if text is not None else repr([_number_or_text(value) for value in values])


def _number_or_text(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.strip().isdigit() else value


def with_headline(scores: Sequence[Score], headline: str) -> tuple[Score, ...]:
    """Return the verdicts with the headline first."""
    stated = [s for s in scores if s.scorer == THEIRS]
    if headline != OURS:
        return (*stated, *(s for s in scores if s.scorer != THEIRS))
    own = [s for s in scores if s.scorer in SCORERS]
    # A log may state several verdicts (rewards of an environment): none of them is ours.
    rest = [s for s in scores if s.scorer != THEIRS and s.scorer not in SCORERS]
    return (*own, *stated, *rest)


@dataclass(frozen=True)
class Disagreement:
    """An answer whose score in the log differs from ours."""

    sample: str
    """Sample id."""
    epoch: int
    """Repeat."""
    answer: str
    """The answer."""
    target: Any
    """The gold."""
    stated: float
    """The log's score."""
    ours: float
    """Our score."""
    scorer: str
    """Name of our scorer."""
    place: str
    """Position of the row in its file."""


def disagreements(folder: Path) -> tuple[int, list[Disagreement]]:
    """Return (answers with both verdicts, those that differ) of a cell, from stored data."""
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
    """Count the answers of a cell that have our score but none from the log."""
    scores = [attempt.scores for attempt in CellStore(folder).attempts.values()]
    known = [{s.scorer for s in own if s.value is not None} for own in scores]
    return sum(bool(names & SCORERS.keys()) and THEIRS not in names for names in known)


def _samples(folder: Path) -> Mapping[str, Any]:
    from rlm_eval.storage.jsonl import read_lines

    samples = (stored_sample(line, folder) for line in read_lines(folder / "samples.jsonl"))
    return {sample.id: sample for sample in samples}


def scored_again(folder: Path, name: str | None, headline: str | None) -> Iterator[RolloutResult]:
    """Yield the attempts of an imported cell with current scores; the log's verdicts are kept.

    `name` is a scorer for all answers; `None` = each answer's own, or the one in the map. Raises
    `RlmEvalError` for an unknown scorer.
    """
    if name is not None:
        find_scorer(name)
    samples = _samples(folder)
    for (sample_id, _), attempt in sorted(CellStore(folder).attempts.items()):
        sample, outcome = samples[sample_id], attempt.trajectory.outcome
        text = scored_text(attempt.trajectory.answer.text, outcome)
        if outcome.is_missing:
            continue
        own = [s for s in attempt.scores if s.scorer in SCORERS]
        names = [name] if name else [s.scorer for s in own]
        again = []
        if text is not None and sample.target is not None:
            kind = sample.meta.get("answer_type")
            again = [ours(one, sample.target, text, kind) for one in names]
        # Verdicts that our scorers do not make (a judge's, from the log) are kept.
        kept = [s for s in attempt.scores if s.scorer not in SCORERS]
        first = headline or (
            THEIRS if not attempt.scores or attempt.scores[0].scorer == THEIRS else OURS
        )
        yield replace(attempt, scores=with_headline([*kept, *again], first))


def score_run_cell(folder: Path, name: str | None, headline: str | None) -> dict[str, float]:
    """Append current verdicts to an imported cell; return the mean of every scorer, by name.

    Raises `LeaseHeld` while another process writes it.
    """
    from contextlib import closing

    from rlm_eval.storage.cell_logs import writer_of
    from rlm_eval.storage.cell_store import score_line
    from rlm_eval.storage.jsonl import JsonlLog
    from rlm_eval.storage.lease import Lease

    found: list[tuple[Outcome, Sequence[Score]]] = []
    with Lease(folder) as lease:
        writer = writer_of(folder, lease)
        with closing(JsonlLog(folder / "scores.jsonl", False, writer)) as file:
            for attempt in scored_again(folder, name, headline):
                file.append(score_line(attempt))
                if attempt.trajectory.outcome is not Outcome.UNKNOWN:  # bounds, no mean
                    found.append((attempt.trajectory.outcome, attempt.scores))
        lease.check()
    return means(found)


def check_scorer(name: str) -> None:
    """Raise `RlmEvalError` with near names if there is no scorer of that name."""
    if name not in SCORERS and name != THEIRS:
        try:
            find_scorer(name)
        except RlmEvalError as error:
            raise RlmEvalError(f"{error}; `theirs` is the log's own verdict") from error
