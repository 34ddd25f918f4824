"""The report's page leads with its conclusion, its links resolve, and it stays small."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs

import made_frames as frames
import pandas as pd
import pytest
from pages import Page

from rlm_eval.core.types import Outcome
from rlm_eval.records.record import FILE, to_frame
from rlm_eval.report import report, summary
from rlm_eval.report.conclusion import MOST, conclusion
from rlm_eval.report.referee.evidence import Finding
from rlm_eval.report.tables import comparison, pivots
from rlm_eval.report.tables.caveats import caveats, remarks
from rlm_eval.report.tables.standard import Table
from rlm_eval.report.viewer import page as page_of_report
from rlm_eval.report.viewer import parts, rows
from rlm_eval.report.viewer.parts import Links
from rlm_eval.report.wording import tokens_label

ORDER = [
    "conclusion", "scores", "outcomes", "costs", "behaviour", "comparisons", "limits", "run",
    "trajectories",
]  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A report about records alone: three methods at two lengths, 20 samples each."""
    run = tmp_path_factory.mktemp("published")
    frame = frames.frame(n=20)
    frame.loc[frame["index"] == 3, "failure"] = "seen_and_missed"
    frame.to_parquet(run / FILE)
    report([run], run / "report")
    return Page(run / "report" / "report.html")


def test_the_conclusion_comes_first_and_the_trajectories_last(page: Page) -> None:
    assert [name for name in page.sections if name != "errors"] == ORDER
    body = page.text.split("<main")[1]
    assert body.index("May be concluded") < body.index("May not be concluded")
    assert body.index("May not be concluded") < body.index("figure-length_panels")
    assert body.index("figure-length_panels") < body.index('class="pivot"')
    assert body.index('class="pivot"') < body.index("table-outcomes") < body.index("table-cost")
    told = body.split('id="conclusion"')[1].split("</section>")[0]
    assert 2 <= told.count("<li>") <= MOST


def test_every_link_of_the_page_resolves(page: Page) -> None:
    places = [link for link in page.links if "=" not in link]
    assert set(page.sections) <= set(places)
    assert set(places) <= set(page.ids)
    lists = {link for link in page.links if "=" in link}
    assert len(lists) > 10
    for link in lists:
        assert page.selected(link), link


def test_a_count_links_to_as_many_samples_as_it_says(page: Page) -> None:
    counted = re.findall(
        r'<a href="#([^"]*(outcome|failure|better)=[^"]*)">([0-9]+)</a>', page.text
    )
    assert {kind for _, kind, _ in counted} == {"outcome", "failure", "better"}
    for link, _, count in counted:
        assert len({r["sample"] for r in page.selected(unescape(link))}) == int(count), link


def test_columns_of_one_name_link_to_what_their_table_counts() -> None:
    """`wrong` is a kind of failure, or a score below a half; `no_answer` an outcome or a kind."""
    _, table, *_ = made(n=12)
    links = Links(table)
    line = {"task": "s_niah", "length": "1k", "method": "rlm"}
    [number] = [n for n, cell in enumerate(links.cells) if cell == list(line.values())]

    def query(name: str, column: str) -> dict[str, list[str]]:
        address = links.of(line, name)(column)
        assert address is not None
        found = parse_qs(address)
        assert found.pop("c") == [str(number)]
        return found

    assert query("failures", "wrong") == {"failure": ["wrong"]}
    assert query("failures", "no_answer") == {"failure": ["no_answer"]}
    assert query("failures", "not right") == {"score": ["<1"]}
    assert query("outcomes", "no_answer") == {"outcome": ["no_answer"]}
    assert query("right_and_wrong", "right") == {"score": [">=0.5"]}
    assert query("right_and_wrong", "wrong") == {"score": ["<0.5"]}
    starred = links.of(line | {"method": "rlm *"}, "leaderboard")
    assert starred("score %") == f"c={number}"


def test_a_number_of_a_pivot_links_to_its_cell_and_a_word_to_nothing() -> None:
    _, table, *_ = made(n=12)
    links = Links(table)
    of_method = links.of({"task": "s_niah", "method": "rlm", "1k": "93.1", "2k": "87.0"})
    assert of_method("1k") == "task=s_niah&method=rlm&length=1k"
    of_budget = links.of({"task": "s_niah", "length": "1k", "budget": "enough for rag"})
    assert of_budget("rag") == "task=s_niah&length=1k&method=rag"
    assert links.of({"model": "x"})("n") is None
    shown = parts.table(Table("t", "T", "note", pd.DataFrame([{"task": "a<b", "x": "y"}])), links)
    assert "<td>a&lt;b</td><td>y</td>" in shown


