"""What a block may rely on: the namespace, its output, its calls, its limits, its return."""

import asyncio

import pytest
import pytest_asyncio
from attempts import FORGE

from rlm_eval.core.errors import LimitReached, ReplCrash
from rlm_eval.core.types import Outcome
from rlm_eval.repl import ReplCallError, ReplConfig, ReplValueError, Value, clip, open_pool

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = ReplConfig(block_seconds=1.0, interrupt_grace_seconds=0.2, block_cpu_seconds=3)


class Host:
    """Host functions that count."""

    def __init__(self):
        self.calls = []
        self.gate = asyncio.Event()
        self.asked = asyncio.Event()

    async def llm_query(self, prompt: str, model: str | None = None) -> str:
        self.calls.append(prompt)
        self.asked.set()
        if prompt == "fail":
            raise ReplCallError("the model failed", "ProviderError")
        if prompt == "wait":
            await self.gate.wait()
        if prompt == "slow":
            await asyncio.sleep(1.5)
        if prompt == "budget":
            raise LimitReached(Outcome.LIMIT_COST, "no money left")
        return f"{len(self.calls)}:{prompt}"

    async def llm_query_batched(self, prompts: list[str]) -> list[str]:
        self.calls.append(prompts)
        if "fail" in prompts:
            results = [None if p == "fail" else p for p in prompts]
            raise ReplCallError("1 of the batch failed", "ProviderError", results)
        return [p.upper() for p in prompts]

    def functions(self):
        return {"llm_query": self.llm_query, "llm_query_batched": self.llm_query_batched}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool():
    async with open_pool(CONFIG) as opened:
        yield opened


@pytest.fixture
def host():
    return Host()


@pytest_asyncio.fixture(loop_scope="module")
async def repl(pool, host):
    async with pool.open("the context", host.functions(), answer_dict=True, seed=7) as opened:
        yield opened


async def test_variables_live_on_up_to_the_statement_that_fails(repl):
    failed = await repl.run("a = 1\nb = a + 1\nc = 1 / 0\nd = 4")
    assert failed.error == "ZeroDivisionError"
    assert failed.variables == {"a": "int", "b": "int"}
    assert (await repl.run("print(a, b, 'd' in globals())")).stdout == "1 2 False\n"


async def test_ordinary_python_works(repl):
    done = await repl.run(
        "import json, re, math, statistics, collections, dataclasses, itertools, sqlite3, hashlib\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "import asyncio\n"
        "@dataclasses.dataclass\nclass Point:\n    x: int\n    def twice(self): return 2 * self.x\n"
        "def outer(n): return [inner(i) for i in range(n)]\n"
        "def inner(i): return {i: i ** 2}\n"
        "def numbers():\n    yield from range(3)\n"
        "async def later(x):\n    await asyncio.sleep(0)\n    return x\n"
        "with ThreadPoolExecutor(4) as pool: total = sum(pool.map(lambda x: x * 2, range(10)))\n"
        "open('note', 'w').write('kept')\n"
        "print(Point(2).twice(), outer(2), list(numbers()), asyncio.run(later(5)), total)"
    )
    assert done.stderr == ""
    assert done.stdout == "4 [{0: 0}, {1: 1}] [0, 1, 2] 5 90\n"
    done = await repl.run("print(await later(6), open('note').read(), __name__)")
    assert done.stdout == "6 kept __main__\n"
    again = await repl.run("import pickle\nprint(pickle.loads(pickle.dumps(Point(3))), total)")
    assert again.stdout == "Point(x=3) 90\n"


