"""Earlier names that a user may still use: `compare long_context rlm_own` means `rlm`.

`config/earlier_names` has them. A table prints the name of the YAML file, but for three files that
print the name of another one: `program_map_small`, `summary_agent_small`, `qwen3-coder-480b-vllm`.
Their label or name is part of a cell's identity. Beside the other file's cells, tables name the
settings that differ; alone, the printed name does not tell which file it was.
"""

from rlm_eval.core import renamed

EARLIER = {
    "claude-haiku": "claude-haiku-5-5",
    "claude-opus": "claude-opus-5-5",
    "claude-sonnet": "claude-sonnet-5-5",
    "ruler_cwe": "ruler_cwe_gen",
    "ruler_fwe": "ruler_fwe_gen",
    "ruler_fwe_close": "ruler_fwe_close_gen",
    "ruler_qa": "ruler_qa_gen",
    "ruler_vt": "ruler_vt_gen",
}
"""Earlier name of a YAML file -> present name. Those of methods are in `core.renamed`."""


def printed(name: str) -> str:
    """Convert `name`, `METHOD` or `METHOD:ROOT` to the names printed in tables."""
    return ":".join(EARLIER.get(part, renamed.current(part)) for part in name.split(":"))
