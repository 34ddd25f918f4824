"""The 20 pair queries: golds from labels, over our windows and over a copy of the hub's shape."""

import itertools
import json
from datetime import datetime
from pathlib import Path

import pytest

from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.core.types import Answer, Density
from rlm_eval.scoring.pairs import PairSet
from rlm_eval.tasks.oolong.pairs import OolongPairs, OolongPairsGen
from rlm_eval.tasks.oolong.queries import BOTH, ONE_EACH, pairs_of, query_text
from rlm_eval.tasks.oolong.window import Row, Window, parse, render

GOLDEN = json.loads((Path(__file__).parent.parent / "golden/oolong_pairs_gold.json").read_text())


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path))


def golden_rows():
    return [
        Row(datetime.strptime(r["date"], "%b %d, %Y").toordinal(), user["user"], "", r["label"])
        for user in GOLDEN["meta"]["users"]
        for r in user["rows"]
    ]


@pytest.mark.parametrize("row", GOLDEN["rows"], ids=lambda row: row["query"])
def test_golden(row):
    found = pairs_of(golden_rows())[row["query"]]
    assert list(map(list, found.pairs())) == row["expected_vacuous"]
    assert len(found) == row["n_vacuous"]


def brute_force(rows, query):
    """Every pair tried against the condition as one reads it."""
    names = {"D": "description and abstract concept", "E": "entity", "H": "human being"}
    names |= {"N": "numeric value", "L": "location", "A": "abbreviation"}

    def mine(user, letter):
        return [row for row in rows if row.user == user and row.label == names[letter]]

    def plays(user, role):
        sizes = [(len(mine(user, a[0])), int(a[1]), a.endswith("+")) for a in role.split()]
        return all(have >= want if more else have == want for have, want, more in sizes)

    def both(user):
        either, letter, side, day = BOTH[query]
        days = [row.day for row in mine(user, letter)] if letter else []
        limit = day.toordinal() if day else 0
        inside = all(d > limit if side == "after" else d < limit for d in days)
        return inside and any(mine(user, e) for e in either)

    users = sorted({row.user for row in rows})
    if query in BOTH:
        return list(itertools.combinations([u for u in users if both(u)], 2))
    one, other = ONE_EACH[query]
    return [
        (u, v)
        for u, v in itertools.combinations(users, 2)
        if (plays(u, one) and plays(v, other)) or (plays(v, one) and plays(u, other))
    ]


def test_golds_equal_brute_force():
    rows = Window("pairs", len).first(180)
    found = pairs_of(rows)
    assert set(found) == set(range(1, 21))
    for query, gold in found.items():
        assert list(gold.pairs()) == brute_force(rows, query)


def test_generated_task():
    made = OolongPairsGen(length=8192, tokenizer="approx4")
    samples = list(made.samples())
    assert [sample.meta["query"] for sample in samples] == list(range(1, 21))
    assert all(sample.meta["pairs"] > 0 for sample in samples)
    assert len({sample.cluster for sample in samples}) == 1
    assert made.density is Density.QUADRATIC
    for sample in samples:
        total = sample.context.tokens + made.counter.count(sample.question) + made.ANSWER_BUDGET
        assert 8192 * 0.995 <= total <= 8192
        gold = made.gold_answer(sample)
        assert [score.value for score in made.score(sample, gold)] == [1.0, 1.0]
        as_object = list(PairSet(*map(frozenset, sample.target.values())).pairs())
        assert made.score(sample, Answer("see value", value=as_object))[0].value == 1.0
        assert made.score(sample, Answer(None))[0].value == 0.0
        listed = made.score(sample, Answer(made.floors()["all_pairs"](sample)))[0].value
        assert listed == pytest.approx(sample.meta["floor_all_pairs"])


def test_from_4k_on_every_query_has_a_pair():
    for length in (4096, 6000, 16384):
        for sample in OolongPairsGen(length=length, tokenizer="approx4", n=40).samples():
            assert sample.meta["pairs"] > 0, (length, sample.meta)


def test_the_same_windows_at_every_length():
    short, long = (
        list(OolongPairsGen(length=length, tokenizer="approx4", n=3).samples())
        for length in (2048, 65536)
    )
    assert [s.item for s in short] == [s.item for s in long]
    assert [s.question for s in short] == [s.question for s in long]


def test_wording():
    assert (
        "where both users have at least one instance with a human being or location, and all "
        "instances that are a human being for both users must be after January 6, 2023."
    ) in query_text(4)
    assert (
        "such that one user has at least two instances with numeric value, and the other user has"
    ) in query_text(12)
    assert "exactly one instance with entity. Each of the questions" in query_text(11)


def hub_copy(folder, length=1024, windows=2):
    """A local file with the columns of the hub, and the published golds of its second window."""
    rows = []
    for number in range(windows):
        made = Window(f"hub{number}", len)
        lines = made.arranged(made.first(60))
        rows.append(
            {
                "dataset": "trec_coarse",
                "context_len": length,
                "context_window_id": number,
                "context_window_text": render(lines, made.priors.order),
                "context_window_text_with_labels": render(lines, made.priors.order, True),
            }
        )
    path, golds = folder / "rows.jsonl", folder / "golds.json"
    path.write_text("\n".join(map(json.dumps, [rows[0], *rows])))
    published = [
        {"id": str(q), "question": query_text(q), "answer": [f"({u}, {v})" for u, v in g.pairs()]}
        for q, g in pairs_of(parse(rows[-1]["context_window_text_with_labels"])).items()
    ]
    golds.write_text(json.dumps(published))
    return str(path), str(golds)


def test_official_windows_and_golds(tmp_path):
    path, golds = hub_copy(tmp_path)
    made = OolongPairs(
        length=1024, path=path, golds="official", golds_path=golds, tokenizer="approx4"
    )
    samples = list(made.samples())
    assert len(samples) == 20
    assert samples[0].cluster == "oolong_pairs|1024|1"  # the window that has the golds' users
    assert samples[0].length == 1024
    for sample in samples:
        assert made.score(sample, made.gold_answer(sample))[0].value == 1.0
    derived = next(OolongPairs(length=1024, path=path, tokenizer="approx4").samples())
    assert derived.cluster == "oolong_pairs|1024|0"


def test_golds_that_do_not_belong_to_the_window_are_refused(tmp_path):
    path, golds = hub_copy(tmp_path)
    fields = {"length": 1024, "path": path, "golds_path": golds, "tokenizer": "approx4"}
    published = json.loads(Path(golds).read_text())
    published[0]["answer"].pop()
    Path(golds).write_text(json.dumps(published))
    with pytest.raises(RlmEvalError, match="query 1"):
        list(OolongPairs(**fields, golds="official").samples())
    published[0]["answer"].append("(1, 2)")
    Path(golds).write_text(json.dumps(published))
    with pytest.raises(ConfigError, match="no trec_coarse window"):
        list(OolongPairs(**fields, golds="official").samples())
