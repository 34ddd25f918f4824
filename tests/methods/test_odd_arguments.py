"""Host functions called with odd arguments: an error in the model's code, never in the host."""

import pytest
from baseline_bench import open_bench
from baseline_bench import sample_of as plain_sample
from rlm_bench import block, rlm_bench, sample_of, shout, turns
from test_rlm_official import WORDS

from rlm_eval.config.identity import identity
from rlm_eval.core.errors import BadRequest
from rlm_eval.methods.codeact import CodeAct
from rlm_eval.methods.rlm import RLM
from rlm_eval.methods.rlm.official import Official011, OfficialLatest, PaperV1
from rlm_eval.methods.rlm.own import Own
from rlm_eval.methods.rlm.subcalls import SubCalls

VALUES = """[
    None, 5, 1.5, True, '', 'x', b'x', (1, 2), {1, 2}, object(), print, float('nan'), 10**5000,
    [], ['x'], [1], [None], [[]], [['x']], [{}], [{'role': 'odd', 'content': 5}], ['\\ud800'],
    {}, {'a': 1}, {1: 'a', 'b': 'c'}, [{1: 2, 'b': 3}], {None: 1, 'None': 2}, {'$': 1}, '\\ud800',
]"""
NAMES = ("llm_query", "llm_query_batched", "rlm_query", "rlm_query_batched")


def calls_of(names):
    """Code that calls each function with odd values in every place."""
    listed = ", ".join(f"{name!r}: {name}" for name in names)
    return f"""
tried = went_wrong = 0
for name, function in {{{listed}}}.items():
    for value in {VALUES}:
        for given in ((value,), ('q', value), (['q'], value), (value, 'q'), ('q', 'q', value)):
            tried += 1
            try:
                function(*given)
            except Exception:
                went_wrong += 1
print(tried, went_wrong > tried // 9)
"""


async def tried(folder, method, names, fence="python"):
    done = block("answer['content'] = 'ok'\nanswer['ready'] = True", fence)
    end = done if method.protocol.answer_dict else "FINAL(ok)"

    def sub(messages):
        if not messages:
            return BadRequest("no messages")
        return end if messages[0].role == "system" else shout(messages)

    sample = sample_of("alpha\nbeta 42")
    root = turns(block(calls_of(names), fence), end)
    async with rlm_bench(folder, root, sub, sample=sample) as bench:
        answer = await method.solve(sample, bench.session)
        (printed,) = [s.stdout for s in bench.session.steps if s.position == "t0.b0"]
        return answer.text, printed


@pytest.mark.parametrize("depth", [1, 2])
async def test_sub_calls(depth, tmp_path):
    assert await tried(tmp_path, RLM(depth=depth), NAMES) == ("ok", "580 True\n")


@pytest.mark.parametrize(
    ("protocol", "depth"),
    [(PaperV1, 1), (Official011, 1), (OfficialLatest, 1), (OfficialLatest, 2)],
)
async def test_official_sub_calls(protocol, depth, tmp_path):
    names = NAMES[:2] if protocol is PaperV1 else NAMES
    method = RLM(protocol=protocol(prompt_file=WORDS), depth=depth, failed_sub_calls="text")
    text, printed = await tried(tmp_path, method, names, "repl")
    assert (text, printed) == ("ok", f"{145 * len(names)} True\n")


