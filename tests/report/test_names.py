"""A YAML file is called what tables print; names of before select and compose the same."""

import functools
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from rlm_eval.config.builder import build
from rlm_eval.config.cell import build_cell
from rlm_eval.config.files import EARLIER_NAMES, names
from rlm_eval.config.grid import expand
from rlm_eval.report.names import EARLIER, printed
from rlm_eval.report.tables.comparison import select

CONFIGS = Path(__file__).parents[2] / "configs"
OTHER = {
    # The same method with other settings, which its tables tell: `program_map [chunk_chars=4000]`.
    # A label would be another cell.
    "program_map_small": "program_map",
    "summary_agent_small": "summary_agent",
    # The same model on a server of ours.
    "qwen3-coder-480b-vllm": "qwen3-coder-480b",
}
BEFORE = sorted(path.relative_to(EARLIER_NAMES) for path in EARLIER_NAMES.glob("*/*.yaml"))


def prints(path):
    node = OmegaConf.load(path)
    if path.parent.name == "method":
        if OmegaConf.missing_keys(node):  # a form for an engine of the user's
            return path.stem
        return build(node, "method").name
    return OmegaConf.to_container(node).get("name") or path.stem


def test_every_yaml_prints_its_own_name():
    for group in ("method", "model"):
        for path in (CONFIGS / group).glob("*.yaml"):
            if "${" not in (name := prints(path)):
                assert name == OTHER.get(path.stem, path.stem)


@functools.cache
def cell(*choice):
    given = ["n=1", "tokenizer=approx4", "method=long_context", "model@root=scripted", *choice]
    (config,) = expand([*given, "root.price=gpt-5"])
    return build_cell(config)


@pytest.mark.parametrize("path", [*CONFIGS.glob("task/ruler*.yaml")], ids=lambda path: path.stem)
def test_a_task_prints_the_name_of_its_yaml(path):
    assert cell(f"task={path.stem}").task.name == path.stem


@pytest.mark.parametrize("path", BEFORE, ids=str)
def test_a_name_of_before_is_the_same_configuration(path):
    group, before = path.parent.name, path.stem
    now = printed(before)
    assert now in names(group), "a list of names has today's"
    assert before not in names(group), "a list of names has today's only"
    key = "model@root" if group == "model" else group
    others = [] if group == "task" else ["task=s_niah"]
    assert cell(*others, f"{key}={before}").id == cell(*others, f"{key}={now}").id


def test_every_name_of_before_composes():
    assert EARLIER.keys() | {"rag_bm25", "rlm_own"} == {path.stem for path in BEFORE}


@pytest.mark.parametrize(
    ("name", "found"),
    [("rlm", 1), ("rlm_own", 1), ("rlm:claude-opus", 1), ("rag", 2), ("rag_bm25", 2)],
)
def test_select_takes_both_names(name, found):
    frame = pd.DataFrame({"method": ["rlm", "rag", "rag"]})
    frame["root"] = "claude-opus-5-5"
    for column in ("series", "variant", "sub", "prompt", "run"):
        frame[column] = "-"
    assert len(select(frame, name)) == found


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("rlm_own_d2", "rlm_d2"),
        ("rlm_own_final_tags_d0", "rlm_final_tags_d0"),
        ("rlm_own_d3_root_then_sub", "rlm_d3_root_then_sub"),
        ("long_context:gpt-5", "long_context:gpt-5"),
        ("rlm_own_of_mine", "rlm_own_of_mine"),  # a user's label
        ("rag_dense", "rag_dense"),
    ],
)
def test_derived_names_are_renamed_and_labels_are_not(before, now):
    assert printed(before) == now
