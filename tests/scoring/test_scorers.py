"""What the golden rows do not say: raises, ours beside theirs, and pairs at scale."""

import itertools

import pytest

from rlm_eval.scoring import browsecomp, choice, counted, match, mrcr, oolong, pairs

NUMERIC, LABEL = "ANSWER_TYPE.NUMERIC", "ANSWER_TYPE.LABEL"
COMPARISON, DATE, USER = "ANSWER_TYPE.COMPARISON", "ANSWER_TYPE.DATE", "ANSWER_TYPE.USER"


@pytest.mark.parametrize(
    ("gold", "kind", "output"),
    [
        ("[12]", NUMERIC, " " * 25),  # no last token
        ("[]", NUMERIC, "12"),
        ("[12", NUMERIC, "12"),
        ("12", NUMERIC, "12"),
        ("[12]", NUMERIC, None),
        ("[datetime.date(2023, 1, 3), datetime.date(2023, 1, 4)]", DATE, "x"),
    ],
)
def test_a_raising_reference_scores_none_and_counts_zero(gold, kind, output):
    score = oolong.oolong_official(gold, kind, output)
    assert score.value is None
    assert "raises" in score.flag
    assert counted(score).value == 0.0
    assert counted(score).flag == score.flag


@pytest.mark.parametrize(
    ("gold", "kind", "output", "expected"),
    [
        ("[44106]", USER, "User: #44106.", 1.0),
        ("[44106]", USER, "User: 44106 or 44107", 0.0),
        ("['entity', 'location']", LABEL, "Label: entity, location", 1.0),
        ("['entity']", LABEL, "Label: abbreviation, entity", 0.0),
        ("['more common than']", COMPARISON, "Answer: a is not more common than b", 0.0),
        ("['more common']", COMPARISON, "Answer: more common than", 1.0),
        ("[datetime.date(2023, 6, 29)]", DATE, "Date: June 2023", 0.0),
        ("[1234]", NUMERIC, "<think>Answer: 5</think>There are 1,234", 1.0),
        ("[12]", NUMERIC, "Answer: twelve", 0.0),
        ("[1234]", NUMERIC, "Answer: $1{,}234$", 1.0),
        ("['formal']", LABEL, "The most common label is informal.", 0.0),
        ("['toxic']", LABEL, "non-toxic", 0.0),
        ("['spam']", LABEL, "The label is not spam", 0.0),
        ("['spam']", LABEL, "ham or spam", 0.0),
        ("['not spam']", LABEL, "The most common label is not spam.", 1.0),
        ("['formal']", LABEL, 'The most common label is "formal".', 1.0),
    ],
)
def test_fixed(gold, kind, output, expected):
    assert oolong.oolong_fixed(gold, kind, output).value == expected


def test_strict_needle_wants_the_value_alone():
    assert match.ruler_strict(["2694522"], "it is 2694522, not 1111111").value == 0.5
    assert match.ruler_strict(["amber-fox"], "The amber-fox.").value == 1.0
    assert match.ruler_strict(["amber-fox"], "amber-foxes").value == 0.0


