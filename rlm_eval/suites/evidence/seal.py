"""The seal of a bundle (`seal.json`): a digest of every file, and a chain over their sources.

The chain goes in the order in which its parts come to be: plan, manifests, journals, accounts of
the servers, samples, answers, baselines, records. Each link is the digest of the link before it
and of its own part, so that no part can be replaced and the later links kept. The last link stands
in the README. A seal shows that a bundle is whole and consistent; it is no signature. Who made it,
and when, is shown by where the last link was published (a commit, a paper).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.records.record import FILE as RECORDS
from rlm_eval.storage.cell_store import BASELINES
from rlm_eval.storage.published import ACCOUNTS, ANSWERS, MANIFESTS, SAMPLES
from rlm_eval.suites.evidence.bundle import CARD, README, Bundle
from rlm_eval.suites.evidence.commitment import KEY, PLAN, plan_digest

FILE = "seal.json"
SCHEMA = 2
"""Layout of new seals. In layout 1 the chain has neither accounts nor baselines."""
READ = (1, SCHEMA)
"""Layouts that are read and verified."""
_NOTHING = "0" * 64


def digest(path: Path) -> str | None:
    """SHA-256 of a file, in hex; `None` where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def files_of(folder: Path) -> list[str]:
    """Every file of a bundle but the seal itself, by path."""
    found = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return sorted(str(path.relative_to(folder)) for path in found if path != folder / FILE)


def journals_of(run: Path) -> dict[str, dict[str, str | None]]:
    """Cell's folder -> digests of its logs; of a run directory."""
    return {
        folder.name: {
            name: digest(folder / name)
            for name in ("journal.jsonl", "trajectories.jsonl", "scores.jsonl")
        }
        for folder in sorted((run / "cells").iterdir())
        if (folder / "trajectories.jsonl").is_file()
    }


def chain(
    folder: Path, journals: Mapping[str, Any], schema: int = SCHEMA
) -> list[dict[str, str | None]]:
    """The links: what, digest of the part (`None` = the bundle has none), digest of the link.

    `schema` is the layout of the seal.
    """
    sorted_journals = orjson.dumps(journals, option=orjson.OPT_SORT_KEYS)
    parts = [
        ("plan", digest(folder / PLAN)),
        ("manifests", digest(folder / MANIFESTS)),
        ("journals", hashlib.sha256(sorted_journals).hexdigest() if journals else None),
        ("accounts", digest(folder / ACCOUNTS)),
        ("samples", digest(folder / SAMPLES)),
        ("answers", digest(folder / ANSWERS)),
        ("baselines", digest(folder / BASELINES)),
        ("records", digest(folder / RECORDS)),
    ]
    if schema == 1:
        parts = [(what, own) for what, own in parts if what not in ("accounts", "baselines")]
    links, last = [], _NOTHING
    for what, own in parts:
        last = hashlib.sha256(f"{last} {what} {own}".encode()).hexdigest()
        links.append({"what": what, "sha256": own, "link": last})
    return links


def plan_facts(bundle: Bundle) -> dict[str, Any]:
    """What the cells' manifests say of the plan: how many committed to it before their first call.

    `to_this_plan`, `to_another`, `unknown` (made before commitments were kept): numbers of cells.
    """
    own = plan_digest(orjson.loads((bundle.folder / PLAN).read_bytes()))
    said = Counter(
        "unknown" if KEY not in manifest else "to_this_plan" if manifest[KEY] == own
        else "to_another"
        for manifest in bundle.manifests.values()
    )  # fmt: skip
    names = ("to_this_plan", "to_another", "unknown")
    return {"digest": own, **{name: said[name] for name in names}}


def sealed(bundle: Bundle, journals: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `seal.json` for the files as they lie in the bundle now."""
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "plan": plan_facts(bundle),
        "facts": dict(facts),
        "journals": dict(journals),
        "chain": chain(bundle.folder, journals),
        "files": {name: digest(bundle.folder / name) for name in files_of(bundle.folder)},
    }
    return {**found, "seal": own_digest(found)}


def changed_inputs(folder: Path, seal: Mapping[str, Any]) -> str | None:
    """The first difference between a folder's inputs and its seal, in words; `None` = no one.

    Inputs are all files that are not made from others; a file of no meaning to a bundle may have
    been added.
    """
    then = {name: sha for name, sha in seal["files"].items() if not _is_derived(name)}
    for name in sorted({*then, *_INPUTS}):
        if (now := digest(folder / name)) != then.get(name):
            told = "was added" if name not in then else "was removed" if now is None else ""
            return f"{name} {told or 'is not the file that was sealed'}"
    if seal.get("seal") != own_digest(seal):
        return f"{FILE} itself was changed"
    for part in chain(folder, seal["journals"], seal["schema"]):
        if part not in seal["chain"]:
            return f"the {part['what']} are not those that were sealed"
    return None


_INPUTS = (PLAN, MANIFESTS, ACCOUNTS, SAMPLES, ANSWERS, BASELINES, RECORDS)


def _is_derived(name: str) -> bool:
    """Whether a file is made from the others: it is made anew, not compared."""
    return name in (README, CARD, "claims.json") or name.startswith(("tables/", "figures/"))


def own_digest(seal: Mapping[str, Any]) -> str:
    """Digest of everything else in a seal."""
    rest = {name: value for name, value in seal.items() if name != "seal"}
    return hashlib.sha256(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)).hexdigest()


def read_seal(folder: Path) -> dict[str, Any] | None:
    """The seal of a bundle; `None` = it was published without one.

    Raises `RlmEvalError` where it cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise RlmEvalError(f"{path}: damaged ({error}); restore it from where it came") from error
    if not isinstance(found, dict) or found.get("schema") not in READ:
        layouts = " or ".join(map(str, READ))
        raise RlmEvalError(f"{path}: not a seal of layout {layouts}; use the release that wrote it")
    return found


def last_link(links: list[dict[str, Any]]) -> str:
    """The digest that stands in the README."""
    return str(links[-1]["link"])


def differences(folder: Path, seal: Mapping[str, Any]) -> str | None:
    """The first file that is not as sealed, in words; `None` = all are."""
    now, then = set(files_of(folder)), set(seal["files"])
    if lost := sorted(then - now):
        return f"{lost[0]} was removed"
    if new := sorted(now - then):
        return f"{new[0]} was added"
    for name in sorted(now):
        if digest(folder / name) != seal["files"][name]:
            return f"{name} is not the file that was sealed"
    if seal.get("seal") != own_digest(seal):
        return f"{FILE} itself was changed"
    return None
