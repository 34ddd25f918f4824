"""Sub-calls and child loops: who is asked, where it stands in the tree, what the code sees."""

import asyncio
import itertools

import pytest
from bench import Answering
from rlm_bench import TEXT, block, rlm_bench, sample_of, shout, turns

from rlm_eval.budget.limits import Limits
from rlm_eval.core.errors import ContextOverflow, EndpointUnusable, LimitReached, ProviderError
from rlm_eval.core.types import Outcome, Reply, Role, Usage
from rlm_eval.methods.rlm import RLM
from rlm_eval.models import Sampling

FINISH = 'answer["content"] = x\nanswer["ready"] = True'


async def solve(folder, root, sub=shout, *, method=None, **options):
    sample = options.pop("sample", None) or sample_of()
    folder.mkdir(exist_ok=True)
    async with rlm_bench(folder, root, sub, sample=sample, **options) as bench:
        answer = await (method or RLM()).solve(sample, bench.session)
        return answer, bench


async def test_the_roots_history_is_a_strictly_growing_prefix(tmp_path):
    replies = [block(f"print({n})") for n in range(4)] + [block("x = 1\n" + FINISH)]
    _, bench = await solve(tmp_path, turns(*replies))
    requests = bench.root.asked
    assert len(requests) == 5
    for before, after in itertools.pairwise(requests):
        assert after[: len(before)] == before


async def test_sub_calls_stand_under_their_block_whatever_their_order(tmp_path):
    code = """
import concurrent.futures
with concurrent.futures.ThreadPoolExecutor(4) as threads:
    xs = list(threads.map(llm_query, ["a", "b", "c"]))
ys = llm_query_batched(["d", "a"])
x = "".join(xs + ys)
"""
    answer, bench = await solve(tmp_path, turns(block("1") + "\n" + block(code), block(FINISH)))
    assert answer.text == "ABCDA"
    subs = [c for c in bench.session.calls if c.role is Role.SUB]
    assert {c.position for c in subs} == {"t0.b1"}
    assert {(c.depth, c.turn, c.parent, c.model) for c in subs} == {(1, 0, 0, "sub-model")}
    assert sorted(bench.session.steps[1].calls) == sorted(c.id for c in subs)


async def test_an_interrupted_trajectory_is_served_from_the_journal(tmp_path):
    code = "ys = llm_query_batched(['a', 'a', 'b'])\nx = rlm_query(context[:99], 'q')"
    child = turns(block("x = llm_query('in child')"), block(FINISH))
    root = turns(block(code), block(FINISH))
    method = RLM(depth=2)

    def sub(messages):
        return child(messages) if len(messages) > 1 else shout(messages)

    first, bench = await solve(tmp_path, root, sub, method=method)
    again, second = await solve(tmp_path, root, sub, method=method)
    assert first == again
    assert second.root.asked == second.sub.asked == []
    assert {c.position for c in second.session.calls} == {c.position for c in bench.session.calls}


async def test_a_child_has_its_own_context_question_model_and_turns(tmp_path):
    def sub(messages):
        if len(messages) == 1:
            return shout(messages)
        return turns(block("part = llm_query('deep')"), block("x = part + context\n" + FINISH))(
            messages
        )

    code = "x = rlm_query('the child context', 'Which one?')"
    root = turns(block(code), block(FINISH))
    answer, bench = await solve(tmp_path, root, sub, method=RLM(depth=2))
    assert answer.text == "DEEPthe child context"
    children = [c for c in bench.session.calls if c.role is Role.CHILD_ROOT]
    assert [(c.turn, c.depth, c.parent, c.model) for c in children] == [
        (0, 1, 0, "sub-model"), (1, 1, 0, "sub-model"),
    ]  # fmt: skip
    deep = next(c for c in bench.session.calls if c.role is Role.SUB)
    assert (deep.depth, deep.parent) == (2, children[0].id)
    assert deep.position.startswith("t0.b0/")
    assert deep.position.endswith(".t0.b0")
    opening = bench.sub.asked[0][-1].content
    assert "Which one?" in opening
    assert "17 characters" in opening


async def test_at_the_depth_limit_a_child_is_a_plain_call(tmp_path):
    code = "x = rlm_query(['a', 'b'], 'q')\ny = rlm_query_batched(['c', 'd'], 'q')\nprint(y)"
    answer, bench = await solve(tmp_path, turns(block(code), block(FINISH)))
    assert answer.text == '["A", "B"]\n\nQ'
    assert "['C\\n\\nQ', 'D\\n\\nQ']" in bench.session.steps[0].stdout
    assert bench.session.notes["rlm_query_fallbacks"] == 3


