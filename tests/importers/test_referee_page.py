"""The referee finds the known artefacts, and says nothing alarming of a clean run."""

import made_logs
import made_runs
import pytest

from rlm_eval.cli import main
from rlm_eval.report.referee.evidence import Evidence
from rlm_eval.report.referee.page import as_html, as_markdown, referee


def page_of(tmp_path, kind, *files, more=()):
    run = tmp_path / "run"
    assert main(["import", kind, *map(str, files), "-o", str(run), *more]) == 0
    return referee(Evidence.of([run]))


def alarms(page):
    return {f.check: f for f in page.findings if f.level == "alarm"}


def test_a_cut_baseline_is_an_alarm_and_its_claim_is_not_printed(tmp_path, capsys):
    page = page_of(tmp_path, "wang", made_logs.wang(tmp_path / "logs"))
    found = alarms(page)
    assert (
        "6 of 6 answers end on exactly 512 output tokens" in found["cut answers and prompts"].text
    )
    assert "is about" not in found["distinct samples"].text
    assert "about one context" in found["distinct samples"].text
    assert "602 tokens" in found["size of the contexts"].text
    (claim,) = page.claims
    assert (claim.a, claim.b, claim.only_a, claim.only_b) == ("depth1", "plain_llm", 4, 0)
    assert claim.p == pytest.approx(0.125)
    assert claim.sentence.startswith("depth1 and plain_llm cannot be compared")
    assert main(["referee", str(tmp_path / "run"), "--strict"]) == 1
    assert "## What was found: 3 alarms" in capsys.readouterr().out
    assert (tmp_path / "run" / "report" / "referee.html").exists()


def test_drawn_again_labelled_mispriced_and_misjudged_rows_are_found(tmp_path):
    page = page_of(tmp_path, "minrlm", made_logs.minrlm(tmp_path / "eval.json", range(1, 11)))
    found = [f.text for f in page.findings if f.level == "alarm"]
    (drawn,) = [f for f in page.findings if "drew some questions again" in f.text]
    said = "10 questions are 2 distinct ones over 1 context"
    assert set(drawn.rows) == {f"{arm}: {said}" for arm in ("vanilla", "ours")}
    assert any("the contexts hold the labels" in text for text in found)
    assert any("10 of the stated scores differ" in text for text in found)
    assert sum("8.00 times the stated cost" in text for text in found) == 2


def test_arms_without_rows_and_leaked_golds_are_found(tmp_path):
    page = page_of(tmp_path, "pr160", made_logs.pr160(tmp_path / "logs"))
    found = alarms(page)
    assert found["arms without a score"].rows == ("rlm_a2 on sniah",)
    leak = found["answers of other samples"]
    assert "1 answers are the gold of another sample" in leak.text
    assert "rlm_a1 on sniah: answers '31415926'" in leak.rows[0]
    assert "Some methods miss many more than others" in found["missing rows"].text
    assert set(page.arms.loc[page.arms["method"] == "rlm_a2", "score %"]) == {"none"}
    assert page.untested == [
        "sniah: rlm_a2 and direct share no scored sample",
        "sniah: rlm_a2 and rlm_a1 share no scored sample",
    ]


def test_a_claim_that_one_domain_carries_among_completed_rows_is_found(tmp_path):
    """A beats B over all: through one domain, and through rows that B did not complete."""
    own = "task: =t\nmethod: arm\nitem: id\nscore: ok\noutcome: {from: end}\n"
    own += "meta: {domain: domain}\n"
    rows = []
    for domain, lost in (("logic", 0), ("maths", 9), ("chess", 0)):
        for i in range(12):
            right = (i < 9) if domain != "chess" else (i < 2)
            b_right = domain == "chess" and i < 8
            end = "provider_error" if i < lost else "ok"
            id_ = f"{domain}{i}"
            rows.append({"arm": "a", "id": id_, "ok": float(right), "end": "ok", "domain": domain})
            score = None if end != "ok" else float(b_right)
            rows.append({"arm": "b", "id": id_, "ok": score, "end": end, "domain": domain})
    (tmp_path / "own.yaml").write_text(own)
    log = made_logs.lines(tmp_path / "rows.jsonl", rows)
    page = page_of(tmp_path, "rows", log, more=("--map", str(tmp_path / "own.yaml")))
    found = alarms(page)["subsets that carry a claim"]
    assert found.rows == (
        "t, by domain: a against b: 18:6 over all attempted; of the rows that both completed logic "
        "has 9:0 (p = 0.004), all others together 0:6 (p = 0.03)",
        "t, by domain: a against b: 18:6 over all attempted, but chess 0:6, p = 0.031",
    )


