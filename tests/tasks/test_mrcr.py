import csv
import itertools
import json
import re
from difflib import SequenceMatcher

import pytest

from rlm_eval.core.types import Answer
from rlm_eval.tasks.mrcr import ORDINALS, MrcrOpenai, MrcrV2, MrcrV2Gen


def _samples(**fields):
    return list(MrcrV2Gen(**{"n": 6, "length": 8192, "tokenizer": "approx4"} | fields).samples())


@pytest.mark.parametrize("needles", [2, 4, 8])
def test_the_request_occurs_k_times_and_the_gold_is_the_asked_one(needles):
    for sample in _samples(needles=needles):
        pattern = r"Prepend (\S{12}) to the (\w+) (.+ about .+) in a (.+) style\."
        code, ordinal, thing, style = re.search(pattern, sample.question).groups()
        request = f"User: Write a {thing} in {style} style."
        turns = sample.context.text().split("User: ")
        same = [t for t in turns if f"User: {t}".startswith(request)]
        assert len(same) == needles
        answer = same[ORDINALS.index(ordinal)].split("Assistant: ")[1].strip()
        assert sample.target == code + answer
        form, topic = thing.split(" about ")
        near = [t for t in turns if t.startswith(f"Write a {form} ") and f" {topic} " not in t]
        assert near  # same format, other topic


def test_the_answers_to_equal_requests_differ():
    for sample in _samples(n=3):
        asked = re.search(r"the \w+ (.+ style)\.", sample.question)[1]
        request = asked.replace(" in a ", " in ")
        texts = sample.context.text().split(f"User: Write a {request}.")[1:]
        answers = [t.split("User: ")[0].removeprefix("\n\nAssistant: ").strip() for t in texts]
        for a, b in itertools.combinations(answers, 2):
            assert SequenceMatcher(None, a, b).ratio() < 0.6


def test_a_wrong_hash_scores_zero_and_a_wrong_needle_little():
    task = MrcrV2Gen(n=4, length=8192, tokenizer="approx4")
    for sample in task.samples():
        assert task.score(sample, Answer("x" * 12 + sample.target[12:]))[0].value == 0.0
        other = task.floors()["first_needle"](sample)
        if other != sample.target:
            assert task.score(sample, Answer(other))[0].value < 0.6


def test_googles_csv(tmp_path):
    path = tmp_path / "mrcr_v2p1.csv"
    [made] = _samples(n=1)
    prompt = f"{made.context.text()}User: {made.question}\n\nAssistant:"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["queries", "answer", "view_ops", "context_len"])
        writer.writeheader()
        writer.writerow(
            {"queries": prompt, "answer": made.target, "view_ops": "asked", "context_len": "8192"}
        )
    task = MrcrV2(path=str(path), tokenizer="approx4")
    [sample] = task.samples()
    assert sample.question == made.question
    assert sample.context.text() == made.context.text()
    assert sample.meta["needles"] == 8
    assert task.floors()["regex"](sample) == made.target
    assert sample.length == 8192
    assert not task.generated
    assert task.score(sample, task.gold_answer(sample))[0].value == 1.0
    with pytest.raises(ValueError, match="path"):
        MrcrV2()


def test_openais_rows_of_one_bin(tmp_path):
    def row(chars, needles):
        turns = [
            {"role": "user", "content": "Write a poem about owls"},
            {"role": "assistant", "content": "o" * chars},
            {"role": "user", "content": f"Prepend abcdefghij to the 1st poem ({chars})"},
        ]
        return {
            "prompt": json.dumps(turns),
            "answer": "abcdefghijoooo",
            "random_string_to_prepend": "abcdefghij",
            "n_needles": needles,
            "desired_msg_index": 1,
            "total_messages": 3,
            "n_chars": chars + 80,
        }

    path = tmp_path / "rows.jsonl"
    rows = [row(20_000, 2), row(20_000, 8), row(60_000, 8), row(200_000, 8)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    task = MrcrOpenai(path=str(path), tokenizer="approx4", length=8192, needles=8)
    [sample] = task.samples()
    assert sample.context.text().startswith("User: Write a poem about owls\n\nAssistant: ooo")
    assert sample.question == "Prepend abcdefghij to the 1st poem (20000)"
    assert sample.length == 8192
    assert task.score(sample, Answer("abcdefghijoooo"))[0].value == 1.0
    assert task.score(sample, Answer(" abcdefghijoooo"))[0].value == 0.0
    [longer] = MrcrOpenai(path=str(path), tokenizer="approx4", length=16384).samples()
    assert longer.meta["prefix"] == "abcdefghij"
    assert MrcrOpenai().sources()[0].revision == "f4c69fae7cf81f7ca26b9fee34b392a50f6b8a1d"
    assert MrcrOpenai(revision="a" * 40).sources()[0].revision == "a" * 40
    with pytest.raises(ValueError, match="needles=3"):
        MrcrOpenai(needles=3)
