"""Verification of a published folder: what is recomputed, and the first difference of each claim.

Offline, from the bundle alone. Nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from rlm_eval.core import renamed
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Outcome
from rlm_eval.storage.cell_store import BASELINES
from rlm_eval.storage.published import MANIFESTS
from rlm_eval.suites.evidence import answers, claims, rules, sources
from rlm_eval.suites.evidence import seal as seals
from rlm_eval.suites.evidence.bundle import README, Bundle
from rlm_eval.suites.evidence.commitment import KEY


@dataclass(frozen=True)
class Finding:
    """What came of one check."""

    what: str
    passed: bool
    words: str = ""
    """The first difference, or what a reader must know of a check that passed."""

    def line(self) -> str:
        """As it is printed."""
        return f"{'PASS' if self.passed else 'FAIL'}  {self.what}" + (
            f": {self.words}" if self.words else ""
        )


@dataclass(frozen=True)
class Options:
    """What a user may add to a verification."""

    trust: bool = False
    """Build classes of other packages that the manifests name."""
    run: Path | None = None
    """The run directory behind the bundle: its logs are compared with the sealed digests."""
    figures: bool = False
    """Draw the pictures again and compare their bytes; needs the same matplotlib."""


def verify(folder: Path, options: Options | None = None) -> Iterator[Finding]:
    """Every check of a bundle in turn. Raises `RlmEvalError` where it is none."""
    options = options or Options()
    bundle = Bundle(folder)
    seal = seals.read_seal(folder)
    if seal is None:
        yield Finding(
            "seal", False, f"no {seals.FILE}: published before there were seals; "
            f"`rlm-eval seal {folder}` makes tables and seal anew from its records",
        )  # fmt: skip
    else:
        yield _tried("files and digests", lambda: seals.differences(folder, seal))
        yield _tried("plan, journals, answers and records: the chain", lambda: _chain(bundle, seal))
    yield _tried("cells and records belong together", lambda: _cells(bundle))
    yield _plan(bundle, seal)
    yield _answers(bundle, options)
    again = sources.Sources(bundle, options.trust)
    yield _made_again("identities of cells", "cells", lambda: sources.identities(again))
    yield _made_again("samples made again", "results", lambda: sources.made_again(again))
    if (folder / BASELINES).exists():
        yield _made_again(BASELINES, "entries", lambda: rules.checked(again))
    yield from _tables(bundle, seal)
    if seal is not None:
        yield from _page(bundle, seal)
    yield _tried("numbers behind the figures", lambda: _figures(bundle))
    if options.figures:
        yield _tried("pictures", lambda: _pictures(bundle))
    if options.run is not None and seal is not None:
        yield _journals(options.run, seal)


def _tried(what: str, check: Callable[[], str | None]) -> Finding:
    """The finding of a check that returns its first difference; damage is a difference."""
    try:
        told = check()
    except (RlmEvalError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        told = f"cannot be read: {type(error).__name__}: {error}"[:300]
    return Finding(what, told is None, told or "")


def _chain(bundle: Bundle, seal: dict[str, Any]) -> str | None:
    now = seals.chain(bundle.folder, seal["journals"], seal["schema"])
    for mine, theirs in zip(now, seal["chain"], strict=True):
        if mine != theirs:
            return f"the {mine['what']} are not those that were sealed"
    if seals.last_link(now) not in claims.read_readme(bundle.folder):
        return f"{README} names another seal"
    return None


def _cells(bundle: Bundle) -> str | None:
    """Every result belongs to a cell of the plan, and every cell has all of its results."""
    records, plan = bundle.records, bundle.record
    planned = {place.cell for place in plan.places if place.cell}
    per_cell = Counter(records["cell_id"])
    who = records[["cell_id", "sample_id", "epoch"]]
    if (again := who.duplicated()).any():
        cell, sample, epoch = who[again].iloc[0]
        return f"two records of cell {cell[:12]}, sample {sample}, epoch {epoch}"
    by_identity = {m["identity"]: (name, m) for name, m in bundle.manifests.items()}
    if strange := sorted(set(per_cell) - set(by_identity)):
        return f"records of cell {strange[0][:12]}, which {MANIFESTS} does not have"
    for identity, (name, manifest) in by_identity.items():
        if identity not in planned:
            return f"cell {name} is not in the plan"
        own = records[records["cell_id"] == identity]
        config, facts = manifest["config"], manifest["facts"]
        epochs = int(config.get("epochs") or 1)
        if len(own) != own["sample_id"].nunique() * epochs:
            return f"cell {name}: {len(own)} records of {own['sample_id'].nunique()} samples"
        indexes = sorted(own["index"].dropna().astype(int).unique())
        if len(own) == 0 or indexes != list(range(len(indexes))):
            return f"cell {name}: records are missing (samples {indexes[:3]} ...)"
        asked = int(config.get("n") or 0)
        if asked and len(indexes) < asked and facts.get("generated"):
            return f"cell {name}: {len(indexes)} samples, but n = {asked}"
        for column in ("task", "method", "root", "sub", "seed"):
            said = {str(v) for v in own[column].dropna()}
            if {renamed.current(v) for v in said} - {renamed.current(str(facts.get(column)))}:
                return f"cell {name}: {column} is {sorted(said)} in the records"
    unknown = set(records["outcome"]) - {o.value for o in Outcome}
    return f"outcome {min(unknown)} is none" if unknown else None


def _plan(bundle: Bundle, seal: dict[str, Any] | None) -> Finding:
    """The plan, and whether the cells committed to it before their first call."""
    what = "plan"

    def check() -> str | None:
        now = seals.plan_facts(bundle)
        if seal is not None and now != seal["plan"]:
            return f"{KEY}: sealed {seal['plan']}, now {now}"
        grew = bundle.record.changed or not all(p.planned for p in bundle.record.places)
        if now["to_another"] and not grew:
            return f"{now['to_another']} cells began under another plan, and it does not say why"
        return None

    found = _tried(what, check)
    if not found.passed:
        return found
    now = seals.plan_facts(bundle)
    total = len(bundle.manifests)
    words = f"{now['to_this_plan']} of {total} cells committed to it before their first call"
    if now["unknown"]:
        words += f"; unknown of {now['unknown']}, which are older than commitments"
    if now["to_another"]:
        words += (
            f"; {now['to_another']} began under another plan: their comparisons are exploratory"
        )
    if further := len({p.cell for p in bundle.record.places if p.again}):
        words += f"; {further} were chosen with other settings when there were results: exploratory"
    return Finding(what, True, words)


def _answers(bundle: Bundle, options: Options) -> Finding:
    what = "re-scoring"
    try:
        found = answers.scored_again(
            bundle.folder, bundle.manifests, bundle.records, trust=options.trust
        )
    except (RlmEvalError, OSError, ValueError, LookupError, TypeError) as error:
        return Finding(what, False, f"{type(error).__name__}: {error}"[:300])
    if found.difference is not None:
        return Finding(what, False, found.difference)
    reasons = "; ".join(f"{count} results: {why}" for why, count in found.impossible.items())
    if not found.scored:
        return Finding(what, True, f"not possible ({reasons or 'no answers'})")
    words = f"{found.scored} results came to their stored scores"
    if found.kept_verdicts:
        words += f"; {found.kept_verdicts} verdicts of a judge were kept"
    return Finding(what, True, words + (f"; not possible: {reasons}" if reasons else ""))


def _made_again(what: str, unit: str, check: Callable[[], sources.Checked]) -> Finding:
    """The finding of a check against what today's code makes of the manifests."""
    said: list[str] = []

    def tried() -> str | None:
        found = check()
        said.append(found.words(unit))
        return found.difference

    finding = _tried(what, tried)
    return Finding(what, True, said[0]) if finding.passed else finding


