"""Names of series differ only by what matters; two texts of a prompt are two prompts (item 12)."""

import made_frames as frames
import pandas as pd
import pytest

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.report import summary
from rlm_eval.report.tables.caveats import caveats
from rlm_eval.report.tables.comparison import compare_text

METHOD = {"class": "RLM", "depth": 1, "max_turns": 30}
ROOT = {"class": "OpenAIModel", "version": 2, "window": 32768, "sampling": {"temperature": 0}}


def manifest(identity, *, method=METHOD, root=ROOT, window=None, config=None, **task):
    """As `manifest.manifest` writes it: settings with all defaults, and the server's window."""
    settings = {"task": {"class": "T", **task}, "method": method, "models": {"root": root}}
    return {
        "identity": identity,
        "settings": settings,
        "config": config or {},
        "endpoints": {"root": {"window": window}},
    }


def two_cells(one, two, **columns):
    """The series of two cells that share a line of the table, made by these manifests."""
    first = frames.frame(methods=("rlm",), lengths=(1024,), n=4).assign(cell_id="one", run="first")
    second = first.assign(cell_id="two", run="second", **columns)
    return summary.prepare(pd.concat([first, second], ignore_index=True), [one, two])


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"root": ROOT | {"window": None}, "window": 32768}, {}),
        ({"root": ROOT | {"window": None}}, {}),  # nobody told it
        ({"config": {"method": {}}}, {"config": {"method": {"depth": 1}}}),
        (
            {"config": {"root": {"base_url": "http://a:1/v1"}}},
            {"config": {"root": {"base_url": "http://b:2/v1"}}},
        ),
        ({"root": {k: v for k, v in ROOT.items() if k != "version"} | {"version": 2}}, {}),
    ],
)
def test_what_changes_no_reply_makes_no_series(one, two):
    frame = two_cells(manifest("one", **one), manifest("two", **two))
    assert list(frame["series"].unique()) == ["rlm"]
    table = summary.summarise(frame)
    assert (table["n"].item(), table["repeats"].item(), table["rows"].item()) == (4, 2, 8)
    assert not frame.duplicated(["sample_id", "epoch"]).any()
    said = " ".join(caveats(frame, table))
    assert "4 samples of 1 cells were answered in first and again in second" in said


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"method": METHOD | {"max_turns": 5}}, "rlm [max_turns=5]"),
        ({"root": ROOT | {"window": None}, "window": 8192}, "rlm [root.window=8192]"),
        ({"root": ROOT | {"sampling": {"temperature": 1}}}, "rlm [root.sampling.temperature=1]"),
        ({"root": ROOT | {"version": 3}}, "rlm [root.version=3]"),
    ],
)
def test_what_changes_replies_names_them(change, name):
    frame = two_cells(manifest("one"), manifest("two", **change))
    assert frame["series"].nunique() == 2
    assert name in set(frame["series"])


def test_a_setting_of_both_models_is_named_once():
    models = {"root": ROOT, "sub": ROOT}
    hot = ROOT | {"sampling": {"temperature": 1}}
    one, two = manifest("one"), manifest("two")
    one["settings"]["models"], two["settings"]["models"] = models, {"root": hot, "sub": hot}
    assert "rlm [root.sampling.temperature=1]" in set(two_cells(one, two)["series"])


def test_a_series_has_one_name_at_every_length():
    """A setting that is told apart at one length names its cells at the others too."""
    first = frames.frame(methods=("rlm",), lengths=(1024, 2048), n=4)
    second = frames.frame(methods=("rlm",), lengths=(1024,), n=4).assign(cell_id="other")
    both = pd.concat([first, second], ignore_index=True)
    known = [manifest(i) for i in first["cell_id"].unique()]
    known.append(manifest("other", method=METHOD | {"depth": 2}))
    names = summary.prepare(both, known).groupby("length")["series"].unique()
    assert set(names[1024]) == {"rlm [depth=1]", "rlm [depth=2]"}
    assert set(names[2048]) == {"rlm [depth=1]"}