async def test_tracebacks_show_only_the_models_own_lines(repl):
    await repl.run("import json\ndef parse(text):\n    return json.loads(text)")
    failed = await repl.run(
        "try:\n    parse('{')\nexcept ValueError as e:\n    raise KeyError('k') from e"
    )
    assert failed.error == "KeyError"
    assert "parse('{')" in failed.stderr
    assert "return json.loads(text)" in failed.stderr
    assert "JSONDecodeError" in failed.stderr
    assert "direct cause" in failed.stderr
    for own in ("rlm_eval", "worker.py", "decoder.py", "exec("):
        assert own not in failed.stderr
    syntax = await repl.run("x = (")
    assert (syntax.error, "x = (" in syntax.stderr) == ("SyntaxError", True)


async def test_output_is_captured_and_counted(repl):
    done = await repl.run(
        "import sys, warnings\nprint('out')\nprint('err', file=sys.stderr)\n"
        "warnings.warn('careful')\nsys.stdout.buffer.write('ü'.encode())\n3 + 4"
    )
    assert done.stdout == "out\nü"
    assert done.stdout_chars == 5
    assert done.stderr.startswith("err\n")
    assert "careful" in done.stderr


async def test_long_output_keeps_both_ends_and_the_full_length():
    config = ReplConfig(output_keep_chars=1000)
    async with open_pool(config) as pool, pool.open(None, {}) as repl:
        done = await repl.run(
            "print('a' * 5000)\nfor i in range(10000): print('b', end='')\nprint('z')"
        )
        assert done.stdout_chars == 15003
        assert done.stdout.startswith("a" * 500 + "\n... [14,003 more")
        assert done.stdout.endswith("b" * 498 + "z\n")
        assert len(done.stdout) < 1100


async def test_clip_keeps_the_side_asked_for():
    text = "0123456789"
    assert clip(text, 10) == text
    assert clip(text, 4) == "0123\n... [6 more characters] ..."
    assert clip(text, 4, "tail") == "... [6 more characters] ...\n6789"
    assert clip(text, 4, "middle") == "01\n... [6 more characters] ...\n89"
    assert clip(text, 4, total=1000).endswith("[996 more characters] ...")
    with pytest.raises(ValueError, match="head, tail or middle"):
        clip(text, 4, "left")


@pytest.mark.parametrize(
    "context",
    [
        "",
        "plain",
        "ünï 😀 \ud800 \x00",
        ["one", "zwei 😀", "x" * 300],
        ("a", "b"),
        {"a": 1, 2: ["x" * 300, None, True, 1.5], "$": {"$": [1]}},
        [{"role": "user", "content": "x" * 1000}],
        ["document 😀 " * 1000] * 500,
        "x" * 5_000_000 + "😀",
    ],
    ids=lambda c: f"{type(c).__name__}-{len(c)}",
)
async def test_contexts_arrive_as_they_are(pool, context):
    arrived = []

    async def give(value):
        arrived.append(value)

    async with pool.open(context, {"give": give}) as repl:
        done = await repl.run("give(context)")
        assert done.error is None, done.stderr
    assert arrived == [list(context) if isinstance(context, tuple) else context]


async def test_large_contexts_are_shared_by_those_who_have_them_open(pool):
    text = "words and words " * 400_000
    async with pool.open(text, {}, key="k") as one, pool.open(text, {}, key="k") as two:
        assert len(pool._templates) == 1
        for repl in (one, two):
            await repl.run("context = context.upper()[:5]")
            assert (await repl.run("print(context)")).stdout == "WORDS\n"
        async with pool.open([text], {}, key="k") as other:
            assert (await other.run("print(type(context), len(context[0]))")).error is None
            assert len(pool._templates) == 2
    async with pool.open(text, {}), pool.open(text, {}), pool.open([text], {}):
        assert len(pool._templates) == 2
    assert not pool._templates


async def test_calls_pass_arguments_and_results(repl, host):
    done = await repl.run(
        "print(llm_query('a'), llm_query(prompt='b', model='m'))\n"
        "print(llm_query_batched(['x', 'ß' * 500]) == ['X', 'SS' * 500])"
    )
    assert done.stdout == "1:a 2:b\nTrue\n"
    assert host.calls == ["a", "b", ["x", "ß" * 500]]
    assert (done.n_calls, done.n_failed_calls) == (3, 0)


