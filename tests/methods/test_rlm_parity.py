"""Request by request, our official dialects send what the installed official package sends.

Each release runs in an environment of its own (its dependencies are not ours):
`python -m venv DIR/0.1.3 && DIR/0.1.3/bin/pip install rlms==0.1.3`, the same for 0.1.1 and 0.1.0,
then `RLM_EVAL_RLMS_ENVS=DIR pytest -m slow tests/methods/test_rlm_parity.py`; or let
`scripts/rlms_envs.sh` make them, which prints DIR. The wheels must be in the cache or fetchable.
Both sides talk to the fake server, which answers from one script.
"""

import asyncio
import json
import os
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from fake_server import FakeServer
from rlm_bench import block, rlm_bench, sample_of
from rlm_transcripts import CHILD_TRANSCRIPTS, OTHER_MESSAGES, TRANSCRIPTS
from rlm_transcripts import replies as written

from rlm_eval.core.errors import ReplCrash
from rlm_eval.methods.external import External
from rlm_eval.methods.rlm import RLM
from rlm_eval.methods.rlm.official import Official011, OfficialLatest, PaperV1
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.repl import ReplConfig, open_pool

pytestmark = pytest.mark.slow

ENVS = Path(os.environ.get("RLM_EVAL_RLMS_ENVS", "/nonexistent"))
CONTEXT = "Entry 7: took 77 (of 80) passengers.\n" * 700
DOCUMENTS = tuple(f"Document {n}: " + "x" * n for n in range(120))
QUESTION = 'How many on "entry 7"?'
DRIVER = """
import json, sys
from rlm import RLM
answers = []
for job in json.load(sys.stdin):
    rlm = RLM(backend="openai", backend_kwargs={"model_name": "root", "base_url": job["url"],
              "api_key": "x"}, max_depth=job["depth"], max_iterations=job["turns"])
    try:
        done = rlm.completion(job["context"], root_prompt=job["question"])
        answers.append(done.response)
    except BaseException:  # this ends the process of a user of the package
        answers.append(None)
print()
print(json.dumps(answers))
"""


def code(text):
    return block(text, "repl")


SUB = "read ("
LOOK = code("n = len(context)\nprint(n)")
ASK = "Two.\n" + code("a = llm_query('read (' + str(context[0])[:9] + ')')\nprint(a)") + "\n"
LONG = code("print('y' * 30000)\nrows = [1, 2]\nname = 'x'\nshare = 0.5\nempty = None")
ERROR = code("print('before')\nprint(nothing_here)")
COMMON = ["I think.", LOOK, ASK + ERROR, LONG]

CASES = {
    "0.1.0-final": ("0.1.0", PaperV1(), 1, [*COMMON, "FINAL(f(77) and (80))"]),
    "0.1.0-var": ("0.1.0", PaperV1(), 1, [LOOK, "Done\nFINAL_VAR(n)"]),
    "0.1.0-out": ("0.1.0", PaperV1(), 1, [LOOK, LOOK + "again", "Text.", "More.", "The end (77)"]),
    "0.1.1-final": ("0.1.1", Official011(), 1, [*COMMON, "FINAL_VAR(no_such)", "FINAL(77)"]),
    "0.1.1-in-repl": ("0.1.1", Official011(), 1, [LOOK, code("best = 77\nFINAL_VAR('best')")]),
    "0.1.1-out": ("0.1.1", Official011(), 1, [LOOK, "Text.", "More.", "And.", "The end (77)"]),
    "0.1.3-dict": (
        "0.1.3", OfficialLatest(), 1,
        [*COMMON, "FINAL(7)", code("answer['content'] = n\nanswer['ready'] = True")],
    ),
    "0.1.3-batch": (
        "0.1.3", OfficialLatest(), 1,
        [
            LOOK + "\n" + code("xs = llm_query_batched(['read (a', 'read (b'])\nprint(xs)"),
            code("y = rlm_query('read (c')\nprint(y)"),
            code("answer = {'content': ['77', n], 'ready': True}"),
        ],
    ),
    "0.1.3-out": ("0.1.3", OfficialLatest(), 1, [LOOK, "Text.", "More.", "And.", "The end (77)"]),
    "0.1.3-child": (
        "0.1.3", OfficialLatest(), 2,
        [
            code("z = rlm_query('read the child task')\nprint(z)"),
            code("answer['content'] = z\nanswer['ready'] = True"),
        ],
    ),
}  # fmt: skip
PROTOCOLS = {"0.1.0": PaperV1(), "0.1.1": Official011(), "0.1.3": OfficialLatest()}
PROCESSES = 6
MISBEHAVING_TURNS = 8
CHILD = [
    code("print(context)\nw = llm_query('read (deep')"),
    code("answer['content'] = 'w: ' + w\nanswer['ready'] = True"),
]


