"""The page and the viewer in a real browser: they work, and model output stays text."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import made_runs as runs
import pytest
from browser import CHROMIUM, Page, chromium

from rlm_eval.report import report
from rlm_eval.report.viewer.server import open_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "demo"
    folder.mkdir()
    return runs.write(folder)


async def test_report_page(tmp_path: Path, run: Path) -> None:
    out = tmp_path / "report"
    report([run], out, context_of=runs.context_of)
    async with chromium(tmp_path / "profile") as page:
        await page.open((out / "report.html").as_uri())
        assert await page.run("document.title") == "rlm_eval report"
        shown = "[...document.querySelectorAll('figure img')].filter((i) => i.naturalWidth).length"
        assert await page.run(shown) >= 2
        await _sorts(page)
        await _filters_and_opens(page)
        assert await page.run("document.querySelectorAll('.map i.gold').length") == 1
        slices = "[...document.querySelectorAll('.slice')].map((s) => s.textContent).join()"
        assert "weather. The key of" in await page.run(slices)
        await page.screenshot(tmp_path / "page.png")
        assert page.errors == []


async def test_viewer(tmp_path: Path, run: Path) -> None:
    server, address = open_server([run], context_of=runs.context_of)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        async with chromium(tmp_path / "profile") as page:
            await page.open(address)
            await _filters_and_opens(page)
            await page.run("document.querySelector('.slice button').click()")
            await page.until("document.querySelector('.slice').textContent.includes('weather')")
            await page.run("[...document.querySelectorAll('summary')].find((s) => "
                           "s.textContent === 'whole context').click()")  # fmt: skip
            await page.until(
                "[...document.querySelectorAll('details pre')].some((p) => "
                "p.textContent.startsWith('The gate keeper'))"
            )
            await page.run(
                "for (const [name, value] of [['outcome', ''], ['words', 'llm_query']]) {"
                "const box = document.getElementById(`by-${name}`); box.value = value;"
                "box.dispatchEvent(new Event('change')); }"
            )
            await page.until("document.getElementById('count').textContent.startsWith('6 ')")
            await page.screenshot(tmp_path / "viewer.png")
            assert page.errors == []
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def _sorts(page: Page) -> None:
    """A click on a heading sorts by number, a second one turns it round."""
    column = (
        "[...document.querySelectorAll('table.sortable')[1].tBodies[0].rows]"
        ".map((row) => row.cells[1].textContent)"
    )
    click = "document.querySelectorAll('table.sortable')[1].querySelectorAll('th')[1].click()"
    await page.run(click)
    assert await page.run(column) == ["1k", "1k", "2k", "2k"]
    await page.run(click)
    assert await page.run(column) == ["2k", "2k", "1k", "1k"]


async def _filters_and_opens(page: Page) -> None:
    await page.until("document.getElementById('count')?.textContent.startsWith('12 ')")
    await page.run(
        "(() => { const box = document.getElementById('by-outcome'); box.value = 'truncated';"
        "box.dispatchEvent(new Event('change')); })()"
    )
    await page.until("document.getElementById('count').textContent.startsWith('2 ')")
    await page.run("document.querySelector('.items tr').click()")
    await page.until("document.querySelectorAll('.detail .call').length === 4")
    text = await page.run("document.querySelector('.detail').textContent")
    assert runs.HOSTILE in text
    heads = "[...document.querySelectorAll('.call > .head')].map((head) => head.textContent)"
    told = await page.run(heads)
    assert all(re.search(r" in \(10 cached\), 20 out · [\d.e-]+ USD · [\d.]+ s", h) for h in told)
    assert await page.run("document.querySelectorAll('.detail img, .detail script').length") == 0
    assert "owned" not in await page.run("document.title")
    assert await page.run("document.querySelectorAll('.code .k').length") >= 2
