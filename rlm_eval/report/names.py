"""Earlier names that a user may still use: `compare long_context rlm_own` means `rlm`.

A table prints the name of the YAML file; `config/earlier_names` has the earlier ones.
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
