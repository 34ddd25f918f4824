"""External engines: real child processes against the loopback proxy."""

import asyncio
import os
import re
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest
from baseline_bench import Bench, Request, open_bench, sample_of

from rlm_eval.budget.limits import Budget, Limits
from rlm_eval.config.cell import build_cell
from rlm_eval.config.grid import expand
from rlm_eval.core.errors import (
    BadRequest,
    ConfigError,
    ContextOverflow,
    LimitReached,
    MissingDependency,
    ProviderError,
    ReplCrash,
)
from rlm_eval.core.types import Outcome, Role
from rlm_eval.methods.external import External
from rlm_eval.methods.external.environment import PACKAGES

ROOT = Path(__file__).parents[2]

ENGINE = """
import json, os, sys, urllib.request
from pathlib import Path
job = json.loads(Path(sys.argv[1]).read_text())

def ask(model, content, **more):
    body = {"model": model, "messages": [{"role": "user", "content": content}], **more}
    key = more.pop("key", job["api_key"])
    request = urllib.request.Request(
        job["base_url"] + "/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        return {"status": error.code, **json.load(error)}

def write(**result):
    Path(job["result"]).write_text(json.dumps(result))

def finish(answer, **usage):
    write(answer=answer, ended="answer", usage=usage)
"""


def engine(folder: Path, code: str, **settings: Any) -> External:
    script = folder / "engine.py"
    script.write_text(ENGINE + code)
    return External(engine="toy", runner=str(script), **settings)


async def solve(method: External, bench: Bench, sample: Any) -> Any:
    return await method.solve(sample, bench.session)


async def test_every_request_is_a_call_of_ours(tmp_path: Path) -> None:
    sample = sample_of(("one", "two"), "Q?")
    code = """
plan = ask("root", job["question"], temperature=0.3)
part = ask("sub", " ".join(job["context"]))
text = plan["choices"][0]["message"]["content"] + part["choices"][0]["message"]["content"]
finish(text + str(plan["usage"]["prompt_tokens"]), calls=1, input_tokens=10, output_tokens=5)
"""
    async with open_bench(tmp_path, sample, root=["A"], sub=["B"]) as bench:
        answer = await solve(engine(tmp_path, code), bench, sample)
        assert bench.requests("root") == [[("user", "Q?")]]
        assert bench.requests("sub") == [[("user", "one two")]]
    assert answer.text == "AB10"
    root, sub = bench.session.calls
    assert (root.role, sub.role, sub.depth, sub.parent) == (Role.ROOT, Role.SUB, 1, root.id)
    notes = bench.session.notes
    assert notes["engine_calls"] == 1
    assert notes["engine_missed_calls"] == 1
    assert notes["engine_missed_tokens"] == 15
    assert notes["engine_sampling_ignored"] == "temperature"


async def test_refusals_of_the_proxy(tmp_path: Path) -> None:
    sample = sample_of("text", "Q?")
    code = """
job2, job["api_key"] = job["api_key"], "guess"
codes = [ask("root", "x")["status"]]
job["api_key"] = job2
codes += [ask("gpt-9", "x")["status"], ask("root", "x", stream=True)["status"]]
finish(codes)
"""
    async with open_bench(tmp_path, sample, root=[], sub=[]) as bench:
        answer = await solve(engine(tmp_path, code), bench, sample)
    assert answer.text == "[401, 404, 400]"


async def test_a_limit_ends_the_engine(tmp_path: Path) -> None:
    sample = sample_of("text", "Q?")
    code = "import time\nwhile True:\n    ask('root', 'again')\n    time.sleep(0.01)\n"
    async with open_bench(tmp_path, sample, root=lambda r: "x", sub=[]) as bench:
        bench.session.budget = Budget(Limits(calls=3))
        with pytest.raises(LimitReached):
            await solve(engine(tmp_path, code), bench, sample)
        assert len(bench.requests("root")) == 3
    assert not _left_over(tmp_path)


async def test_a_hanging_engine_is_killed_with_its_children(tmp_path: Path) -> None:
    sample = sample_of("text", "Q?")
    child = str(tmp_path / "engine.py")  # a mark that no other process has
    code = f"""
import subprocess, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", {child!r}])
time.sleep(300)
"""
    async with open_bench(tmp_path, sample, root=[], sub=[]) as bench:
        answer = await solve(engine(tmp_path, code, seconds=1.0), bench, sample)
    assert (answer.text, answer.outcome) == (None, Outcome.LIMIT_TIME)
    assert not _left_over(tmp_path)