async def test_depth_zero_takes_functions_and_words_away(tmp_path):
    _, bench = await solve(
        tmp_path, turns(block("x = llm_query('a')"), block("x = 1\n" + FINISH)), method=RLM(depth=0)
    )
    assert bench.session.steps[0].error == "NameError"
    assert not any("llm_query" in content for _, content in bench.contents(0))
    _, bench = await solve(tmp_path / "2", turns(block("x = 1\n" + FINISH)), method=RLM())
    shown = bench.contents(0)[0][1]
    assert "llm_query" in shown
    assert "rlm_query" not in shown


async def test_each_depth_has_its_model(tmp_path):
    code = "x = rlm_query('one', 'q')"
    child = turns(block("x = llm_query('two')"), block(FINISH))
    root = turns(block(code), block(FINISH))

    def either(messages):
        if len(messages) == 1:
            return shout(messages)
        return (child if any("q" in m.content for m in messages[-3:] if m.role == "user" and
                "Question: q" in m.content) else root)(messages)  # fmt: skip

    method = RLM(depth=2, child_models=["root"], sub_models=["sub", "root"])
    _, bench = await solve(tmp_path, either, either, method=method)
    models = {(c.role, c.depth): c.model for c in bench.session.calls}
    assert models == {
        (Role.ROOT, 0): "root-model",
        (Role.CHILD_ROOT, 1): "root-model",
        (Role.SUB, 2): "root-model",
    }  # fmt: skip
    assert bench.sub.asked == []


async def test_children_of_a_batch_run_at_once_and_keep_their_order(tmp_path):
    all_here = asyncio.Barrier(8)

    async def complete(messages, sampling):
        await asyncio.wait_for(all_here.wait(), 30)  # one after the other they would never meet
        return Reply(block(f"x = context\n{FINISH}"), "stop", Usage(1, 0, 1))

    sub = Answering(shout)
    sub.complete = complete
    code = "x = ' '.join(rlm_query_batched([f'c{n}' for n in range(8)], 'q'))"
    answer, _ = await solve(tmp_path, turns(block(code), block(FINISH)), sub, method=RLM(depth=2))
    assert answer.text == " ".join(f"c{n}" for n in range(8))


async def test_a_failed_sub_call_raises_in_the_models_code(tmp_path):
    def sub(messages):
        text = messages[-1].content
        return ProviderError("endpoint is down") if "bad" in text else text.upper()

    code = """
try:
    llm_query("bad")
except Exception as error:
    print(type(error).__name__, error.kind, error)
try:
    llm_query_batched(["a", "bad", "c"])
except Exception as error:
    print(error.results, error)
llm_query("bad")
"""
    root = turns(block(code), block("x = 1\n" + FINISH))
    _, bench = await solve(tmp_path, root, sub, method=RLM(on_subcall_failure="show"))
    step = bench.session.steps[0]
    assert step.stdout == (
        "SubCallError ProviderError endpoint is down\n"
        "['A', None, 'C'] 1 of 3 sub-calls failed, the first one: endpoint is down\n"
    )
    assert step.error == "SubCallError"
    assert sum(c.error is not None for c in bench.session.calls) == 3


async def test_the_official_way_hands_errors_over_as_text(tmp_path):
    def sub(messages):
        return ContextOverflow("too long") if "bad" in messages[-1].content else "fine"

    code = "x = str([llm_query('bad')] + llm_query_batched(['a', 'bad']))"
    method = RLM(failed_sub_calls="text")
    answer, _ = await solve(tmp_path, turns(block(code), block(FINISH)), sub, method=method)
    assert answer.text == "['Error: too long', 'fine', 'Error: too long']"


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("llm_query(['a'])", "TypeError"),
        ("llm_query_batched('abc')", "TypeError"),
        ("llm_query('a', model='gpt-9')", "ValueError"),
        ("rlm_query_batched(['a', 'b'], ['q'])", "ValueError"),
    ],
)
async def test_a_wrong_call_is_an_error_of_the_code_and_asks_nobody(call, kind, tmp_path):
    code = f"try:\n    {call}\nexcept Exception as e:\n    x = getattr(e, 'kind', type(e).__name__)"
    answer, bench = await solve(tmp_path, turns(block(code), block(FINISH)))
    assert answer.text == kind
    assert bench.sub.asked == []


