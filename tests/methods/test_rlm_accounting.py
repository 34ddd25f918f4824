"""The session's totals equal the server's own, by model and role, whatever happens on the way."""

import asyncio
import contextlib
import json
from collections import Counter

import pytest
from fake_server import FakeServer, Fault, every, text_of, tokens_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rlm_bench import block, rlm_bench, sample_of

from rlm_eval.budget.limits import Limits
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Role
from rlm_eval.methods.rlm import RLM
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.repl import ReplConfig, open_pool

CODE = """
import json, os
plan = json.loads(context)
done = []
def attempt(ask, *given):
    try:
        done.append(ask(*given))
    except Exception as error:
        done.append(repr(error))
for n in range(plan["plain"]):
    attempt(llm_query, f"plain {n} of {context[:40]}")
attempt(llm_query_batched, [f"batched {n}" * (n + 1) for n in range(plan["batched"])])
attempt(rlm_query_batched, [json.dumps(child) for child in plan["children"]], "go")
"""
CRASH = "if plan['crash']:\n    os.kill(os.getpid(), 9)"
FINISH = "answer['content'] = str(len(done))\nanswer['ready'] = True"


def plans(depth):
    children = st.lists(plans(depth - 1), max_size=2) if depth else st.just([])
    return st.fixed_dictionaries(
        {"plain": st.integers(0, 3), "batched": st.integers(0, 4), "children": children,
         "crash": st.booleans()}
    )  # fmt: skip


def reply(request):
    messages = request["messages"]
    if messages[0]["role"] != "system":
        return "sub " + messages[0]["content"][:60]
    said = [m["content"] for m in messages if m["role"] == "assistant"]
    script = [block(CODE), block(CRASH), block(FINISH)]
    return script[sum(text in script for text in said)]


def role_of(request):
    if request["messages"][0]["role"] != "system":
        return Role.SUB
    return Role.ROOT if request["model"] == "root" else Role.CHILD_ROOT


def by_server(server):
    """What the server was asked, and what it delivered: (model, role, what) -> count."""
    totals = Counter()
    for entry in server.log:
        request = entry["request"]
        key = (request["model"], role_of(request))
        totals[*key, "requests"] += 1
        if entry["fault"] is None:
            totals[*key, "input"] += tokens_of(text_of(request))
            totals[*key, "output"] += tokens_of(reply(request))
    return totals


def by_session(session):
    totals = Counter()
    for call in session.calls:
        # `root-fake-1` is the version that the server names; a failed call keeps `root-model`.
        key = (call.model.partition("-")[0], call.role)
        totals[*key, "requests"] += call.attempts
        totals[*key, "input"] += call.usage.input or 0
        totals[*key, "output"] += call.usage.output or 0
    return totals


async def account(folder, plan, pool, *, depth, faults=None, retries=0, cancel=None, limits=None):
    """Run one trajectory; both sides' totals and the session."""
    latency = 0.02 if cancel else 0.0
    async with FakeServer(reply=reply, faults=faults, latency=latency) as server:
        models = [
            OpenAIModel(name=name, model=name, base_url=server.url, retries=retries, backoff_s=0.01)
            for name in ("root", "sub")
        ]
        async with models[0].open() as root, models[1].open() as sub:
            sample = sample_of(json.dumps(plan))
            async with rlm_bench(
                folder, root, sub, sample=sample, pool=pool, limits=limits
            ) as bench:
                method = RLM(depth=depth, max_turns=4)
                with contextlib.suppress(RlmEvalError, TimeoutError):
                    await asyncio.wait_for(method.solve(sample, bench.session), cancel)
        session = bench.session
    return by_server(server), by_session(session), session, server


PLAN = {"plain": 2, "batched": 3, "crash": False, "children": [
    {"plain": 1, "batched": 2, "crash": True, "children": [
        {"plain": 1, "batched": 1, "crash": False, "children": [
            {"plain": 1, "batched": 0, "crash": False, "children": []}]}]},
    {"plain": 0, "batched": 3, "crash": False, "children": []}]}  # fmt: skip


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
async def test_depth(depth, tmp_path):
    theirs, ours, session, server = await account(tmp_path, PLAN, None, depth=depth)
    assert ours == theirs
    assert max(call.depth for call in session.calls) == depth
    assert server.total["requests"] == len(session.calls)


async def test_every_third_request_fails_for_good(tmp_path):
    faults = every(3, Fault("status", 500))
    theirs, ours, session, _ = await account(tmp_path, PLAN, None, depth=3, faults=faults)
    assert ours == theirs
    assert sum(call.error is not None for call in session.calls) >= 1


async def test_every_third_request_fails_and_is_retried(tmp_path):
    faults = every(3, Fault("status", 503))
    theirs, ours, session, _ = await account(
        tmp_path, PLAN, None, depth=3, faults=faults, retries=4
    )
    assert ours == theirs
    assert any(call.attempts > 1 for call in session.calls)
    assert all(call.error is None for call in session.calls)


@pytest.mark.parametrize("seconds", [0.12, 0.2])
async def test_cancelled_in_the_middle(seconds, tmp_path):
    theirs, ours, session, _ = await account(tmp_path, PLAN, None, depth=3, cancel=seconds)
    # What was in flight is on record as unknown, not as nothing: the rest agrees exactly. On a busy
    # machine some of it had not reached the server.
    flying = [c for c in session.calls if c.error and c.error.startswith("Cancelled")]
    ours, theirs = (
        Counter({k: v for k, v in counts.items() if k[2] == "requests"})
        for counts in (ours, theirs)
    )
    assert not theirs - ours
    assert (ours - theirs).total() <= len(flying)
    finished = [c for c in session.calls if c.error is None]
    assert len(flying) + len(finished) == len(session.calls)
    assert all(c.usage.input is None for c in flying)
    assert all(c.usage.input is not None for c in finished)


async def test_a_limit_in_the_middle(tmp_path):
    theirs, ours, session, _ = await account(tmp_path, PLAN, None, depth=3, limits=Limits(calls=9))
    assert ours == theirs
    assert len(session.calls) == 9


async def test_random_trees_with_crashes_and_failures(tmp_path_factory):
    async with open_pool(ReplConfig(isolation="best")) as pool:

        async def check(plan, depth, k):
            folder = tmp_path_factory.mktemp("tree")
            faults = every(k, Fault("status", 500)) if k else None
            theirs, ours, _, _ = await account(folder, plan, pool, depth=depth, faults=faults)
            assert ours == theirs

        loop = asyncio.get_running_loop()

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @given(plans(2), st.integers(1, 3), st.sampled_from([None, 2, 3]))
        def run(plan, depth, k):
            asyncio.run_coroutine_threadsafe(check(plan, depth, k), loop).result(60)

        await asyncio.to_thread(run)
