"""Fixed programs: each strategy asks what it should, and its accounts are those of sub-calls."""

import dataclasses
import re

import pandas as pd
import pytest
from rlm_bench import rlm_bench, sample_of

from rlm_eval.budget.limits import Limits
from rlm_eval.core.errors import ConfigError, LimitReached, ProviderError
from rlm_eval.core.types import Role
from rlm_eval.methods.matched import PROGRAMS, MatchedProgram
from rlm_eval.methods.program import Program, ProgramError
from rlm_eval.report.tables.caveats import _found_nothing
from rlm_eval.tasks.ledger import Ledger, _parse
from rlm_eval.tasks.needle.paraphrase import Paraphrase
from rlm_eval.tasks.needle.s_niah import SNiah
from rlm_eval.tasks.oolong.gen import OolongGen
from rlm_eval.tasks.oolong.pairs import OolongPairsGen

LINES = [f"Entry {n}: the {'ferry' if n % 3 else 'barge'} took {n} people." for n in range(90)]
TEXT = "\n".join(LINES)


async def solve(folder, method, sub, **options):
    sample = sample_of(TEXT, options.pop("question", "How many did entry 77 take?"))
    async with rlm_bench(
        folder, lambda _: "root is never asked", sub, sample=sample, **options
    ) as b:
        return await method.solve(sample, b.session), b


async def test_map_sends_every_character_and_reduces_the_notes(tmp_path):
    def sub(messages):
        prompt = messages[-1].content
        if "notes taken" in prompt:
            return "77"
        return "entry 77: 77" if "Entry 77:" in prompt else "NONE" if "Entry 3:" in prompt else "no"

    method = Program(settings={"chunk_chars": 1000, "overlap_chars": 50})
    answer, bench = await solve(tmp_path, method, sub)
    assert (answer.text, answer.provenance) == ("77", "program")
    *mapped, reduce = [messages[0].content for messages in bench.sub.asked]
    assert len(mapped) == 4
    assert all(line in "".join(mapped) for line in LINES)
    assert "- entry 77: 77" in reduce
    assert "NONE" not in reduce
    assert bench.root.asked == []
    assert {c.role for c in bench.session.calls} == {Role.SUB}
    assert bench.session.steps[0].calls == (0, 1, 2, 3, 4)
    assert bench.session.calls[answer.call].reply == "77"


async def test_map_with_one_note_or_none_asks_no_more(tmp_path):
    def sub(messages):
        return "77" if "Entry 77:" in messages[-1].content else "NONE"

    method = Program(settings={"chunk_chars": 1000, "overlap_chars": 0})
    answer, bench = await solve(tmp_path, method, sub)
    assert (answer.text, len(bench.sub.asked)) == ("77", 4)
    (tmp_path / "2").mkdir()
    answer, _ = await solve(tmp_path / "2", method, lambda _: "None.")
    assert answer.text == "NONE"


async def test_grep_shows_the_passages_with_the_rarest_words(tmp_path):
    method = Program("grep", settings={"window_chars": 80, "passages": 2})
    _, bench = await solve(tmp_path, method, lambda _: "77", question="Which barge is entry 78?")
    (request,) = bench.sub.asked
    assert "Entry 78: the barge" in request[0].content
    assert len(re.findall("Entry", request[0].content)) < 8


@pytest.mark.parametrize(
    ("text", "question", "found"),
    [
        (
            "今日は晴れです。" * 40 + "鍵の番号は七十七です。" + "明日は雨です。" * 40,
            "鍵の番号は何ですか",
            "七十七",
        ),
        (
            "오늘은 맑습니다. " * 40 + "열쇠는 서랍에 있다. " + "내일은 흐립니다. " * 40,
            "열쇠가 어디?",
            "서랍",
        ),
        ("It rains. " * 60 + "The key is in drawer 7. " + "It snows. " * 60, "鍵はどこ?", None),
    ],
)
async def test_grep_reads_text_without_spaces_and_says_where_it_finds_nothing(
    tmp_path, text, question, found
):
    method = Program("grep", settings={"window_chars": 80, "passages": 2})
    async with rlm_bench(
        tmp_path, lambda _: "", lambda _: "7", sample=sample_of(text, question)
    ) as bench:
        await method.solve(bench.session.sample, bench.session)
    (request,) = bench.sub.asked
    assert found is None or found in request[0].content
    assert bench.session.notes.get("no_word_found", False) == (found is None)
    frame = pd.DataFrame({"method": ["program_grep"], "note_no_word_found": [found is None]})
    assert len(list(_found_nothing(frame))) == (found is None)


