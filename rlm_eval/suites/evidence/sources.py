"""What a bundle says of its cells and samples, against what today's code makes of the manifests.

A manifest's configuration gives the cell's identity; the generator that it names makes the samples
again. So a question, a target or an identity that was changed by hand is seen even where every
digest was made anew. What today's code cannot make again is counted, never guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from rlm_eval.config.trust import Untrusted, stored_cell
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.records.artefacts import fingerprints
from rlm_eval.storage.cell_store import sample_line
from rlm_eval.storage.jsonl import read_lines
from rlm_eval.storage.published import MANIFESTS, SAMPLES

if TYPE_CHECKING:
    from rlm_eval.config.cell import Cell
    from rlm_eval.core.types import Sample
    from rlm_eval.suites.evidence.bundle import Bundle

_OF_TASK = ("n", "seed", "length", "tokenizer")
_COLUMNS = ("index", "cluster", "length", "chars", "question_hash")
"""Columns of records that a sample alone determines."""


@dataclass
class Checked:
    """What came of a check."""

    difference: str | None = None
    """The first difference, in words; `None` = none."""
    done: int = 0
    """What was compared: cells or samples."""
    impossible: Counter[str] = field(default_factory=Counter)
    """Reason -> what could not be compared."""

    def words(self, what: str) -> str:
        """What a reader must know of a check that passed."""
        reasons = "; ".join(f"{count}: {why}" for why, count in self.impossible.items())
        return f"{self.done} {what}" + (f"; not possible for {reasons}" if reasons else "")


@dataclass(frozen=True)
class Sources:
    """The cells of a bundle, built again from its manifests."""

    bundle: Bundle
    trust: bool = False
    """Build classes of other packages that the manifests name."""

    @cached_property
    def cells(self) -> dict[str, Cell | str]:
        """Cell's folder -> the cell, or why it cannot be built."""
        found: dict[str, Cell | str] = {}
        for name, manifest in self.bundle.manifests.items():
            try:
                found[name] = stored_cell(manifest, trust=self.trust)
            except Untrusted:
                found[name] = "the manifest names foreign classes (--trust builds them)"
            except RlmEvalError as error:
                found[name] = f"cannot be built: {error}"[:160]
        return found

    @cached_property
    def _indexes(self) -> dict[str, int]:
        """Cell's identity -> samples up to the last one that its records have."""
        last = self.bundle.records.groupby("cell_id")["index"].max()
        return {str(cell): int(index) + 1 for cell, index in last.items()}

    @cached_property
    def samples(self) -> dict[str, dict[str, Sample] | str]:
        """Cell's folder -> its task's samples by id, or why they cannot be made again."""
        made: dict[str, dict[str, Sample] | str] = {}
        found: dict[str, dict[str, Sample] | str] = {}
        for name, manifest in self.bundle.manifests.items():
            cell, config = self.cells[name], manifest["config"]
            if isinstance(cell, str) or not manifest["facts"].get("generated"):
                found[name] = cell if isinstance(cell, str) else "data of others, not generated"
                continue
            count = max(int(config.get("n") or 0), self._indexes.get(manifest["identity"], 0))
            config = {**config, "n": count}  # the last command of a cell may name fewer than it has
            key = repr((config["task"], *(config.get(part) for part in _OF_TASK)))
            if key not in made:
                try:
                    asked = stored_cell({**manifest, "config": config}, trust=self.trust)
                    made[key] = {sample.id: sample for sample in asked.task.samples()}
                except (RlmEvalError, OSError) as error:
                    made[key] = f"not made again: {error}"[:160]
            found[name] = made[key]
        return found


def identities(sources: Sources) -> Checked:
    """Each cell's identity, which its records carry, against that of its configuration."""
    found = Checked()
    for name, manifest in sources.bundle.manifests.items():
        cell = sources.cells[name]
        if isinstance(cell, str):
            found.impossible[cell] += 1
            continue
        stored = manifest["identity"]
        if versions := manifest.get("versions"):
            known = {cell.identity_under(versions)}
        else:  # older than that manifests name the versions of their classes
            known = {cell.identity, *cell.earlier_identities()}
        if stored not in known:
            found.difference = (
                f"cell {name}: its configuration has the identity {min(known)[:12]}, but "
                f"{MANIFESTS} and the records say {stored[:12]}"
            )
            return found
        if manifest["cell_id"] != name or not name.endswith(stored[:12]):
            found.difference = f"cell {name} is called {manifest['cell_id']}, {stored[:12]}"
            return found
        for flag in ("generated", "protected"):  # each excuses a cell from other checks
            said, is_so = manifest["facts"].get(flag), getattr(cell.task, flag)
            if said is not None and bool(said) != bool(is_so):
                found.difference = f"cell {name}: {flag} is {said}, but its task says {is_so}"
                return found
        found.done += 1
    return found


def made_again(sources: Sources) -> Checked:
    """Every sample of the records and of `samples.jsonl` against the one that its task makes."""
    found, bundle = Checked(), sources.bundle
    lines = {line["id"]: line for line in read_lines(bundle.folder / SAMPLES)}
    compared: set[str] = set()
    for name, manifest in bundle.manifests.items():
        own = bundle.records[bundle.records["cell_id"] == manifest["identity"]]
        made = sources.samples[name]
        if isinstance(made, str):
            found.impossible[made] += len(own)
            continue
        is_same = _same_generator(sources.cells[name], manifest)
        for row in own.to_dict("records"):
            sample = made.get(row["sample_id"])
            if sample is None:
                if is_same:
                    found.difference = (
                        f"{name}: sample {row['sample_id']} is none that its task makes"
                    )
                    return found
                found.impossible["results of another version of the generator"] += 1
                continue
            told = _row(row, sample)
            if told is None and sample.id not in compared:
                told = _line(lines.get(sample.id), sample)
                compared.add(sample.id)
            if told is not None:
                found.difference = f"{name}: sample {sample.id}: {told}"
                return found
            found.done += 1
    return found


def _same_generator(cell: Cell | str, manifest: Mapping[str, Any]) -> bool:
    """True where today's task has the `VERSION` under which the cell was made."""
    if isinstance(cell, str) or not (versions := manifest.get("versions")):
        return False
    task = type(cell.task).__name__
    return bool(versions.get(task) == cell.versions.get(task))


def _row(row: Mapping[str, Any], sample: Sample) -> str | None:
    """The first column of a record that is not as the sample has it."""
    now = {
        "index": sample.index,
        "cluster": sample.cluster,
        "length": sample.length,
        "chars": sample.context.chars,
        "question_hash": fingerprints(sample, ())["question_hash"],
    }
    return next(_differing({k: row.get(k) for k in _COLUMNS}, now, "the records say"), None)


def _line(line: Mapping[str, Any] | None, sample: Sample) -> str | None:
    """The first field of a line of `samples.jsonl` that is not as the sample has it."""
    if line is None or line.get("protected"):  # older than answers; hashes alone
        return None
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    now = orjson.loads(orjson.dumps(sample_line(sample), option=options))
    return next(_differing(line, now, f"{SAMPLES} says"), None)


def _differing(said: Mapping[str, Any], now: Mapping[str, Any], where: str) -> Iterator[str]:
    for name, value in now.items():
        if name not in said or _is_null(said[name]) or said[name] == value:
            continue
        shown = f"{str(said[name])[:60]!r}, its task makes {str(value)[:60]!r}"
        yield f"{name}: {where} {shown}"


def _is_null(value: Any) -> bool:
    return value is None or (not isinstance(value, list | dict | str) and bool(value != value))
