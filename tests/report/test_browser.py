"""The page and the viewer in a real browser: they work, and model output stays text."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs

import made_runs as runs
import pytest
from browser import CHROMIUM, Page, chromium
from test_live import running

from rlm_eval.report import report
from rlm_eval.report.viewer.server import open_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]
COUNT = "document.getElementById('count')?.textContent.split(' ')[0]"
ROWS = "[...document.querySelectorAll('.items tbody tr')]"
SIDE = "document.querySelector('.side').textContent"
CLAIMS = Path(__file__).parents[2] / "results" / "published" / "recursion_claims"
ADDRESS = "decodeURIComponent(location.hash.slice(1))"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "demo"
    folder.mkdir()
    return runs.write(folder)


@contextmanager
def served(folders: Sequence[Path]) -> Iterator[str]:
    """The address of a viewer of these runs."""
    server, address = open_server(folders, context_of=runs.context_of)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield address
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def shows(page: Page, count: int) -> None:
    """The list has so many samples."""
    await page.until(f"{COUNT} === '{count}'")


async def column(page: Page, number: int) -> list[str]:
    """The texts of a column of the list."""
    found: list[str] = await page.run(f"{ROWS}.map((row) => row.cells[{number}].textContent)")
    return found


async def is_inert(page: Page) -> None:
    """Markup that a model wrote is text."""
    assert runs.HOSTILE in await page.run("document.querySelector('.side').textContent")
    assert await page.run("document.querySelectorAll('.side img, .side script').length") == 0
    assert "owned" not in await page.run("document.title")


async def test_report_page(tmp_path: Path, run: Path) -> None:
    out = tmp_path / "report"
    report([run], out, context_of=runs.context_of)
    async with chromium(tmp_path / "profile") as page:
        await page.open((out / "report.html").as_uri())
        assert await page.run("document.title") == "rlm_eval report"
        shown = "[...document.querySelectorAll('figure img')].filter((i) => i.naturalWidth).length"
        assert await page.run(shown) >= 2
        await _sorts(page)
        await shows(page, 12)
        # Why did this sample fail: the score, then the sample.
        await page.run("document.querySelectorAll('.pivot td a')[2].click()")
        await shows(page, 3)
        asked = parse_qs(await page.run(ADDRESS))
        assert (asked["method"], asked["length"], asked["sort"]) == (["rlm"], ["1k"], ["score"])
        assert (await column(page, 6))[0] == "0.000"
        await page.run(f"{ROWS}[0].click()")
        why = await page.until("document.querySelector('section.why.wrong')?.textContent")
        assert "gold" in why
        assert "7001" in why
        assert "7412" in why, "the scorer's reading"
        await is_inert(page)
        assert await page.run("document.querySelectorAll('.map i.gold').length") == 1
        await page.run("document.querySelectorAll('.call summary')[1].click()")
        await page.until("document.querySelector('.call .slice')?.textContent.includes('weather')")
        for pixels in (390, 1400):
            await page.width(pixels)
            assert await page.run("document.documentElement.scrollWidth") <= pixels
            await page.run("document.getElementById('costs').scrollIntoView()")
            top = "document.getElementById('contents').getBoundingClientRect().top"
            assert await page.run(top) == 0, "the list of contents stays in view"
            await page.until("document.querySelector('#contents [aria-current]').hash === '#costs'")
        await page.screenshot(tmp_path / "page.png")
        printed = await page.send("Page.printToPDF")
        assert len(printed["data"]) > 10_000
        assert page.errors == []


async def _sorts(page: Page) -> None:
    """A click on a heading sorts by number, a second one turns it round."""
    table = "document.querySelector('#table-outcomes table')"
    cells = f"[...{table}.tBodies[0].rows].map((row) => row.cells[1].textContent)"
    click = f"{table}.querySelectorAll('th')[1].click()"
    await page.run(click)
    assert await page.run(cells) == ["1k", "1k", "2k", "2k"]
    await page.run(click)
    assert await page.run(cells) == ["2k", "2k", "1k", "1k"]


async def test_viewer_sorts_filters_and_opens(tmp_path: Path, run: Path) -> None:
    with served([run]) as address:
        async with chromium(tmp_path / "profile") as page:
            await page.open(address)
            await shows(page, 12)
            await page.run("document.getElementById('sort-length').click()")
            assert (await column(page, 2)) == ["1k"] * 6 + ["2k"] * 6
            await page.run("document.getElementById('sort-length').click()")
            assert (await column(page, 2)) == ["2k"] * 6 + ["1k"] * 6
            await page.set_value("by-score", "<1")
            await shows(page, 4)
            await page.set_value("by-score", "")
            # A number alone is that number: costs differ by less than scores are rounded to.
            await page.set_value("by-cost", "0.0012")
            await shows(page, 0)
            await page.set_value("by-cost", "0.001")
            await shows(page, 6)
            await page.set_value("by-cost", "")
            await page.set_value("by-calls", "2..9")
            await shows(page, 6)
            await page.set_value("by-outcome", "truncated")
            await shows(page, 2)
            await page.run(f"{ROWS}[0].click()")
            await page.until("document.querySelectorAll('.side .call').length === 4")
            await is_inert(page)
            heads = "[...document.querySelectorAll('.call > .head')].map((h) => h.textContent)"
            assert all(
                re.search(r" in \(10 cached\), 20 out · [\d.e-]+ USD · [\d.]+ s", head)
                for head in await page.run(heads)
            )
            assert await page.run("document.querySelectorAll('.code .k').length") >= 2
            await page.run("document.querySelectorAll('.call summary')[1].click()")
            await page.until("document.querySelector('.call .slice button') !== null")
            await page.run("document.querySelector('.call .slice button').click()")
            await page.until(
                "document.querySelector('.call .slice').textContent.includes('weather')"
            )
            await page.run(
                "[...document.querySelectorAll('summary')]"
                ".find((s) => s.textContent === 'whole context').click()"
            )
            await page.until(
                "document.querySelector('pre.whole')?.textContent.startsWith('The gate keeper')"
            )
            await page.press("x")
            await shows(page, 12)
            await page.set_value("by-words", "llm_query")
            await shows(page, 6)
            await page.set_value("by-words", "</script><script>document.title = \\'owned\\'")
            await page.until(f"{COUNT} === '0'")
            assert "owned" not in await page.run("document.title")
            await page.width(390)
            assert await page.run("document.documentElement.scrollWidth") <= 390
            assert page.errors == []


async def test_an_address_opens_a_sample_at_a_call_and_a_block(tmp_path: Path, run: Path) -> None:
    with served([run]) as address:
        async with chromium(tmp_path / "profile") as page:
            place = "#method=rlm&sample=demo%2Fid-rlm-1024%2Fs1-1024%2F0&call=2"
            await page.open(address + place)
            await page.until("document.querySelector('.call.aimed')?.id === 'call-a-2'")
            await shows(page, 6)
            await page.run("document.querySelector('#step-a-0-0 .link').click()")
            assert parse_qs(await page.run(ADDRESS))["step"] == ["0"]
            await page.until("document.querySelector('.step.aimed')?.id === 'step-a-0-0'")
            await page.run("history.back()")
            await page.until("document.querySelector('.call.aimed')?.id === 'call-a-2'")
            await page.run("location.hash = '#sample=demo/no-such/sample/0'")
            told = "document.getElementById('detail').textContent"
            await page.until(f"{told}.startsWith('No sample')")
            assert page.errors == []


async def test_keys(tmp_path: Path, run: Path) -> None:
    with served([run]) as address:
        async with chromium(tmp_path / "profile") as page:
            await page.open(address)
            await shows(page, 12)
            await page.press("?")
            await page.until("document.querySelectorAll('.overlay kbd').length > 8")
            await page.press("Escape")
            await page.until("!document.querySelector('.overlay')")
            await page.press("j")
            await page.press("j")
            await page.press("Enter")
            second = await page.run(f"{ROWS}[1].dataset.key")
            await page.until(f"document.querySelector('.items tr.on')?.dataset.key === '{second}'")
            await page.until("document.querySelector('.side .call') !== null")
            await page.press("n")
            await page.until("document.querySelector('.call.aimed')?.id === 'call-a-0'")
            await page.press("o")  # the same sample by the other method
            other = parse_qs(await page.run(ADDRESS))["sample"][0]
            assert other != second
            assert other.split("/")[2] == second.split("/")[2]
            await page.press("b")
            await page.until("document.querySelectorAll('.side').length === 2")
            await page.press("Escape")
            await page.until("document.querySelectorAll('.side').length === 1")
            await page.press("Escape")
            await page.until("document.querySelectorAll('.side').length === 0")
            await page.press("/")
            assert await page.run("document.activeElement.id") == "by-words"
            assert page.errors == []


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A run of the same cells that was answered differently."""
    folder = tmp_path / "other"
    folder.mkdir()
    return runs.write(folder, lengths=(1024,), reply="another reply")