async def test_cancelling_leaves_nothing(tmp_path: Path) -> None:
    sample = sample_of("text", "Q?")
    async with open_bench(tmp_path, sample, root=[], sub=[]) as bench:
        code = f"Path({str(tmp_path / 'up')!r}).touch()\nimport time\ntime.sleep(300)"
        task = asyncio.create_task(solve(engine(tmp_path, code), bench, sample))
        while not (tmp_path / "up").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not _left_over(tmp_path)


async def test_failures_are_told_apart(tmp_path: Path) -> None:
    sample = sample_of("text", "Q?")
    async with open_bench(tmp_path, sample, root=[ProviderError("down")], sub=[]) as bench:
        with pytest.raises(ReplCrash, match=r"ended with code 1.*ZeroDivisionError"):
            await solve(engine(tmp_path, "1/0"), bench, sample)
        with pytest.raises(ProviderError, match="down"):
            await solve(engine(tmp_path, "ask('root', 'x')['choices']"), bench, sample)
        with pytest.raises(MissingDependency, match=r"method\.python"):
            await solve(engine(tmp_path, "sys.exit(3)"), bench, sample)
        with pytest.raises(MissingDependency, match="/nowhere/python: no such interpreter"):
            await solve(engine(tmp_path, "", python="/nowhere/python"), bench, sample)
    with pytest.raises(ValueError, match="shipped engines: rlms"):
        External(engine="nothing")
    with pytest.raises(ValueError, match="no such file"):
        External(engine="mine", runner="/nowhere/run_mine.py")


@pytest.mark.parametrize(
    ("written", "text", "outcome"),
    [
        ("answer='7391', ended='answer'", "7391", None),
        ("answer='7391', ended='forced'", "7391", None),
        ("answer='all my variables: 7391', ended='turns'", None, Outcome.LIMIT_TURNS),
        ("answer='ERROR: 7391', ended='error', reason='no code'", None, Outcome.NO_ANSWER),
    ],
)
async def test_only_an_answer_that_was_given_is_scored(
    tmp_path: Path, written: str, text: str | None, outcome: Outcome | None
) -> None:
    sample = sample_of("text", "Q?")
    async with open_bench(tmp_path, sample, root=[], sub=[]) as bench:
        answer = await solve(engine(tmp_path, f"write({written})"), bench, sample)
    assert (answer.text, answer.outcome) == (text, outcome)
    notes = bench.session.notes
    assert notes["engine_forced"] == ("forced" in written)
    assert notes["engine_ended"] in written
    assert notes.get("engine_reason") == ("no code" if "no code" in written else None)


async def test_the_engines_own_failure_is_a_crash(tmp_path: Path) -> None:
    sample = sample_of("text", "Q?")
    broken = "write(answer=None, ended='error', fault='engine', reason='worker lost')"
    refused = "ask('root', 'x'); sys.exit(1)"
    async with open_bench(tmp_path, sample, root=[BadRequest("two in a row")], sub=[]) as bench:
        with pytest.raises(ReplCrash, match="worker lost"):
            await solve(engine(tmp_path, broken), bench, sample)
        with pytest.raises(ReplCrash, match=r"request was refused: two in a row"):
            await solve(engine(tmp_path, refused), bench, sample)
        assert bench.session.notes["engine_reason"] == "its request was refused"
        assert bench.session.notes["engine_failed_calls"] == 0, "it did not go on"


