"""Each metric of a trajectory's habits, on trajectories made by hand."""

from trajectories import call, root, step, sub, trajectory

from rlm_eval.core.types import Role, Slice
from rlm_eval.records.call_patterns import METRICS, batches, fanout, habits, turns_after_known


def cut(start, end):
    return Slice("h", start, end)


def test_sizes_and_the_unmatched_share_are_of_the_sub_calls_prompts():
    calls = [
        root(0, prompt=("x" * 5000,)),
        sub(1, 0, prompt=("Read this: ", cut(0, 989)), reply="a"),
        sub(2, 0, prompt=("Read that: ", cut(989, 1978)), reply="b"),
        sub(3, 0, prompt=("y" * 500,), reply="c"),
    ]
    seen = habits(trajectory(calls, [step(0)]))
    assert set(seen) == set(METRICS)
    assert seen["median_sub_call_chars"] == 1000
    assert seen["max_sub_call_chars"] == 1000
    assert seen["unmatched_share"] == (11 + 11 + 500) / 2500


def test_without_sub_calls_what_needs_them_is_unknown():
    seen = habits(trajectory([root(0)], [step(0)]))
    unknown = {name for name, value in seen.items() if value is None}
    assert unknown == {
        "max_turn_fanout", "max_batch", "median_sub_call_chars", "max_sub_call_chars",
        "unmatched_share", "turns_after_known",
    }  # fmt: skip


def test_a_batch_is_what_was_under_way_together_in_one_block():
    calls = [
        root(0),
        sub(1, 0, times=(1.0, 2.0)), sub(2, 0, times=(1.0, 1.8)), sub(3, 0, times=(1.1, 2.5)),
        sub(4, 0, times=(2.6, 3.0)), sub(5, 0, times=(3.1, 3.5)),
        sub(6, 0, times=(1.0, 9.0), position="t0.b1"),
    ]  # fmt: skip
    assert batches(calls) == [3, 1, 1, 1]
    seen = habits(trajectory(calls, []))
    assert (seen["n_batches"], seen["max_batch"]) == (1, 3)


def test_fanout_counts_a_child_once_and_its_own_calls_not():
    calls = [
        root(0), root(1),
        sub(2, 0), sub(3, 0),
        call(4, Role.CHILD_ROOT, parent=1, depth=1, turn=0),
        call(5, Role.CHILD_ROOT, parent=1, depth=1, turn=1),
        sub(6, 4, depth=2),
    ]  # fmt: skip
    assert fanout(trajectory(calls, [])) == {0: 2, 1: 1}


def test_error_turns_count_turns_and_not_blocks_or_children():
    steps = [
        step(0, error="NameError"), step(0, error="limit:time"), step(1),
        step(2, error="SubCallError"), step(0, call=77, error="ValueError"),
    ]  # fmt: skip
    assert habits(trajectory([root(0), root(1), root(2)], steps))["error_turns"] == 2


def test_syntax_errors_are_counted_by_block_at_every_depth():
    steps = [step(0, error="SyntaxError"), step(0, call=77, error="IndentationError"), step(1)]
    steps.append(step(1, error="NameError"))
    assert habits(trajectory([root(0), root(1)], steps))["syntax_error_blocks"] == 2


def test_turns_after_the_answer_was_in_sight():
    calls = [root(turn) for turn in range(5)]
    steps = [step(0), step(1, stdout="it is 48151"), step(2), step(3, stdout="48151"), step(4)]
    assert turns_after_known(trajectory(calls, steps, "48151")) == 2
    by_sub_call = [*calls, sub(9, 3, reply="I read 48151.")]
    assert turns_after_known(trajectory(by_sub_call, [], "48151")) == 0
    assert turns_after_known(trajectory(calls, steps, "never shown")) is None
    assert turns_after_known(trajectory(calls, steps, "4")) is None
    assert turns_after_known(trajectory(calls, [step(4, stdout="48151")], "48151")) is None


def test_verification_is_counted_by_turn():
    check = 'print(llm_query("Please verify: " + name))'
    calls = [root(0), root(1), root(2)]
    assert habits(trajectory(calls, [step(1, check), step(2, check)]))["verification_turns"] == 2


def test_wasted_calls_failed_empty_or_repeated():
    same = ("What is it?", cut(0, 100))
    calls = [
        root(0),
        sub(1, 0, prompt=same, reply="it"),
        sub(2, 0, prompt=same, reply="it"),
        sub(3, 0, prompt=same, reply="it", model="other"),
        sub(4, 0, prompt=("a",), reply="  "),
        sub(5, 0, prompt=("b",), reply="", error="ProviderError: down"),
        sub(6, 0, prompt=("c",), reply="fine"),
    ]
    assert habits(trajectory(calls, []))["wasted_calls"] == 3