async def test_two_runs_side_by_side(tmp_path: Path, run: Path, other: Path) -> None:
    with served([run, other]) as address:
        async with chromium(tmp_path / "profile") as page:
            await page.open(address)
            await shows(page, 18)
            await page.set_value("by-run", "other")
            await shows(page, 6)
            await page.run(f"{ROWS}[1].click()")
            await page.until("document.querySelectorAll('.chip').length === 4")
            chips = "[...document.querySelectorAll('.chip')]"
            await page.run(
                f"{chips}.find((c) => c.textContent.includes('long_context · demo'))"
                ".querySelector('.beside').click()"
            )
            await page.until("document.querySelectorAll('.side .call').length === 2")
            heads = "[...document.querySelectorAll('.side .bar')].map((b) => b.textContent)"
            first, second = await page.run(heads)
            assert "run other" in first
            assert "run demo" in second
            replies = await page.run(
                "[...document.querySelectorAll('.side .reply')].map((r) => r.textContent)"
            )
            assert replies == ["another reply", runs.HOSTILE]
            assert "beside" in parse_qs(await page.run(ADDRESS))
            assert page.errors == []


async def test_a_running_run_shows_what_is_new_without_a_reload(tmp_path: Path, run: Path) -> None:
    with served([run]) as address:
        async with chromium(tmp_path / "profile") as page, running(run) as (done, call, end):
            call(done.calls[0])
            await page.open(address)
            await shows(page, 13)
            await page.until("document.getElementById('progress').textContent.includes('live')")
            await page.set_value("by-outcome", "running")
            await page.run(f"{ROWS}[0].click()")
            await page.until("document.querySelectorAll('.side .call').length === 1")
            call(done.calls[1])
            await page.until("document.querySelectorAll('.side .call').length === 2")
            for one in done.calls[2:]:
                call(one)
            end()
            await page.until("document.querySelector('section.why.wrong') !== null")
            assert page.errors == []


async def test_a_published_folder_shows_what_was_published(tmp_path: Path) -> None:
    """It has no calls: no progress of cells, no promise of trajectories, answer and gold."""
    report([CLAIMS], tmp_path / "report")
    async with chromium(tmp_path / "browser") as page:
        await page.open((tmp_path / "report" / "report.html").as_uri())
        section = "document.getElementById('trajectories').textContent"
        assert "They were published without their calls" in await page.run(section)
        await page.run(f"{ROWS}[0].click()")
        await page.until("document.querySelector('.side .note code') !== null")
        assert "shows the answers that were published" in await page.run(SIDE)
        assert page.errors == []
        with served([CLAIMS]) as address:
            await page.open(address)
            await page.until(f"{ROWS}.length > 0")
            assert await page.run("document.getElementById('progress')") is None
            await page.run(f"{ROWS}[0].click()")
            await page.until("document.querySelector('.readings') !== null")
            assert "without the calls of its samples" in await page.run(SIDE)
            assert "calls over time" not in await page.run(SIDE)
            assert page.errors == []