async def test_a_batch_is_one_call(repl, host):
    done = await repl.run("print(len(llm_query_batched([str(i) for i in range(1000)])))")
    assert (done.stdout, done.n_calls, len(host.calls)) == ("1000\n", 1, 1)


async def test_threads_may_call(repl, host):
    done = await repl.run(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(20) as pool:\n"
        "    answers = list(pool.map(llm_query, [str(i) for i in range(200)]))\n"
        "print(all(a.split(':')[1] == str(i) for i, a in enumerate(answers)))"
    )
    assert (done.stdout, done.n_calls) == ("True\n", 200)


async def test_a_failed_call_is_a_typed_exception_never_text(repl):
    done = await repl.run(
        "try:\n    llm_query('fail')\nexcept SubCallError as e:\n"
        "    print(type(e).__name__, e, e.kind, isinstance(e, RuntimeError))\n"
        "try:\n    llm_query_batched(['a', 'fail'])\nexcept SubCallError as e: print(e.results)\n"
        "llm_query('fail')"
    )
    assert done.stdout == "SubCallError the model failed ProviderError True\n['a', None]\n"
    assert done.error == "SubCallError"
    assert (done.n_calls, done.n_failed_calls) == (3, 3)


async def test_wrong_arguments_are_a_type_error(repl, host):
    assert (await repl.run("llm_query()")).error == "TypeError"
    assert (await repl.run("llm_query('a', wrong=1)")).error == "TypeError"
    assert (await repl.run("llm_query(open('x', 'w'))")).error == "WireError"
    assert (await repl.run("rlm_query('a')")).error == "NameError"
    assert host.calls == []


async def test_a_trajectory_limit_ends_the_block_and_is_raised(repl):
    with pytest.raises(LimitReached):
        await repl.run("partial = 5\nllm_query('budget')\npartial = 6")
    assert (await repl.get("partial")).value == 5


async def test_waiting_for_a_call_is_not_the_blocks_time(repl):
    done = await repl.run("print(llm_query('slow'))")
    assert (done.error, done.stdout) == (None, "1:slow\n")
    assert done.waited_seconds >= 1.4
    assert done.wall_seconds >= done.waited_seconds


async def test_processor_time_counts_while_a_call_waits():
    host = Host()
    config = ReplConfig(block_seconds=60, block_cpu_seconds=0.3, interrupt_grace_seconds=0.2)
    async with open_pool(config) as pool, pool.open(None, host.functions()) as repl:
        done = await repl.run(
            "import threading\nthreading.Thread(target=lambda: llm_query('wait'), daemon=True)"
            ".start()\nkept = 1\nwhile True: pass"
        )
        assert done.error == "limit:cpu"
        assert (await repl.run("print(kept)")).stdout == "1\n"


async def test_a_reply_that_comes_too_late_reaches_nobody(repl, host):
    done = await repl.run(
        "import threading, time\n"
        "t = threading.Thread(target=lambda: llm_query('wait'), daemon=True)\nt.start()\n"
        "time.sleep(0.1)"
    )
    assert done.error is None
    host.gate.set()
    assert (await repl.run("print(llm_query('next'))")).stdout == "2:next\n"


async def test_a_call_that_a_block_left_does_not_interrupt_the_next_one():
    host = Host()
    config = ReplConfig(block_seconds=2, interrupt_grace_seconds=0.2)
    async with open_pool(config) as pool, pool.open(None, host.functions()) as repl:
        left = await repl.run(
            "import threading, time\n"
            "threading.Thread(target=lambda: llm_query('wait'), daemon=True).start()\n"
            "time.sleep(0.1)"
        )
        assert (left.error, host.calls) == (None, ["wait"])
        await asyncio.sleep(1.4)
        # The time of the first block, had it gone on, is over while the second one runs.
        done = await repl.run("time.sleep(1)\nprint('slept')")
        assert (done.error, done.stdout) == (None, "slept\n")