async def test_an_unusable_endpoint_ends_the_cell_and_is_no_error_of_the_code(tmp_path):
    code = "try:\n    llm_query_batched(['a', 'b'])\nexcept Exception:\n    pass"
    with pytest.raises(EndpointUnusable):
        await solve(tmp_path, turns(block(code)), lambda _: EndpointUnusable("no such model"))


async def test_a_block_may_send_so_many_prompts(tmp_path):
    code = "a = llm_query_batched(['a', 'b'])\ntry:\n    llm_query_batched(['c', 'd'])\n"
    code += "except Exception as e:\n    x = f'{e.kind}: {e}'"
    method = RLM(max_sub_calls_per_block=3)
    answer, bench = await solve(tmp_path, turns(block(code), block(FINISH)), method=method)
    assert answer.text == "SubCallLimit: this block may make 3 sub-calls: 2 made, 2 more asked for"
    assert bench.session.notes["sub_call_limit_hits"] == 1
    assert len(bench.sub.asked) == 2


async def test_a_limit_inside_a_block_ends_the_trajectory_after_it(tmp_path):
    code = "answer['content'] = 'draft'\nxs = [llm_query(str(n)) for n in range(50)]"
    sample = sample_of()
    async with rlm_bench(
        tmp_path, turns(block(code)), sample=sample, limits=Limits(calls=4)
    ) as bench:
        with pytest.raises(LimitReached) as caught:
            await RLM().solve(sample, bench.session)
        assert caught.value.outcome is Outcome.LIMIT_CALLS
        assert bench.session.partial.text == "draft"
        assert len(bench.session.calls) == 4
        assert bench.session.steps[0].error == "SubCallError"


async def test_an_answer_given_after_the_limit_was_hit_keeps_the_outcome(tmp_path):
    code = "try:\n    llm_query_batched(list('abcdef'))\nexcept Exception:\n    x = 'what I have'\n"
    answer, _ = await solve(tmp_path, turns(block(code + FINISH)), limits=Limits(calls=3))
    assert (answer.text, answer.outcome) == ("what I have", Outcome.LIMIT_CALLS)


@pytest.mark.parametrize("limits", [Limits(tokens=3000), Limits(calls=1)], ids=["tokens", "calls"])
async def test_a_last_turn_where_the_setting_allows_one(tmp_path, limits):
    code = "x = llm_query('long ' * 4000)"
    root = turns(block(code), "It is 77.")
    sampling = Sampling(max_output_tokens=100)
    method = RLM(on_limit="last_turn")
    answer, bench = await solve(tmp_path, root, method=method, limits=limits, sampling=sampling)
    outcome = Outcome.LIMIT_TOKENS if limits.tokens else Outcome.LIMIT_CALLS
    assert (answer.text, answer.outcome) == ("It is 77.", outcome)
    assert answer.provenance == "fallback"
    assert bench.sub.asked == []


async def test_limits_hold_over_the_whole_tree(tmp_path):
    def sub(messages):
        return block("x = llm_query_batched(['a', 'b', 'c'])") if len(messages) > 1 else "said"

    code = "x = rlm_query_batched(['one', 'two'], 'q')"
    sample = sample_of()
    async with rlm_bench(
        tmp_path, turns(block(code)), sub, sample=sample, limits=Limits(calls=7)
    ) as bench:
        with pytest.raises(LimitReached):
            await RLM(depth=2).solve(sample, bench.session)
        assert len(bench.session.calls) == 7


async def test_turns_run_out_and_what_then(tmp_path):
    root = turns(block("print(1)"), "Only words.", "77")
    answer, _ = await solve(tmp_path, root, method=RLM(max_turns=2))
    assert (answer.text, answer.outcome) == ("77", Outcome.LIMIT_TURNS)
    method = RLM(max_turns=2, turns_out="end")
    answer, _ = await solve(tmp_path / "2", root, method=method)
    assert (answer.text, answer.outcome) == ("Only words.", Outcome.LIMIT_TURNS)


async def test_a_child_without_an_answer_is_an_error_of_the_code(tmp_path):
    code = "try:\n    rlm_query('c', 'q')\nexcept Exception as e:\n    x = f'{e.kind}: {e}'"
    method = RLM(depth=2, child_max_turns=2, turns_out="end")
    root = turns(block(code), block(FINISH))
    answer, _ = await solve(tmp_path, root, lambda _: block("1"), method=method)
    assert answer.text == "NoAnswer: no answer within 2 turns"