@pytest.mark.parametrize(
    ("call", "said", "told"),
    [
        ("rlm_query([['a'], ['b', 'c']])", "kid", "list 3 [1, 2]"),
        ("rlm_query([{'a': 1}, 'b'])", "kid", "list 11 [8, 3]"),
        ("rlm_query([{'content': 'abc'}, {}])", "kid", "list 3 [3, 0]"),
        ("rlm_query({1: 'abc', 'k': [1]})", "kid", "dict 6 [3, 3]"),
        ("rlm_query([1, 2])",
         "Error: Child RLM completion failed - object of type 'int' has no len()", None),
        ("rlm_query('p', 'What is it?')",
         "Error: Child RLM completion failed - model 'What is it?' is not available; "
         "use sub-model, root-model", None),
    ],
)  # fmt: skip
async def test_official_children_are_told_the_packages_lengths(call, said, told, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("{context_type} {context_total_length} {context_lengths}")
    method = RLM(protocol=OfficialLatest(prompt_file=str(words)), depth=2, failed_sub_calls="text")
    end = block("answer['content'] = {}\nanswer['ready'] = True", "repl")
    root, child = turns(end.format(call)), turns(end.format("'kid'"))
    async with rlm_bench(tmp_path, root, child) as bench:
        answer = await method.solve(bench.session.sample, bench.session)
    assert answer.text == said
    assert [asked[0].content.split("\n")[0] for asked in bench.sub.asked] == (
        [told] if told else []
    )


@pytest.mark.parametrize(
    ("protocol", "depth", "version"),
    [
        (OfficialLatest, 2, 3),
        (Official011, 3, 3),
        (OfficialLatest, 1, 2),
        (PaperV1, 2, 2),
        (Own, 2, 2),
    ],
)
def test_only_official_children_make_another_cell(protocol, depth, version):
    """Version 3 concerns these children alone: published cells of other depths stay."""
    given = {} if protocol is Own else {"prompt_file": WORDS}
    assert identity(RLM(protocol=protocol(**given), depth=depth))["version"] == version


async def test_codeact(tmp_path):
    sample = plain_sample("The violet door opens with 7391.", "Which?")
    code = calls_of(("SEARCH", "llm_query", "llm_query_batched"))
    root = [f"```python{code}```", "ANSWER: done"]
    async with open_bench(
        tmp_path, sample, repl=True, root=root, sub=lambda request: "said"
    ) as bench:
        answer = await CodeAct(search=True, sub_calls=True).solve(sample, bench.session)
        assert answer.text == "done"
        assert bench.session.steps[0].stdout == "435 True\n"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("llm_query('Find', [context])", "TypeError: a model must be named by a str, not list"),
        ("llm_query('a', {'b': 1})", "TypeError: a model must be named by a str, not dict"),
        ("rlm_query('a', 5)", "TypeError: a question must be a str, not int"),
        ("rlm_query_batched(['a'], [['q']])", "TypeError: a question must be a str, not list"),
    ],
)
async def test_the_code_sees_what_is_wrong(call, said, tmp_path):
    code = f"try:\n    {call}\nexcept Exception as e:\n    x = f'{{type(e).__name__}}: {{e}}'\n"
    end = block(code + "answer['content'] = x\nanswer['ready'] = True")
    async with rlm_bench(tmp_path, turns(end)) as bench:
        answer = await RLM(depth=2).solve(bench.session.sample, bench.session)
        assert (answer.text, bench.sub.asked) == (said, [])


@pytest.mark.parametrize(
    "batch",
    ["{1: 'a', 2: 'b'}.values()", "{'a': 1, 'b': 2}.keys()", "(p for p in 'ab')", "map(str, 'ab')",
     "{'b', 'a'}", "frozenset('ba')", "('a', 'b')", "iter(['a', 'b'])"],
)  # fmt: skip
async def test_any_iterable_is_a_batch(batch, tmp_path):
    code = (
        f"x = llm_query_batched({batch})\n"
        f"y = rlm_query_batched({batch}, query={batch})\n"
        "answer['content'] = x + y\nanswer['ready'] = True"
    )
    async with rlm_bench(tmp_path, turns(block(code))) as bench:
        answer = await RLM().solve(bench.session.sample, bench.session)
        assert answer.value == ["A", "B", "A\n\nA", "B\n\nB"]


async def test_children_are_told_apart_by_keys_of_several_types(tmp_path):
    end = block("answer['content'] = str(context)\nanswer['ready'] = True")
    one, other = {1: "a", "b": "c"}, {1: "a", "b": "d"}
    code = f"x = rlm_query_batched([{one}, {other}, {one}], 'q')\n"
    root = block(code + "answer['content'] = x\nanswer['ready'] = True")
    async with rlm_bench(tmp_path, turns(root), turns(end)) as bench:
        answer = await RLM(depth=2).solve(bench.session.sample, bench.session)
        assert answer.value == [str(one), str(other), str(one)]
        places = sorted(call.position for call in bench.session.calls if call.depth)
    assert len({place.split("/")[1].split(".")[0].split("-")[0] for place in places}) == 2
    assert sum("-1." in place for place in places) == 1


async def test_a_fault_of_ours_is_no_error_of_the_code(tmp_path, monkeypatch):
    """What a host function itself does wrong still ends the run."""
    monkeypatch.setattr(SubCalls, "_sent", lambda self, messages, slot: messages.missing)
    code = block("try:\n    llm_query('a')\nexcept Exception:\n    pass")
    async with rlm_bench(tmp_path, turns(code)) as bench:
        with pytest.raises(AttributeError, match="missing"):
            await RLM().solve(bench.session.sample, bench.session)
