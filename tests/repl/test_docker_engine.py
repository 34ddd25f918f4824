"""The Docker backend on a real engine: every attempt to get out, its limits, an RLM run.

The test starts a daemon of its own and makes the image as docs/isolation.md says.
"""

import asyncio
import os
import re
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from attempts import BREAKAGE, CONFIG, ESCAPES, LIMITS, Host, attempts, offer_another
from docker_engine import ROOT, NoEngine, engine
from runs import overrides, records, run_here, server_process

from rlm_eval.core.errors import ReplUnavailable
from rlm_eval.repl import ReplConfig, SandboxError, open_pool

pytestmark = pytest.mark.slow
BACKEND = "rlm_eval.repl.docker.DockerPool"
IMAGE = "rlm-eval-python"
HERE = ReplConfig(backend=BACKEND, image=IMAGE, interrupt_grace_seconds=2)


@pytest.fixture(scope="module")
def docker():
    """The engine, named by the environment, with the image in it."""
    try:
        with engine() as running, pytest.MonkeyPatch.context() as patch:
            running.image(IMAGE)
            patch.setenv("DOCKER_HOST", running.host)
            yield running
    except NoEngine as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def _nothing_is_left(docker):
    yield
    if docker.process.poll() is None:
        end = time.monotonic() + 10
        while docker.containers() and time.monotonic() < end:
            time.sleep(0.1)
        assert docker.containers() == []


async def test_no_attempt_gets_out_and_none_stops_the_repl(docker):
    """The whole escape suite, with what tier A must hold."""
    config = replace(CONFIG, backend=BACKEND, image=IMAGE, interrupt_grace_seconds=2)
    async with AsyncExitStack() as stack:
        host = Host(stack)
        pool = await stack.enter_async_context(open_pool(config))
        await offer_another(host, pool, stack)
        found = await attempts(pool, host, "A")
        report = pool.report
    assert len(found) == sum(one.means_something("A") for one in ESCAPES + LIMITS + BREAKAGE)
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    assert report.tier == "docker"
    assert report.canaries
    assert all(report.canaries.values())
    assert report.python.startswith("3.")


async def test_what_the_engine_was_asked_for(docker, monkeypatch):
    """No mount, no network, no capability, no variable of ours: as the engine itself has it."""
    monkeypatch.setenv("OPENAI_API_KEY", "planted-key")
    async with open_pool(HERE) as pool, pool.open("the context", {}) as repl:
        (name,) = docker.containers()
        shown = docker.docker("inspect", name).stdout
        assert "planted-key" not in shown
        wanted = "{{.HostConfig.Binds}} {{.Mounts}} {{.HostConfig.NetworkMode}} {{.Config.User}}"
        wanted += " {{.HostConfig.CapDrop}} {{.HostConfig.ReadonlyRootfs}}"
        about = docker.docker("inspect", f"--format={wanted}", name).stdout.strip()
        assert about == "[] [] none 65534:65534 [ALL] true"
        done = await repl.run("import os\nprint(sorted(os.environ))")
        assert "OPENAI_API_KEY" not in done.stdout


async def test_memory_files_and_threads_are_bounded(docker):
    async with open_pool(replace(HERE, memory_mb=64, file_mb=4, threads=8)) as pool:
        async with pool.open("x" * 30_000_000, {}) as repl:  # the context comes on top
            assert (await repl.run("print(len(context))")).stdout == "30000000\n"
        async with pool.open("x", {}) as repl:
            assert (await repl.run("x = bytearray(200 << 20)")).error == "MemoryError"
            files = (
                "for i in range(100):\n    with open(f'f{i}', 'wb') as f: f.write(bytes(3 << 20))"
            )
            done = await repl.run(files)
            assert (done.error, done.restored) == ("OSError", False)
            assert "No space left" in done.stderr
            threads = "import threading, time\nmade = 0\nwhile True:\n"
            threads += "    threading.Thread(target=time.sleep, args=(2,)).start()\n    made += 1"
            done = await repl.run(threads)
            assert done.error == "RuntimeError"
            assert 4 <= int((await repl.run("print(made)")).stdout) <= 8


async def test_a_worker_that_is_lost_comes_back_with_its_state(docker):
    asked = []

    async def ask(prompt):
        asked.append(prompt)
        return prompt.upper()

    async with open_pool(HERE) as pool, pool.open("ü" * 3_000_000, {"ask": ask}) as repl:
        assert (
            await repl.run("x = [ask('a' * 100_000)]\nprint(len(context))")
        ).stdout == "3000000\n"
        for how in ("kill", "pause"):
            (name,) = docker.containers()
            docker.docker(how, name)
            if how == "pause":
                break  # and closed while it cannot answer
            await asyncio.sleep(1)
            done = await repl.run("print(len(context), x[0][:3])")
            assert done.stdout == "3000000 AAA\n"
        assert len(asked) == 1


