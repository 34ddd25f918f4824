"""Files that a code host and tools read: they parse, and agree with the package."""

import re
import subprocess
from pathlib import Path

import yaml

import rlm_eval

ROOT = Path(__file__).parent.parent


def test_the_workflow_runs_the_fast_part_of_ci():
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert runs == ["PYTHON=python .ci/run fast"]
    script = (ROOT / ".ci/run").read_text()
    subprocess.run(["bash", "-n", str(ROOT / ".ci/run")], check=True)
    fast = script.partition('"${1:-}" = fast')[0]
    for part in ("ruff", "mypy", "mkdocs", "scripts/test.sh"):
        assert part in fast
    assert "-m slow" not in fast


def test_hooks_use_tools_of_the_development_environment():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert {hook["entry"].split()[0] for hook in hooks} == {".venv/bin/ruff", ".venv/bin/mypy"}
    assert {hook["language"] for hook in hooks} == {"system"}


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == rlm_eval.__version__
    assert {"cff-version", "title", "message", "authors", "license", "abstract"} <= cited.keys()
    assert cited["license"] == "Apache-2.0"


def test_no_yaml_names_a_key_twice():
    """A reader takes the last one; a strict one refuses the file."""
    names = subprocess.run(
        ["git", "ls-files", "*.yaml", "*.yml", "*.cff"], cwd=ROOT, capture_output=True, check=True
    )
    paths = [ROOT / name for name in names.stdout.decode().split()]
    assert ROOT / "CITATION.cff" in paths
    for path in paths:
        nodes = [yaml.compose(path.read_text(), Loader=yaml.SafeLoader)]
        while nodes:
            node = nodes.pop()
            if isinstance(node, yaml.MappingNode):
                keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
                assert len(keys) == len(set(keys)), (path, sorted(keys))
                nodes += [value for _, value in node.value]
            elif isinstance(node, yaml.SequenceNode):
                nodes += node.value


def test_issue_templates_have_a_name_and_a_purpose():
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.md"):
        _, head, body = path.read_text().split("---\n", 2)
        assert yaml.safe_load(head).keys() == {"name", "about"}
        assert body.count("**") >= 6


def test_what_the_image_copies_exists():
    text = (ROOT / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (.+)$", text, re.M) for word in line.split()[:-1]]
    assert {"rlm_eval", "configs", "benchmarks", "pyproject.toml", "constraints.txt"} <= set(copied)
    ignored = (ROOT / ".dockerignore").read_text().split()
    for name in copied:
        assert (ROOT / name).exists(), name
        assert name not in ignored
