"""Any table with one object per sample (JSON, JSON lines, CSV), by a field map in YAML."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlm_eval.core.outcomes import Outcome, Totals
from rlm_eval.importers.expected import of_header
from rlm_eval.importers.faults import as_fault, fault_of
from rlm_eval.importers.fieldmap import FieldMap, load
from rlm_eval.importers.rows import BadLog, Options, Row, Source
from rlm_eval.importers.scoring import theirs
from rlm_eval.importers.tables import raw_rows
from rlm_eval.importers.values import Place, number, plain, value_of, with_borrowed

_MOST = 10
"""Maximum number of values that a message names."""
SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")


def read(found: Iterable[Source], options: Options) -> Iterator[Row]:
    """Yield the rows of all files. Raises `BadLog` without a map, or if a row does not fit it."""
    if options.map is None:
        raise BadLog(
            "import rows needs --map FILE.yaml, which says what field is what; `rlm-eval import "
            "list` names the maps that are shipped, and --show-map prints one to start from"
        )
    yield from mapped(found, load(options.map, options.given), options)


def mapped(found: Iterable[Source], by: FieldMap, options: Options) -> Iterator[Row]:
    """Yield the rows of all files under one map."""
    rows: list[Row] = []
    unlisted: Counter[tuple[str, str]] = Counter()
    for source in found:
        raw = list(raw_rows(source, by.rows))
        places = [Place(row, header, source.path) for _, row, header in raw]
        own = []
        for (at, _, _), place in zip(raw, with_borrowed(places, by.borrow), strict=True):
            try:
                own.append(_row(by, place, at, source, options, unlisted))
            except (ValueError, OverflowError) as error:
                raise BadLog(f"{source.path}, {at}: {error}") from error
        _check(by, own, places, source.path)
        lacking = of_header(source.name, value_of(by.whole, places[0]), len(own))
        rows += own if lacking is None else [replace(row, lacking=lacking) for row in own]
    options.told.extend(_unlisted(unlisted, len(rows)))
    yield from _with_golds(rows, by.infer_gold)


def _unlisted(found: Counter[tuple[str, str]], rows: int) -> list[str]:
    """Return the lines for the user about values that the map does not list."""
    often = sorted(found.items(), key=lambda one: (-one[1], one[0]))
    lines = [
        f"{name}: in {count} of {rows} rows its value {value!r:.60} is not under `values` of the "
        "map: it counts as unknown (list it, `null` for unknown, or give `other`)"
        for (name, value), count in often[:_MOST]
    ]
    rest = len(often) - _MOST
    return lines + ([f"{rest} more values are not under `values` of the map"] if rest > 0 else [])


def _check(by: FieldMap, rows: list[Row], places: list[Place], path: Path) -> None:
    """Raise `BadLog` for a file of another kind: no row has a score, an error or an answer."""
    if not rows:
        raise BadLog(f"{path}: no rows; there is nothing to import")
    fields = ", ".join(list(map(str, places[0].row))[:8])
    stated = any(row.scores or row.error or row.outcome is not Outcome.OK for row in rows)
    if "answer" in by.fields and all(row.answer is None and not row.error for row in rows):
        missing = all(row.outcome.is_missing or row.outcome.scores_zero for row in rows)
        if not missing:
            raise BadLog(
                f"{path}: no row has an answer (read from {_told(by.fields['answer'])}); a log of "
                f"another kind? Its rows have: {fields}"
            )
    if not stated and not any(row.gold is not None for row in rows):
        raise BadLog(
            f"{path}: no row has a score (read from {_told(by.fields.get('score'))}) nor a gold; a "
            f"log of another kind? Its rows have: {fields}"
        )


def _told(spec: Any) -> str:
    return spec if isinstance(spec, str) else str(spec)


def _row(
    by: FieldMap,
    place: Place,
    at: str,
    source: Source,
    options: Options,
    unlisted: Counter[tuple[str, str]],
) -> Row:
    def checked(name: str, value: Any, odd: list[Any]) -> Any:
        """Count a value that the map does not list. Raises `ValueError` for an outcome."""
        if value is None and odd:
            if name == "outcome":
                raise ValueError(
                    f"outcome: {odd[0]!r:.60} is not under `values` of the map; add a line with "
                    f"what it means (`provider_error` for a crash, `null` for what the error and "
                    f"the answer say), or `other`; outcomes: {', '.join(Outcome)}"
                )
            unlisted[name, _words(odd[0])] += 1
        return value

    def get(name: str) -> Any:
        odd: list[Any] = []
        return checked(name, by.read(name, place, odd), odd)

    def entry(name: str, spec: Any) -> Any:
        odd: list[Any] = []
        return checked(name, value_of(spec, place, odd), odd)

    def text(name: str) -> str | None:
        value = get(name)
        return None if value is None else _words(value)

    def label(name: str) -> str | None:
        value = get(name)
        return (
            None if value is None else plain(value if isinstance(value, float) else _words(value))
        )

    error = _error(get("error"))
    outcome = _outcome(by, text("outcome"), error)
    answer = text("answer")
    value = get("score")
    if outcome is Outcome.OK and answer == "":
        outcome = Outcome.NO_ANSWER
    method = text("method") or options.method
    task = text("task") or options.task
    for name, known in (("method", method), ("task", task)):
        if not known:
            raise BadLog(
                f"{source.path}, {at}: no {name} (read from {_told(by.fields.get(name))}); a log "
                f"of another kind? The row has: {', '.join(list(map(str, place.row))[:8])}; "
                f"--{name} NAME for a log without one"
            )
    stated = _truth(value) if isinstance(value, bool | str) else number(value)
    scorer = entry("scorer", by.scorer) if isinstance(by.scorer, dict | list) else by.scorer
    scores = () if stated is None else (theirs(stated),)
    notes = _flat("notes", by.notes, entry)
    if (cost := _amount(get("cost"), "cost")) is not None:
        notes["their_cost"] = cost
    if outcome.is_missing and stated is not None:
        notes["their_score"] = float(stated)  # they score a missing sample; we do not
        scores = ()
    row = Row(
        place=f"{source.name}, {at}",
        sha256=source.sha256,
        task=str(task),
        method=str(method),
        root=text("model") or "",
        sub=text("sub_model"),
        task_variant=text("task_variant"),
        variant=text("variant"),
        depth_limit=_count(get("depth_limit"), "depth_limit"),
        length=_count(get("length"), "length"),
        item=label("item"),
        question=text("question"),
        context=text("context"),
        context_id=label("context_id"),
        context_chars=_count(get("context_chars"), "context_chars"),
        context_tokens=_count(get("context_tokens"), "context_tokens"),
        cluster=label("cluster"),
        gold=get("gold"),
        answer=answer,
        outcome=outcome,
        error=error,
        scores=scores,
        scorer=None if scorer is None else str(scorer),
        answer_type=text("answer_type"),
        repeat=label("repeat"),
        seconds=_amount(get("seconds"), "seconds"),
        totals=_totals(get),
        notes=notes,
        meta=_flat("meta", by.meta, entry),
        timestamp=text("timestamp"),
    )
    fault = fault_of(row)
    return row if fault is None else as_fault(row, _outcome(by, None, fault))


def _totals(get: Callable[[str], Any]) -> Totals:
    """Return the totals of a row. Raises `ValueError` for a part that exceeds its whole."""
    names = (
        "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "calls", "turns",
        "sub_calls", "steps",
    )  # fmt: skip
    found = {name: _count(get(name), name) for name in names}
    for part, whole in (("cached_tokens", "input_tokens"), ("reasoning_tokens", "output_tokens")):
        own, of = found[part], found[whole]
        if own is not None and of is not None and own > of:
            raise ValueError(
                f"{part} {own:,} exceed {whole} {of:,}, which are to include them; where the log "
                f"counts them apart: `{whole}: {{add: [...]}}` in the map"
            )
    price = get("price")
    return Totals(
        **{name.removesuffix("_tokens"): value for name, value in found.items()},
        price=None if price is None else _words(price),
    )


def _outcome(by: FieldMap, stated: str | None, error: str | None) -> Outcome:
    """Return the log's outcome; an error text without a matching pattern is `provider_error`."""
    if stated is not None:
        try:
            found = Outcome(stated)
        except ValueError as bad:
            raise ValueError(f"outcome {stated!r} is none of {', '.join(Outcome)}") from bad
        if found is not Outcome.OK:
            return found
    if error is None:
        return Outcome.OK
    for pattern, outcome in by.errors.items():
        if re.search(str(pattern), error):
            return Outcome(outcome)
    return Outcome.PROVIDER_ERROR