async def test_threads_stop_between_blocks_and_go_on(docker):
    count = "import threading, time\nn = 0\ndef run():\n    global n\n    while True:\n"
    count += "        n += 1\n        time.sleep(0.01)\n"
    count += "threading.Thread(target=run, daemon=True).start()"
    async with open_pool(HERE) as pool, pool.open(None, {}) as repl:
        await repl.run(count)
        before = int((await repl.run("print(n)")).stdout)
        await asyncio.sleep(1)
        after = int((await repl.run("print(n)")).stdout)
        later = int((await repl.run("time.sleep(0.5)\nprint(n)")).stdout)
    assert after - before < 20
    assert later - after > 10


def test_a_killed_harness_leaves_no_container(docker):
    """Not even one whose code never returns."""
    code = (
        "import asyncio\nfrom rlm_eval.repl import ReplConfig, open_pool\n"
        "async def go(): print('go', flush=True)\n"
        "async def main():\n"
        f"    config = ReplConfig(backend={BACKEND!r}, image={IMAGE!r}, block_seconds=1000)\n"
        "    async with open_pool(config) as pool, pool.open(None, {'go': go}) as repl:\n"
        "        await repl.run('go()\\nwhile True: pass')\n"
        "asyncio.run(main())"
    )
    command, env = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "go\n"
        time.sleep(1)
        assert len(docker.containers()) == 1
        child.kill()


async def test_an_rlm_run_gives_the_records_of_the_built_in_sandbox(docker, tmp_path):
    found = {}
    for name, more in {
        "built-in": [],
        "docker": [f"repl.backend={BACKEND}", f"repl.image={IMAGE}"],
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        with server_process(folder) as server:
            await run_here(overrides(folder, server.url, *more))
        found[name] = sorted(records(folder), key=lambda row: row["sample_id"])
    theirs, ours = found["docker"], found["built-in"]
    assert {row["isolation"] for row in theirs} == {"tier docker"}
    assert [row["outcome"] for row in theirs] == ["ok"] * 4
    same = [name for name in ours[0] if not name.endswith("_seconds")]
    same = [name for name in same if name not in ("cell_id", "isolation")]
    assert {"outcome", "score", "n_sub_calls", "input_tokens", "coverage"} <= set(same)
    assert [[row[n] for n in same] for row in theirs] == [[row[n] for n in same] for row in ours]


async def test_packages_are_those_of_the_image_of_the_documents_dockerfile(docker, tmp_path):
    text = (ROOT / "docs" / "isolation.md").read_text()
    (dockerfile,) = re.findall(r"```dockerfile\n(.*?)```", text, re.DOTALL)
    dockerfile += "RUN mkdir -p /usr/lib/python3/dist-packages\n"
    dockerfile += 'RUN echo "x = 7" > /usr/lib/python3/dist-packages/toy.py\n'
    (tmp_path / "Dockerfile").write_text(dockerfile)
    build = [
        "build",
        "--network=none",
        f"--build-arg=BASE={IMAGE}",
        "--tag=with-toy",
        str(tmp_path),
    ]
    docker.docker(*build)
    with pytest.raises(SandboxError, match=r"repl\.packages: toy cannot be imported"):
        async with open_pool(replace(HERE, packages=["toy"])):
            pass
    config = replace(HERE, image="with-toy", packages=["toy"])
    async with open_pool(config) as pool, pool.open(None, {}) as repl:
        assert (await repl.run("import toy\nprint(toy.x)")).stdout == "7\n"


async def test_an_image_that_is_not_there_names_the_way_to_one(docker):
    with pytest.raises(SandboxError, match=r"repl\.image=nothing:here.*docs/isolation\.md"):
        async with open_pool(replace(HERE, image="nothing:here")):
            pass


async def test_an_engine_that_ends_is_no_crash_of_the_models_code(docker):
    """Last: it ends the daemon. The error ends the cell, which the same command goes on with."""
    async with open_pool(HERE) as pool, pool.open(None, {}) as repl:
        await repl.run("x = 1")
        docker.stop()
        with pytest.raises(ReplUnavailable, match="docker run: .*Cannot connect"):
            await repl.run("print(x)")
    with pytest.raises(SandboxError, match="docker info: .*Cannot connect"):
        async with open_pool(HERE):
            pass
