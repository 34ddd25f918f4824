import dataclasses
import re

import pytest

from rlm_eval.core.types import Answer
from rlm_eval.tasks.base import data
from rlm_eval.tasks.codeqa.sets import CodeQASets
from rlm_eval.tasks.validate import lines, passed, validate

SMALL = CodeQASets(n=6, length=4096, tokenizer="approx4")


def _needs(text):
    """Package -> what it needs, read from the text by the turns of true statements."""
    forms = data("packages.json")
    needs = {}
    for name, readme in re.findall(r"packages/(\w+)/README\.md ===\n(.*)", text):
        for sentence in re.findall(r"[^.]+(?:\.(?! |$)[^.]+)*\.", readme):
            for how in ("forward", "backward"):
                for form in forms[how]:
                    shape = re.escape(form).replace(r"\{b\}", r"(\w+)")
                    if found := re.fullmatch(shape, sentence.strip()):
                        a, b = (name, found[1]) if how == "forward" else (found[1], name)
                        needs.setdefault(a, set()).add(b)
    return needs


def test_golds_hold_when_the_readmes_are_read():
    world = data("world.json")["institute"]
    for sample in SMALL.samples():
        text, question = sample.context.text(), sample.question
        needs = _needs(text)
        field, building = (
            next(said for said, asked in world[trait] if asked in question)
            for trait in ("field", "building")
        )
        made = [
            name
            for name, readme in re.findall(r"packages/(\w+)/README\.md ===\n(.*)", text)
            for form in data("packages.json")["made"]
            if any(form.format(t1=a, t2=b) in readme for a in field for b in building)
        ]
        assert len(made) == 1
        found, waiting = set(), [*needs[made[0]]]
        while waiting:
            name = waiting.pop()
            found.add(name)
            waiting += needs.get(name, set()) - found
        assert sorted(found) == sample.target
        assert 3 <= len(found) <= 4


def test_the_evidence_names_all_packages_of_the_answer():
    for sample in SMALL.samples():
        text = sample.context.text()
        pieces = [text[start:end] for start, end in sample.evidence]
        assert len(pieces) >= 6  # the description, two libraries, what each needs, and file names
        assert all(any(name in piece for piece in pieces) for name in sample.target)


def test_the_score_is_f1():
    [sample] = dataclasses.replace(SMALL, n=1).samples()
    half = ", ".join(sample.target[:2])
    assert SMALL.score(sample, SMALL.gold_answer(sample))[0].value == 1.0
    expected = 2 * 2 / (2 + len(sample.target))
    assert SMALL.score(sample, Answer(half))[0].value == pytest.approx(expected)
    assert SMALL.score(sample, Answer(None))[0].value == 0.0


@pytest.mark.parametrize(
    ("length", "n"),
    [(4096, 20), *(pytest.param(k, 200, marks=pytest.mark.slow) for k in (4096, 16384))],
)
def test_no_rule_without_a_model_comes_near(length, n):
    task = dataclasses.replace(SMALL, n=n, length=length, seed=3)
    samples = list(task.samples())
    for baseline in task.baselines():
        if baseline.name == "follow_names":
            continue  # the task is `solved_by_code`: phrases and names find it
        scores = [task.score(s, Answer(baseline.answer(s).text))[0].value for s in samples]
        assert sum(scores) / n <= (0.15 if n == 200 else 0.25), baseline.name


@pytest.mark.parametrize("length", [2048, 4096])
def test_the_proofs_hold(length):
    proofs = validate(dataclasses.replace(SMALL, length=length))
    assert passed(proofs), "\n".join(lines("codeqa_gen_sets", proofs))


def test_the_item_stays_the_same_while_the_filler_grows():
    short = list(dataclasses.replace(SMALL, n=3, length=2048).samples())
    for a, b in zip(short, SMALL.samples(), strict=False):
        assert (a.item, a.question, a.target) == (b.item, b.question, b.target)
        assert a.id != b.id


def test_short_texts_are_refused():
    with pytest.raises(ValueError, match="length=2000 must be 2048 or more"):
        CodeQASets(length=2000)