def test_a_score_of_a_pivot_opens_the_samples_of_its_cell_alone() -> None:
    records = [
        frames.frame(tasks=("a_task",), lengths=(1024, 2048), n=12),
        frames.frame(tasks=("b_task",), lengths=(1024, 2048, 4096), n=12, seed=1),
    ]
    frame = summary.prepare(pd.concat(records))
    table = summary.summarise(frame)
    links = Links(table)
    built = pivots.build(frame, table, pd.DataFrame())
    assert [one.name for one in built][-1] == "score_by_task"
    assert len(built) == 3
    found = 0
    for one in built:
        told = re.findall(r'<a href="#([^"]+)">([\d.]+) ±', parts.table(one, links))
        assert told, one.name
        for address, value in told:
            cell = links.cells[int(address.removeprefix("c="))]
            rows = table[(table["task_label"] == cell[0]) & (table["series"] == cell[2])]
            [row] = [r for r in rows.to_dict("records") if tokens_label(r["length"]) == cell[1]]
            assert value == f"{100 * row['accuracy']:.1f}", (one.name, cell)
            found += 1
    assert found == 3 * (2 + 3 + 2)


def test_a_name_in_backticks_is_code_in_a_note() -> None:
    shown = parts.table(Table("t", "T", "See `accuracy` & `a<b`.", pd.DataFrame([{"x": "y"}])))
    assert "See <code>accuracy</code> &amp; <code>a&lt;b</code>." in shown


def test_scripts_make_no_markup_from_data() -> None:
    assets = Path(page_of_report.__file__).parent / "assets"
    own = [path for path in assets.glob("*.js") if not path.name.endswith(".umd.js")]
    assert len(own) == 7
    for path in own:
        text = path.read_text()
        for word in ("innerHTML", "outerHTML", "insertAdjacent", "dangerously", "document.write"):
            assert word not in text, path.name
        assert not re.search(r"\beval\(|\bnew Function\b", text), path.name


def test_a_page_of_few_cells_is_small(page: Page) -> None:
    assert len(page.text.encode()) < 3_000_000
    assert "table-accuracy" in page.ids


def made(**changes: object) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, list[str]]:
    frame = summary.prepare(frames.frame(**changes))  # type: ignore[arg-type]
    table = summary.summarise(frame)
    return frame, table, comparison.against(frame, "long_context"), caveats(frame, table)


def test_a_difference_that_holds_may_be_concluded_and_others_not() -> None:
    frame, table, rows_, limits = made(n=60)
    rows_ = rows_.assign(shown=False, difference=0.0)
    rows_.loc[0, ["shown", "difference"]] = [True, 0.25]
    rows_.loc[1, ["shown", "difference"]] = [True, -0.5]
    found = conclusion(frame, table, rows_, limits)
    assert found.may[0].text.startswith("Above long_context on the same samples, exploratory")
    assert "(+25.0 pp)" in found.may[0].text
    assert "(-50.0 pp)" in found.may[1].text
    assert f"{len(rows_) - 2} of {len(rows_)} comparisons" in found.may_not[0].text
    assert "does not show equality" in found.may_not[0].text
    assert len(found.may) + len(found.may_not) == MOST


def test_scripts_allow_no_conclusion_about_a_model_and_alarms_are_named() -> None:
    frame, table, rows_, limits = made(n=12)
    alarm = Finding("leaks", "alarm", "3 answers hold another sample's gold.")
    found = conclusion(frame.assign(scripted=True), table, rows_, limits, findings=[alarm])
    assert [line.text for line in found.may] == [
        "Replies are scripted: the run shows that the machinery works."
    ]
    assert any("1 alarm: leaks. 3 answers" in line.text for line in found.may_not)


def test_what_was_planned_comes_before_what_was_explored() -> None:
    frame, table, rows_, limits = made(n=12)
    line = {"task": "s_niah", "length": "1k", "A": "rlm", "B": "rag", "A - B, pp": "+30.0"}
    line |= {"95 % interval": "[+10.0, +50.0]"}
    plan = Table("planned", "t", "n", pd.DataFrame([
        line | {"verdict": "A higher"}, line | {"verdict": "not run"},
    ]))  # fmt: skip
    told = conclusion(frame, table, rows_, limits, planned=[plan]).may[0].text
    assert told == (
        "Of 2 comparisons named before the run, 1 shows a difference after Holm: rlm higher than "
        "rag on s_niah at 1k (+30.0 pp [+10.0, +50.0]); not run: 1."
    )