ASKS_IN_A_THREAD = """
import sys, threading, time
found = []
def ask():
    try: llm_query('wait')
    except SubCallError as error: found.append((error.kind, str(error)))
def is_waiting(frame):
    return frame is not None and (frame.f_code.co_name == '_wait' or is_waiting(frame.f_back))
thread = threading.Thread(target=ask, daemon=True)
thread.start()
while not is_waiting(sys._current_frames().get(thread.ident)): time.sleep(0.01)
"""


async def test_a_thread_that_outlives_its_block_learns_that_its_call_was_ended(repl, host):
    left = await repl.run(ASKS_IN_A_THREAD)
    assert (left.error, left.n_failed_calls) == (None, 1)
    told = "[('Cancelled', 'the block ended before this call was answered')]\n"
    assert (await repl.run("thread.join()\nprint(found)")).stdout == told
    lost = await repl.run("import os\nos._exit(3)")  # the same when the state is made again
    assert (lost.restored, lost.diverged) == (True, False)
    assert (await repl.run("print(found)")).stdout == told
    assert host.calls == ["wait"]


async def test_calls_outside_a_block_are_refused(repl, host):
    await repl.run(
        "import threading, time\nout = []\ndef later():\n    time.sleep(0.2)\n"
        "    try: out.append(llm_query('a'))\n    except SubCallError as e: out.append(str(e))\n"
        "t = threading.Thread(target=later)\nt.start()"
    )
    for _ in range(400):
        if said := (await repl.get("out")).value:
            break
        await asyncio.sleep(0.05)
    assert len(said) == 1
    assert "block" in said[0]
    assert host.calls == []


async def test_the_soft_limit_keeps_the_state(repl):
    done = await repl.run("x = 1\nwhile True: x += 1")
    assert (done.error, done.restored) == ("limit:time", False)
    assert "variables assigned so far are kept" in done.stderr
    assert (await repl.get("x")).value > 1


async def test_a_lost_worker_comes_back_with_recorded_replies(repl, host):
    await repl.run("import random\na = [random.random() for _ in range(3)]\nb = llm_query('once')")
    await repl.run("def f(x): return x + b\nopen('file', 'w').write(b)")
    await repl.set("given", {"k": [1, 2]})
    before = (await repl.get("a")).value
    lost = await repl.run("a = None\nimport os\nos._exit(1)")
    assert (lost.error, lost.restored, lost.diverged) == ("worker_lost", True, False)
    assert "as before" in lost.stderr
    after = await repl.run("print(f('x'), open('file').read(), given)")
    assert after.stdout == "x1:once 1:once {'k': [1, 2]}\n"
    assert (await repl.get("a")).value == before
    assert host.calls == ["once"]


async def test_code_that_is_not_deterministic_is_said(repl):
    await repl.run("import time\nprint(time.time_ns())")
    assert (await repl.run("import os\nos._exit(1)")).diverged
    assert (await repl.run("print(1)")).stdout == "1\n"


async def test_state_that_cannot_be_made_again_is_a_crash(repl):
    await repl.run("import os\nanswer_text = llm_query(os.urandom(4).hex())")
    with pytest.raises(ReplCrash, match="something else than the first time"):
        await repl.run("os._exit(1)")


async def test_a_worker_killed_between_blocks_is_replaced(repl):
    await repl.run("x = 5")
    repl._link.signal(9)
    await asyncio.sleep(0.1)
    assert (await repl.run("print(x)")).stdout == "5\n"


