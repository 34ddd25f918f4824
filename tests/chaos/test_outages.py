"""Chaos: an outage is no wrong answer: samples that saw one are missing and redone."""

import pytest
from fake_server import FakeServer, Fault, rules
from runs import FIRST, RULES, asked, overrides, records, run_here

from rlm_eval.core.types import Outcome

CATCHING = FIRST.replace(
    'found = llm_query_batched([c + " KEY=\\1" for c in chunks])',
    "found = []\n"
    "for c in chunks:\n"
    "    try:\n"
    '        found.append(llm_query(c + " KEY=\\1"))\n'
    "    except Exception:\n"
    "        found.append('none')",
)
RETRYING = FIRST.replace(
    'found = llm_query_batched([c + " KEY=\\1" for c in chunks])',
    "found = []\n"
    "for c in chunks:\n"
    "    for attempt in range(4):\n"
    "        try:\n"
    '            found.append(llm_query(c + " KEY=\\1"))\n'
    "            break\n"
    "        except Exception:\n"
    "            pass",
)
assert CATCHING != FIRST != RETRYING


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def with_first(reply: str):
    return rules([RULES[0], {**RULES[1], "reply": reply}, *RULES[2:]])


class Outage:
    """Sub-calls fail from the `first`-th on, `times` times."""

    def __init__(self, first: int, times: int, status: int = 503) -> None:
        self.first, self.times, self.seen, self.status = first, times, 0, status

    def __call__(self, _number, request):
        if "KEY=" not in request["messages"][-1]["content"] or len(request["messages"]) > 1:
            return None
        self.seen += 1
        failing = self.first <= self.seen < self.first + self.times
        return Fault("status", self.status) if failing else None


@pytest.mark.parametrize("code", [FIRST, CATCHING], ids=["batch", "caught"])
@pytest.mark.parametrize("times", [1, 3])
async def test_chaos_an_outage_of_sub_calls_makes_the_sample_missing(tmp_path, code, times):
    async with FakeServer(reply=with_first(code), faults=Outage(3, times)) as server:
        given = overrides(tmp_path, server.url, "n=3", "max_samples=1", "root.retries=0")
        summary = await run_here(given)
        (why,) = summary.unfinished.values()
        assert "provider_error; first error: ProviderError" in why
        rows = {row["sample_id"]: row for row in records(tmp_path)}
        assert sorted(row["outcome"] for row in rows.values()).count("provider_error") == 1
        missing = next(row for row in rows.values() if row["outcome"] == "provider_error")
        assert missing["score"] is None
        assert missing["n_root_calls"] == 1  # nothing more was paid for after the block
        before = len(server.log)
        assert not (await run_here(given)).unfinished
        again = asked(server.log[before:])
    assert [(row["outcome"], row["score"]) for row in records(tmp_path)] == [("ok", 1.0)] * 3
    assert max(again.values()) == 1


async def test_chaos_servers_that_fail_in_unknown_words_make_the_sample_missing(tmp_path):
    """The code catches a 400 of a sub-call: it may be a fault of the server."""
    async with FakeServer(reply=with_first(CATCHING), faults=Outage(3, 1, 400)) as server:
        given = overrides(tmp_path, server.url, "n=2", "max_samples=1")
        (why,) = (await run_here(given)).unfinished.values()
        assert "1 provider_error; first error: BadRequest" in why
        assert not (await run_here(given)).unfinished
    assert [(row["outcome"], row["score"]) for row in records(tmp_path)] == [("ok", 1.0)] * 2


async def test_chaos_a_failure_that_the_code_repaired_counts_for_nothing(tmp_path):
    async with FakeServer(reply=with_first(RETRYING), faults=Outage(3, 2)) as server:
        given = overrides(tmp_path, server.url, "n=2", "max_samples=1", "root.retries=0")
        assert not (await run_here(given)).unfinished
    assert [(row["outcome"], row["score"]) for row in records(tmp_path)] == [("ok", 1.0)] * 2
    assert sum(row["n_failed_calls"] for row in records(tmp_path)) == 2


async def test_chaos_a_protocol_may_show_outages_to_the_model(tmp_path):
    async with FakeServer(reply=with_first(CATCHING), faults=Outage(3, 1)) as server:
        given = overrides(tmp_path, server.url, "n=2", "max_samples=1", "root.retries=0")
        assert not (await run_here([*given, "method.on_subcall_failure=show"])).unfinished
    rows = records(tmp_path)
    assert {row["outcome"] for row in rows} == {"ok"}
    assert [row.get("note_outage_shown") for row in rows].count(True) == 1


@pytest.mark.parametrize("method", ["program_map", "program_map_small", "codeact_sub"])
async def test_chaos_an_outage_ends_fixed_programs_and_codeact_alike(tmp_path, method):
    """Root calls are answered; every plain sub-call fails."""
    code = (
        '```python\ntry:\n    print(llm_query("KEY=1"))\nexcept Exception:\n    print("none")\n```'
    )

    def reply(request):
        return code if len(request["messages"]) == 2 else "ANSWER: none"

    def plan(_number, request):
        first = request["messages"][0]
        proof = first["content"].startswith("Reply with the word")
        return None if proof or first["role"] == "system" else Fault("status", 503)

    async with FakeServer(reply=reply, faults=plan) as server:
        given = overrides(tmp_path, server.url, f"method={method}", "n=1", "root.retries=0")
        await run_here(given)
    (row,) = records(tmp_path)
    assert (row["outcome"], row["score"]) == (Outcome.PROVIDER_ERROR.value, None)


async def test_chaos_a_request_of_the_models_own_making_is_no_outage(tmp_path):
    """A refused sub-call is an answer to what the code asked."""

    def plan(_number, request):
        last = request["messages"][-1]["content"]
        return Fault("prompt_filter") if "KEY=" in last and len(request["messages"]) == 1 else None

    async with FakeServer(reply=with_first(CATCHING), faults=plan) as server:
        assert not (await run_here(overrides(tmp_path, server.url, "n=1"))).unfinished
    (row,) = records(tmp_path)
    assert (row["outcome"], row["score"]) == ("ok", 0.0)