def test_normalised_answers():
    golds = ["The Ålund Institute", "Alund Inst."]
    assert match.normalized_exact(golds, "Reasons.\nExact Answer: ålund institute").value == 1.0
    assert match.normalized_exact(golds, "It was the Ålund Institute, I think").value == 0.0
    assert match.normalized_contains(golds, "It was the Ålund Institute, I think").value == 1.0
    assert match.normalized_contains(["Ann"], "Annabel").value == 0.0
    assert match.normalized_exact(golds, None).value == 0.0


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        ("A", "**a**.", ""),
        ("A", "Exact Answer: A", "The"),
        ("The", "the", "A"),
        ("+", " + ", ""),
        ("+", "+", "-"),
        ("C++", "c++.", "C#"),
        ("C#", "`C#`", "C"),
        ("-5", "It is wrong.\nExact Answer: \N{MINUS SIGN}5.", "5"),
        ("5", "**Exact Answer:**\n\n`5`.", "-5"),
        ("1984", "**1984**", ""),
        ("co-op 5-6", "Co op, 5 6", "co-op -5 6"),
        ("5 km", "5 km.", "2.5 km"),
        ("1,500 km", "1500 km", "500 km"),
        ("of 1500", "Of 1,500, ", "of 1,500,5"),
        ("<5", "< 5", ">5"),
        ("1/2", "1/2.", "1 2"),
    ],
)
def test_what_normalisation_must_not_lose(gold, right, wrong):
    assert match.normalized_exact([gold], right).value == 1.0
    assert match.normalized_contains([gold], right).value == 1.0
    assert match.normalized_exact([gold], wrong).value == 0.0
    assert match.normalized_contains([gold], wrong).value == 0.0


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("choice 2", "2"),
        ("0 is wrong, so \\boxed{3}", "3"),
        ("The answer is 1.", "1"),
        ("9", None),
        ("The answer is 2 because the queue is sorted by priority 3.", "2"),
        ("Answer: 1\n\nExplanation: settle(2) takes the even branch.", "1"),
        ("The answer is option (2), not 3.", "2"),
        ("As f(2) says:\n(1)", "1"),
        ("2\n\nExplanation: a imports b (step 1), then c is called 2 times.", "2"),
        ("**2**\n\nThe handler is registered in step 1.", "2"),
        ("2: the cache is filled lazily (depth 1).", "2"),
        ("The correct choice is 2. Choices 0, 1 and 3 confuse the two.", "2"),
        ('{"answer": 2}', "2"),
        ("Option 2 is correct, as step 1 shows.", "2"),
        ("1. Read a.\n2. Read b.\nTherefore 3.", "3"),
        ("It is either 1 or 2.", None),
        ("It takes 2.5 s.", None),
    ],
)
def test_choices_of_the_rlm_surface(output, expected):
    assert choice.last_choice(output, choice.DIGITS) == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("The answer is B because it ends there.", "B"),
        ("My answer is C and not D", "C"),
        ("The answer is A because it ends there.", "A"),
        ("The answer is A class named Foo", None),
        ("the answer is a class named Foo, choice (C)", "C"),
        ("Answer: A\n\nexplanation", "A"),
        ("(B) is wrong. (d)", "D"),
        ("The correct answer is (C). (A) is wrong, as it is later.", "C"),
        ("The correct answer is (B). Options (A), (C), and (D) are wrong.", "B"),
        ("The correct answer is (B), not (A).", "B"),
        ("Option C is correct.", "C"),
        ("The correct choice is C: it returns 5", "C"),
        ('{"answer": "C"}', "C"),
        ("C: it returns 5", "C"),
        ("(A) fails.\n(B) fails.\nTherefore (C).", "C"),
        ("A) x\nB) y\nIt is unclear", None),
        ("(A) and (B) both fit", None),
    ],
)
def test_choices_by_letter(output, expected):
    assert choice.last_choice(output) == expected


def test_mrcr_of_no_text():
    assert mrcr.mrcr_v2("short", "short").value == 0.0
    assert mrcr.mrcr_v2("Ab3dEf6hIj9k x", None).value == 0.0
    assert mrcr.mrcr_openai("abcx", None, "abc").value is None


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"correct": true}', True),
        ("<think>correct: no</think>\n**correct:** yes", True),
        ('reasoning: fine\n{"note": 1, "correct": false}', False),
        ("correct: no\nconfidence: 50%", False),
    ],
)
def test_strict_verdict(text, verdict):
    assert browsecomp.strict_verdict(text) is verdict


@pytest.mark.parametrize(
    "text", ["correct: yesterday", "incorrect: no", "", "correct: yes\ncorrect: no"]
)
def test_no_clear_verdict_raises(text):
    with pytest.raises(ValueError, match="no clear verdict"):
        browsecomp.strict_verdict(text)


def test_calibration_needs_a_full_bin():
    with pytest.raises(IndexError):
        browsecomp.calibration_error([50.0] * 99, [1] * 99)


@pytest.mark.parametrize(
    ("a", "b"), [({1, 2, 3}, {1, 2, 3}), ({1, 2, 3}, {3, 4}), ({1}, {1}), ((), {2})]
)
def test_a_pair_set_is_the_set_of_its_pairs(a, b):
    gold = pairs.PairSet(frozenset(a), frozenset(b))
    listed = [
        (u, v)
        for u, v in itertools.combinations(sorted({*a, *b}), 2)
        if (u in a and v in b) or (v in a and u in b)
    ]
    assert list(gold.pairs()) == listed
    assert len(gold) == len(listed)
    assert pairs.pairs_f1(gold.to_json(), listed).value == 1.0
    assert pairs.pairs_f1(gold, [*listed, (8, 9)]).value < 1.0


def test_empty_gold_differs_between_reference_and_recommended():
    assert pairs.pairs_f1("", "There are no such pairs.").value == 0.0
    assert pairs.pairs_recommended("", "There are no such pairs.").value == 1.0
    assert pairs.pairs_f1("", "[]").value == pairs.pairs_f1([], []).value == 1.0


def test_answers_as_objects():
    gold = ["(1, 2)", "(1, 3)"]
    for value in ([(2, 1), [1, "3"]], {(1, 2), (1, 3)}, ["(1, 2)", "(3, 1)"]):
        assert pairs.pairs_f1(gold, value).value == 1.0
    assert pairs.pairs_f1(gold, None).value == 0.0
    assert pairs.pairs_recommended(gold, '(User 1, User ID: 2), ("1", "3")').value == 1.0


def test_half_a_million_pairs():
    gold = pairs.PairSet(frozenset(range(10_000, 11_001)), frozenset(range(10_000, 11_001)))
    text = "\n".join(f"({u}, {v})" for u, v in gold.pairs())
    assert len(gold) == 500_500
    assert pairs.pairs_f1(gold.to_json(), text).value == 1.0