async def test_variables_are_fetched_as_text_and_as_data(repl):
    await repl.run(
        "a = {'k': [1, (2.5, None)], 3: 'x' * 1000}\nb = {1, 2} - {2}\n"
        "class C:\n    def __str__(self): return 'shown'\nc = C()\n"
        "class Bad:\n    def __str__(self): return 1 / 0\nbad = Bad()\n"
        "class Slow:\n    def __str__(self):\n        while True: pass\nslow = Slow()\n"
        "big = 'ü' * 20_000_000"
    )
    a = await repl.get("a")
    assert a.value == {"k": [1, [2.5, None]], 3: "x" * 1000}
    assert a.text.startswith("{'k': [1, (2.5, None)], 3: 'xxx")
    assert await repl.get("b") == Value("{1}", "set")
    assert await repl.get("c") == Value("shown", "C")
    assert await repl.get("nothing") is None
    assert await repl.get("llm_query") is None
    assert len((await repl.get("big")).text) == 20_000_000
    with pytest.raises(ReplValueError, match="ZeroDivisionError"):
        await repl.get("bad")
    with pytest.raises(ReplValueError):
        await repl.get("slow")
    assert (await repl.get("c")).text == "shown"


async def test_the_answer_dict(repl):
    assert (await repl.run("answer['content'] = 'draft'")).answer is None
    done = await repl.run("answer['content'] = [('a', 1), ('b', 2)]\nanswer['ready'] = True")
    assert done.answer == Value("[('a', 1), ('b', 2)]", "list", [["a", 1], ["b", 2]], True)
    done = await repl.run("answer = {'content': 'rebound', 'ready': 1}")
    assert done.answer.text == "rebound"
    done = await repl.run("answer['content'] = '😀' * 5_000_000\nanswer['ready'] = True")
    assert len(done.answer.text) == 5_000_000
    done = await repl.run("answer['content'] = lambda: 1")
    assert done.answer.text.startswith("<function <lambda>")
    assert not done.answer.is_plain
    done = await repl.run(
        "class Bad:\n    def __str__(self): raise OSError('no')\nanswer['content'] = Bad()"
    )
    assert (done.error, done.answer) == ("OSError", None)
    done = await repl.run("x = []\nfor _ in range(100000): x = [x]\nanswer['content'] = x")
    assert (done.error, done.answer) == ("RecursionError", None)


async def test_show_vars_names_the_users_variables(repl):
    done = await repl.run("n = 3\n_hidden = 1\nimport os\ndef f(): pass\nprint(SHOW_VARS())")
    assert done.stdout == "Available variables: {'n': 'int'}\n"
    assert done.variables == {"n": "int"}


async def test_workers_are_alike(pool):
    seen = []
    for seed in (1, 1, 2):
        async with pool.open(None, {}, seed=seed) as repl:
            code = "import random\nprint(random.random(), hash('text'), list({'b', 'a', 'c'}))"
            seen.append((await repl.run(code)).stdout)
    assert seen[0] == seen[1]
    assert seen[0].split(" ", 1)[1] == seen[2].split(" ", 1)[1]
    assert seen[0] != seen[2]


async def test_a_cancelled_block_leaves_nothing(pool, host):
    async with pool.open(None, host.functions()) as repl:
        task = asyncio.create_task(repl.run("llm_query('wait')"))
        await asyncio.wait_for(host.asked.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await repl.run("print('again')")).stdout == "again\n"


async def test_thread_pools_larger_than_the_limit_work(repl, host):
    done = await repl.run(
        "import multiprocessing, time\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from multiprocessing.dummy import Pool\n"
        "from multiprocessing.pool import ThreadPool\n"
        "prompts = [str(i) for i in range(150)]\n"
        "with ThreadPoolExecutor(100) as pool:\n"
        "    list(pool.map(lambda _: time.sleep(0.05), range(150)))\n"
        "    answers = list(pool.map(llm_query, prompts))\n"
        "for kind in (ThreadPool, Pool):\n"
        "    with kind(100) as pool: answers += pool.map(llm_query, prompts)\n"
        "print([a.split(':')[1] for a in answers] == prompts * 3)\n"
        "lock, queue = multiprocessing.RLock(), multiprocessing.Queue()\n"
        "with lock, lock: queue.put(5)\n"
        "print(queue.get(timeout=5), multiprocessing.Value('i', 3).value)\n"
        "event, bounded = multiprocessing.Event(), multiprocessing.BoundedSemaphore(1)\n"
        "event.set()\n"
        "print(event.wait(1), bounded.acquire(), bounded.acquire(timeout=0.01))"
    )
    assert done.stderr == ""
    assert done.stdout == "True\n5 3\nTrue True False\n"
    assert len(host.calls) == 450


