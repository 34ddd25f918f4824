"""`rlm-eval` for the commands of docs/cluster.md (`cluster/test_cluster_page.py`).

Drops `...`, and adds `$PAGE_WORDS` to commands that take overrides and `$PAGE_ENGINE` for each
model that they name; `node` is 127.0.0.1.
"""

import os
import shlex
import sys

from rlm_eval.cli import main as rlm_eval

SWEEPS = ("run", "submit", "serve", "estimate", "prefetch")


def main(words: list[str]) -> int:
    """Run the command; its exit status."""
    words = ["127.0.0.1" if word == "node" else word for word in words if word != "..."]
    engine = shlex.split(os.environ["PAGE_ENGINE"])
    if words[0] in SWEEPS:
        words += os.environ["PAGE_WORDS"].split()
        slots = [w.split("=")[0][6:] for w in words if w.startswith("model@")]
        words += [w.replace("root", slot, 1) for slot in slots for w in engine]
    elif words[0] == "doctor":
        words = [w for w in words if not w.startswith("root.engine.python")] + engine
    return rlm_eval(words)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
