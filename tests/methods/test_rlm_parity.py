"""Request by request, our official dialects send what the installed official package sends.

Each release runs in an environment of its own (its dependencies are not ours):
`python -m venv DIR/0.1.3 && DIR/0.1.3/bin/pip install rlms==0.1.3`, the same for 0.1.1 and 0.1.0,
then `RLM_EVAL_RLMS_ENVS=DIR pytest -m slow tests/methods/test_rlm_parity.py`. The wheels must be in
the cache or fetchable. Both sides talk to the fake server, which answers from one script.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from fake_server import FakeServer
from rlm_bench import block, rlm_bench, sample_of

from rlm_eval.methods.rlm import RLM
from rlm_eval.methods.rlm.official import Official011, OfficialLatest, PaperV1
from rlm_eval.models.http import OpenAIModel

pytestmark = pytest.mark.slow

ENVS = Path(os.environ.get("RLM_EVAL_RLMS_ENVS", "/nonexistent"))
CONTEXT = "Entry 7: took 77 (of 80) passengers.\n" * 700
DOCUMENTS = tuple(f"Document {n}: " + "x" * n for n in range(120))
QUESTION = 'How many on "entry 7"?'
DRIVER = """
import json, sys
from rlm import RLM
job = json.load(sys.stdin)
rlm = RLM(backend="openai", backend_kwargs={"model_name": "root", "base_url": job["url"],
          "api_key": "x"}, max_depth=job["depth"], max_iterations=job["turns"])
done = rlm.completion(job["context"], root_prompt=job["question"])
print(json.dumps(done.response))
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
        theirs_answer = json.loads(await _official(python, job))
        theirs = seen(server)
    async with FakeServer(reply=script(replies, depth)) as server:
        model = OpenAIModel(name="root", model="root", base_url=server.url)
        async with model.open() as client:
            method = RLM(protocol=protocol, depth=depth, max_turns=turns, failed_sub_calls="text",
                         child_models=["root"])  # fmt: skip
            sample = sample_of(context, QUESTION)
            async with rlm_bench(tmp_path, client, client, sample=sample) as bench:
                answer = await method.solve(sample, bench.session)
        ours = seen(server)
    assert ours == theirs
    assert answer.text == theirs_answer


async def _official(python, job):
    import asyncio

    process = await asyncio.create_subprocess_exec(
        str(python), "-c", DRIVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate(json.dumps(job).encode())
    assert process.returncode == 0, err.decode()[-2000:]
    return out.decode().splitlines()[-1]