def test_cells_whose_replies_came_without_text_conclude_nothing() -> None:
    frame, table, rows_, limits = made(n=60)
    rows_ = rows_.assign(shown=True, difference=0.25)
    rlm = frame["series"].str.startswith("rlm")
    few = frame.assign(n_replies=20, n_textless_replies=rlm.astype(int))
    assert conclusion(few, table, rows_, limits) == conclusion(frame, table, rows_, limits)
    assert caveats(few, table) == caveats(frame, table)
    many = few.assign(n_textless_replies=2 * rlm)
    found = conclusion(many, table, rows_, limits)
    own = int(table["series"].str.startswith("rlm").sum())
    (scores,) = found.may
    assert scores.text.startswith(f"{len(table) - own} of {len(table)} cells have a score")
    assert f"{own} of {len(table)} cells may not be the model's" in found.may_not[0].text
    assert any("replies hold no text" in line for line in caveats(many, table))


def test_a_planned_pair_has_the_verdict_of_its_plan_alone() -> None:
    """Holm over a plan of 17 may not show what Holm over 6 explored comparisons shows."""
    frame, table, rows_, limits = made(n=60)
    rows_ = rows_.assign(shown=False, difference=0.0)
    rows_.loc[[0, 1], ["shown", "difference"]] = [True, 0.25]
    pair = rows_.loc[0]
    length = tokens_label(pair["length"])
    line = {"task": pair["task_label"], "length": length, "A": "long_context", "B": pair["a"]}
    line |= {"verdict": "not shown to differ"}
    plan = Table("planned", "t", "n", pd.DataFrame([line]))
    explored, planned = (
        conclusion(frame, table, rows_, limits, planned=one) for one in ([], [plan])
    )
    others = len(rows_) - 1
    assert f"{pair['a']} on s_niah at 1k, 2k (" in explored.may[0].text
    assert planned.may[0].text == "Of 1 comparisons named before the run, 0 show a difference " + (
        "after Holm."
    )
    assert f"over {len(rows_)} comparisons: {pair['a']} on s_niah at 2k (" in planned.may[1].text
    assert planned.may_not[0].text.startswith(
        f"{others - 1} of {others} comparisons with long_context outside the plan show no"
    )
    late = conclusion(frame, table, rows_, limits, planned=[replace(plan, note="Exploratory: x")])
    assert late.may[0].text.startswith("Of 1 comparisons of a plan changed after the run began, 0")
    every = Table("planned", "t", "n", pd.DataFrame([
        line | {"length": tokens_label(row["length"]), "B": row["a"]}
        for row in rows_.to_dict("records")
    ]))  # fmt: skip
    told = conclusion(frame, table, rows_, limits, planned=[every])
    assert not any("exploratory" in line.text for line in told.may)
    assert not any("no difference" in line.text for line in told.may_not)


def test_a_cell_below_a_rule_without_a_model_is_in_the_conclusion() -> None:
    frame, table, rows_, limits = made(n=12)
    before = [line.text for line in conclusion(frame, table, rows_, limits).may_not]
    assert not any("rule without a model" in text for text in before)
    rlm = table["method"] == "rlm"
    own = table.assign(
        base_skimmer_low=0.1, base_no_model_low=table["n"].where(~rlm, -0.2).astype(float)
    )
    found = [line.text for line in conclusion(frame, own, rows_, limits).may_not]
    cells = int((~table["as_bounds"]).sum())
    below = int((rlm & ~table["as_bounds"]).sum())
    assert (
        f"{below} of {cells} cells are not shown to exceed the best skimmer and the best rule "
        "without a model (rlm)."
    ) in found
    by_code = own.assign(base_by_code=True)
    texts = [line.text for line in conclusion(frame, by_code, rows_, limits).may_not]
    assert not any("rule without a model" in text for text in texts)


def test_a_remark_keeps_the_sentence_that_says_it_of_what_came_before() -> None:
    frame, *_ = made(n=2)
    remark = "The prompt x was chosen with other seeds. It is not the paper's. A small model."
    found = remarks(frame.assign(remark=remark))
    assert found == [
        "The prompt x was chosen with other seeds. It is not the paper's.", "A small model.",
    ]  # fmt: skip


def test_every_outcome_has_words() -> None:
    assert {outcome.value for outcome in Outcome} < set(rows.OUTCOMES)


def test_columns_hold_every_row_and_unknown_is_null() -> None:
    frame = summary.prepare(to_frame(frames.frame(n=2).to_dict("records")))
    frame.loc[0, "score"] = None
    listed = rows.listed(frame)
    assert listed[0]["score"] is None
    packed = rows.columns(listed)
    assert [packed["method"][0][code] for code in packed["method"][1]] == list(frame["series"])