@pytest.mark.parametrize("goes_on", [True, False])
@pytest.mark.parametrize(
    ("roles", "is_missing"),
    [
        (["user"], True), (["system", "assistant", "user"], True), (["user", "user"], True),
        (["user", "assistant", "assistant"], False), (["system"], False), ([], False),
        (["user", "odd"], False), (["tool", "user"], False),
    ],
)  # fmt: skip
async def test_a_refused_request_in_order_may_be_the_servers_fault(
    tmp_path: Path, roles: list[str], is_missing: bool, goes_on: bool
) -> None:
    sample = sample_of("text", "Q?")
    turns = [{"role": role, "content": "x"} for role in roles]
    code = f"ask('root', '', messages={turns}); " + ("finish('7')" if goes_on else "sys.exit(1)")
    unknown = BadRequest("words that no rule knows")
    async with open_bench(tmp_path, sample, root=[unknown], sub=[]) as bench:
        with nullcontext() if goes_on else pytest.raises(ReplCrash):
            await solve(engine(tmp_path, code), bench, sample)
        assert (type(bench.session.outage()) is BadRequest) == is_missing


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("answer='7391'", r"ended=None; it must say how"),
        ("answer='7391', ended='done'", r"ended='done'"),
        ("answer=None, ended='error'", "without a reason"),
        ("ended='error', reason='x', fault='mine'", "fault='mine'"),
    ],
)
async def test_a_result_that_breaks_the_contract_is_not_scored(
    tmp_path: Path, written: str, told: str
) -> None:
    sample = sample_of("text", "Q?")
    async with open_bench(tmp_path, sample, root=[], sub=[]) as bench:
        with pytest.raises(ConfigError, match=told):
            await solve(engine(tmp_path, f"write({written})"), bench, sample)


async def test_what_the_proxy_saw_is_noted(tmp_path: Path) -> None:
    """Failed calls that the engine went over, requests at once, the size of its first prompt."""
    sample = sample_of("text", "Q?")
    code = """
import concurrent.futures
ask("root", "x" * 1802)
with concurrent.futures.ThreadPoolExecutor() as pool:
    parts = list(pool.map(lambda n: ask("sub", str(n)), range(3)))
ask("sub", "x", stream=True)
finish(sum("status" in part for part in parts))
"""

    def sub(request: Request) -> str:
        if request[-1][1] == "1":
            raise ContextOverflow("too long")
        return "fine"

    async with open_bench(tmp_path, sample, root=["go on"], sub=sub) as bench:
        for client in bench.clients.values():
            client.seconds = 0.2
        answer = await solve(engine(tmp_path, code), bench, sample)
    assert answer.text == "1"
    notes = bench.session.notes
    assert (notes["engine_failed_calls"], notes["engine_peak_calls"]) == (2, 3)
    assert notes["engine_input_chars_first"] == 1802


@pytest.mark.parametrize(("own", "sent"), [(None, 8192), (512, 512)])
async def test_no_reply_is_without_an_output_cap(
    tmp_path: Path, own: int | None, sent: int
) -> None:
    sample = sample_of("text", "Q?")
    code = "ask('root', 'x', max_tokens=99999); ask('sub', 'x'); finish('done')"
    async with open_bench(tmp_path, sample, cap=own, root=["a"], sub=["b"]) as bench:
        await solve(engine(tmp_path, code), bench, sample)
        caps = [s.max_output_tokens for c in bench.clients.values() for s in c.samplings]
    assert caps == [sent, sent]


def built(*given: str) -> Any:
    (config,) = expand(["task=s_niah", "length=1k", "n=1", "model@root=scripted", *given])
    return build_cell(config).method


def test_settings_of_one_engine_do_not_reach_another() -> None:
    assert built("method=external_dspy").settings.keys().isdisjoint({"max_depth", "max_iterations"})
    with pytest.raises(ConfigError, match="settings of rlms; take method=external_dspy"):
        built("method=external_rlms", "method.engine=dspy")
    own = ["method=external", "method.engine=mine", f"method.runner={__file__}"]
    assert (built(*own).name, built(*own).settings) == ("external_mine", {})


