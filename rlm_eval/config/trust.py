"""What the manifest of a stored run may cause without the user's trust: no foreign code.

A manifest's configuration names classes by dotted name. Those of this package are built; another
one would run its module on import, so it needs the user's word (`--trust`). So does an
interpolation: a stored configuration is resolved, but for the secrets of its models
(`root.headers={x-key: ${oc.env:KEY}}`), which nothing here sends. Running stored code again
(`replay`) asks for more: a sandbox that is ours. Documented in docs/security.md.
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
"""A public class in a public module: `rlm_eval.__main__` would run the command line on import."""
_SECRET = re.compile(r"\$\{oc\.env:\w+\}|\$\{oc\.decode:\$\{oc\.env:\w+\}\}")
"""How a manifest names a secret, within a text or alone."""
_NOT_MODELS = ("task", "method", "repl")
_BACKENDS = ("rlm_eval.repl.pool.SandboxPool", "rlm_eval.repl.docker.DockerPool")


class Untrusted(RlmEvalError):
    """A stored run would have foreign code run; it was neither imported nor run."""


def foreign(config: Mapping[str, Any]) -> set[str]:
    """What of a configuration is not ours: dotted names of classes, and interpolations."""
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
    """The cell of a stored configuration; `known` are names that the user's own command gave.

    Raises `Untrusted`, before anything is imported, unless it is trusted.
    """
    if manifest.get("facts", {}).get("imported"):
        raise RlmEvalError(
            f"{manifest.get('cell_id', 'a cell')}: imported from a foreign log: its task, method "
            "and models cannot be built here (report, compare, score, view and export work)"
        )
    if not trust and (found := sorted(foreign(manifest["config"]) - set(known))):
        raise _untrusted(manifest, f"its manifest names {', '.join(found)[:300]}")
    with unset_variables_allowed():
        return build_cell(OmegaConf.create(dict(manifest["config"])))


def replayed_cell(manifest: Mapping[str, Any], *, trust: bool = False) -> Cell:
    """As `stored_cell`, for running the stored trajectories' code again."""
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
