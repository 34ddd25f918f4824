"""The page's coverage table is that of the stored simulation, which meets the aim."""

import math
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
STORED = (ROOT / "benchmarks/interval_coverage/results.txt").read_text()
PAGE = (ROOT / "docs/statistics.md").read_text()
ROW = re.compile(
    r"^(\d+) +(\d+) +(right/wrong|graded) +0\.\d +(0\.\d\d) +(\d\.\d{3}) +\d\.\d{3} +(\d\.\d{3})$",
    re.M,
)
SETS = 2000


def test_the_table_is_that_of_the_stored_situations():
    held, false = defaultdict(list), defaultdict(list)
    for n, groups, kind, difference, covered, rejected in ROW.findall(STORED):
        name = ("every sample its own" if n == groups else groups, kind)
        held[name].append(float(covered))
        if float(difference) == 0:
            false[name].append(float(rejected))
    assert sum(map(len, held.values())) == 220
    assert f"{SETS} sets each" in STORED
    error = {aim: 2 * math.sqrt(aim * (1 - aim) / SETS) for aim in (0.93, 0.055)}
    for (groups, kind), covered in held.items():
        assert min(covered) >= 0.93 - error[0.93]
        assert max(false[groups, kind]) <= 0.055 + error[0.055]
        row = re.search(
            rf"^ *\| {groups} \| {kind} \| (.*), (.*) \| (.*), (.*) \|$", PAGE, re.MULTILINE
        )
        assert row is not None, (groups, kind)
        found = [float(percent) for percent in row.groups()]
        rejected = false[groups, kind]
        expected = [min(covered), _mean(covered), max(rejected), _mean(rejected)]
        assert all(abs(a - 100 * b) <= 0.1 for a, b in zip(found, expected, strict=True)), row[0]


def _mean(values):
    return sum(values) / len(values)
