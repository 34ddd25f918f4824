"""Trust boundary for stored runs: a manifest must not run foreign code without `--trust`.

A manifest's configuration names classes by dotted name. Classes of this package are built; another
class would run its module on import, so it requires the user's consent (`--trust`). So does an
interpolation, because a stored configuration is resolved; secrets of its models
(`root.headers={x-key: ${oc.env:KEY}}`) are exempt, since no code here sends them. Running stored
code again (`replay`) also requires a sandbox of this package. Documented in docs/security.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from omegaconf import OmegaConf

from rlm_eval.config.cell import Cell, build_cell
from rlm_eval.config.environment import unset_variables_allowed
from rlm_eval.core.errors import RlmEvalError

_OURS = re.compile(r"rlm_eval(\.[a-z][a-z0-9_]*)+\.[A-Z][A-Za-z0-9]*")
"""A public class in a public module: importing `rlm_eval.__main__` would run the command line."""
_SECRET = re.compile(r"\$\{oc\.env:\w+\}|\$\{oc\.decode:\$\{oc\.env:\w+\}\}")
"""Form of a secret's reference in a manifest, alone or within a text."""
_NOT_MODELS = ("task", "method", "repl")
_BACKENDS = ("rlm_eval.repl.pool.SandboxPool", "rlm_eval.repl.docker.DockerPool")


class Untrusted(RlmEvalError):
    """A stored run refers to foreign code; it was neither imported nor run."""


def foreign(config: Mapping[str, Any]) -> set[str]:
    """Foreign parts of a configuration: dotted class names and interpolations."""
    return {
        text
        for key, part in config.items()
        for text, ours in _named(part, of_model=key not in _NOT_MODELS)
        if not ours
    }


def _named(node: Any, of_model: bool) -> Iterator[tuple[str, bool]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_":
                yield str(value), isinstance(value, str) and bool(_OURS.fullmatch(value))
            yield from _named(value, of_model)
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _named(item, of_model)
    elif isinstance(node, str) and "${" in node:
        yield node, of_model and "${" not in _SECRET.sub("", node)


def stored_cell(
    manifest: Mapping[str, Any], *, trust: bool = False, known: Collection[str] = ()
) -> Cell:
    """Build the cell of a stored configuration; `known` are names from the user's own command.

    Raises `Untrusted`, before any import, where the configuration needs trust and has none.
    """
    if manifest.get("facts", {}).get("imported"):
        raise RlmEvalError(
            f"{manifest.get('cell_id', 'a cell')}: imported from a foreign log: its task, method "
            "and models cannot be built here (report, compare, score, view and export work)"
        )
    if "config" not in manifest:
        raise RlmEvalError(
            f"{manifest.get('cell_id', 'a cell')}: its manifest has no configuration; restore it, "
            "or move the cell's folder away"
        )
    if not trust and (found := sorted(foreign(manifest["config"]) - set(known))):
        raise _untrusted(manifest, f"its manifest names {', '.join(found)[:300]}")
    with unset_variables_allowed():
        return build_cell(OmegaConf.create(dict(manifest["config"])))


def replayed_cell(manifest: Mapping[str, Any], *, trust: bool = False) -> Cell:
    """`stored_cell` for running the code of stored trajectories again."""
    cell = stored_cell(manifest, trust=trust)
    if trust:
        return cell
    if cell.repl.backend not in _BACKENDS:
        raise _untrusted(manifest, f"its manifest names the REPL {cell.repl.backend}")
    if cell.method.runs_code and cell.repl.isolation == "none":
        raise _untrusted(manifest, "its code would run without isolation (repl.isolation=none)")
    if cell.method.runs_code and cell.repl.packages:
        names = ", ".join(cell.repl.packages)
        raise _untrusted(manifest, f"its manifest imports packages ({names})")
    if getattr(cell.method, "writes_plain_text", False):
        raise _untrusted(manifest, f"{cell.method.name} starts a program that its manifest names")
    return cell


def _untrusted(manifest: Mapping[str, Any], what: str) -> Untrusted:
    return Untrusted(
        f"{manifest.get('cell_id', 'a cell')}: {what}; nothing was imported or run. If you "
        "made this run, or have read its configuration and trust it, add --trust"
    )
