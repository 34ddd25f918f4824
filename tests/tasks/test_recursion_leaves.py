"""The share of lines that the recursion study's sub-model labels rightly, from its journals."""

import sys
import tarfile
from pathlib import Path

import pytest

STUDY = Path(__file__).parents[2] / "benchmarks" / "recursion"
sys.path.insert(0, str(STUDY))

import leaves  # noqa: E402 - the folder is no package


@pytest.mark.parametrize(
    ("log", "method"),
    [
        ("oolong_gen_claims-1024-rlm-coder-1.5b-dc65744e82dd", "rlm, prompt `rlm/read`"),
        ("oolong_gen_claims-1024-program_label_each-coder-1.5b-7582515931eb", "program_label_each"),
    ],
)
def test_the_page_states_what_the_journals_hold(log, method, tmp_path, capsys):
    with tarfile.open(STUDY / "logs" / f"{log}.tar.gz") as archive:
        archive.extractall(tmp_path / "cells", filter="data")
    leaves.main(tmp_path)
    row = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert row[0] == "| oolong_gen_claims"
    page = (STUDY / "README.md").read_text().splitlines()
    told = [line for line in page if line.endswith(f"| {row[4]} % of {row[3]} |")]
    assert [line.partition(" | ")[0] for line in told] == [f"| {method}"]