async def test_a_long_answer_comes_whole_as_text_and_as_object(tmp_path):
    code = "x = [(n, n + 1) for n in range(60_000)]\n" + FINISH
    answer, _ = await solve(tmp_path, turns(block(code)))
    assert answer.value == [[n, n + 1] for n in range(60_000)]
    assert answer.text.endswith("(59998, 59999), (59999, 60000)]")
    assert answer.provenance == "variable"


async def test_where_an_answer_comes_from(tmp_path):
    code = "x = llm_query('the ferry')\n" + FINISH
    answer, bench = await solve(tmp_path, turns(block(code)))
    assert (answer.text, answer.provenance) == ("THE FERRY", "sub_call")
    assert bench.session.calls[answer.call].role is Role.SUB
    answer, _ = await solve(tmp_path / "2", turns(block('x = "the boat"\n' + FINISH)))
    assert answer.provenance == "root_text"


async def test_reasoning_is_stripped_before_parsing(tmp_path):
    reply = (
        "<think>maybe\n"
        + block("x = 'wrong'\n" + FINISH)
        + "</think>\n"
        + block("x = 2\n" + FINISH)
    )
    answer, bench = await solve(tmp_path, turns(reply))
    assert answer.text == "2"
    assert len(bench.session.steps) == 1


async def test_a_reply_cut_at_its_limit_runs_only_whole_blocks(tmp_path):
    cut = Reply("```python\nx = 1\nprint(x", "length", Usage(1, 0, 1))
    whole = Reply("```python\nx = 1\n" + FINISH, "stop", Usage(1, 0, 1))
    replies = iter([cut, whole])
    answer, bench = await solve(tmp_path, lambda _: next(replies))
    assert answer.text == "1"
    assert bench.session.notes == {"parser_unclosed_block": 2, "parser_no_block": 1}


async def test_a_long_history_is_compacted_where_asked(tmp_path):
    replies = [block("print('y' * 900)"), "I have printed y.", block("x = 1\n" + FINISH)]
    root = Answering(lambda messages: replies[len(root.asked) - 1])
    base = sum(len(m.content) for m in (await _opening(tmp_path / "2")))
    answer, bench = await solve(tmp_path, root, method=RLM(compact_chars=base + 500))
    assert answer.text == "1"
    assert bench.session.notes["compactions"] == 1
    assert [c.role for c in bench.session.calls] == [Role.ROOT, Role.SUMMARY, Role.ROOT]
    assert [m.role for m in root.asked[2][-2:]] == ["assistant", "user"]
    assert root.asked[2][-2].content == "I have printed y."
    assert not any("yyy" in m.content for m in root.asked[2])


async def _opening(folder):
    _, bench = await solve(folder, turns(block("x = 1\n" + FINISH)))
    return bench.root.asked[0]


async def test_documents_are_a_list_and_text_where_asked(tmp_path):
    sample = sample_of(("one doc", "two"))
    for kind, expected in (("as_given", "list 2"), ("text", "str 12")):
        root = turns(block("x = f'{type(context).__name__} {len(context)}'\n" + FINISH))
        method = RLM(context_type=kind)
        answer, _ = await solve(tmp_path / kind, root, method=method, sample=sample)
        assert answer.text == expected
    answer, _ = await solve(tmp_path, root, method=RLM(context_type="documents"))
    assert answer.text == "list 1"
    assert len(TEXT) > 1000


@pytest.mark.parametrize(
    ("field", "value"),
    [("turns_out", "stop"), ("output_side", "left"), ("depth", -1), ("max_turns", 0),
     ("sub_models", []), ("compact_chars", 0)],
)  # fmt: skip
def test_wrong_settings_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        RLM(**{field: value})


async def test_a_run_whose_every_call_is_the_roots_needs_no_sub_model(tmp_path):
    method = RLM(sub_models=["root"], child_models=["root"])
    assert method.slots == ("root",)
    code = "try: llm_query('hi', model='nobody')\nexcept Exception as error: x = str(error)"
    root = turns(block(code), block(FINISH))
    answer, _ = await solve(tmp_path, root, None, method=method)
    assert answer.text == "model 'nobody' is not available; use root-model"