def _tables(bundle: Bundle, seal: dict[str, Any] | None) -> Iterator[Finding]:
    """Each table and the card against what today's code makes of the records."""
    try:
        derived = bundle.derived
    except (RlmEvalError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        yield Finding("tables", False, f"not recomputed: {type(error).__name__}: {error}"[:300])
        return
    here = {f"tables/{path.name}" for path in (bundle.folder / "tables").glob("*")}
    by = str((seal or {}).get("facts", {}).get("tables_by") or "unknown")[:12]
    hint = f" (tables of revision {by}; `rlm-eval seal {bundle.folder}` makes them anew)"
    for name in sorted(derived.keys() | here):
        path = bundle.folder / name
        if name not in derived:
            yield Finding(name, False, "no such table comes out of the records" + hint)
        elif not path.is_file():
            yield Finding(name, False, "missing")
        else:
            text = path.read_text("utf-8", errors="replace")
            told = claims.first_difference(name, derived[name], text)
            yield Finding(name, told is None, told + hint if told else "")


def _page(bundle: Bundle, seal: dict[str, Any]) -> Iterator[Finding]:
    """README.md and claims.json against what is computed now, claim by claim."""
    try:
        facts = {**seal["facts"], "plan": seals.plan_facts(bundle)}
        link = seals.last_link(seals.chain(bundle.folder, seal["journals"], seal["schema"]))
        text, map_ = claims.page(bundle, facts, link)
        published = claims.read_readme(bundle.folder)
        then = orjson.loads((bundle.folder / claims.FILE).read_bytes())
    except (RlmEvalError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        yield Finding(README, False, f"not recomputed: {type(error).__name__}: {error}"[:300])
        return
    now = orjson.loads(map_)
    lines = published.splitlines()
    failed = 0
    for claim in now["claims"]:
        line = lines[claim["line"] - 1] if claim["line"] <= len(lines) else ""
        said = line[claim["column"] - 1 :][: len(claim["says"])]
        if said != claim["says"]:
            failed += 1
            yield Finding(
                f"claim {claim['claim']!r}", False,
                f"{README} line {claim['line']} says {said!r}, computed {claim['says']!r}",
            )  # fmt: skip
    if then != now:
        failed += 1
        yield Finding(claims.FILE, False, "is not the map of this page's numbers")
    generated = published.partition(claims.END)[0]
    told = claims.first_difference(README, text.partition(claims.END)[0], generated)
    if told and not failed:
        yield Finding(README, False, told)
    elif not failed:
        hand = claims.numbers(claims.by_hand(published))
        more = f"; {hand} numbers in notes by hand are sealed, but not recomputed" if hand else ""
        yield Finding(README, True, f"all {len(now['claims'])} claims{more}")


def _figures(bundle: Bundle) -> str | None:
    """The CSV behind each figure against what today's code makes of the records."""
    now = bundle.behind_figures
    then = {f"figures/{path.name}" for path in (bundle.folder / "figures").glob("*.csv")}
    if now.keys() != then:
        return f"{min(now.keys() ^ then)} is on one side only"
    for name, text in sorted(now.items()):
        published = (bundle.folder / name).read_text("utf-8", errors="replace")
        if told := claims.first_difference(name, text, published):
            return told
    return None


def _pictures(bundle: Bundle) -> str | None:
    """Each picture, drawn again. Other releases of matplotlib draw some points otherwise."""
    import matplotlib

    from rlm_eval.config.contexts import ContextSource
    from rlm_eval.suites.reporting import write_report

    with bundle.as_run() as run:
        write_report([run], run / "report", ContextSource(), stored_names=True)
        now = {path.name: path.read_bytes() for path in (run / "report/figures").glob("*.png")}
    for path in sorted((bundle.folder / "figures").glob("*.png")):
        if now.get(path.name) != path.read_bytes():
            return (
                f"{path.name} is not the picture that matplotlib {matplotlib.__version__} draws of "
                "these records"
            )
    return None


def _journals(run: Path, seal: dict[str, Any]) -> Finding:
    """The logs of a run directory against the sealed digests."""
    what = f"journals of {run}"
    sealed = seal["journals"]
    if not sealed:
        return Finding(what, False, "the seal has no digest of a journal")

    def check() -> str | None:
        now = seals.journals_of(run)
        for name, digests in sorted(sealed.items()):
            if name in now and now[name] != digests:
                return f"{name}: its logs are not those that were sealed"
        return None if sealed.keys() & now.keys() else "none of its cells is in the bundle"

    found = _tried(what, check)
    if not found.passed:
        return found
    shared = len(sealed.keys() & seals.journals_of(run).keys())
    return Finding(what, True, f"{shared} of {len(sealed)} sealed cells are there, unchanged")


def broken(folder: Path) -> str | None:
    """The first file of a folder that is not as sealed, in words; `None` = all are, or no seal."""
    seal = seals.read_seal(folder)
    return None if seal is None else seals.differences(folder, seal)


def claim(folder: Path, name: str) -> str:
    """What a claim comes to, computed from the bundle. Raises `RlmEvalError` for an unknown one."""
    bundle = Bundle(folder)
    if (found := claims.lookup(bundle.derived, name)) is not None:
        return found
    seal = seals.read_seal(folder) or {"facts": {}, "journals": {}, "schema": seals.SCHEMA}
    facts = {**seal["facts"], "plan": seals.plan_facts(bundle)}
    link = seals.last_link(seals.chain(folder, seal["journals"], seal["schema"]))
    known = claims.values(bundle, facts, link)
    if name not in known:
        raise RlmEvalError(
            f"--claim {name}: none of this bundle; {claims.FILE} lists them, and any cell of a "
            'table is one: --claim "tables/accuracy.csv row 1 column n"'
        )
    return known[name]