def test_a_clean_table_raises_no_alarm(tmp_path):
    own = "task: =t\nmethod: arm\nitem: id\nscore: ok\nanswer: said\ngold: gold\n"
    own += "output_tokens: out\n"
    golds = [f"{i * 7919 + 100_003}" for i in range(8)]
    rows = [
        {"arm": arm, "id": i, "ok": int(i % 4 > 0), "gold": gold, "out": 20 + i,
         "said": gold if i % 4 else "none"}
        for arm in ("a", "b") for i, gold in enumerate(golds)
    ]  # fmt: skip
    log = made_logs.lines(tmp_path / "rows.jsonl", rows)
    mapped = made_logs.dump(tmp_path / "own.yaml", own)
    more = ("--map", str(mapped), "--scorer", "ruler_all")
    page = page_of(tmp_path, "rows", log, more=more)
    assert not alarms(page)
    levels = {f.check: f.level for f in page.findings}
    assert levels["stated scores"] == levels["answers of other samples"] == "fine"


@pytest.mark.slow
def test_a_clean_scripted_run_raises_no_alarm(tmp_path, capsys):
    run = ["debug=scripted", "task=s_niah_multikey", "length=2k", "n=4", f"results={tmp_path}"]
    assert main(["run", "method=long_context,rlm", "name=a", *run]) == 0
    assert main(["referee", str(tmp_path / "a"), "--strict"]) == 0
    assert "## What was found: 0 alarms" in capsys.readouterr().out


def test_a_run_of_ours_has_a_page_with_escaped_text(tmp_path):
    run = made_runs.write(tmp_path / "run", n=4)
    page = referee(Evidence.of([run]))
    assert set(alarms(page)) == {"cut answers and prompts"}  # one of its samples is truncated
    assert len(page.claims) == 1
    assert page.claims[0].sentence
    text = as_markdown(page)
    assert "may be printed:" in text
    shown = as_html(page)
    assert made_runs.HOSTILE not in shown


def test_all_claims_of_a_run_are_one_family(tmp_path):
    own = "task: =t\nmethod: arm\nitem: id\nscore: ok\n"
    arms = {"a": range(12), "b": (), "c": (0,)}
    rows = [
        {"arm": a, "id": i, "ok": int(i in good)} for a, good in arms.items() for i in range(12)
    ]
    log = made_logs.lines(tmp_path / "rows.jsonl", rows)
    mapped = made_logs.dump(tmp_path / "own.yaml", own)
    page = page_of(tmp_path, "rows", log, more=("--map", str(mapped)))
    by_pair = {(c.a, c.b): c for c in page.claims}
    assert len(by_pair) == 3
    strong = by_pair["b", "a"]
    assert strong.p_holm == pytest.approx(3 * strong.p)
    assert strong.sentence.startswith("b scored less than a on t (0.0 against 100.0 %")
    assert "do not show that c and b differ" in by_pair["c", "b"].sentence


def test_a_check_without_its_data_is_unknown_and_not_fine(tmp_path):
    paths = []
    for arm, first in (("direct", "incorrect"), ("rlm", "correct")):
        rows = [
            {"question_id": f"q{n}", "domain": "logic", "status": said}
            for n, said in enumerate([first, "incorrect", "failed"])
        ]
        paths.append(made_logs.dump(tmp_path / f"{arm}_eval.json", {"details": rows}))
    levels = {f.check: f.level for f in page_of(tmp_path, "fleet", *paths).findings}
    assert levels["cut answers and prompts"] == "unknown"
    assert levels["gold in the question"] == "unknown"
