"""The Docker backend's own half, over a stand-in for the engine.

`test_docker_engine.py` has a real one. The stand-in starts what would run in the container as a
plain process behind two pipes, as `docker run -i` does. It shows that the worker comes up confined,
talks, is interrupted and replaced, and what each failure of an engine is called; not what a
container holds.
"""

import sys

import pytest

from rlm_eval.core.errors import ReplUnavailable
from rlm_eval.repl import ReplConfig, SandboxError, open_pool
from rlm_eval.repl.confine import landlock_abi

BACKEND = "rlm_eval.repl.docker.DockerPool"
CONFIG = ReplConfig(backend=BACKEND, block_seconds=1, interrupt_grace_seconds=2)
ENGINE = f"""#!{sys.executable}
import os, pathlib, subprocess, sys
place = pathlib.Path(__file__).parent
if sys.argv[1] in ("info", "image"):
    print("24.0 4 6.1" if sys.argv[1] == "info" else "sha256:abc")
    sys.exit()
if (place / "broken").exists():
    print("docker: Error: no space left.\\nSee 'docker run --help'.", file=sys.stderr)
    sys.exit(125)
command = [sys.executable, *sys.argv[sys.argv.index("python3") + 1 :]]
command[-1] = command[-1].replace('"/scratch"', '"' + str(place) + '"')
# `cat` in front and behind: the container's standard input and output are pipes.
front = subprocess.Popen(["cat"], stdout=subprocess.PIPE)
worker = subprocess.Popen(command, stdin=front.stdout, stdout=subprocess.PIPE)
front.stdout.close()
behind = subprocess.Popen(["cat"], stdin=worker.stdout)
worker.stdout.close()
code = worker.wait()
front.kill()
behind.wait()
sys.exit(code)
"""


@pytest.fixture
def engine(tmp_path, monkeypatch):
    if not landlock_abi():
        pytest.skip("no Landlock: without a container nothing would hold the worker")
    program = tmp_path / "docker"
    program.write_text(ENGINE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


async def test_the_adapter_talks_interrupts_and_replaces(engine):
    async def ask(prompts):
        return [prompt.upper() for prompt in prompts]

    async with open_pool(CONFIG) as pool, pool.open("ü" * 3_000_000, {"ask": ask}) as repl:
        assert pool.report.tier == "docker"
        assert all(pool.report.canaries.values())
        done = await repl.run("x = ask(['a' * 100_000] * 20)\nprint(len(context), len(x))")
        assert (done.stdout, done.stderr) == ("3000000 20\n", "")
        assert (await repl.run("while True: pass")).error == "limit:time"
        lost = await repl.run("import os\nos._exit(1)")
        assert (lost.error, lost.restored) == ("worker_lost", True)
        assert (await repl.run("print(x[0][:3])")).stdout == "AAA\n"


async def test_an_interrupt_never_meets_the_next_block(engine):
    """It travels with the orders, in their order."""
    config = ReplConfig(backend=BACKEND, block_seconds=0.2, interrupt_grace_seconds=2)
    async with open_pool(config) as pool, pool.open(None, {}) as repl:
        for _ in range(10):
            assert (await repl.run("while True: pass")).error == "limit:time"
            assert (await repl.run("for i in range(10**5): pass\nprint(i)")).error is None


async def test_an_engine_that_fails_is_no_crash_of_the_models_code(engine):
    async with open_pool(CONFIG) as pool, pool.open(None, {}) as repl:
        (engine / "broken").touch()
        with pytest.raises(ReplUnavailable, match="docker run: .*no space left"):
            await repl.run("import os\nos._exit(1)")
        with pytest.raises(ReplUnavailable, match="docker run: .*no space left"):
            async with pool.open(None, {}):
                pass


async def test_a_package_that_the_image_lacks_is_named(engine):
    config = ReplConfig(backend=BACKEND, packages=["no_such_package"])
    with pytest.raises(SandboxError, match="no_such_package cannot be imported.*isolation.md"):
        async with open_pool(config):
            pass


async def test_without_an_engine_it_says_what_to_do(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SandboxError, match="install Docker"):
        async with open_pool(ReplConfig(backend=BACKEND)):
            pass
