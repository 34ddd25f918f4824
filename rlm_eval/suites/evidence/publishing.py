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
from rlm_eval.storage.cell_store import BASELINES
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


def check(made: Path) -> None:
    """Verify new files before they are published. Raises `RlmEvalError` with the first failure.

    Classes of other packages are built: the caller's own command has named them.
    """
    from rlm_eval.suites.evidence.verify import Options, verify

    for found in verify(made, Options(trust=True)):
        if not found.passed:
            raise RlmEvalError(
                f"{made.name}: not published: the new files fail their own verification; those "
                f"published before are unchanged. {found.line()}"
            )


def put(made: Path, out: Path) -> None:
    """Move the files of `made` to `out`, whose present files are deleted afterwards.

    `out` itself stays, since a shell may be in it; it is created if needed. After an error (then
    raised) it has its old files again.
    """
    with tempfile.TemporaryDirectory(prefix=".old-", dir=out.parent) as place:
        old, is_first = Path(place), not out.exists()
        moved: list[tuple[Path, Path]] = []
        try:
            out.mkdir(exist_ok=True)
            for source, target in ((out, old), (made, out)):
                for path in sorted(source.iterdir()):
                    path.rename(target / path.name)
                    moved.append((path, target / path.name))
        except BaseException:
            for before, now in reversed(moved):
                now.rename(before)
            if is_first:
                out.rmdir()
            raise


def remake(folder: Path, baselines: bytes | None = None) -> None:
    """Make a published folder's tables, figures, card, README and seal anew from its records.

    Plan, manifests, accounts, answers and what a person wrote into the README stay; records too,
    but that those of an unsealed folder get the baselines of the samples that can be made again.
    `baselines` is the new content of `baselines.json`, else it stays. Raises `RlmEvalError` where
    the folder's sealed inputs were changed: they must be restored first.
    """
    from rlm_eval.config.contexts import ContextSource
    from rlm_eval.suites.places import Anywhere, with_baselines
    from rlm_eval.suites.reporting import write_report

    folder = folder.resolve()  # `.` has no name and no place beside it
    bundle = Bundle(folder)
    before = seals.read_seal(folder)
    hand = claims.by_hand(readme := claims.read_readme(folder))
    if before is not None:
        if told := seals.changed_inputs(folder, before):
            raise RlmEvalError(
                f"{folder}: {told}; restore what was sealed, or publish the run again"
            )
        earlier = int(before["facts"]["cells_earlier"])
    else:
        found = re.search(r"(\d+) of them were run in other run directories", readme)
        earlier = int(found[1]) if found else 0
    with (
        bundle.as_run() as run,
        tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as aside,
    ):
        if baselines is not None:
            (run / BASELINES).write_bytes(baselines)
        if before is None:
            frame = with_baselines(load_records([run], stored_names=True), run)
            frame.to_parquet(run / RECORDS, index=False)
        write_report([run], run / "report", ContextSource(), stored_names=True)
        anywhere = Anywhere(run)
        made = Path(aside) / folder.name
        shutil.copytree(folder, made, ignore=shutil.ignore_patterns("figures", seals.FILE))
        for name in (RECORDS, BASELINES):
            if (run / name).exists():
                shutil.copyfile(run / name, made / name)
        (made / "figures").mkdir()
        for path in sorted((run / "report" / "figures").iterdir()):
            if path.suffix == ".png":
                shutil.copyfile(path, made / "figures" / path.name)
            elif path.suffix in (".csv", ".md", ".txt"):
                text = anywhere.told(path.read_text("utf-8"))
                (made / "figures" / path.name).write_text(text, encoding="utf-8")
        _complete(made, (before or {}).get("journals", {}), earlier, hand)
        put(made, folder)