async def test_labels_are_counted_in_code(tmp_path):
    def sub(messages):
        prompt = messages[-1].content
        if "How often each label" in prompt:
            return prompt
        rows = re.findall(r"^(\d+): Entry \d+: the (\w+)", prompt, re.M)
        return "\n".join(f"{n}: {kind.capitalize()}" for n, kind in rows if n != "1")

    answer, bench = await solve(
        tmp_path, Program("label_count", settings={"lines_per_call": 40}), sub
    )
    assert len(bench.sub.asked) == 4
    assert "ferry: 58\nbarge: 29\n(no label): 3\n" in answer.text


async def test_records_are_counted_by_what_the_question_asks_for(tmp_path):
    """A perfect reader of the lines: other users and lines that are no record do not count."""

    def sub(messages):
        prompt = messages[-1].content
        if "have each group and label" in prompt:
            return prompt
        assert "One of 2 labels: ham, spam." in prompt, "every call knows the labels"
        rows = re.findall(r"^(\d+): (?:User: (\d) \|\| (\w+)|.*)$", prompt, re.M)
        return "\n".join(f"{n}: '{k.title()}' | User {u}" if u in "12" and u else f"{n}: -"
                         for n, u, k in rows)  # fmt: skip

    text = "One of 2 labels: ham, spam.\n" + "\n".join(
        f"User: {n % 3} || {'ham' if n % 2 else 'spam'}" for n in range(1, 31)
    )
    sample = sample_of(text, "Which user has more instances of 'ham': User 1 or User 2?")
    method = Program("record_count", settings={"lines_per_call": 8})
    async with rlm_bench(tmp_path, lambda _: "", sub, sample=sample) as bench:
        answer = await method.solve(sample, bench.session)
    assert len(bench.sub.asked) == 5
    table = "user 1 | ham: 5\nuser 1 | spam: 5\nuser 2 | ham: 5\nuser 2 | spam: 5\n\n"
    assert f"\n\n{table}Use" in answer.text


LABELS = {
    "plain": "1: spam\n2: ham\n3: spam\n4: ham",
    "markup": "**1**: spam\n- **2:** ham\n3: **spam**\n4. `Ham`.",
    "an empty line": "1: spam\n2:\n3: spam\n4:  \n",
    "keys alone": "1:\n2:\n3:\n4:",
}


@pytest.mark.parametrize(
    ("written", "spam", "ham", "unread"),
    [("plain", 2, 2, 0), ("markup", 2, 2, 0), ("an empty line", 2, 0, 2), ("keys alone", 0, 0, 4)],
)
async def test_labels_as_models_write_them(written, spam, ham, unread, tmp_path):
    """A label of its own line only, without markup."""
    asked = []

    def sub(messages):
        asked.append(messages[-1].content)
        return LABELS[written] if len(asked) == 1 else "told"

    sample = sample_of("a\nb\nc\nd", "How many are spam?")
    async with rlm_bench(tmp_path, lambda _: "", sub, sample=sample) as bench:
        await Program("record_count").solve(sample, bench.session)
        stdout = bench.session.steps[0].stdout
    table = asked[-1].partition(":\n\n")[2].partition("\n\n")[0]
    expected = [f"all | {label}: {n}" for label, n in (("ham", ham), ("spam", spam)) if n]
    assert table == ("\n".join(expected) or "none")
    assert stdout == f"4 lines, {unread} without a reply, 0 left out\n"

    asked.clear()
    (tmp_path / "count").mkdir()
    async with rlm_bench(tmp_path / "count", lambda _: "", sub, sample=sample) as bench:
        await Program("label_count").solve(sample, bench.session)
    table = asked[-1].partition(":\n\n")[2].partition("\n\n")[0]
    counts = dict(line.rsplit(": ", 1) for line in table.split("\n"))
    assert counts.pop("(no label)") == str(unread)
    assert counts == {label: str(n) for label, n in (("ham", ham), ("spam", spam)) if n}


async def test_amounts_and_items_of_an_empty_line_are_not_the_next_ones(tmp_path):
    sample = sample_of("a\nb\nc", "What is the total?")
    reply = "**1**: 11 | 10\n2:\n3: **13** | **30**"
    async with rlm_bench(tmp_path, lambda _: "", lambda _: reply, sample=sample) as bench:
        answer = await Program("record_sum").solve(sample, bench.session)
        assert answer.text == "40"
        assert "3 lines, 1 without a reply, 2 records" in bench.session.steps[0].stdout

    def sub(messages):
        said = "1: **User 5** | **spam**\n2:\n3: User 7 | Spam."
        return "first: any: **spam** >= 1" if "Pairs of items" in messages[-1].content else said

    (tmp_path / "join").mkdir()
    async with rlm_bench(tmp_path / "join", lambda _: "", sub, sample=sample) as bench:
        answer = await Program("label_join").solve(sample, bench.session)
    assert [tuple(pair) for pair in answer.value] == [(5, 7)]


