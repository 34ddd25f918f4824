import re
from dataclasses import replace

import pytest

from rlm_eval.core.types import Answer
from rlm_eval.tasks.ledger import STYLES, Ledger, from_words, in_words


def _samples(**fields):
    return list(Ledger(**{"n": 8, "length": 8192, "tokenizer": "approx4"} | fields).samples())


@pytest.mark.parametrize("number", [0, 7, 13, 20, 42, 100, 101, 999, 1000, 1013, 3981, 999999])
def test_numbers_in_words_read_back(number):
    assert from_words(in_words(number)) == number


def test_words_are_english():
    assert in_words(3415) == "three thousand four hundred and fifteen"


@pytest.mark.parametrize("style", STYLES)
def test_every_trap_occurs_in_every_style(style):
    [sample] = _samples(n=1, style=style)
    text = sample.context.text()
    for trap in (
        "USD|GBP|CHF",
        "hundred and|thousand",
        "reverses|rolled back|void",
        "quote|estimate|offered",
    ):
        assert re.search(trap, text), trap


def test_a_worked_gold():
    """The third way: by hand, over a text small enough to read."""
    [sample] = _samples(n=1, length=700, ask="sum")
    rows = [r.split(" | ") for r in sample.context.text().splitlines() if " | " in r]
    reversed_rows = {r[3].split("#")[1].split()[0] for r in rows if r[3].startswith("reverses")}
    total = 0
    for row in rows:
        if row[1].lstrip("#") in reversed_rows:
            continue
        if row[3].startswith("EUR "):
            total += int(row[3][4:].replace(",", ""))
        elif row[3].endswith("by hand"):
            total += from_words(row[3].split(" euros")[0])
    assert total == sample.target > 0


def test_nested_texts_and_the_same_question_form():
    short, long = _samples(length=2048), _samples(length=8192)
    for a, b in zip(short, long, strict=True):
        entries = [r for r in a.context.text().splitlines() if " | " in r]
        assert [r for r in b.context.text().splitlines() if " | " in r][: len(entries)] == entries
        assert a.question == b.question
    assert {s.meta["ask"] for s in short} == {"sum", "sum_account", "count_account", "sum_above"}


def test_a_reversal_names_an_earlier_entry_of_the_same_account_once():
    [sample] = _samples(n=1, length=32768)
    entries = {}
    seen = set()
    for row in sample.context.text().splitlines():
        match = re.match(r"\S+ \| #(\d+) \| (.+?) \| (.+?) \|", row)
        if not match:
            continue
        number, account, what = match.groups()
        entries[number] = account
        reversal = re.match(r"reverses #(\d+)", what)
        if reversal:
            assert entries[reversal.group(1)] == account
            assert reversal.group(1) not in seen
            seen.add(reversal.group(1))
    assert len(seen) > 10


def test_scores():
    task = Ledger(n=1, tokenizer="approx4", length=1024)
    [sample] = task.samples()
    gold = sample.target
    for text, exact in ((f"{gold:,}", 1.0), (f"It is {gold}.", 1.0), (f"{gold + 1}", 0.0)):
        assert task.score(sample, Answer(text))[0].value == exact
    near = task.score(sample, Answer(str(round(gold * 0.9))))[1].value
    assert near == pytest.approx(0.9, abs=0.01)
    assert task.score(sample, Answer("none"))[1].value == 0.0


@pytest.mark.parametrize(
    ("text", "exact", "relative"),
    [
        ("12345.0", 1.0, 1.0),
        ("12,345.00", 1.0, 1.0),
        ("EUR 12,345.00.", 1.0, 1.0),
        ("12345.5", 0.0, 1.0),
        ("$12{,}345$", 1.0, 1.0),
        ("EUR 12\u202f345", 1.0, 1.0),
        ("12 345", 1.0, 1.0),
        ("12,345 (34 entries)", 1.0, 1.0),
        (",".join(map(str, range(1, 151))), 0.0, 0.0),
        ("9" * 400, 0.0, 0.0),
        ("9" * 5000, 0.0, 0.0),
    ],
)
def test_amounts_with_cents_and_numbers_without_end(text, exact, relative):
    task = Ledger(n=1, tokenizer="approx4", length=1024)
    sample = replace(next(task.samples()), target=12345)
    scores = [score.value for score in task.score(sample, Answer(text))]
    assert scores == [exact, pytest.approx(relative, abs=1e-3)]


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match="style"):
        Ledger(style="novel")