def script(replies, depth):
    """Plain sub-calls are known by their prompt, children by their context; roots by turn."""

    def reply(request):
        messages = request["messages"]
        if messages[-1]["content"].startswith(SUB):
            return f"said {messages[-1]['content'][-3:]}"
        asked = sum(m["role"] == "assistant" and m["content"] in replies + CHILD for m in messages)
        child = depth > 1 and not any(QUESTION in m["content"] for m in messages)
        return (CHILD if child else replies)[asked]

    return reply


def seen(server):
    return [
        [(m["role"], m["content"]) for m in entry["request"]["messages"]] for entry in server.log
    ]


@pytest.mark.parametrize("context", [CONTEXT, DOCUMENTS], ids=["str", "list"])
@pytest.mark.parametrize("case", CASES)
async def test_messages_and_answer_equal_the_packages(case, context, tmp_path):
    version, protocol, depth, replies = CASES[case]
    python = ENVS / version / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no environment with rlms {version}: set RLM_EVAL_RLMS_ENVS (see the module)")
    turns = 4 if case.endswith("out") else 10
    async with FakeServer(reply=script(replies, depth)) as server:
        job = {"url": server.url, "context": context, "question": QUESTION,
               "depth": depth, "turns": turns}  # fmt: skip
        (theirs_answer,) = await _official(python, [job])
        theirs = seen(server)
    answer, ours = await _ours(protocol, context, script(replies, depth), tmp_path, turns, depth)
    assert ours == theirs
    assert answer.text == theirs_answer


@pytest.mark.parametrize("version", PROTOCOLS)
async def test_a_model_that_misbehaves_ends_as_with_the_package(version, tmp_path):
    python = ENVS / version / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no environment with rlms {version}: set RLM_EVAL_RLMS_ENVS (see the module)")
    names = [name for name, (releases, _) in TRANSCRIPTS.items() if version in releases]
    assert len(names) >= 40
    scripts = {name: (written(TRANSCRIPTS[name][1], version),) for name in names}
    parts = [{name: scripts[name] for name in names[n::PROCESSES]} for n in range(PROCESSES)]
    found = await asyncio.gather(*(_theirs(python, part) for part in parts))
    theirs = {name: result for part in found for name, result in part.items()}
    different = {}
    async with open_pool(ReplConfig(isolation="best")) as pool:
        for number, name in enumerate(names):
            folder = tmp_path / str(number)
            folder.mkdir()
            reply = by_turn(*scripts[name])
            answer, ours = await _ours(
                PROTOCOLS[version], CONTEXT, reply, folder, MISBEHAVING_TURNS, 1, pool
            )
            answer_theirs, requests = theirs[name]
            equal = answer.text == answer_theirs and len(ours) == len(requests)
            same_messages = name in OTHER_MESSAGES or _sorted(ours) == _sorted(requests)
            if not (equal and same_messages):
                different[name] = (answer.text, answer_theirs, len(ours), len(requests))
    assert different == {}


@pytest.mark.parametrize("version", ["0.1.1", "0.1.3"])
async def test_children_of_a_model_that_misbehaves_end_as_with_the_package(version, tmp_path):
    python = ENVS / version / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no environment with rlms {version}: set RLM_EVAL_RLMS_ENVS (see the module)")
    scripts = {
        name: tuple(written(replies, version) for replies in both)
        for name, both in CHILD_TRANSCRIPTS.items()
    }
    theirs = await _theirs(python, scripts, 2)
    different = {}
    async with open_pool(ReplConfig(isolation="best")) as pool:
        for name, both in scripts.items():
            (tmp_path / name).mkdir()
            answer, ours = await _ours(
                PROTOCOLS[version], CONTEXT, by_turn(*both), tmp_path / name, MISBEHAVING_TURNS,
                2, pool,
            )  # fmt: skip
            text, requests = theirs[name]
            if answer.text != text or sorted(map(str, ours)) != sorted(map(str, requests)):
                different[name] = (answer.text, text, len(ours), len(requests))
    assert different == {}


