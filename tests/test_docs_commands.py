"""Every `rlm-eval` command that the pages show is run, page by page, in the order shown.

As shown but for what costs money, a hub or hours: a script in place of the models, one sample,
the suites' rehearsal files, and of a suite that a line names whole a few cells (`CHOSEN`).
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from test_docs import PAGES, ROOT, commands_of, shown_files
from test_suites import CHOSEN, stand_in  # noqa: F401 - a fixture

from rlm_eval.cli import main
from rlm_eval.core.paths import cache_dir

PAID = (
    "model@", "n=", "length=", "tokenizer=", "limits.", "budget.", "root.engine.", "root.base_url=",
    "root.model=",
)  # fmt: skip
SCRIPTED = ["model@root=scripted", "model@sub=same"]
QUIET = {"--estimate", "--cells"}
"""A suite's options that ask no model."""
ELSEWHERE = {
    "prefetch": "test_prefetch.py",
    "import": "importers/test_importing.py",
    "submit": "cluster/test_cluster_page.py",
}
"""Commands that need the hub, a cluster or the reader's logs -> the tests that run them."""


def rehearsal(line: str, files) -> list[str]:
    """The words of a shown command, after `rlm-eval`."""
    name, *given = shlex.split(line)[1:]
    if name in ("run", "ask", "suite"):
        given = [w for w in given if not w.startswith("method.python=")]
    if name == "run" and "debug=scripted" not in given:
        given = [word for word in given if not word.startswith(PAID)]
        given += [*SCRIPTED, "n=1", "length=1k,2k", "tokenizer=approx4"]
        if "task=oolong_synth" in given:
            (path,) = (w for w in files("rlm_paper_table1") if w.startswith("oolong:task.path"))
            given += [path.removeprefix("oolong:")]
        return [name, *given]
    if name == "ask":
        return [name, *(word for word in given if not word.startswith(PAID)), *SCRIPTED]
    if name == "suite" and QUIET & set(given):
        return [name, *given, *files(given[0])]
    if name == "suite" and given:
        suite, *given = (word for word in given if not word.startswith(PAID))
        few = [] if any(w.startswith(("task=", "method=")) for w in given) else CHOSEN[suite]
        script = [] if "debug=scripted" in given else ["debug=scripted"]
        if "--publish" in given:
            return [name, suite, *given, *script]
        return [name, suite, *given, *few, *files(suite), *script, "n=1", "--no-report"]
    # A rehearsed suite lies in a folder of its own, its models have names of their own.
    given = [w + "-scripted" if Path(f"{w}-scripted").is_dir() else w for w in given]
    return [name, *(word.replace(":gpt-5", ":scripted-gpt-5") for word in given)]


def looked_at(words: list[str]) -> None:
    """`view` serves until Ctrl-C: its page answers, and the interrupt ends it well."""
    command = [sys.executable, "-m", "rlm_eval", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as served:
        address = re.search(r"http://\S+", served.stdout.readline())
        with urllib.request.urlopen(address[0], timeout=30) as page:
            assert page.status == 200
        served.send_signal(signal.SIGINT)
    assert served.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [p for p in PAGES if commands_of(p)], ids=lambda p: str(p.relative_to(ROOT))
)
def test_the_commands_of_a_page_run(page, stand_in, tmp_path, monkeypatch, capsys):  # noqa: F811
    files, folder, canary = stand_in
    engines = cache_dir() / "engines"
    for name in set(re.findall(r"method=external_(\w+)", " ".join(commands_of(page)))):
        if not list(engines.glob(f"{name}-*/READY")):
            pytest.skip(f"no environment with {name}: scripts/engine_env.sh {name}")
    if engines.is_dir():  # the page's commands look in the cache folder of this test
        monkeypatch.setattr(
            "rlm_eval.methods.external.environment.cache_dir", lambda: engines.parent
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLM_EVAL_CACHE", str(folder / "cache"))
    monkeypatch.setenv("BROWSECOMP_PLUS_CANARY", canary)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "hf")
    Path("report.txt").write_text("The minutes were signed by Ada Byron.\n" * 20)
    Path("questions.jsonl").write_text(
        '{"context": "The minutes were signed by Ada.", "question": "By whom?", "answer": "Ada"}\n'
        '{"context": "The minutes were signed by Ada.", "question": "What?", "answer": "minutes"}\n'
    )
    for name, text in shown_files(page).items():
        if name.startswith("make_"):  # what the page's commands read
            exec(compile(text, name, "exec"), {})
    shutil.copytree(ROOT / "results/published/smoke", "results/published/smoke")
    shutil.copytree(ROOT / "benchmarks/strategy_labels", "benchmarks/strategy_labels")
    absent = ["results/published/NAME"]  # a placeholder
    for line in commands_of(page):
        command, *shown = shlex.split(line)[1:]
        if command in ELSEWHERE:
            absent += shown[-1:]  # the run that an import would write
            continue
        if set(absent) & set(shown):
            continue
        words = rehearsal(line, files)
        if words[0] == "view":
            looked_at(words)
        else:
            code = main(words)
            told = capsys.readouterr()
            if "--publish" in words:  # a rehearsal is not published
                assert code == 2
                assert "scripted replies are not results" in told.err
            else:
                assert code == 0, f"{line}\nas {shlex.join(words)}\n{told.err[-2000:]}"
