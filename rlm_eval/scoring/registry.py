"""Scorers by name, and scores of JSON lines: for `score-answers`, imports and users' tasks."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Score
from rlm_eval.scoring import browsecomp, choice, match, mrcr, oolong, pairs, said, sets

Row = dict[str, Any]


def _plain(score: Score, **more: Any) -> Row:
    shown: Row = {"score": score.value, "parsed": score.parsed}
    return shown | ({"flag": score.flag} if score.flag else {}) | more


def _oolong(function: Callable[[object, str, object], Score]) -> Callable[[Row], Row]:
    def scored(row: Row) -> Row:
        kind = str(row["answer_type"])
        if kind and not oolong.is_answer_type(kind):  # an import may have none
            raise ValueError(f"answer_type {kind!r}: its form is that of ANSWER_TYPE.NUMERIC")
        return _plain(function(row["gold"], kind, row["output"]))

    return scored


def _ruler(function: Callable[[object, str], Score]) -> Callable[[Row], Row]:
    def scored(row: Row) -> Row:
        strict = match.ruler_strict(row["gold"], row["output"])
        return _plain(function(row["gold"], row["output"]), strict=strict.value)

    return scored


def _longbench(row: Row) -> Row:
    output = row["output"] if isinstance(row["output"], str) else ""
    better = choice.choice_recommended(row["gold"], output)
    return _plain(choice.longbench_v2(row["gold"], row["output"]), recommended=better.value)


def _mrcr_openai(row: Row) -> Row:
    prefix = row.get("random_string_to_prepend") or row.get("prefix")
    if prefix is None:
        _, found, prefix = str(row.get("answer_type", "")).partition("prefix=")
        if not found:
            raise KeyError("prefix")
    return _plain(mrcr.mrcr_openai(row["gold"], row["output"], prefix))


def _pairs(row: Row) -> Row:
    better = pairs.pairs_recommended(row["gold"], row["output"])
    return _plain(pairs.pairs_f1(row["gold"], row["output"]), recommended=better.value)


def _browsecomp(row: Row) -> Row:
    """The benchmark's measures by `answer_type`; the judge's text where none is given."""
    kind, output = str(row.get("answer_type") or "judge_text"), row["output"]
    if kind == "citations":
        return {"score": None, "citations": browsecomp.citations(said(output))}
    if kind == "lists":
        metrics = browsecomp.citation_metrics(output, row["gold"])
        return {"score": metrics["precision"], **metrics}
    if kind.startswith("calibration"):
        error = None
        if len(output) >= browsecomp.BIN:
            error = browsecomp.calibration_error(output, row["gold"])
        return {"score": error, "calibration_error": error}
    if kind == "xor-sha256":
        text = browsecomp.decrypt(output, row["password"])
        return {"score": float(text == row["gold"]), "decrypted": text}
    fields = browsecomp.parse_judge(output)
    return {"score": float(bool(fields["correct"])), **fields}


SCORERS: dict[str, Callable[[Row], Row]] = {
    "oolong_official": _oolong(oolong.oolong_official),
    "oolong_lenient": _oolong(oolong.oolong_lenient),
    "oolong_fixed": _oolong(oolong.oolong_fixed),
    "oolong_real": lambda row: _plain(oolong.oolong_real(row["gold"], row["output"])),
    "ruler_all": _ruler(match.ruler_all),
    "ruler_part": _ruler(match.ruler_part),
    "longbench_v2": _longbench,
    "mrcr_openai": _mrcr_openai,
    "mrcr_v2": lambda row: _plain(mrcr.mrcr_v2(row["gold"], row["output"])),
    "pairs_f1": _pairs,
    "set_f1": lambda row: _plain(sets.set_f1(row["gold"], row["output"], row.get("ignore", ()))),
    "browsecomp_judge": _browsecomp,
}
"""The functions behind `--scorer`; tasks call the functions themselves, not this table."""


def find_scorer(name: str) -> Callable[[Row], Row]:
    """Return the scorer of that name. Raises `RlmEvalError` with near names."""
    if name not in SCORERS:
        near = difflib.get_close_matches(name, SCORERS, 3) or list(SCORERS)
        raise RlmEvalError(
            f"--scorer {name}: unknown; near: {', '.join(near)}. "
            "`rlm-eval score-answers --scorer list` names them all"
        )
    return SCORERS[name]


_OF_SETS = ("pairs_f1", "set_f1")
"""Scorers for which an empty gold is one: nothing is to be named."""
_PART = 1000
"""Characters, or entries, of a gold in which a pair must occur: a gold may list millions."""
_WITHOUT_GOLD = ("judge_text", "citations", "")
"""Kinds of `browsecomp_judge` that read no gold."""


def filled(gold: Any) -> Any:
    """Return a gold without its blank entries; `None` where nothing is left."""
    if isinstance(gold, str):
        return gold if gold.strip() else None
    if isinstance(gold, float) and math.isnan(gold):
        return None
    if isinstance(gold, list | tuple):
        return [one for one in gold if one is not None and str(one).strip()] or None
    return None if gold == {} else gold


def is_empty(name: str, gold: Any) -> bool:
    """Return whether a gold of a scorer of sets states that nothing is to be named."""
    if name not in _OF_SETS:
        return False
    if isinstance(gold, Mapping):
        named = name == "pairs_f1" and {"a", "b"} <= gold.keys()
        return named and not len(pairs.read_gold(gold))
    if isinstance(gold, str):
        return name == "pairs_f1" and gold.strip() in pairs.EMPTY
    return isinstance(gold, list | tuple) and not gold


def is_known(name: str, gold: Any) -> bool:
    """Return whether a gold can be scored: every answer contains a blank one.

    An empty list is a gold for scorers of sets, and the judge's lists may be empty. Another gold
    of pairs names one: without, the scorer would read an empty list.
    """
    several = isinstance(gold, list | tuple)
    if name in _OF_SETS and is_empty(name, gold):
        return True
    if name == "pairs_f1" and isinstance(gold, str | list | tuple):
        return bool(pairs.read_gold(gold[:_PART]))
    if name in _OF_SETS:
        return filled(gold) is not None
    if name == "browsecomp_judge":
        return gold is not None
    return filled(gold) is not None and not (several and len(filled(gold)) < len(gold))


def unknown_gold(gold: Any) -> str:
    """Say that a gold is not `is_known`, and what to do."""
    return (
        f"the gold {gold!r:.60} is null or blank, or has a blank entry, or no pair where the "
        "scorer reads pairs: no answer can be compared with it. Give the gold, or remove the row"
    )


def _reads_gold(name: str, row: Row) -> bool:
    kind = str(row.get("answer_type") or "")
    return "gold" in row and not (name == "browsecomp_judge" and kind in _WITHOUT_GOLD)


def score_lines(lines: TextIO, name: str, place: str) -> Iterator[Row]:
    """Yield one scored object per non-empty line. Raises `RlmEvalError` naming a bad line."""
    scorer = find_scorer(name)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise RlmEvalError(f"{place}:{number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise RlmEvalError(
                f"{place}:{number}: expected a JSON object, got {type(row).__name__}"
            )
        try:
            if _reads_gold(name, row) and not is_known(name, row["gold"]):
                raise RlmEvalError(f"{place}:{number}: {unknown_gold(row['gold'])}")
            yield scorer(row)
        except KeyError as error:
            raise RlmEvalError(
                f"{place}:{number}: the row has no field {error}; {name} needs it. "
                f"Fields given: {', '.join(row) or 'none'}"
            ) from error
        except (AttributeError, TypeError, ValueError) as error:
            raise RlmEvalError(f"{place}:{number}: {name} cannot read the row: {error}") from error
