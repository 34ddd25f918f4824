"""Names of YAML files select what tables print under another name."""

from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from rlm_eval.config.builder import build
from rlm_eval.report.names import YAML_NAMES, printed
from rlm_eval.report.tables.comparison import select

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = {"program_map_small", "summary_agent_small"}
"""The same method with other settings: it prints the method's name."""


def prints(path):
    node = OmegaConf.load(path)
    if path.parent.name == "method":
        return build(node, "method").name
    return OmegaConf.to_container(node).get("name") or path.stem


def test_every_yaml_prints_its_own_name_or_the_one_in_the_table():
    paths = [*CONFIGS.glob("method/*.yaml"), *CONFIGS.glob("model/*.yaml")]
    names = {path.stem: prints(path) for path in paths if path.stem not in SMALL}
    other = {stem: name for stem, name in names.items() if name != stem and "${" not in name}
    other.pop("qwen3-coder-480b-vllm")  # the same model, on a server of ours
    assert other == YAML_NAMES


@pytest.mark.parametrize(
    ("name", "found"), [("rlm", 1), ("rlm_own", 1), ("rlm:claude-opus", 1), ("rag", 2)]
)
def test_select_takes_both_names(name, found):
    frame = pd.DataFrame({"method": ["rlm_own", "rag_bm25", "rag_bm25"]})
    frame["root"] = "claude-opus-5-5"
    for column in ("series", "variant", "sub", "prompt", "run"):
        frame[column] = "-"
    assert len(select(frame, name)) == found


def test_a_name_that_tables_print_stays():
    assert printed("long_context:gpt-5") == "long_context:gpt-5"
