"""Runs `rlm-eval import`: finds the kind or map by name, reads files, writes a run directory."""

from __future__ import annotations

import ast
import difflib
import importlib
import pkgutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from rlm_eval.importers import fieldmap, kinds
from rlm_eval.importers.assemble import Assembled, assemble
from rlm_eval.importers.rows import SUFFIXES, BadLog, Options, Row, Source, sources
from rlm_eval.importers.scoring import THEIRS, check_scorer
from rlm_eval.importers.writer import check_place, write


def known() -> dict[str, str]:
    """Return kind -> one-line description, formats first, then the maps."""
    found = {}
    for module in pkgutil.iter_modules(kinds.__path__):
        file = Path(kinds.__path__[0]) / f"{module.name}.py"
        words = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        found[module.name] = words.partition("\n")[0]
    for name, path in fieldmap.maps().items():
        found[name] = fieldmap.load(path).about
    return found


@dataclass(frozen=True)
class Imported:
    """Summary of an import."""

    found: Assembled
    """The assembled cells."""
    files: list[dict[str, object]]
    """Name, SHA-256 and rows of each file."""
    rows: int
    """Rows read."""


def run_import(
    kind: str,
    paths: Sequence[Path],
    out: Path,
    options: Options,
    *,
    scorer: str | None = None,
    headline: str = THEIRS,
    last: bool = False,
    command: Sequence[str] = (),
) -> Imported:
    """Import `paths` as logs of `kind` into the run directory `out`.

    Raises `BadLog` (a file), `RlmEvalError` (a name, an output folder); nothing is written then.
    """
    check_place(out)
    if scorer is not None:
        check_scorer(scorer)
    by = _map_of(kind, options)
    module = _reader(kind) if by is None else importlib.import_module(f"{kinds.__name__}.rows")
    read: list[Source] = []
    by_name = by is not None and by.reads_files
    suffixes = getattr(module, "SUFFIXES", SUFFIXES)
    found = _kept(sources(paths, suffixes, by_name=by_name), read)
    options = replace(options, told=[])
    rows: list[Row] = list(
        module.read(found, options) if by is None else module.mapped(found, by, options)
    )
    if not rows:
        raise BadLog(f"{', '.join(map(str, paths))}: no sample in these files")
    name = kind if by is None else by.name
    made = assemble(
        rows,
        name,
        scorer=scorer,
        headline=headline,
        their_scorer=options.their_scorer,
        last=last,
        remarks=() if by is None else by.remarks,
        direct=None if by is None else by.direct,
    )
    made = replace(made, told=[*options.told, *made.told])
    counts, copies = Counter(row.sha256 for row in rows), Counter(s.sha256 for s in read)
    files: list[dict[str, object]] = [
        {"name": s.name, "sha256": s.sha256, "rows": counts[s.sha256] // copies[s.sha256]}
        for s in read
    ]
    write(out, made, name, files, command)
    return Imported(made, files, len(rows))


def _kept(found: Iterable[Source], read: list[Source]) -> Iterator[Source]:
    """Yield the sources, recording each in `read` without its content."""
    for source in found:
        read.append(replace(source, data=b""))
        yield source


def _map_of(kind: str, options: Options) -> fieldmap.FieldMap | None:
    shipped = fieldmap.maps()
    if kind in shipped:
        if options.map is not None:
            raise BadLog(f"--map: {kind} has a map of its own; use it with `rows`")
        return fieldmap.load(shipped[kind], options.given)
    if kind == "rows" and options.map is not None:
        return fieldmap.load(options.map, options.given)
    return None


def check_kind(kind: str) -> None:
    """Raise `BadLog` with similar names where no format and no map has this name."""
    names = [module.name for module in pkgutil.iter_modules(kinds.__path__)]
    every = [*names, *fieldmap.maps()]
    if kind not in every:
        near = difflib.get_close_matches(kind, every, 3) or every
        raise BadLog(f"no kind {kind!r}; near: {', '.join(near)} (`rlm-eval import list`)")


def _reader(kind: str) -> ModuleType:
    check_kind(kind)
    return importlib.import_module(f"{kinds.__name__}.{kind}")
