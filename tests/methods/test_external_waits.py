"""Requests of an external engine that get no reply: given up, in an outage, refused."""

import ast
import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from baseline_bench import open_bench, sample_of
from test_external import engine, solve

from rlm_eval.core.clock import suspended
from rlm_eval.core.errors import CallCancelled, ConfigError, ProviderError, ReplCrash
from rlm_eval.core.types import Outcome
from rlm_eval.methods.external import External
from rlm_eval.methods.external.environment import PACKAGES

RUNNERS = Path(__file__).parents[2] / "rlm_eval" / "methods" / "external"
GIVE_UP = """
import socket
def give_up(seconds):
    socket.setdefaulttimeout(seconds)
    try:
        ask("root", "x")
    except TimeoutError:
        pass
    socket.setdefaulttimeout(None)
"""


async def test_a_request_that_the_engine_gives_up_is_a_provider_failure(tmp_path: Path) -> None:
    """Else the text that its client puts in place of a reply is scored as an answer."""
    sample = sample_of("text", "Q?")
    code = GIVE_UP + "give_up(0.5); finish('Error: timed out')"
    async with open_bench(tmp_path, sample, root=lambda r: "late", sub=[]) as bench:
        bench.clients["root"].seconds = 5.0
        with pytest.raises(ProviderError, match=r"closed its request to root after .* time-out"):
            await solve(engine(tmp_path, code), bench, sample)
    assert bench.session.notes["engine_failed_calls"] == 1


async def test_an_equal_request_repairs_one_that_was_given_up(tmp_path: Path) -> None:
    sample = sample_of("text", "Q?")
    code = GIVE_UP + "give_up(0.5); ask('root', 'x'); finish('late')"
    async with open_bench(tmp_path, sample, root=lambda r: "late", sub=[]) as bench:
        bench.clients["root"].seconds = 3.0
        answer = await solve(engine(tmp_path, code), bench, sample)
    assert (answer.text, answer.outcome) == ("late", None)
    assert bench.session.calls[answer.call].reply == "late"
    assert bench.session.notes["engine_failed_calls"] == 1


async def test_a_killed_engine_gives_up_no_request(tmp_path: Path) -> None:
    """A signal ended it, as where its memory ran out: its connections ended with it."""
    sample = sample_of("text", "Q?")
    code = """
import threading, time
threading.Thread(target=ask, args=("root", "x"), daemon=True).start()
time.sleep(1)
os.kill(os.getpid(), 9)
"""
    async with open_bench(tmp_path, sample, root=lambda r: "late", sub=[]) as bench:
        bench.clients["root"].seconds = 30.0
        with pytest.raises(ReplCrash, match="ended with code 137"):
            await solve(engine(tmp_path, code), bench, sample)


async def test_an_outage_does_not_count_in_the_engines_seconds(tmp_path: Path) -> None:
    sample = sample_of("text", "Q?")
    code = "import time; time.sleep(1); finish('7391')"
    async with open_bench(tmp_path, sample, root=[], sub=[]) as bench:
        with suspended():
            answer = await solve(engine(tmp_path, code, seconds=0.1), bench, sample)
    assert (answer.text, answer.outcome) == ("7391", None)


@pytest.mark.parametrize("lost", [0, 1])
async def test_time_that_ends_while_a_call_waits_for_its_endpoint(
    lost: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two attempts failed, and the call waits: no limit of the method. One in flight is."""
    sample = sample_of("text", "Q?")
    with ExitStack() as before:
        before.enter_context(suspended())  # the start of the engine takes no time

        async def waits(*_: Any) -> Any:
            before.close()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise CallCancelled((), 2, lost) from None

        async with open_bench(tmp_path, sample, root=[], sub=[]) as bench:
            monkeypatch.setattr(bench.clients["root"], "complete", waits)
            bench.clients["root"].requests.append([])  # the bench compares requests and calls
            method = engine(tmp_path, "ask('root', 'x')", seconds=1.0)
            if lost:
                assert (await solve(method, bench, sample)).outcome is Outcome.LIMIT_TIME
            else:
                with pytest.raises(ProviderError, match=r"root: 2 attempt\(s\) .* waited"):
                    await solve(method, bench, sample)


async def test_what_the_proxy_refuses_counts_as_failed(tmp_path: Path) -> None:
    sample = sample_of("text", "Q?")
    code = """
codes = [ask("root", "x", n=3), ask("root", "x", n=1), ask("root", "x", messages="x")]
dumps, json.dumps = json.dumps, lambda body: "{"
codes.append(ask("root", "x"))
json.dumps = dumps
finish(" ".join(str(code.get("status")) for code in codes) + codes[0]["error"]["message"])
"""
    async with open_bench(tmp_path, sample, root=["fine"], sub=[]) as bench:
        answer = await solve(engine(tmp_path, code), bench, sample)
    assert answer.text.startswith("400 None 400 400n=3 is not supported")
    assert bench.session.notes["engine_failed_calls"] == 3


async def test_a_failure_of_the_harness_ends_the_sample(tmp_path: Path) -> None:
    """Answered as 500: the engine would go over it and its answer would be scored."""
    sample = sample_of("text", "Q?")
    code = "try:\n    ask('root', 'x')\nexcept Exception:\n    pass\n"
    async with open_bench(tmp_path, sample, root=[RuntimeError("disk")], sub=[]) as bench:
        with pytest.raises(ConfigError, match="complete failed: .*RuntimeError: disk"):
            await solve(engine(tmp_path, code + "finish('7391')"), bench, sample)
        bench.clients["root"].requests.clear()  # the bench compares requests and calls


@pytest.mark.parametrize("name", PACKAGES)
def test_no_runner_gives_up_a_request_before_the_engines_seconds(name: str) -> None:
    """The libraries' own time-outs (10 to 600 s) are shorter than our waits in one request."""
    tree = ast.parse((RUNNERS / f"run_{name}.py").read_text())
    (wait,) = [
        eval(compile(ast.Expression(node.value), "", "eval"))
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "WAIT_S"
    ]
    assert wait >= External().seconds
    named = [k.value for node in ast.walk(tree) if isinstance(node, ast.Call) for k in node.keywords
             if k.arg == "timeout"]  # fmt: skip
    named += [
        value
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "timeout"
    ]
    assert [ast.unparse(value) for value in named] == ["WAIT_S"]