_NO_ERROR = frozenset({"", "none", "null", "nan", "false", "0", "[]", "{}"})


def _error(value: Any) -> str | None:
    """Return the text of an error; `None` for what a log writes where there was none."""
    told = "" if value is None else _words(value)
    return None if told.strip().casefold() in _NO_ERROR else told


def _count(value: Any, name: str) -> int | None:
    """Return a count, 0 or more. Raises `ValueError` for anything else."""
    found = number(value)
    if found is None:
        return None
    if found != math.floor(found) or not 0 <= found < 2**53:
        raise ValueError(f"{name} {value!r:.60} is not a count")
    return int(found)


def _truth(value: bool | str) -> bool | int | float | None:
    """Return a score that may be written as a boolean: tables of text have `True` and `False`."""
    if isinstance(value, bool):
        return value
    told = value.strip().casefold()
    return told == "true" if told in ("true", "false") else number(value)


def _amount(value: Any, name: str) -> float | None:
    found = number(value)
    if found is None:
        return None
    if found < 0:
        raise ValueError(f"{name} {value!r:.60} is below 0")
    return float(found)


def _words(value: Any) -> str:
    import json

    if isinstance(value, bool | dict | list) or value is None:
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return str(value)


def _flat(group: str, specs: Mapping[str, Any], entry: Callable[[str, Any], Any]) -> dict[str, Any]:
    found = {name: entry(f"{group}.{name}", spec) for name, spec in specs.items()}
    return {
        name: value if isinstance(value, bool | int | float) else _words(value)
        for name, value in found.items()
        if value is not None
    }


def _with_golds(rows: list[Row], pattern: str | None) -> Iterator[Row]:
    """Add to rows the gold found in a right answer to the same question; noted as inferred."""
    if pattern is None:
        yield from rows
        return
    golds: dict[tuple[str, str | None], set[str]] = {}
    for row in rows:
        if row.scores and row.scores[0].value == 1.0 and row.answer:
            hits = set(re.findall(pattern, row.answer))
            golds.setdefault((row.task, row.item), set()).update(hits if len(hits) == 1 else ())
    for row in rows:
        known = golds.get((row.task, row.item), set())
        if row.gold is None and len(known) == 1:
            yield replace(row, gold=[*known], meta={**row.meta, "gold_inferred": True})
        else:
            yield row
