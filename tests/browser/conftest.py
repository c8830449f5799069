"""A real Chromium whose microphone is a sound file, and a scheduler for its pages."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.browser.controls import write_wav
from tests.support import Processes, wait_until

_FLAGS = (
    "--use-fake-ui-for-media-stream",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


@contextlib.asynccontextmanager
async def chromium(microphone: Path | None = None) -> AsyncGenerator[Browser]:
    """The machine's own Chromium. `microphone`, a WAV file, is heard once from when a page opens the microphone."""
    program = shutil.which("chromium")
    assert program, "browser tests need Debian's package chromium"
    flags = list(_FLAGS)
    if microphone is not None:
        flags += ["--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={microphone}%noloop"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=flags)
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def open_page(browser: Browser, url: str, *, may_fail: bool = False, **context: object) -> AsyncGenerator[Page]:
    """A page that fails the test for every error in its console, a refused script or style among them.

    `may_fail`: requests may, for the test cuts the network or has no token yet; nothing else may.
    """
    troubles: list[str] = []
    made = await browser.new_context(**context)  # pyright: ignore[reportArgumentType]
    page = await made.new_page()
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    await page.goto(url)
    try:
        yield page
    finally:
        await made.close()
    if may_fail:
        expected = ("WebSocket connection", "net::", "status of 401")
        troubles = [one for one in troubles if not any(part in one for part in expected)]
    assert not troubles, troubles


@pytest.fixture
def microphone(tmp_path: Path):
    """Makes a WAV for the microphone from any sound file, with a second of silence before and after."""

    def make(source: Path) -> Path:
        return write_wav(tmp_path / "microphone.wav", source)

    return make


@pytest.fixture(scope="module")
def scripted_url() -> Iterator[str]:
    """A scheduler and a node that says `hello there` to everything, shared by the tests of a module."""
    with Processes() as processes:
        yield asyncio.run(_serve_known(processes, "scripted?text=hello there&partials=2"))


async def _serve_known(processes: Processes, engines: str) -> str:
    """As `serve`, once pages are told what the node serves."""
    url = await serve(processes, engines)
    async with aiohttp.ClientSession() as http:

        async def is_told() -> bool:
            async with http.get(f"{url}/api/v1/pools") as answer:
                return bool((await answer.json()).get("pools"))

        await wait_until(is_told, "the picture of what is served")
    return url


@pytest.fixture(scope="module")
def lonely_url() -> Iterator[str]:
    """A scheduler without a node, shared by the tests that only look at it."""
    with Processes() as processes:
        yield asyncio.run(serve(processes))


async def serve(processes: Processes, engines: str | None = None) -> str:
    """A scheduler's address, with a node of these engines behind it, if any."""
    scheduler = processes.lingua("serve", "--embedded-redis", "--port", "0")
    url = (await scheduler.wait_output("listening on")).split()[-1]
    if engines is not None:
        node = processes.lingua("node", "--url", f"{url.replace('http', 'ws')}/ws/node", "--engines", engines)
        await node.wait_output("registered at", 90)
    return url
