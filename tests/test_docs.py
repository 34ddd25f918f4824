"""What the documentation shows works as it is shown."""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
from runs import server_process

from rlm_eval.budget.prices import price_of
from rlm_eval.cli import commands, main
from rlm_eval.config.grid import expand
from rlm_eval.records.build import rows
from rlm_eval.suites.plan import _parse
from rlm_eval.suites.schema import load

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*/README.md")),
]


def commands_of(page: Path) -> list[str]:
    """Every `rlm-eval ...` line of a page's shell blocks, comments removed."""
    found = []
    for block in re.findall(r"```(?:bash|sh|console)\n(.*?)```", page.read_text(), re.S):
        joined = block.replace("\\\n", " ")
        found += [
            line.split(" #")[0].strip()
            for line in joined.splitlines()
            if line.strip().startswith("rlm-eval ")
        ]
    return found


@pytest.mark.parametrize("line", [line for page in PAGES for line in commands_of(page)])
def test_a_shown_command_exists_and_its_overrides_compose(line):
    _, name, *arguments = shlex.split(line)
    assert name in commands()
    if name in ("run", "estimate", "submit"):
        assert expand([a for a in arguments if "=" in a and not a.startswith("--")])
    if name == "suite" and arguments:
        options = {"--estimate", "--yes", "--cells", "--publish", "--no-report"}
        given = [a for a in arguments[1:] if a not in options]
        # Parsed and not composed: a whole suite takes minutes, and test_suites runs every one.
        assert _parse(load(arguments[0]), given)


def test_options_may_stand_among_overrides_as_the_pages_show(capsys):
    assert main(["run", "debug=scripted", "--cfg", "n=3"]) == 0
    assert "'n': 3" in capsys.readouterr().out


