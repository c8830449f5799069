"""A real Chromium whose microphone is a sound file, and a scheduler for its pages."""

import asyncio
import contextlib
import shutil
import wave
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from lingua_scheduler.client.sound import read_sound_file
from tests.support import Processes

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
async def open_page(browser: Browser, url: str, **context: object) -> AsyncGenerator[Page]:
    """A page that fails the test for every error in its console, a refused script or style among them."""
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
    assert not troubles, troubles


@pytest.fixture
def microphone(tmp_path: Path):
    """Makes a WAV for the microphone from any sound file, with a second of silence before and after."""

    def make(source: Path) -> Path:
        path = tmp_path / "microphone.wav"
        silence = bytes(2 * 16_000)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(silence + b"".join(read_sound_file(source)) + silence)
        return path

    return make


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