def test_a_relative_runner_is_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine runs in a folder of its own, and a job may be in another one."""
    script = tmp_path / "mine" / "run_mine.py"
    script.parent.mkdir()
    script.write_text("")
    monkeypatch.chdir(tmp_path)
    shared = ["task=s_niah", "length=1k", "n=1", "model@root=scripted", "method=external"]
    shared.append("method.engine=mine")
    cells = []
    for path in (str(script), "mine/run_mine.py", "./mine/../mine/run_mine.py"):
        (config,) = expand([*shared, f"method.runner={path}", "method.python=mine/python"])
        cells.append(build_cell(config))
        node = config.method
        given = External(engine="mine", runner=path)
        assert build_cell(config, {"method": given}).method.runner == str(script)
        assert node.runner == path, "the caller's configuration is unchanged"
    assert {cell.method.runner for cell in cells} == {str(script)}
    assert {cell.resolved["method"]["runner"] for cell in cells} == {str(script)}
    assert {cell.method.python for cell in cells} == {str(tmp_path / "mine" / "python")}
    assert len({cell.identity for cell in cells}) == 1
    assert built(*shared, f"method.runner={script}", "method.python=python3").python == "python3"


def test_a_one_model_engine_takes_no_other_sub_model() -> None:
    assert built("method=external_minrlm").slots == ("root",)
    with pytest.raises(ConfigError, match=r"model@sub: external_minrlm .* model@sub=same"):
        built("method=external_minrlm", "model@sub=scripted", "sub.name=other")
    built("method=external_minrlm", "model@sub=scripted")  # the same model by another way


def test_an_environment_that_lacks_the_engine_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path))
    told = built("method=external_dspy").unready()
    assert told is not None
    assert "has no dspy 3.4.1; scripts/engine_env.sh dspy makes an environment" in told


def test_the_script_makes_the_releases_that_the_configurations_name() -> None:
    script = (ROOT / "scripts" / "engine_env.sh").read_text()
    made = re.findall(r"^  (\w+)\) +package=(\S+) +default=(\S+)", script, re.MULTILINE)
    named = {name: built(f"method=external_{name}").release for name in PACKAGES}
    assert {name: version for name, _, version in made} == named
    assert {name: package for name, package, _ in made} == PACKAGES


async def test_the_engine_sees_no_key_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    sample = sample_of("text", "Q?")
    async with open_bench(tmp_path, sample, root=[], sub=[]) as bench:
        answer = await solve(engine(tmp_path, "finish(dict(os.environ))"), bench, sample)
    assert "planted" not in answer.text
    assert "PATH" in answer.text


def _left_over(folder: Path) -> list[str]:
    """Command lines of the engine and its children, 20 s after its end: a kill takes a moment."""
    end = time.monotonic() + 20
    while True:
        commands = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
        left = [command for command in commands if str(folder / "engine.py") in command]
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.05)


official = pytest.mark.skipif(
    "RLM_EVAL_RLMS_PYTHON" not in os.environ,
    reason="RLM_EVAL_RLMS_PYTHON names no interpreter that has rlms 0.1.3",
)
ASK_ONE = """```repl
answer['content'] = llm_query('Find it: ' + context)
answer['ready'] = True
```"""
ASK_CHILDREN = """```repl
answer['content'] = str(rlm_query_batched(['first part', 'second part']))
answer['ready'] = True
```"""


@pytest.mark.slow
@official
async def test_the_official_package(tmp_path: Path) -> None:
    sample = sample_of("The code is 7391. " * 20, "What is the code?")
    method = External(python=os.environ["RLM_EVAL_RLMS_PYTHON"], settings={"max_iterations": 4})
    async with open_bench(tmp_path, sample, root=lambda r: ASK_ONE, sub=lambda r: "7391") as bench:
        answer = await solve(method, bench, sample)
        (request,) = bench.requests("sub")
        assert request[-1][1].startswith("Find it: The code is 7391.")
    assert answer.text == "7391"
    assert bench.session.notes["engine_missed_calls"] == 0
    assert bench.session.notes["engine_version"] == "0.1.3"


@pytest.mark.slow
@official
async def test_the_official_package_does_not_count_its_children(tmp_path: Path) -> None:
    def root(request: Request) -> str:
        if "Find it" in request[-1][1]:
            return "a sub-call that went to the root model"
        return ASK_CHILDREN if "What is the code?" in str(request) else ASK_ONE

    sample = sample_of("The code is 7391. " * 20, "What is the code?")
    settings = {"max_depth": 2, "max_iterations": 3}
    method = External(python=os.environ["RLM_EVAL_RLMS_PYTHON"], settings=settings)
    async with open_bench(tmp_path, sample, root=root, sub=lambda r: "never asked") as bench:
        await solve(method, bench, sample)
        assert (len(bench.requests("root")), bench.requests("sub")) == (5, [])
    assert bench.session.notes["engine_calls"] == 1
    assert bench.session.notes["engine_missed_calls"] == 4
