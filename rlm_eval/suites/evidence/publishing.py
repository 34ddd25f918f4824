"""Sealing a folder that is about to be published, and making a published one anew.

`seal` adds what `verify` needs: answers and samples, tables as today's code makes them from the
records, README with its claims, digests. `remake` does the same for a folder that is published
already, from its own records, and draws its figures again: after a change of a report's code, and
for folders of before there were seals.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import orjson

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.records.build import cell_folders
from rlm_eval.records.record import FILE as RECORDS
from rlm_eval.records.record import load_records
from rlm_eval.suites.evidence import answers, claims
from rlm_eval.suites.evidence import seal as seals
from rlm_eval.suites.evidence.bundle import README, Bundle
from rlm_eval.suites.republish import Earlier


def seal(run: Path, made: Path, before: Path, kept: Earlier | None) -> None:
    """Complete `made`, the new files of a run, and seal it.

    `before` is what is published now under that name; its cells in `kept` keep their answers and
    the digests of their journals.
    """
    own = [folder for folder in cell_folders(run) if (folder / "trajectories.jsonl").exists()]
    journals = seals.journals_of(run)
    of_kept: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    if kept is not None:
        of_kept = answers.kept(before, {m["identity"] for m in kept.manifests.values()})
        told = (seals.read_seal(before) or {}).get("journals", {})
        journals |= {name: told[name] for name in kept.manifests if name in told}
    answers.write(made, answers.collected(own), of_kept)
    hand = claims.by_hand(claims.read_readme(before))
    _complete(made, journals, 0 if kept is None else len(kept.manifests), hand)


def _complete(folder: Path, journals: dict[str, Any], earlier: int, hand: str) -> None:
    """Write tables, card, README, claims and seal from the other files of a folder."""
    from rlm_eval.core.git import git_state

    bundle = Bundle(folder)
    shutil.rmtree(folder / "tables", ignore_errors=True)
    for name, text in bundle.derived.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    facts = {"cells_earlier": earlier, "tables_by": git_state()["git"]}
    link = seals.last_link(seals.chain(folder, journals))
    text, map_ = claims.page(bundle, {**facts, "plan": seals.plan_facts(bundle)}, link)
    (folder / README).write_text(claims.whole(text, hand), encoding="utf-8")
    (folder / claims.FILE).write_bytes(map_)
    found = seals.sealed(bundle, journals, facts)
    (folder / seals.FILE).write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")


def remake(folder: Path) -> None:
    """Make a published folder's tables, figures, card, README and seal anew from its records.

    Plan, manifests, accounts, answers and what a person wrote into the README stay; records too,
    but that those of an unsealed folder get the baselines of the samples that can be made again.
    Raises `RlmEvalError` where the folder's sealed files were changed: it must be restored first.
    """
    from rlm_eval.config.contexts import ContextSource
    from rlm_eval.suites.places import Anywhere, with_baselines
    from rlm_eval.suites.reporting import write_report

    bundle = Bundle(folder)
    before = seals.read_seal(folder)
    hand = claims.by_hand(readme := claims.read_readme(folder))
    if before is not None:
        for part in seals.chain(folder, before["journals"]):
            if part not in before["chain"]:
                raise RlmEvalError(
                    f"{folder}: its {part['what']} are not those that were sealed; restore them, "
                    "or publish the run again"
                )
        earlier = int(before["facts"]["cells_earlier"])
    else:
        found = re.search(r"(\d+) of them were run in other run directories", readme)
        earlier = int(found[1]) if found else 0
    with (
        bundle.as_run() as run,
        tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as aside,
    ):
        if before is None:
            frame = with_baselines(load_records([run], stored_names=True), run)
            frame.to_parquet(run / RECORDS, index=False)
        write_report([run], run / "report", ContextSource(), stored_names=True)
        anywhere = Anywhere(run)
        made = Path(aside) / folder.name
        shutil.copytree(folder, made, ignore=shutil.ignore_patterns("figures", seals.FILE))
        shutil.copyfile(run / RECORDS, made / RECORDS)
        (made / "figures").mkdir()
        for path in sorted((run / "report" / "figures").iterdir()):
            if path.suffix == ".png":
                shutil.copyfile(path, made / "figures" / path.name)
            elif path.suffix in (".csv", ".md", ".txt"):
                text = anywhere.told(path.read_text("utf-8"))
                (made / "figures" / path.name).write_text(text, encoding="utf-8")
        _complete(made, (before or {}).get("journals", {}), earlier, hand)
        old = Path(aside) / "old"
        folder.rename(old)
        made.rename(folder)
