"""Figures are the same files from any number of processes, killed ones included."""

from __future__ import annotations

import operator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import made_frames as frames
import pandas as pd
import pytest

from rlm_eval.report import summary
from rlm_eval.report.figures import beside, draw


class _Killed:
    """A pool whose processes have died; `late`: after the tasks were submitted."""

    late = True

    def __init__(self, *_: object) -> None:
        pass

    def submit(self, *_: object) -> Future[None]:
        if not self.late:
            raise BrokenProcessPool("killed")
        found: Future[None] = Future()
        found.set_exception(BrokenProcessPool("killed"))
        return found

    def shutdown(self, *, cancel_futures: bool) -> None:
        assert cancel_futures


@pytest.mark.parametrize("late", [True, False])
def test_what_a_killed_process_left_is_drawn_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    ready = summary.prepare(frames.frame(methods=("rag",), lengths=(1024,), n=2))
    table = summary.summarise(ready)
    monkeypatch.setattr(_Killed, "late", late)
    monkeypatch.setattr(beside, "ProcessPoolExecutor", _Killed)
    shape = draw.Shape(processes=2)
    with draw.others(shape) as others:
        [saved] = draw.draw(ready, table, pd.DataFrame(), tmp_path, None, shape, others)()
    assert saved.name == "length_panels"
    assert all(path.is_file() for path in saved.paths)


def test_this_process_takes_the_first_that_no_other_has_taken(tmp_path: Path) -> None:
    other: Future[dict[int, str]] = Future()
    (tmp_path / "0").touch()
    here: list[int] = []

    def draw_here(number: int) -> str:
        here.append(number)
        if number == 1:  # meanwhile the other process takes its second task
            (tmp_path / "2").touch()
            other.set_result({0: "other 0", 2: "other 2"})
        return f"here {number}"

    found = beside.Shared(tmp_path, 4, [other]).results(draw_here)
    assert found == ["other 0", "here 1", "other 2", "here 3"]
    assert here == [1, 3]


def test_the_figures_that_take_longest_are_drawn_first_and_listed_in_order(tmp_path: Path) -> None:
    names = ["length_panels", "pareto", "position_by_length", "run_times"]
    drawings = [(name, name, lambda: None) for name in names]
    assert [name for name, *_ in draw._longest_first(drawings)] == [
        "position_by_length", "length_panels", "pareto", "run_times",
    ]  # fmt: skip


def test_what_a_killed_process_had_taken_is_made_here(tmp_path: Path) -> None:
    killed: Future[dict[int, str]] = Future()
    killed.set_exception(BrokenProcessPool("killed"))
    (tmp_path / "0").touch()
    found = beside.Shared(tmp_path, 3, [killed]).results("here {}".format)
    assert found == ["here 0", "here 1", "here 2"]


@pytest.mark.slow
def test_tasks_share_an_input_that_is_written_once() -> None:
    with beside.Beside(1) as others:
        shared = others.share(operator.add, 10, 3)
        (found,) = [future.result() for future in shared.begun]
        (path,) = Path(others._folder.name).glob("*.pickle")
        assert shared.results(_none_is_left) == [10, 11, 12]
    assert found == {0: 10, 1: 11, 2: 12}
    assert not path.exists()


def _none_is_left(number: int) -> int:
    raise AssertionError(number)


@pytest.mark.slow
def test_figures_are_the_same_bytes_from_any_number_of_processes(tmp_path: Path) -> None:
    ready = summary.prepare(frames.frame(n=2))
    table, none = summary.summarise(ready), pd.DataFrame()
    alone = draw.draw(ready, table, none, tmp_path / "alone")()
    shape = draw.Shape(processes=2)
    with draw.others(shape) as others:
        shared = draw.draw(ready, table, none, tmp_path / "shared", None, shape, others)()
    assert [figure.name for figure in shared] == [figure.name for figure in alone]
    for one, other in zip(alone, shared, strict=True):
        assert {p.suffix for p in one.paths} == {".pdf", ".svg", ".png", ".csv", ".txt"}
        assert [p.read_bytes() for p in one.paths] == [p.read_bytes() for p in other.paths]


@pytest.mark.slow
def test_the_cell_table_is_the_same_from_any_number_of_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(summary, "_LARGE", 0)
    ready = summary.prepare(frames.frame(n=4))
    with beside.Beside(1) as others:
        shared = summary.summarise(ready, others)
    pd.testing.assert_frame_equal(shared, summary.summarise(ready), check_exact=True)


@pytest.mark.slow
def test_a_frame_is_written_once_for_all_tasks() -> None:
    frame = pd.DataFrame({"n": [1, 2]})
    with beside.Beside(1) as others:
        for _ in range(2):
            shared = others.share(_summed, {"frame": frame}, 2)
            assert shared.begun[0].result() == {0: 3, 1: 4}
        assert len(list(Path(others._folder.name).glob("*.pickle"))) == 3


def _summed(given: dict[str, pd.DataFrame], more: int) -> int:
    return int(given["frame"]["n"].sum()) + more
