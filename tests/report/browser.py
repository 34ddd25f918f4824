"""A headless Chromium over its own debugging protocol, for tests: open, click, look, listen."""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self.errors: list[str] = []

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command; events that arrive meanwhile are kept where they are errors."""
        number = next(self._ids)
        await self._socket.send_str(
            orjson.dumps({"id": number, "method": method, "params": params}).decode()
        )
        while True:
            message = orjson.loads((await self._socket.receive(timeout=30)).data)
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(message["params"]["exceptionDetails"]))
            entry = message.get("params", {}).get("entry", {})
            if message.get("method") == "Log.entryAdded" and entry["level"] == "error":
                self.errors.append(f"{entry['text']} {entry.get('url', '')}")
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]

    async def open(self, address: str) -> None:
        await self.send("Page.navigate", url=address)
        for _ in range(200):
            if await self.run("document.readyState") == "complete":
                return
            await asyncio.sleep(0.05)

    async def run(self, expression: str) -> Any:
        result = await self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Waits for a true value."""
        for _ in range(200):
            if value := await self.run(expression):
                return value
            await asyncio.sleep(0.05)
        raise AssertionError(f"never true: {expression}")

    async def press(self, key: str) -> None:
        """One key, as a reader presses it."""
        text = key if len(key) == 1 else ""
        for kind in ("keyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, text=text)
            text = ""

    async def set_value(self, element: str, value: str) -> None:
        """Choose or write a value in the control with this id."""
        await self.run(
            f"(() => {{ const box = document.getElementById({element!r}); box.value = {value!r};"
            "box.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )

    async def width(self, pixels: int) -> None:
        """A screen of this width; under 500 pixels a phone's."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=pixels,
            height=844,
            deviceScaleFactor=1,
            mobile=pixels < 500,
        )

    async def screenshot(self, path: Path) -> None:
        shot = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(  # noqa: ASYNC240 - a test
            base64.b64decode(shot["data"])
        )


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Page]:
    """A tab of a fresh browser; leaving stops it."""
    assert CHROMIUM
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1200,1400",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        marker = folder / "DevToolsActivePort"
        for _ in range(400):
            if marker.exists() and marker.read_text().strip():
                break
            await asyncio.sleep(0.05)
        port = marker.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                tabs = [tab for tab in await answer.json() if tab["type"] == "page"]
            async with session.ws_connect(
                tabs[0]["webSocketDebuggerUrl"], max_msg_size=0
            ) as socket:
                page = Page(socket)
                for domain in ("Page", "Runtime", "Log"):
                    await page.send(f"{domain}.enable")
                yield page
    finally:
        process.terminate()
        await process.wait()
