import ast
import json
import random
import re
import subprocess
import sys
import tomllib
from collections import Counter

import pytest

from rlm_eval.core.types import Answer
from rlm_eval.tasks.base import data
from rlm_eval.tasks.codeqa.gen import CodeQAGen
from rlm_eval.tasks.codeqa.longbench import DOMAIN, CodeQA
from rlm_eval.tasks.codeqa.riddles import KINDS, Names, execute


def files_of(text):
    """(package, module -> source, settings section -> TOML) of a rendered package."""
    files = re.findall(r"^=== file: (\w+)/(\S+) ===\n(.*?)\n(?==== file)", text, re.M | re.S)
    modules = {name[:-3]: code for _, name, code in files if name.endswith(".py")}
    settings = {
        name.removeprefix("settings/")[:-5]: code for _, name, code in files if "settings/" in name
    }
    return files[0][0], modules, settings


def asked(sample):
    """The call that the question names: (module, function, argument)."""
    module, function, argument = re.search(
        r"`\w+\.(\w+)\.(\w+)\((\d+|'\w+')\)`", sample.question
    ).groups()
    return module, function, ast.literal_eval(argument)


def test_golds_hold_when_the_package_of_the_context_is_run():
    """The rendered text: split into files, run in a host application, compared with the choice."""
    for sample in CodeQAGen(n=6, length=4096, tokenizer="approx4").samples():
        package, modules, settings = files_of(sample.context.text())
        for code in modules.values():
            ast.parse(code)
        result = execute(package, modules, settings, asked(sample))
        choices = dict(re.findall(r"^\(([A-D])\) (.+)$", sample.question, re.MULTILINE))
        assert str(result) == choices[sample.target]
        assert len(set(choices.values())) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_an_interpreter_of_its_own_gives_the_same_result(kind, tmp_path):
    """`execute` runs a package apart from `sys.modules`; here Python imports it from files."""
    [sample] = CodeQAGen(n=1, length=2048, tokenizer="approx4", kind=kind).samples()
    package, modules, settings = files_of(sample.context.text())
    values = {name: tomllib.loads(text) for name, text in settings.items()}
    runtime = data("codeqa.json")["runtime"].format(values=values)
    for folder, files in ((package, modules), ("host", {"runtime": runtime})):
        (tmp_path / folder).mkdir()
        for name, code in files.items():
            (tmp_path / folder / f"{name}.py").write_text(code)
    module, function, argument = asked(sample)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from {package}.{module} import "
        f"{function}; print({function}({argument!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(execute(package, modules, settings, asked(sample)))


def test_the_text_alone_cannot_be_run():
    [sample] = CodeQAGen(n=1, length=2048, tokenizer="approx4").samples()
    assert "from host.runtime import setting" in sample.context.text()
    assert "/runtime.py" not in sample.context.text()


@pytest.mark.parametrize(
    ("length", "n"),
    [(2048, 12), *(pytest.param(k, 240, marks=pytest.mark.slow) for k in (2048, 8192))],
)
@pytest.mark.parametrize("kind", [*KINDS, "mix"])
def test_no_rule_without_a_model_comes_near(kind, length, n):
    if n < 100 and kind != "mix":
        pytest.skip("a dozen samples of a kind say nothing")
    task = CodeQAGen(n=n, length=length, tokenizer="approx4", seed=4, kind=kind)
    samples = list(task.samples())
    for baseline in task.baselines():
        if baseline.name in ("follow_imports", "run_the_package"):
            continue  # the task is `solved_by_code`: they read what the others do not
        scores = [task.score(s, Answer(baseline.answer(s).text))[0].value for s in samples]
        assert sum(scores) / n <= (0.4 if n == 240 else 0.7), baseline.name


def test_letters_are_balanced():
    letters = Counter(s.target for s in CodeQAGen(n=8, length=2048, tokenizer="approx4").samples())
    assert letters == {"A": 2, "B": 2, "C": 2, "D": 2}


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


def test_module_names_never_run_out_nor_meet_those_of_the_riddle():
    words = data("words.json")
    every = [f"{a}_{n}" for a in words["adjectives"] for n in words["nouns"]]
    free = every[0]
    names = Names(random.Random(1), set(every) - {free})
    drawn = [name for _ in range(2) for name in names.draw(60)]
    assert len(set(drawn)) == len(drawn)
    assert not (set(drawn) & set(every)) - {free}
