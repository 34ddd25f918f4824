"""Names of methods and models as their YAML has them, where tables print another one.

The printed name is part of a cell's directory name, so that it stays as published: `method=rlm`
prints `rlm_own`. Where a user names something (`rlm-eval compare long_context rlm`), both do.
"""

YAML_NAMES = {
    "rag": "rag_bm25",
    "rlm": "rlm_own",
    "claude-haiku": "claude-haiku-5-5",
    "claude-opus": "claude-opus-5-5",
    "claude-sonnet": "claude-sonnet-5-5",
}
"""Name of the YAML file -> printed name."""


def printed(name: str) -> str:
    """`name`, `METHOD` or `METHOD:ROOT`, with each part as tables print it."""
    return ":".join(YAML_NAMES.get(part, part) for part in name.split(":"))