async def test_threads_of_its_own_are_still_limited(repl):
    done = await repl.run(
        "import threading\ngo = threading.Event()\n"
        "for _ in range(100): threading.Thread(target=go.wait).start()"
    )
    assert done.error == "RuntimeError"
    await repl.run("go.set()")


async def test_two_operations_at_once_are_a_clear_error(repl, host):
    first = asyncio.create_task(repl.run("llm_query('wait')\nx = 1"))
    await host.asked.wait()
    for operation in (repl.run("y = 2"), repl.get("x"), repl.set("z", 3)):
        with pytest.raises(RuntimeError, match=r"in the middle of run\(\)"):
            await operation
    host.gate.set()
    assert (await first).error is None
    assert (await repl.run("print(x)")).stdout == "1\n"


async def test_a_host_function_cannot_use_its_own_repl(pool):
    async def again():
        await opened.run("pass")

    async with pool.open(None, {"again": again}) as opened:
        with pytest.raises(RuntimeError, match="in the middle"):
            await opened.run("again()")


async def test_a_missing_package_names_the_setting(pool, repl):
    done = await repl.run("import numpy.linalg")
    assert (done.error, "repl.packages" in done.stderr) == ("ModuleNotFoundError", True)
    assert "'numpy' is not available here" in done.stderr
    for code in ("import os.nothing", "import tkinter.nothing"):  # no package would help
        assert "repl.packages" not in (await repl.run(code)).stderr
    async with pool.open(None, {}, hints=False) as plain:
        assert "repl.packages" not in (await plain.run("import numpy")).stderr


async def test_the_last_expression_is_echoed_where_asked(pool, repl):
    assert (await repl.run("3 + 4")).stdout == ""
    async with pool.open(None, {}, echo=True) as echoing:
        assert (await echoing.run("x = 3\n1\nx + 4")).stdout == "7\n"
        assert (await echoing.run("'text'")).stdout == "'text'\n"
        assert (await echoing.run("print('once')")).stdout == "once\n"
        assert (await echoing.run("x = 5")).stdout == ""
        done = await echoing.run("async def f(): return 6\nawait f()")
        assert (done.stdout, done.error) == ("6\n", None)
        failed = await echoing.run("x = 1\nx / 0")
        assert (failed.error, "x / 0" in failed.stderr) == ("ZeroDivisionError", True)
        assert (await echoing.run("x = (")).error == "SyntaxError"
        assert set((await echoing.run("x")).variables) == {"x"}
        await echoing.run("__echo__ = None")
        assert (await echoing.run("x")).stdout == "1\n"


@pytest.mark.parametrize(
    "left",
    [
        f"{FORGE}\ndone = {{'error': None, 'stdout': ['', 0], 'stderr': ['', 0]}}\n"
        "forge(17, 1, json.dumps(done).encode())\nwhile True: pass",
        "import _thread, threading\n_thread._count = lambda: 0\ndef burn():\n"
        "    while True: pass\nthreading.Thread(target=burn, daemon=True).start()",
    ],
    ids=["a forged report", "a hidden thread"],
)
async def test_nothing_runs_between_blocks(pool, left):
    async with pool.open(None, {}) as opened:
        assert (await opened.run(left)).error is None
        await asyncio.sleep(0.1)
        before = opened._link.cpu_seconds()
        await asyncio.sleep(0.4)
        assert opened._link.cpu_seconds() - before < 0.01