def test_the_rehearsal_writes_its_files_and_names_ids_that_the_suites_have(tmp_path):
    page = (ROOT / "docs" / "reproducing.md").read_text()
    shown = re.search(r"^python (scripts/stand_in_data.py) \S+ (.+)$", page, re.M)
    assert shown is not None
    done = subprocess.run(
        [sys.executable, shown[1], str(tmp_path), *shown[2].split()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    first, *commands_ = done.stdout.splitlines()
    assert first == "export BROWSECOMP_PLUS_CANARY=stand-in"
    assert len(commands_) == len(shown[2].split())
    for line in commands_:
        _, _, name, *given = line.split()
        assert _parse(load(name), given)
    assert {path.name for path in tmp_path.iterdir()} == {
        "oolong.jsonl", "codeqa.json", "browsecomp_queries.jsonl", "browsecomp_corpus.jsonl",
    }  # fmt: skip


def test_the_shown_price_file_prices_a_model(tmp_path, monkeypatch):
    (shown,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs/models.md").read_text(), re.S)
    (tmp_path / "prices.json").write_text(shown)
    monkeypatch.setenv("RLM_EVAL_PRICES", str(tmp_path / "prices.json"))
    assert price_of("mine").base.output == 0.8


def test_what_is_to_be_installed_is_taken_from_the_clone():
    """The package is on no index: `pip install rlm-eval` would find nothing, or another's."""
    for path in [*PAGES, *(ROOT / "rlm_eval").rglob("*.py")]:
        assert not re.search(r"pip install ['\"]?rlm[-_]eval", path.read_text()), path


def shown_files(page: Path) -> dict[str, str]:
    """The fenced blocks of a page that begin with the comment `# path`, by that path."""
    blocks = re.findall(
        r"```(?:python|yaml)\n# (\S+\.(?:py|yaml))\n(.*?)```", page.read_text(), re.S
    )
    return {path: f"# {path}\n{text}" for path, text in blocks}


def clone_with(folder: Path, files: Mapping[str, str]) -> None:
    """Make `folder` a clone that holds these files, too."""
    shutil.copytree(ROOT / "configs", folder / "configs")
    (folder / "rlm_eval").symlink_to(ROOT / "rlm_eval")
    for name, text in files.items():
        (folder / name).write_text(text)


def python_in(folder: Path, *arguments: str) -> str:
    """What `python -m ARGUMENTS` prints in the clone `folder`; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "RLM_EVAL_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_the_shown_task_method_and_model_are_whole_files(tmp_path):
    """In a clone of its own: the files as shown, each with its shown test."""
    files = shown_files(ROOT / "docs" / "extending.md")
    assert {Path(name).suffix for name in files} == {".py", ".yaml"}
    assert len(files) == 9
    clone_with(tmp_path, files)
    told = python_in(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path))
    assert "4 passed" in told
    python_in(tmp_path, "rlm_eval", "validate", "odd_shelf", "tokenizer=approx4")


def test_the_task_the_method_and_the_model_of_the_page_run_together(tmp_path):
    page = ROOT / "docs/plugins.md"
    files = shown_files(page)
    assert [Path(name).name for name in files] == [
        "my_tasks.py", "parity.yaml", "my_methods.py", "first_page.yaml", "my_server.yaml",
    ]  # fmt: skip
    clone_with(tmp_path, files)
    proofs = python_in(tmp_path, "rlm_eval", "validate", "parity", "tokenizer=approx4")
    assert "gold scores 1: 20 samples" in proofs
    shown = re.search(r"`rlm-eval (run task=parity [^`]+)`", page.read_text())
    assert shown is not None
    small = ["n=3", "length=1k", "tokenizer=approx4", "root.model=fake", "--no-report"]
    with server_process(tmp_path) as server:
        given = [*shown[1].split(), f"root.base_url={server.url}", *small]
        python_in(tmp_path, "rlm_eval", *given)
    [cell] = tmp_path.glob("results/runs/*/cells/*")
    assert cell.name.startswith("parity-1024-first_page-my_server")
    told = rows(cell)
    assert [row["n_calls"] for row in told] == [1, 1, 1]
    assert {row["outcome"] for row in told} == {"ok"}


def test_every_row_of_the_page_of_servers_has_its_tests():
    """`scripts/test.sh -k servers` selects each of them, by its name or its file's."""
    selected = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.M)
        if "servers" in f"{path.stem}::{name}"
    }
    table = [
        line.split("|")
        for line in (ROOT / "docs" / "servers.md").read_text().splitlines()
        if line.startswith("|") and not line.startswith(("|---", "| when |"))
    ]
    assert len(table) > 35
    for _, when, _, tests, _ in table:
        named = re.findall(r"`(\w+)`", tests)
        assert named, f"no test: {when}"
        assert set(named) <= selected, set(named) - selected


def test_the_tokens_of_the_study_are_those_of_its_records():
    folder = ROOT / "results/published/length_sweep"
    frame = pd.read_parquet(folder / "records.parquet", columns=["input_tokens", "output_tokens"])
    used = f"{int(frame.fillna(0).to_numpy().sum()):,} tokens were used"
    for page in (folder / "README.md", ROOT / "benchmarks/length_sweep/README.md"):
        assert used in page.read_text()


def test_the_scores_of_the_wordings_are_those_published():
    page = (ROOT / "benchmarks/prompt_sensitivity/README.md").read_text()
    with (ROOT / "results/published/prompt_sensitivity/tables/accuracy.csv").open() as file:
        rows = list(csv.DictReader(file))
    shown = [
        " | ".join(row[k] for k in ("method", "n", "score %", "95 % interval")) for row in rows
    ]
    assert shown
    for row in shown:
        assert f"| {row} |" in page


def test_the_rows_of_the_engines_are_those_published():
    page = (ROOT / "benchmarks/engines/README.md").read_text()
    columns = (
        "method", "attempted", "score %", "95 % interval", "tokens", "calls", "failures",
    )  # fmt: skip
    with (ROOT / "results/published/engines/tables/leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        assert f"| {' | '.join(row[k] for k in columns)} |" in page


def test_the_scores_of_the_study_are_those_published():
    """The page's table is a copy in an order of its own: the same cells, the same figures."""
    with (ROOT / "results/published/length_sweep/tables/accuracy.csv").open() as file:
        published = {
            (row["task"], row["length"], row["method"]): f"{row['score %']} {row['95 % interval']}"
            for row in csv.DictReader(file)
        }
    page = (ROOT / "benchmarks/length_sweep/README.md").read_text()
    table = page[page.index("| task | length | long_context") :].split("\n\n")[0]
    head, _, *lines = ([cell.strip() for cell in line.split("|")] for line in table.splitlines())
    shown = {
        (line[1].split(",")[0], line[2], method): score
        for line in lines
        for method, score in zip(head[3:8], line[3:8], strict=True)
    }
    assert shown == published
