"""Fixed programs: each strategy asks what it should, and its accounts are those of sub-calls."""

import re

import pytest
from rlm_bench import rlm_bench, sample_of

from rlm_eval.errors import ConfigError, LimitReached, ProviderError
from rlm_eval.limits import Limits
from rlm_eval.methods.program import Program, ProgramError
from rlm_eval.types import Role

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


async def test_labels_without_keys_are_taken_in_order(tmp_path):
    def sub(messages):
        prompt = messages[-1].content
        if "How often each label" in prompt:
            return prompt
        kinds = re.findall(r"^Entry \d+: the (\w+)", prompt, re.M)
        return "\n".join(kinds[1:])  # one record is passed over: all later labels move up

    method = Program("label_count", wording="program/label_count_unkeyed",
                     settings={"lines_per_call": 8})  # fmt: skip
    answer, bench = await solve(tmp_path, method, sub)
    assert len(bench.sub.asked) == 13
    assert "(no label): 12\n" in answer.text
    assert method.prompt_id.startswith("program/label_count_unkeyed@")


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


def test_a_wording_belongs_to_its_program():
    assert Program("map").prompt_id.startswith("program/map@")
    assert Program("map", wording="program/map_brief").prompt_id.startswith("program/map_brief@")
    with pytest.raises(ConfigError, match="for another program than grep"):
        Program("grep", wording="program/map_brief")
