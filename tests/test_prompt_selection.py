"""`benchmarks/recursion_prompt_selection`: the plan is held out, and the records decide."""

import importlib.util
import math
import re
import sys
from pathlib import Path

import pytest

from rlm_eval.records.record import to_frame
from rlm_eval.report import summary
from rlm_eval.suites.schema import load, names

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks" / "recursion_prompt_selection"
SPEC = importlib.util.spec_from_file_location("decide_prompt", FOLDER / "decide.py")
decide = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = decide  # its data classes look their module up
SPEC.loader.exec_module(decide)
SUITE = load(decide.NAME)
CELLS = {
    ("labels", "rlm_general"): frozenset({"sg", "fg"}),
    ("labels", "rlm_read"): frozenset({"sr", "fr"}),
    ("needles", "rlm_general"): frozenset({"ng"}),
    ("needles", "rlm_search"): frozenset({"ns"}),
}


def cell(name, recursed, right, n):
    """Records of one cell: `recursed` of n samples make a sub-call, `right` of n score 1."""
    per_window = 1 if name[0] == "n" else 2
    return [
        {
            "run": "made", "cell_id": name, "sample_id": f"{name[0]}{i}", "epoch": 0, "index": i,
            "item": f"{name[0]}{i}", "cluster": f"{name[0]}{i // per_window}", "outcome": "ok",
            "task": f"task_{name[0]}", "length": 1024, "method": "rlm", "prompt": name[1],
            "root": "m", "sub": "m", "scripted": False, "score": float(i < right),
            "used_recursion": i < recursed,
        }
        for i in range(n)
    ]  # fmt: skip


