"""λ-RLM: the plan, the combinators, each kind over a scripted model, and the calls it makes."""

import json
import re

import pytest
from baseline_bench import open_bench, sample_of
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_eval.core.errors import ConfigError
from rlm_eval.methods.lambda_rlm import LambdaRlm
from rlm_eval.methods.lambda_rlm.answers import from_counts
from rlm_eval.methods.lambda_rlm.kinds import KINDS
from rlm_eval.methods.lambda_rlm.operators import cross, fold, kept, split
from rlm_eval.methods.lambda_rlm.planner import SLACK, make_plan

LINES = [f"Note {n}: nothing of interest happened in the hall." for n in range(60)]
LINES[41] = "Note 41: the code of the violet door is 7391."
TEXT = "\n".join(LINES)
QUESTION = "What is the code of the violet door?"


async def solve(folder, method, script, text=TEXT, question=QUESTION, **facts):
    sample = sample_of(text, question, **facts)
    async with open_bench(folder, sample, sub=script) as bench:
        answer = await method.solve(sample, bench.session)
    return answer, bench


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 60_000),
    st.integers(40, 5_000),
    st.sampled_from(["fit", "root", "two"]),
    st.sampled_from([0.1, 0.8]),
)
def test_a_plan_bounds_its_tree(chars, window, rule, alpha):
    """Depth, leaf size and number of leaves hold by construction, whatever the borders."""
    plan = make_plan(chars, window, rule=rule, alpha=alpha)
    text = ("word " * 9 + "\n") * (chars // 46 + 1)
    nodes = [(0, chars)]
    for level in range(plan.depth):
        nodes = [p for node in nodes for p in split(text, node, plan.k, plan.room(level + 1))]
    assert "".join(text[s:e] for s, e in nodes) == text[:chars]
    assert max(e - s for s, e in nodes) <= plan.leaf + 1 <= window + 1
    assert len(nodes) <= plan.leaves


def test_the_fan_out_follows_the_rule():
    assert (make_plan(900, 1000).k, make_plan(900, 1000).depth) == (1, 0)
    assert make_plan(3000, 1000).k == 4, "three windows without slack would cut lines"
    assert make_plan(200_000, 100_000, rule="root", compose_cost=1.5).k == 20
    # Two levels of the paper's accuracies fall below alpha: wider instead of deeper.
    wide, deep = (
        make_plan(99_000, 1000, rule="two"),
        make_plan(99_000, 1000, rule="two", alpha=0.01),
    )
    assert (wide.depth, deep.k) == (1, 2)
    assert deep.depth == 8
    assert deep.inner == 2**8 - 1
    assert deep.room(8) == deep.leaf
    assert deep.room(7) == -(-deep.leaf * 2 * SLACK // 1)


def test_pieces_end_at_documents_then_lines_then_words():
    text = "one two\nthree\n\nfour five six seven"
    assert [text[s:e] for s, e in split(text, (0, len(text)), 2, 24)] == [
        "one two\nthree\n\n", "four five six seven",
    ]  # fmt: skip
    assert [text[s:e] for s, e in split(text, (0, 13), 2, 9)] == ["one two\n", "three"]
    assert [e - s for s, e in split("x" * 10, (0, 10), 3, 4)] == [4, 3, 3]
    with pytest.raises(ValueError, match="do not hold"):
        split("x" * 10, (0, 10), 2, 4)


def test_the_other_combinators():
    assert kept("abc", [False, True, False]) == ["b"]
    assert kept("abc", [False] * 3) == list("abc")
    assert fold(lambda a, b: a + b, [1, 2, 3], 0) == 6
    assert cross([1, 2, 3]) == [(1, 2), (1, 3), (2, 3)]


def digit_of(kind):
    return str(list(KINDS).index(kind) + 1)


@pytest.mark.parametrize(
    ("setting", "claimed", "made"),
    [
        # The released code makes 580 requests for the 21 that the paper's theorem claims here: its
        # pieces outgrow its leaves and are split again, and its filters are not counted.
        ({"k_rule": "root", "filter": "model"}, 21, 1 + 20 + 20),
        ({"k_rule": "root", "filter": "off"}, 21, 1 + 20),
        ({"k_rule": "fit", "filter": "model"}, 4, 1 + 3 + 3),
    ],
)
async def test_the_calls_beside_the_claimed_bound(tmp_path, setting, claimed, made):
    """200,000 characters, leaves of 100,000: the case that the released code was measured on."""
    text = ("nothing of interest happened in the hall\n" * 5000)[:200_000]

    def script(request):
        prompt = request[0][1]
        return (
            digit_of("search")
            if "single digit" in prompt
            else "YES"
            if "matter?" in prompt
            else "a"
        )

    method = LambdaRlm(leaf_tokens=25_000, **setting)
    answer, bench = await solve(tmp_path, method, script, text)
    notes = bench.session.notes
    # All leaves agree here, so that no composition is asked for: the bound counts one.
    assert (notes["lambda_calls_claimed"], notes["lambda_calls"]) == (claimed, made)
    assert notes["lambda_calls_bound"] == made + 1
    assert len(bench.requests("sub")) == made < 580
    assert answer.text == "a"


async def test_search_reads_every_leaf_and_composes_what_was_found(tmp_path):
    at = TEXT.index(LINES[41])

    def script(request):
        prompt = request[0][1]
        if "single digit" in prompt:
            return f"I choose {digit_of('search')}."
        if "in the order of the parts" in prompt:
            assert "- 7391" in prompt
            assert "NONE" not in prompt
            return "7391"
        return "7391" if LINES[41] in prompt else "0000" if LINES[3] in prompt else "None."

    method = LambdaRlm(leaf_tokens=200)
    answer, bench = await solve(tmp_path, method, script, evidence=((at, at + len(LINES[41])),))
    assert (answer.text, answer.provenance) == ("7391", "program")
    notes = bench.session.notes
    assert (notes["lambda_kind"], notes["lambda_kind_unread"]) == ("search", False)
    assert notes["evidence_read"] == 1
    leaves = [r[0][1] for r in bench.requests("sub") if "one part of a longer" in r[0][1]]
    assert all(any(line in leaf for leaf in leaves) for line in LINES), "no line is cut"
    assert len(leaves) == notes["lambda_k"] == 5
    assert bench.session.calls[answer.call].reply == "7391"


async def test_a_filter_that_keeps_nothing_keeps_all_and_one_that_drops_is_noted(tmp_path):
    (tmp_path / "2").mkdir()
    method = LambdaRlm(kind="search", leaf_tokens=200, best="vote")
    _, bench = await solve(tmp_path, method, lambda _: "NONE")
    assert (bench.session.notes["lambda_dropped"], len(bench.requests("sub"))) == (0, 5)
    lines = ["The violet door stands here.", *LINES]
    answer, bench = await solve(
        tmp_path / "2", method, lambda r: "x" if "violet" in r[0][1][:60] else "y", "\n".join(lines)
    )
    assert (bench.session.notes["lambda_dropped"], len(bench.requests("sub"))) == (4, 1)
    assert answer.text == "x"


async def test_counts_are_added_up_in_code(tmp_path):
    lines = [f"Record {n}: {'red' if n % 3 else 'blue'} things" for n in range(60)]
    question = (
        "In the above data, which of the labels is the least common? Give your final answer in the "
        "form 'Label: answer' where answer is one of the labels: red, blue."
    )

    def script(request):
        prompt = request[0][1]
        if "Record 0:" in prompt.partition("one part of it")[2]:
            return "I cannot."
        body = prompt.partition("one part of it")[2]
        counts = {"Red": body.count("red things"), "blue": body.count("blue things")}
        return f"Here: {json.dumps(counts)}"

    method = LambdaRlm(kind="aggregate", leaf_tokens=100)
    answer, bench = await solve(tmp_path, method, script, "\n".join(lines), question)
    assert answer.text == "Label: blue"
    assert bench.session.notes["lambda_unparsed"] == 1
    assert bench.session.notes["lambda_answered_in_code"] is True


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("In the above data, which of the labels is the most common? Give", "Label: b"),
        (
            "is label 'a' more common, less common, or the same frequency as label 'B'? Give your "
            "final answer in the form 'Answer: a is [X] B', where [X] is 'more common than'.",
            "Answer: a is less common than B",
        ),
        ("how many data points should be classified as label 'a'? Give", "Answer: 2"),
        (
            "only consider the subset of instances that are associated with user IDs 7. Among "
            "instances associated with these users, which of the labels is the least common?",
            "Label: a",
        ),
        ("which user is represented most often?", None),
        ("which user has the most instances with the label 'a'?", None),
        ("For how many months does the label 'a' occur more frequently than the label 'b'?", None),
        ("was label 'a' more common, less common, or the same frequency before 2023-01-01", None),
        ("What is the total?", None),
    ],
)
def test_questions_that_counts_answer(question, answer):
    assert from_counts(question, {"a": 2, "b": 5}) == answer