async def test_labels_without_keys_are_taken_in_order(tmp_path):
    def sub(messages):
        prompt = messages[-1].content
        if "How often each label" in prompt:
            return prompt
        kinds = re.findall(r"^Entry \d+: the (\w+)", prompt, re.M)
        return (
            "```\n" + "\n".join(kinds[1:]) + "\n```"
        )  # one record is passed over: all later labels move up

    method = Program("label_count", wording="program/label_count_unkeyed",
                     settings={"lines_per_call": 8})  # fmt: skip
    answer, bench = await solve(tmp_path, method, sub)
    assert len(bench.sub.asked) == 13
    assert "(no label): 12\n" in answer.text
    assert method.prompt_id.startswith("program/label_count_unkeyed@")


def ledger_reader(line):
    """A perfect reader of one line of the ledger's style `ledger`."""
    number, account = re.search(r"#(\d+) \| (\w+ & Co)", line).groups()
    (entry,) = list(_parse(line, "ledger"))
    if entry.kind == "reversal":
        return f"{number} | cancels #{entry.ref}"
    counts = entry.kind in ("booked", "words") and entry.currency == "EUR"
    return f"#{number} | {entry.amount:,}" if counts and ledger_reader.account in account else "-"


@pytest.mark.parametrize("ask", ["sum_account", "count_account"])
async def test_a_perfect_reader_makes_record_sum_exact(tmp_path, ask):
    """Amounts in words, other currencies, quotes, and reversals in another call."""
    task = Ledger(n=1, seed=5, length=2048, tokenizer="approx4", ask=ask)
    (sample,) = task.samples()
    ledger_reader.account = re.search(r"of (\w+ & Co)|does (\w+ & Co)", sample.question)
    ledger_reader.account = next(filter(None, ledger_reader.account.groups()))

    def sub(messages):
        rows = re.findall(r"^(\d+): (.+)$", messages[-1].content, re.M)
        return "\n".join(f"{n}: {ledger_reader(line)}" for n, line in rows if "| #" in line)

    method = Program("record_sum", settings={"lines_per_call": 7})
    async with rlm_bench(tmp_path, lambda _: "", sub, sample=sample) as bench:
        answer = await method.solve(sample, bench.session)
    assert task.score(sample, answer)[0].value == 1
    assert any("cancels" in call.reply for call in bench.session.calls)


@pytest.mark.parametrize(
    ("condition", "pairs"),
    [
        ("first: any: place >= 1", [(1, 3), (1, 4), (3, 4)]),
        ("first: all: place >= 1; person = 1\nsecond: all: thing >= 2", [(1, 2)]),
        ("The items must have a thing.", []),
    ],
)
async def test_label_join_makes_pairs_in_code(tmp_path, condition, pairs):
    has = {1: ["place", "person"], 2: ["thing", "thing"], 3: ["place"], 4: ["place"]}
    text = "\n".join(f"User: {u} || {label}" for u, own in has.items() for label in own)

    def sub(messages):
        prompt = messages[-1].content
        if "Pairs of items are asked for" in prompt:
            assert "these labels: person, place, thing" in prompt
            return condition
        rows = re.findall(r"^(\d+): User: (\d+) \|\| (\w+)$", prompt, re.M)
        return "\n".join(f"{n}: User {user} | '{label.title()}'" for n, user, label in rows)

    sample = sample_of(text, "List all pairs.")
    method = Program("label_join", settings={"lines_per_call": 2})
    async with rlm_bench(tmp_path, lambda _: "", sub, sample=sample) as bench:
        answer = await method.solve(sample, bench.session)
    assert [tuple(pair) for pair in answer.value] == pairs


def test_the_matched_program_follows_the_tasks_operation():
    method = MatchedProgram()
    found = {name: method.matched_to(name, "toy").program for name in PROGRAMS}
    assert found == dict(PROGRAMS)
    made = method.matched_to("sum", "toy")
    assert (made.name, made.slots) == ("program_matched", ("sub",))
    assert "record_sum for the operation sum" in made.remark
    assert made.prompt_id == Program("record_sum").prompt_id
    with pytest.raises(ConfigError, match="follow from the task"):
        MatchedProgram("grep").matched_to("sum", "toy")
    with pytest.raises(ConfigError, match="task toy states no operation"):
        method.matched_to(None, "toy")
    tasks = (Ledger, OolongGen, OolongPairsGen, SNiah, Paraphrase)
    assert [task.operation for task in tasks] == ["sum", "count", "join", "filter", "filter"]


