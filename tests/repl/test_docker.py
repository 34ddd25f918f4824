"""The Docker adapter's own half, over a stand-in for the engine: no engine was at hand.

The stand-in starts the adapter's command as a plain process behind two pipes, as `docker run -i`
does. It shows that the worker comes up, talks, is interrupted and replaced; it says nothing of what
a container holds.
"""

import sys

import pytest

from rlm_eval.repl import ReplConfig, SandboxError, open_pool, sandbox

BACKEND = "rlm_eval.repl.docker.DockerPool"
ENGINE = f"""#!{sys.executable}
import os, pathlib, subprocess, sys
names = pathlib.Path(__file__).parent
if sys.argv[1] == "kill":
    signal, name = sys.argv[2].removeprefix("--signal="), sys.argv[3]
    os.kill(int((names / name).read_text()), int(signal))
    sys.exit()
name = next(a for a in sys.argv if a.startswith("--name=")).removeprefix("--name=")
place = {str(sandbox.HERE.parent)!r}
command = [a.replace("/harness", place) for a in sys.argv[sys.argv.index("python"):]]
command[0] = sys.executable
# `cat` in front and behind: the worker's standard input and output are pipes.
front = subprocess.Popen(["cat"], stdout=subprocess.PIPE)
worker = subprocess.Popen(command, stdin=front.stdout, stdout=subprocess.PIPE)
front.stdout.close()
behind = subprocess.Popen(["cat"], stdin=worker.stdout)
worker.stdout.close()
(names / "new").write_text(str(worker.pid))
(names / "new").rename(names / name)
code = worker.wait()
front.kill()
behind.wait()
sys.exit(abs(code))
"""


@pytest.fixture
def engine(tmp_path, monkeypatch):
    program = tmp_path / "docker"
    program.write_text(ENGINE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


async def test_the_adapter_talks_interrupts_and_replaces(engine):
    async def ask(prompts):
        return [prompt.upper() for prompt in prompts]

    config = ReplConfig(backend=BACKEND, block_seconds=1, interrupt_grace_seconds=2)
    async with open_pool(config) as pool, pool.open("ü" * 3_000_000, {"ask": ask}) as repl:
        assert "not been run" in pool.report.notes[0]
        done = await repl.run("x = ask(['a' * 100_000] * 20)\nprint(len(context), len(x))")
        assert (done.stdout, done.stderr) == ("3000000 20\n", "")
        assert (await repl.run("while True: pass")).error == "limit:time"
        lost = await repl.run("import os\nos._exit(1)")
        assert (lost.error, lost.restored) == ("worker_lost", True)
        assert (await repl.run("print(x[0][:3])")).stdout == "AAA\n"


async def test_without_an_engine_it_says_what_to_do(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SandboxError, match="install Docker"):
        async with open_pool(ReplConfig(backend=BACKEND)):
            pass