def records(labels=(20, 14), needles=(0, 18), read=14, search=18):
    """A run; labels and needles are (recursing, right) of `rlm_general` over 20 samples."""
    rows = []
    for family in "sf":
        recursed, right = (value // 2 + (family == "s") * (value % 2) for value in labels)
        own_read = read // 2 + (family == "s") * (read % 2)
        rows += cell(f"{family}g", recursed, right, 10) + cell(f"{family}r", 10, own_read, 10)
    return rows + cell("ng", *needles, 20) + cell("ns", 0, search, 20)


def found(rows):
    return decide.findings(summary.prepare(to_frame(rows)), SUITE, CELLS)


@pytest.mark.parametrize(
    ("given", "met"),
    [
        ({}, [True] * 4),
        ({"labels": (16, 14)}, [True] * 4),  # 80 % is enough
        ({"labels": (15, 14)}, [False, True, True, True]),
        ({"needles": (4, 18)}, [True] * 4),  # 20 % is permitted
        ({"needles": (5, 18)}, [True, False, True, True]),
        ({"read": 16}, [True] * 4),  # 10 points below is permitted
        ({"read": 17}, [True, True, False, True]),
        ({"search": 20}, [True] * 4),
        ({"needles": (0, 17), "search": 20}, [True, True, True, False]),
        ({"read": 2, "search": 2}, [True] * 4),  # above the specialised prompts
    ],
)
def test_each_criterion_counts_at_its_limit(given, met):
    findings = found(records(**given))
    assert [one.met for one in findings] == met
    assert [one.n for one in findings] == [20] * 4
    told, decided = decide.decision(findings, scripted=False)
    assert decided
    assert ("rlm/general becomes the default" in told) == all(met)
    assert ("rlm/search stays the default" in told) != all(met)


def test_the_measured_numbers_are_shares_and_differences_of_the_records():
    findings = found(records(labels=(17, 13), needles=(3, 16), read=15, search=19))
    assert [round(one.value, 6) for one in findings] == [0.85, 0.15, -0.1, -0.15]
    assert all(one.low <= one.value <= one.high for one in findings)
    lines = decide.table(findings).splitlines()[2:]
    shown = [[text.strip() for text in line.split("|")[2:6]] for line in lines]
    assert [row[0] for row in shown] == ["85.0", "15.0", "-10.0", "-15.0"]
    assert [row[2] for row in shown] == ["20 of 20"] * 4
    assert [line.split("|")[5].strip() for line in lines] == ["yes", "yes", "yes", "no"]


def test_missing_samples_and_scripted_replies_decide_nothing():
    rows = records()
    lost = [row | ({"score": None} if row["sample_id"] == "s3" else {}) for row in rows]
    findings = found(lost)
    # 19 of 20 recurse, whatever the missing one does; the difference may still change.
    assert [one.met for one in findings] == [True, True, None, True]
    assert decide.decision(findings, scripted=False) == (
        "no decision: samples of the plan are missing; run the suite again to resume",
        False,
    )
    other = [row | {"cell_id": "another"} if row["cell_id"] == "ns" else row for row in rows]
    assert [one.met for one in found(other)] == [True, True, True, None]
    assert math.isnan(found(other)[3].value)
    assert not decide.decision(found(rows), scripted=True)[1]


@pytest.mark.parametrize(("recursed", "met"), [(4, False), (5, None), (6, True)])
def test_a_share_that_the_missing_sample_cannot_change_is_known(recursed, met):
    rows = cell("sg", recursed, 5, 10)[:9] + cell("fg", 10, 5, 10)  # 16 of 20 are wanted
    labels = found(rows)[0]
    assert (labels.n, labels.met) == (19, met)


def test_one_missed_criterion_decides_whatever_is_missing():
    rows = [row for row in records(labels=(6, 5)) if row["cell_id"] == "sg"]
    findings = found(rows)  # 3 of 10 recurse: at most 13 of 20
    assert [one.met for one in findings] == [False, None, None, None]
    told, decided = decide.decision(findings, scripted=False)
    assert decided
    assert "rlm/search stays the default" in told


def test_samples_beyond_the_plan_do_not_count():
    rows = records()
    more = [
        row | {"index": 20, "sample_id": "n20", "used_recursion": True} for row in rows[-40:-39]
    ]
    assert [one.value for one in found(rows + more)] == [one.value for one in found(rows)]


@pytest.mark.parametrize(("changed", "code"), [({}, 0), ({"scripted": True}, 1)])
def test_the_command_prints_table_and_decision(changed, code, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(decide, "planned", lambda _: CELLS)
    to_frame([row | changed for row in records()]).to_parquet(tmp_path / "records.parquet")
    assert decide.main([str(tmp_path)]) == code
    told = capsys.readouterr().out
    assert told.startswith("| criterion | measured |")
    assert told.splitlines()[-1].startswith("no decision" if code else "decision: rlm/general")
    assert decide.main([str(tmp_path / "absent")]) == 2
    assert "absent" in capsys.readouterr().err


def test_the_plan_is_held_out_and_has_every_cell_of_the_criteria():
    cells = decide.planned(SUITE)
    assert {key: len(value) for key, value in cells.items()} == {
        key: len(value) for key, value in CELLS.items()
    }
    [seed] = {seed for part in SUITE.parts for seed in part.seeds}
    assert all(len(part.tasks) * part.n == 20 for part in SUITE.parts)
    others = [load(name) for name in names() if name != decide.NAME]
    assert seed not in {s for suite in others for part in suite.parts for s in part.seeds}
    page = (ROOT / "docs" / "rlm.md").read_text() + (
        ROOT / "benchmarks/recursion/README.md"
    ).read_text()
    assert str(seed) not in re.findall(r"\d+", page)
    own, study = (
        {entry.overrides["task"] for part in suite.parts for entry in part.tasks}
        for suite in (SUITE, load("recursion"))
    )
    assert not own & study


def test_the_page_states_the_criteria():
    page = (FOLDER / "README.md").read_text().replace("`", "")
    assert all(f"| {one.rule} |" in page for one in decide.CRITERIA)