def test_two_texts_of_one_prompt_are_two_series():
    frame = two_cells(manifest("one"), manifest("two"), prompt_hash="0123456789")
    assert frame["series"].nunique() == 1  # the other hash is not known
    first = frames.frame(methods=("rlm",), lengths=(1024,), n=4)
    first = first.assign(cell_id="one", prompt_hash="abcdef0123")
    second = first.assign(cell_id="two", prompt_hash="0123456789")
    frame = summary.prepare(
        pd.concat([first, second], ignore_index=True), [manifest("one"), manifest("two")]
    )
    assert set(frame["series"]) == {
        "rlm prompt own_short@abcdef01", "rlm prompt own_short@01234567",
    }  # fmt: skip


def test_cells_of_unknown_settings_are_told_apart_by_their_ids():
    frame = two_cells({"identity": "one"}, {"identity": "two"})
    assert set(frame["series"]) == {"rlm [one]", "rlm [two]"}


def test_compare_knows_the_series_by_the_reports_names():
    first = frames.frame(methods=("rlm",), lengths=(1024,), n=4).assign(cell_id="one")
    both = pd.concat([first, first.assign(cell_id="two")], ignore_index=True)
    known = [manifest("one"), manifest("two", method=METHOD | {"max_turns": 5})]
    text = compare_text(both, "rlm [max_turns=5]", "rlm [max_turns=30]", manifests=known)
    assert "n = 4 pairs" in text


def cells_of(one, two, **columns):
    """As `two_cells`, with both manifests' cells of other samples: a seed or a length differs."""
    first = frames.frame(methods=("rlm",), lengths=(1024,), n=4)
    first = first.assign(cell_id="one", run="first", seed=0)
    second = first.assign(**{"cell_id": "two", "run": "second"} | columns)
    return summary.prepare(pd.concat([first, second], ignore_index=True), [one, two])


@pytest.mark.parametrize("apart", [{"seed": 1}, {"length": 2048}])
def test_other_settings_are_named_at_other_seeds_and_lengths(apart):
    one, two = manifest("one", seed=0), manifest("two", seed=1, method=METHOD | {"max_turns": 5})
    frame = cells_of(one, two, **apart)
    assert set(frame["series"]) == {"rlm [max_turns=30]", "rlm [max_turns=5]"}
    assert set(cells_of(one, manifest("two", seed=1), **apart)["series"]) == {"rlm"}


def test_another_window_is_never_pooled_over_seeds():
    small = manifest("two", root=ROOT | {"window": 600}, seed=1)
    frame = cells_of(manifest("one", seed=0), small, seed=1)
    assert set(frame["series"]) == {"rlm [root.window=32768]", "rlm [root.window=600]"}


def test_a_window_that_follows_the_length_is_a_caveat():
    frame = cells_of(manifest("one"), manifest("two", root=ROOT | {"window": 600}), length=2048)
    assert set(frame["series"]) == {"rlm"}
    said = " ".join(caveats(frame, summary.summarise(frame)))
    assert "rlm: cells of one series differ between lengths or tasks in root.window;" in said


def test_a_comparison_needs_two_sides_without_common_results():
    both = frames.frame(methods=("rag", "rlm"), lengths=(1024,), roots=("a", "b"), n=4)
    with pytest.raises(RlmEvalError, match=r"both select rlm \(a\); name two sides"):
        compare_text(both, "rlm", "a")
    for empty in ("", " "):
        with pytest.raises(RlmEvalError, match="an empty name"):
            compare_text(both, empty, "rlm")
    lonely = both[(both["method"] == "rlm") | (both["root"] == "a")]
    text = compare_text(lonely, "a", "b")
    assert "left out of A, without a partner: rag (a)" in text
    assert "rlm (a) - rlm (b)" in text
