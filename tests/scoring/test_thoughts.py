"""Every scorer and every task reads an answer without its thoughts, by one rule."""

from dataclasses import replace

import pytest
from test_hostile import ROWS, _tasks

from rlm_eval.core.reasoning import Final
from rlm_eval.core.types import Answer
from rlm_eval.scoring.registry import SCORERS

UNSURE = "I do not know."
WRAPS = ("<thinking>{}</thinking>{}", "[THINK]{}[/THINK]\n\n{}", "<THINK>\n{}\n</THINK>\n{}")
RIGHT = {
    "oolong_official": "Answer: 10",
    "oolong_lenient": "Answer: 10",
    "oolong_fixed": "Answer: 10",
    "oolong_real": "\\boxed{12}",
    "ruler_all": "1234567 word",
    "ruler_part": "1234567",
    "longbench_v2": "The correct answer is (A)",
    "mrcr_openai": "abcdef",
    "mrcr_v2": "Ab3dEf6hIj9k x",
    "pairs_f1": "(1, 2)",
    "set_f1": "amber_kettle, calm_raft",
}
"""An answer that scores 1 by the first row of each scorer. A judge's text is no answer: the
reference reads it as it is (a golden row holds a tag)."""


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("name", RIGHT)
def test_no_scorer_takes_a_thought_for_an_answer(name, wrap):
    row = next(row for of, row in ROWS if of == name)

    def score(output):
        return SCORERS[name]({**row, "output": output})

    right = RIGHT[name]
    assert score(right)["score"] == 1.0
    assert score(wrap.format(right, UNSURE)) == score(UNSURE)
    assert score(wrap.format(UNSURE, right)) == score(right)
    assert score(f"<think>{right}") == score("")
    assert score(Final(f"<think>{right}</think>{UNSURE}"))["parsed"] != score(UNSURE)["parsed"] or (
        name in ("longbench_v2", "mrcr_openai")  # they read the start, or a fixed phrase
    )


def test_no_task_takes_a_thought_for_an_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path))
    for task, more in _tasks():
        sample = replace(next(task.samples()), **more)
        gold = task.gold_answer(sample).text
        for wrap in WRAPS:
            guess, sure = wrap.format(gold, UNSURE), wrap.format(UNSURE, gold)
            assert task.score(sample, Answer(guess)) == task.score(sample, Answer(UNSURE)), task
            assert task.score(sample, Answer(sure)) == task.score(sample, Answer(gold)), task


def test_a_gold_that_holds_a_tag_is_right_where_nothing_is_to_be_cut(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path))
    task = next(task for task, _ in _tasks() if task.name == "s_niah")
    sample = replace(next(task.samples()), target=["<think>"])
    assert task.score(sample, Answer(Final("<think>")))[0].value == 1.0
    assert task.score(sample, Answer("<think>"))[0].value == 0.0
