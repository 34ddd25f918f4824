"""No score, gold or sample depends on the clock, the time zone, the locale or the hash seed.

Every golden row is scored, and every generated task's samples are made, in processes that differ in
all of them; the answers about dates are those that dateutil completes with today's date.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCORED = """
import json, locale, sys
from pathlib import Path
import time_machine
from rlm_eval.scoring import oolong
from rlm_eval.scoring.registry import SCORERS

locale.setlocale(locale.LC_ALL, "")
rows = {path.stem: json.loads(path.read_text()) for path in Path("tests/golden").glob("*.json")}
rows = {name: file["rows"] for name, file in rows.items() if "rows" in file}
DATES = ["June 2023", "29", "Monday", "June 29", "06/29/23", "06/29/71", "06/29/76", "2023",
         "now", "29 June 2023", "2023-06-29 EST", "2023-06-29 CET", "2023-06-29 UTC",
         "June 29, 2023", "Jun", "Thursday June 2023", "00:00"]
out = []
with time_machine.travel(sys.argv[1], tick=False):
    for name, scorer in SCORERS.items():
        for file, given in sorted(rows.items()):
            for row in given:
                try:
                    out.append([name, file, scorer(row)])
                except Exception as error:
                    out.append([name, file, type(error).__name__])
    for text in DATES:
        for kind in ("DATE", "MONTH_YEAR"):
            gold = "[datetime.date(2023, 6, 29)]" if kind == "DATE" else "['June 2023']"
            scores = oolong.oolong_scores(gold, f"ANSWER_TYPE.{kind}", f"Date: {text}")
            out.append([text, kind, [[s.scorer, s.value, s.parsed, s.flag] for s in scores]])
print(json.dumps(out))
"""

MADE = """
import hashlib, json, locale, sys
import time_machine
from rlm_eval.config.cell import build_cell
from rlm_eval.config.grid import expand

locale.setlocale(locale.LC_ALL, "")
TASKS = ["s_niah", "s_niah_multikey", "ruler_vt_gen", "ruler_fwe_gen", "oolong_gen", "ledger",
         "oolong_pairs_gen", "browsecomp_gen", "codeqa_gen", "mrcr_v2_gen"]
out = []
with time_machine.travel(sys.argv[1], tick=False):
    for task in TASKS:
        (config,) = expand([f"task={task}", "method=floor_oracle", "length=4k", "n=2",
                            "tokenizer=approx4", "name=x"])
        for sample in build_cell(config).task.samples():
            text = [sample.id, sample.question, sample.context.hash, repr(sample.target),
                    repr(sample.evidence), repr(dict(sample.meta))]
            out.append([task, hashlib.sha256("|".join(text).encode()).hexdigest()])
print(json.dumps(out))
"""


def german(folder):
    """A locale whose month names are not English, made here; C.UTF-8 where it cannot be made."""
    made = folder / "de_DE.UTF-8"
    if shutil.which("localedef"):
        subprocess.run(["localedef", "-f", "UTF-8", "-i", "de_DE", made], capture_output=True)
    return {"LOCPATH": str(folder), "LC_ALL": made.name} if made.exists() else {"LC_ALL": "C.UTF-8"}


def printed(script, now, environment):
    done = subprocess.run(
        [sys.executable, "-c", script, now],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(SCORED, id="scores"),
        pytest.param(MADE, id="samples", marks=pytest.mark.slow),
    ],
)
def test_equal_under_another_date_zone_locale_and_hash_seed(script, tmp_path):
    here = printed(script, "2026-11-29T12:00Z", {"LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "0"})
    there = {"TZ": "EST5EDT", "PYTHONHASHSEED": "7", **german(tmp_path)}
    there["RLM_EVAL_CACHE"] = str(tmp_path / "cache")  # samples are made anew
    assert printed(script, "2031-06-01T23:30Z", there) == here


def test_the_rows_would_show_a_clock():
    """The dates above are such that the reference's own reading differs between the two days."""
    from datetime import datetime

    from dateutil import parser

    readings = [
        {parser.parse(text, default=day) for day in (datetime(2026, 11, 29), datetime(2031, 6, 1))}
        for text in ("June 2023", "29", "Monday", "June 29", "00:00")
    ]
    assert all(len(reading) == 2 for reading in readings)