async def test_a_label_that_was_counted_no_times_is_the_least_common(tmp_path):
    question = "In the above data, which of the labels is the least common?"
    method = LambdaRlm(kind="aggregate", leaf_tokens=200)
    counts = '{"red": 2, "blue": 1, "green": 0}'
    answer, bench = await solve(tmp_path, method, lambda _: counts, TEXT, question)
    assert len(bench.requests("sub")) > 1
    assert answer.text == "Label: green"


async def test_pairs_are_crossed_in_code(tmp_path):
    lines = [f"User: {n} || Instance: {'who' if n % 2 else 'where'}" for n in range(30, 50)]

    def script(request):
        prompt = request[0][1]
        if "separated by commas" in prompt:
            assert "human being, location" in prompt
            return "'human being'"
        body = prompt.partition("one part of it")[2]
        found = re.findall(r"User: (\d+) \|\| Instance: (\w+)", body)
        words = {"who": "Human being", "where": "location"}
        return "\n".join(f"- User {n}: {words[w]}" for n, w in found)

    method = LambdaRlm(kind="pairwise", leaf_tokens=60)
    answer, bench = await solve(tmp_path, method, script, "\n".join(lines), "List all pairs.")
    odd = range(31, 50, 2)
    assert answer.value == [(a, b) for a in odd for b in odd if a < b]
    assert answer.text.startswith("(31, 33)\n(31, 35)")
    assert len(bench.requests("sub")) == bench.session.notes["lambda_calls_bound"] == 3 + 1