@pytest.mark.parametrize("name", ["answer_as_loop_variable", "thought_with_a_block", "sys_exit",
                                  "batch_is_a_text", "two_batches"])  # fmt: skip
async def test_the_engine_behind_our_endpoint_ends_as_ours_does(name, tmp_path):
    python = ENVS / "0.1.3" / "bin" / "python"
    if not python.exists():
        pytest.skip("no environment with rlms 0.1.3: set RLM_EVAL_RLMS_ENVS (see the module)")
    replies = written(TRANSCRIPTS[name][1], "0.1.3")
    engine = External(python=str(python), settings={"max_iterations": MISBEHAVING_TURNS})
    (tmp_path / "engine").mkdir()
    async with FakeServer(reply=by_turn(replies)) as server:
        model = OpenAIModel(name="root", model="root", base_url=server.url)
        sample = sample_of(CONTEXT, QUESTION)
        async with (
            model.open() as client,
            rlm_bench(tmp_path / "engine", client, client, sample=sample) as bench,
        ):
            try:
                text = (await engine.solve(sample, bench.session)).text
            except ReplCrash:
                text = None
        theirs = seen(server)
    answer, ours = await _ours(
        OfficialLatest(), CONTEXT, by_turn(replies), tmp_path, MISBEHAVING_TURNS, 1
    )
    assert (answer.text, _sorted(ours)) == (text, _sorted(theirs))


def by_turn(replies, child=()):
    """The n-th reply to the n-th request of the root, a child's likewise; sub-calls are echoed."""
    asked = 0

    def reply(request):
        nonlocal asked
        messages = request["messages"]
        if len(messages) == 1 or not any(QUESTION in str(m["content"]) for m in messages):
            if child and len(messages) > 1:
                said = sum(m["role"] == "assistant" and m["content"] in child for m in messages)
                return child[min(said, len(child) - 1)]
            return f"said {messages[-1]['content'][-8:]}"
        asked += 1
        return replies[min(asked, len(replies)) - 1]

    return reply


def _sorted(requests):
    """Those of the root in order; the sub-calls of a batch arrive in any."""
    roots = [r for r in requests if len(r) > 1]
    return roots, sorted(map(str, (r for r in requests if len(r) == 1)))


async def _theirs(python, scripts, depth=1):
    """Transcript -> (answer, requests) of the package."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(FakeServer(reply=by_turn(*replies)))
            for replies in scripts.values()
        ]
        jobs = [
            {"url": server.url, "context": CONTEXT, "question": QUESTION, "depth": depth,
             "turns": MISBEHAVING_TURNS}
            for server in servers
        ]  # fmt: skip
        answers = await _official(python, jobs)
        pairs = zip(answers, map(seen, servers), strict=True)
        return dict(zip(scripts, pairs, strict=True))


async def _ours(protocol, context, reply, folder, turns, depth, pool=None):
    """(Answer, requests) of our dialect."""
    async with FakeServer(reply=reply) as server:
        model = OpenAIModel(name="root", model="root", base_url=server.url)
        async with model.open() as client:
            method = RLM(protocol=protocol, depth=depth, max_turns=turns, failed_sub_calls="text",
                         child_models=["root"])  # fmt: skip
            sample = sample_of(context, QUESTION)
            async with rlm_bench(folder, client, client, sample=sample, pool=pool) as bench:
                answer = await method.solve(sample, bench.session)
        return answer, seen(server)


async def _official(python, jobs):
    process = await asyncio.create_subprocess_exec(
        str(python), "-c", DRIVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate(json.dumps(jobs).encode())
    assert process.returncode == 0, err.decode()[-2000:]
    return json.loads(out.decode().splitlines()[-1])
