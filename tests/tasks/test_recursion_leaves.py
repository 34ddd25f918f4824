"""The share of lines that the recursion study's sub-model labels rightly, from its journals."""

import sys
import tarfile
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS / "recursion"))

import leaves  # noqa: E402 - the folder is no package


@pytest.mark.parametrize(
    ("study", "log", "method"),
    [
        ("recursion", "rlm-coder-1.5b-dc65744e82dd", "rlm, prompt `rlm/read`"),
        ("recursion", "program_label_each-coder-1.5b-7582515931eb", "program_label_each"),
        ("recursion_claims", "rlm-coder-1.5b-6521d1da4d0c", "rlm, prompt `rlm/read_2`"),
        ("recursion_claims", "program_label_each-coder-1.5b-f4f781e4b34f", "program_label_each"),
    ],
)
def test_the_page_states_what_the_journals_hold(study, log, method, tmp_path, capsys):
    log = f"oolong_gen_claims-1024-{log}"
    with tarfile.open(BENCHMARKS / study / "logs" / f"{log}.tar.gz") as archive:
        archive.extractall(tmp_path / "cells", filter="data")
    leaves.main(tmp_path)
    row = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert row[0] == "| oolong_gen_claims"
    page = (BENCHMARKS / study / "README.md").read_text().splitlines()
    told = [line for line in page if line.endswith(f"| {row[4]} % of {row[3]} |")]
    assert [line.partition(" | ")[0] for line in told] == [f"| {method}"]