async def test_a_failed_sub_call_is_the_samples_outcome_and_a_bug_is_not(tmp_path):
    with pytest.raises(ProviderError, match="down"):
        await solve(tmp_path, Program(), lambda _: ProviderError("down"))
    method = Program(settings={"chunk_chars": 100})
    with pytest.raises(LimitReached):
        await solve(tmp_path, method, lambda _: "x", limits=Limits(calls=2))
    file = tmp_path / "broken.md"
    file.write_text("=== code\nprint(nothing_here)\n")
    with pytest.raises(ProgramError, match="nothing_here"):
        await solve(tmp_path, Program(program_file=str(file)), lambda _: "x")
    file.write_text("no code\n")
    with pytest.raises(ConfigError, match="no section === code"):
        Program(program_file=str(file))


@pytest.mark.parametrize("program", ["map", "grep", "label_count"])
async def test_a_second_wording_changes_the_words_and_nothing_else(tmp_path, program):
    asked = []
    for name, wording in (("one", None), ("two", f"program/{program}_brief")):
        (tmp_path / name).mkdir()
        method = Program(program, wording=wording, settings={"chunk_chars": 1000})
        _, bench = await solve(tmp_path / name, method, lambda _: "1: ferry")
        asked.append([messages[0].content for messages in bench.sub.asked])
    assert len(asked[0]) == len(asked[1])
    for one, two in zip(*asked, strict=True):
        assert one != two
        assert "How many did entry 77 take?" in two
        assert "{" not in two
        assert all(line in two for line in LINES if line in one)


@pytest.mark.parametrize(
    ("note", "answer"),
    [
        ("NoneSuch Records", "NoneSuch Records"),
        ("None of the first entries say, but entry 13 gives 7391.", None),
        ("NONE", "NONE"),
        ("**NONE**", "NONE"),
        ("none.", "NONE"),
        ("NONE. This part is about ferries.", "NONE"),
        ("", "NONE"),
    ],
)
async def test_only_the_word_none_is_no_answer(note, answer, tmp_path):
    """The wording `map_none`; `map` itself, which published studies used, keeps its rule."""
    method = Program("map", wording="program/map_none", settings={"chunk_chars": 1000})
    given, _ = await solve(tmp_path, method, lambda _: note)
    assert given.text == (answer or note)


def test_a_wording_belongs_to_its_program():
    assert Program("map").prompt_id.startswith("program/map@")
    assert Program("map", wording="program/map_brief").prompt_id.startswith("program/map_brief@")
    with pytest.raises(ConfigError, match="for another program than grep"):
        Program("grep", wording="program/map_brief")


@pytest.mark.parametrize("kind", ["C1", "C2", "C3", "C4"])
async def test_a_label_a_line_answers_every_question_about_labels_from_counts(tmp_path, kind):
    """With right labels the program is right: what is left to a model is the reading."""
    task = OolongGen(
        n=20, length=1024, tokenizer="approx4", family="subject", scope="whole", seed=5
    )
    if kind == "C1":
        task = dataclasses.replace(task, family="claims", questions_per_window=2, n=40)
    sample = next(s for s in task.samples() if s.meta["kind"] == kind)
    labels = {row.text: row.label for row in task.labelled(sample)}

    def sub(messages):
        return f"'{labels[messages[0].content.splitlines()[0]]}'."

    async with rlm_bench(tmp_path, lambda _: "", sub, sample=sample) as bench:
        answer = await Program("label_each").solve(sample, bench.session)
    assert len(bench.sub.asked) == len(labels)
    assert task.score(sample, answer)[0].value == 1
    assert bench.session.notes == {}


async def test_a_label_a_line_notes_what_it_could_not_read(tmp_path):
    text = "Labels: 'a', 'b'.\nDate: x || Instance: one\nDate: x || Instance: two"
    replies = iter(["a", "neither"])
    sample = sample_of(text, "Who wrote most?")
    async with rlm_bench(tmp_path, lambda _: "", lambda _: next(replies), sample=sample) as bench:
        answer = await Program("label_each").solve(sample, bench.session)
    assert answer.text == ""
    assert bench.session.notes == {"reply_is_no_label": True, "question_not_known": True}