RECORDS = "User 11: entity\nUser 12: human being\nUser 13: entity"


@pytest.mark.parametrize(
    ("reply", "unread"),
    [
        (RECORDS, 0),
        (f"Here are the labels:\n{RECORDS}", 1),
        (f"Here are the labels:\n\n{RECORDS}\n\nDone.", 2),
        (f"```\n{RECORDS}\n```", 0),
        ("- User 11: entity\n- User 12: human being\n- User 13: entity", 0),
        ("**User 11**: entity\n**User 12:** human being\n__User 13__: *entity*", 0),
        ("User 11: **entity**\nUser 12: `human being`\nUser 13: _entity_", 0),
        ("1. User 11: entity\n2. User 12: human being\n3. **User 13**: entity", 0),
        ("4) User 11: entity\n5) User 12: human being\n6) User 13: entity", 0),
    ],
)
def test_a_list_of_labels_as_models_write_it(reply, unread):
    labels = {"11": {"entity"}, "12": {"human being"}, "13": {"entity"}}
    assert KINDS["pairwise"].read(reply) == labels
    assert KINDS["classify"].read(reply) == tuple(RECORDS.split("\n"))
    assert KINDS["pairwise"].unread(reply) == KINDS["classify"].unread(reply) == unread


def test_the_number_of_a_list_is_not_the_item():
    read = KINDS["pairwise"].read
    assert set(read("1. Ann: entity\n2. Bob: entity")) == {"Ann", "Bob"}
    assert set(read("41. Ann: entity\n42. Bob: entity")) == {"41", "42"}, "numbers of the text"
    assert set(read("11: entity\n12: entity")) == {"11", "12"}
    assert read("User 11:\nUser 12: entity") == {"12": {"entity"}}, "no label on its line"
    assert (read("NONE"), KINDS["pairwise"].unread("NONE")) == ({}, 0)


async def test_lines_without_a_label_are_counted_and_conditions_lose_their_markup(tmp_path):
    def script(request):
        return "- **Entity**" if "Which labels must" in request[0][1] else f"Labels:\n{RECORDS}"

    method = LambdaRlm(kind="pairwise")
    answer, bench = await solve(tmp_path, method, script, "User 11 ...", "List all pairs.")
    assert answer.value == [(11, 13)]
    assert bench.session.notes["lambda_unparsed_lines"] == 1
    assert bench.session.notes["lambda_unparsed"] == 0


async def test_an_unread_kind_is_summarised_over_levels(tmp_path):
    """A deep tree: notes are merged by one call an inner node, and the last merge answers."""

    def script(request):
        prompt = request[0][1]
        if "single digit" in prompt:
            return "No idea"
        return "merged" if "Notes from several" in prompt else prompt.partition("text.")[2][:60]

    method = LambdaRlm(leaf_tokens=150, k_rule="two", alpha=0.1, best="vote")
    answer, bench = await solve(tmp_path, method, script)
    notes = bench.session.notes
    assert (notes["lambda_kind"], notes["lambda_kind_unread"]) == ("summarise", True)
    assert notes["lambda_depth"] > 1
    assert answer.text == "merged"
    assert notes["lambda_calls"] <= notes["lambda_calls_bound"]


async def test_multi_hop_answers_from_what_was_copied(tmp_path):
    documents = tuple(f"Document {n}. " + "Nothing. " * 12 for n in range(12))

    def script(request):
        prompt = request[0][1]
        if "Sentences copied" in prompt:
            return prompt.count("- Document").__str__()
        return "Document" if "Document 7." in prompt or "Document 2." in prompt else "NONE"

    method = LambdaRlm(kind="multi_hop", leaf_tokens=100, filter="off")
    answer, bench = await solve(tmp_path, method, script, documents)
    assert answer.text == "2"
    assert bench.session.calls[answer.call].position == "t0.answer"


async def test_a_text_that_fits_is_one_leaf(tmp_path):
    method = LambdaRlm(kind="search")
    answer, bench = await solve(tmp_path, method, lambda _: "7391")
    assert (answer.text, len(bench.requests("sub"))) == ("7391", 1)
    assert bench.session.notes["lambda_calls_bound"] == 1 + 0


@pytest.mark.parametrize(
    "wrong", [{"kind": "qa"}, {"k_rule": "three"}, {"k_max": 1}, {"alpha": 0}, {"leaf_tokens": 0}]
)
def test_refused_settings(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LambdaRlm(**wrong)


def test_a_prompt_without_a_section_is_refused(tmp_path):
    file = tmp_path / "short.md"
    file.write_text("=== kind\nx\n")
    with pytest.raises(ConfigError, match="no section === filter"):
        LambdaRlm(prompt_file=str(file))
