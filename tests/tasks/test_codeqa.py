import ast
import json
import re
from collections import Counter

import pytest

from rlm_eval.tasks.codeqa import DOMAIN, CodeQA
from rlm_eval.tasks.codeqa_gen import CodeQAGen, execute
from rlm_eval.types import Answer


def test_golds_hold_when_the_package_of_the_context_is_run():
    """The rendered text alone: split into files, run, compared with the choice."""
    for sample in CodeQAGen(n=9, length=4096, tokenizer="approx4").samples():
        files = re.findall(
            r"=== file: (\w+)/(\w+)\.py ===\n(.*?)\n(?==== file)", sample.context.text(), re.DOTALL
        )
        package = files[0][0]
        modules = {name: code for _, name, code in files}
        for code in modules.values():
            ast.parse(code)
        call = re.search(r"`(?:\w+)\.(\w+)\.(\w+)(?:\((\d+)\))?`", sample.question)
        module, function, number = call.groups()
        event = re.search(r"'(\w+)'", sample.question)
        result = execute(package, modules, (module, function, int(number or 0) or event.group(1)))
        choices = dict(re.findall(r"^\(([A-D])\) (.+)$", sample.question, re.MULTILINE))
        gold = choices[sample.target]
        if "DEFAULTS" in sample.question:
            assert re.search(rf"\] = {result}\n", modules[gold] + "\n")
        else:
            assert str(result) == gold
        assert len(set(choices.values())) == 4


def test_letters_are_balanced():
    letters = Counter(s.target for s in CodeQAGen(n=24, length=2048, tokenizer="approx4").samples())
    assert letters == {"A": 6, "B": 6, "C": 6, "D": 6}


def test_the_rlm_surface_asks_for_a_number():
    task = CodeQAGen(n=4, length=2048, tokenizer="approx4", surface="rlm")
    for sample in task.samples():
        assert "exactly one number choice" in sample.question
        answer = task.gold_answer(sample).text
        assert answer == str("ABCD".index(sample.target))
        assert task.score(sample, Answer(f"The answer is {answer}"))[0].value == 1.0


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "data.json"
    row = {
        "_id": "1", "domain": DOMAIN, "difficulty": "hard", "length": "long",
        "question": "What does main do?", "choice_A": "reads", "choice_B": "writes",
        "choice_C": "sleeps", "choice_D": "fails", "answer": "C", "context": "def main(): sleep()",
    }  # fmt: skip
    other = row | {"_id": "2", "domain": "Single-Document QA"}
    path.write_text(json.dumps([other, row, row | {"_id": "3", "question": "And $Q$?"}]))
    return str(path)


def test_only_the_code_domain_is_loaded(rows):
    task = CodeQA(path=rows, tokenizer="approx4")
    samples = list(task.samples())
    assert [s.item for s in samples] == ["1", "3"]
    assert "What is the correct answer to this question: And $Q$?\nChoices:\n(A) reads" in (
        samples[1].question
    )
    assert task.score(samples[0], Answer("The correct answer is (C)"))[0].value == 1.0
    assert task.score(samples[0], Answer("(C)"))[0].value == 0.0  # the official parser
    assert task.score(samples[0], Answer("(C)"))[1].value == 1.0
    assert samples[0].length // 2 < samples[0].context.tokens <= samples[0].length
    assert samples[0].length.bit_count() == 1


def test_the_papers_prompt_numbers_the_choices(rows):
    [sample, _] = CodeQA(path=rows, tokenizer="approx4", surface="rlm").samples()
    assert "0: reads\n1: writes\n2: sleeps\n3: fails" in sample.question
    with pytest.raises(ValueError, match="surface"):
        CodeQA(surface="other")
