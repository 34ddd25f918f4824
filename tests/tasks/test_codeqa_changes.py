import re
import subprocess
import sys

import pytest

from rlm_eval.core.types import Answer
from rlm_eval.tasks.base import rng
from rlm_eval.tasks.codeqa import changes
from rlm_eval.tasks.codeqa.changes import CodeQAChanges
from rlm_eval.tasks.codeqa.riddles import Names
from rlm_eval.tasks.validate import lines, passed, validate

SMALL = CodeQAChanges(n=3, length=2048, tokenizer="approx4")
PROGRAM = """
import importlib, sys
sys.path.insert(0, {folder!r})
state = importlib.import_module("{package}.{state}")
before = list(state.{kept})
getattr(importlib.import_module("{package}.{module}"), "{function}")(3)
print(state.{kept} != before)
"""


def test_a_table_and_a_run_agree_over_many_groups():
    for number in range(60):
        source = rng("many", number)
        group = changes._group(source, Names(source), "p", "ROWS", "ITEMS")
        assert changes._changed("p", group, "ROWS") == group.golds
        assert 3 <= len(group.golds) <= 6
        assert len(group.functions) == 14


def test_golds_hold_when_an_interpreter_imports_the_text(tmp_path):
    sample = next(iter(SMALL.samples()))
    text = sample.context.text()
    state, kept = re.search(r"module `(\w+)` has the name `(\w+)`", sample.question).groups()
    files = re.findall(r"^=== file: (\w+)/(\w+)\.py ===\n(.*?)(?=^=== file: )", text, re.M | re.S)
    package = files[0][0]
    (tmp_path / package).mkdir()
    for _, name, code in files:
        (tmp_path / package / f"{name}.py").write_text(code)
    inside = [text[a:b] for a, b in sample.evidence]
    functions = [
        f"{name}.{function}"
        for part in inside
        for name in re.findall(r"/(\w+)\.py ===", part)
        for function in re.findall(r"^def (\w+)\(value\)", part, re.M)
    ]
    assert set(sample.target) < set(functions)
    for wanted in (sample.target[0], next(f for f in functions if f not in sample.target)):
        module, function = wanted.split(".")
        program = PROGRAM.format(
            folder=str(tmp_path), package=package, state=state, kept=kept, module=module,
            function=function,
        )  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == str(wanted in sample.target)


def test_a_search_for_global_finds_few_of_the_functions():
    task = CodeQAChanges(n=20, length=4096, tokenizer="approx4", seed=3)
    samples = list(task.samples())
    rules = {rule.name: rule for rule in task.baselines()}
    scores = {
        name: sum(task.score(s, Answer(rule.answer(s).text))[0].value for s in samples) / 20
        for name, rule in rules.items()
    }
    assert max(scores["global_name"], scores["global_name_near_the_module"]) <= 0.15
    assert scores["every_function"] <= 0.15
    assert max(scores.values()) <= 0.6  # who finds the group and lists all of it
    assert task.solved_by_code


def test_the_proofs_hold():
    proofs = validate(SMALL)
    assert passed(proofs), "\n".join(lines("codeqa_gen_changes", proofs))


def test_the_score_is_f1_over_qualified_names():
    sample = next(iter(SMALL.samples()))
    assert SMALL.score(sample, SMALL.gold_answer(sample))[0].value == 1.0
    one = f"Only `{sample.target[0]}` does."
    assert SMALL.score(sample, Answer(one))[0].value == pytest.approx(2 / (1 + len(sample.target)))
    bare = ", ".join(name.split(".")[1] for name in sample.target)
    assert SMALL.score(sample, Answer(bare))[0].value == 0.0
    assert SMALL.score(sample, Answer(None))[0].value == 0.0


def test_short_texts_are_refused():
    with pytest.raises(ValueError, match="length=2000 must be 2048 or more"):
        CodeQAChanges(length=2000)
