"""Modules that have moved: a class path in an old run directory or a user's YAML still resolves.

The class of a `_target_` may have moved since the configuration was written: `now` gives its
current path. `former` gives the path before the move: the hash of code and the order of hashed
parts use it, so that moving a module does not mark stored results as results of other code.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = __name__.partition(".")[0]

MOVED = {
    "cluster": "cluster.jobs",
    "methods.fitting": "methods.context_window",
    "methods.rlm.wheels": "methods.rlm.official_prompts",
    "methods.survival": "methods.evidence_retention",
    "models.address": "models.http.address",
    "models.anthropic": "models.http.anthropic",
    "models.client": "models.http.client",
    "models.connections": "models.http.connections",
    "models.counting": "models.http.counting",
    "models.devices": "models.servers.devices",
    "models.embedding": "models.http.embedding",
    "models.faults": "models.http.http_errors",
    "models.finish": "models.http.finish",
    "models.gate": "models.http.rate_limiter",
    "models.gpu_memory": "models.servers.gpu_memory",
    "models.histories": "models.http.histories",
    "models.http": "models.http.model",
    "models.keyed": "models.servers.keyed",
    "models.keys": "models.http.keys",
    "models.llama_cpp": "models.servers.llama_cpp",
    "models.lora": "models.servers.lora",
    "models.openai_dialect": "models.http.openai_dialect",
    "models.placement": "models.servers.placement",
    "models.pool": "models.http.endpoint_pool",
    "models.processes": "models.servers.processes",
    "models.proof": "models.http.preflight",
    "models.reading": "models.http.reading",
    "models.registry": "models.servers.registry",
    "models.servers": "models.servers.managed",
    "models.shared": "models.refcounted",
    "models.sse": "models.http.sse",
    "models.start_errors": "models.servers.start_errors",
    "models.thoughts": "models.http.thoughts",
    "models.transformers_serve": "models.servers.transformers_serve",
    "models.transport": "models.http.transport",
    "models.trial": "models.servers.trial",
    "models.trouble": "models.http.error_details",
    "models.users": "models.servers.users",
    "models.vllm": "models.servers.vllm",
    "models.weights": "models.servers.weights",
    "models.window": "models.http.window",
    "repl.record": "repl.blocks",
    "scoring.command": "scoring.registry",
    "tasks.browsecomp_gen": "tasks.browsecomp.gen",
    "tasks.browsecomp_plus": "tasks.browsecomp.plus",
    "tasks.browsecomp_rules": "tasks.browsecomp.rules",
    "tasks.chronicle": "tasks.browsecomp.chronicle",
    "tasks.codeqa": "tasks.codeqa.longbench",
    "tasks.codeqa_gen": "tasks.codeqa.gen",
    "tasks.codeqa_riddles": "tasks.codeqa.riddles",
    "tasks.codeqa_rules": "tasks.codeqa.rules",
    "tasks.codeqa_sets": "tasks.codeqa.sets",
    "tasks.codeqa_sets_rules": "tasks.codeqa.sets_rules",
    "tasks.oolong_base": "tasks.oolong.base",
    "tasks.oolong_baselines": "tasks.oolong.baselines",
    "tasks.oolong_floors": "tasks.oolong.floors",
    "tasks.oolong_gen": "tasks.oolong.gen",
    "tasks.oolong_golds": "tasks.oolong.golds",
    "tasks.oolong_grammar": "tasks.oolong.grammar",
    "tasks.oolong_lines": "tasks.oolong.lines",
    "tasks.oolong_pairs": "tasks.oolong.pairs",
    "tasks.oolong_queries": "tasks.oolong.queries",
    "tasks.oolong_questions": "tasks.oolong.questions",
    "tasks.oolong_read": "tasks.oolong.read",
    "tasks.oolong_real": "tasks.oolong.real",
    "tasks.oolong_rows": "tasks.oolong.rows",
    "tasks.oolong_synth": "tasks.oolong.synth",
    "tasks.oolong_window": "tasks.oolong.window",
    "tasks.paraphrase": "tasks.needle.paraphrase",
    "tasks.paraphrase_rules": "tasks.needle.paraphrase_rules",
    "tasks.ruler": "tasks.needle.ruler",
    "tasks.ruler_cwe": "tasks.needle.ruler_cwe",
    "tasks.ruler_qa": "tasks.needle.ruler_qa",
    "tasks.s_niah": "tasks.needle.s_niah",
}
"""Module before -> module now, both relative to this package. Add a line when a module moves."""

RENAMED = {
    "core.code_hash.cache_key": "class_hash",
    "models.endpoint.RemoteServer": "Elsewhere",
    "models.endpoint.ServerHandle": "Host",
    "models.http.http_errors.error_from_response": "fault_of",
    "models.http.rate_limiter.AdaptiveLimiter": "Gate",
    "models.refcounted.refcounted": "shared",
}
"""Current name -> last part of its earlier name, for names in `code_hash` that it does not follow.
"""

_FORMER = {new: old for old, new in MOVED.items()}


def now(target: str) -> str:
    """Return the current dotted path of a class, from its current or earlier path."""
    return _renamed(target, MOVED)


def former(name: str) -> str:
    """Return the first dotted path of a module or of a class, from its current path."""
    return _renamed(_renamed(f"{name}.", _FORMER).removesuffix("."), _FORMER)


def former_part(name: str) -> str:
    """Return the last part of a dotted path of this package, as it was before a renaming."""
    return RENAMED.get(name.partition(".")[2], name.rpartition(".")[2])


def hint(module: str | None) -> str:
    """Return where a module is now, as the end of an import error's message; else empty.

    For a plug-in that imports what has moved: `rlm_eval.types` is `rlm_eval.core.types`.
    """
    package, _, inner = (module or "").partition(".")
    if package != _PACKAGE or not inner:
        return ""
    root = Path(__file__).parents[1]
    last = inner.rpartition(".")[2]
    places = (
        [MOVED[inner]]
        if inner in MOVED
        else [
            ".".join(path.relative_to(root).with_suffix("").parts)
            for path in sorted(root.rglob(f"{last}.py"))
        ]
    )
    return "; today: " + " or ".join(f"{_PACKAGE}.{place}" for place in places) if places else ""


def _renamed(target: str, names: dict[str, str]) -> str:
    """Return `target` with its module, all but the last part, replaced where `names` has it."""
    module, _, name = target.rpartition(".")
    package, _, inner = module.partition(".")
    if package == _PACKAGE and inner in names:
        return f"{package}.{names[inner]}.{name}"
    return target
