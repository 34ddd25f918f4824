"""The page of the Python interface and the notebooks run as they stand, in a running event loop."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))

RUNNER = '''
import ast, asyncio, inspect, json, sys

async def main(blocks):
    """As a notebook's kernel: one namespace, a loop that runs, `await` at the top level."""
    space = sys.modules["__main__"].__dict__
    for number, text in enumerate(blocks):
        code = compile(text, f"<block {number}>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        found = eval(code, space)
        if inspect.iscoroutine(found):
            await found

asyncio.run(main(json.load(open(sys.argv[1]))))
'''


def run_blocks(folder: Path, blocks: list[str]) -> str:
    """What the blocks print, one after the other, in a process whose event loop runs."""
    (folder / "run_blocks.py").write_text(RUNNER)
    (folder / "blocks.json").write_text(json.dumps(blocks))
    done = subprocess.run(
        [sys.executable, "run_blocks.py", "blocks.json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RLM_EVAL_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def code_of(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_notebooks_are_stored_without_outputs():
    assert [path.stem for path in NOTEBOOKS] == ["own_model", "own_plot"]
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text())["cells"]:
            assert not cell.get("outputs")
            if cell["cell_type"] == "code":
                text = "".join(cell["source"])
                compile(text, str(path), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.slow
def test_the_examples_of_the_page_run(tmp_path):
    page = (ROOT / "docs" / "python_api.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) == 6
    told = run_blocks(tmp_path, blocks)
    assert "123456 1 " in told
    assert (tmp_path / "runs/demo/report/tables/accuracy.csv").is_file()
    assert "long_context    1.0" in told


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    told = run_blocks(tmp_path, code_of(path))
    if path.stem == "own_model":
        assert "score: 1.0" in told
        assert "reader_2000" in told
        assert (tmp_path / "runs/reader_2000/report/report.html").is_file()
    else:
        assert (tmp_path / "tokens.png").stat().st_size > 5000
        assert "coverage" in told
