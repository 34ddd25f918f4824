"""A generator's samples change only with its `VERSION`: those of every shipped task are pinned.

`PYTHONPATH=tests/support python tests/tasks/test_generators_keep_their_output.py` pins them anew.
"""

import functools
import json
from pathlib import Path

import pytest
from shipped import shipped

from rlm_eval.core.types import text_hash
from rlm_eval.tasks.base import CachedTask

ROOT = Path(__file__).parent.parent.parent
GOLDEN = ROOT / "tests" / "golden" / "generators.json"
SMALL = {"tokenizer": "approx4", "length": 2048, "n": 3}
LARGE = {"browsecomp_gen", "browsecomp_gen_1k"}  # the code of browsecomp_gen_mini, more documents
OF_A_FILE = {"oolong_rows"}  # of the user


@functools.cache
def generated():
    """Name -> task, of the shipped ones that draw their samples."""
    paths = sorted((ROOT / "configs" / "task").glob("*.yaml"))
    tasks = {
        path.stem: shipped(path.stem, **SMALL)
        for path in paths
        if path.stem not in LARGE | OF_A_FILE
    }
    return {
        name: task
        for name, task in tasks.items()
        if isinstance(task, CachedTask) and task.generated
    }


def pinned(task):
    samples = [
        [s.id, s.question, s.context.hash, s.target, s.cluster, s.item, s.evidence, dict(s.meta)]
        for s in task.drawn()
    ]
    return {"version": task.VERSION, "samples": text_hash(json.dumps(samples, sort_keys=True))}


KNOWN = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}


SLOW = {"browsecomp_gen_mini"}  # ten seconds and more


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in KNOWN]
)
def test_the_output_changes_only_with_the_version(name):
    task = generated()[name]
    found, known = pinned(task), KNOWN[name]
    if found["version"] == known["version"]:
        assert found == known, f"{type(task).__name__} draws other samples: raise its VERSION"
    assert found == known, f"VERSION was raised: pin the samples anew, see {Path(__file__).name}"


def test_every_generator_is_pinned():
    assert set(generated()) == set(KNOWN)


def test_cached_samples_of_other_code_are_not_taken(tmp_path, monkeypatch):
    """The published sample 1 of s_niah_multikey at 1k had come from such a cache."""
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path))
    task = generated()["s_niah_multikey"]
    first = [sample.id for sample in task.samples()]
    (kept,) = (tmp_path / "samples").iterdir()
    rows = kept.read_text().splitlines()
    kept.write_text("\n".join([rows[1], rows[0], rows[2]]))
    assert [sample.id for sample in task.samples()] != first, "the cache is read"
    monkeypatch.setattr("rlm_eval.tasks.base.class_hash", lambda *_, **__: "other code")
    assert [sample.id for sample in task.samples()] == first


if __name__ == "__main__":
    made = {name: pinned(task) for name, task in generated().items()}
    GOLDEN.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")
