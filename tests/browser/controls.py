"""What a person does on the page and what they see there, by the names that they see."""

import asyncio
import json
import wave
from pathlib import Path
from typing import Any

from playwright.async_api import Locator, Page, expect

from lingua_scheduler.client.sound import read_sound_file

START, STOP = "Microphone: start", "Microphone: stop"


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).click()


async def expect_state(page: Page, text: str) -> None:
    await expect(page.locator("#state")).to_have_text(text)


def rows(page: Page, kind: str = "result") -> Locator:
    return page.locator(f'.utterance[data-kind="{kind}"]')


async def download(page: Page, item: str) -> tuple[str, str]:
    """Name and text of the transcript in one format, by its line in the menu."""
    await press(page, "Download the transcript")
    async with page.expect_download() as started:
        await press(page, item)
    file = await started.value
    path = Path(await file.path())
    return file.suggested_filename, await asyncio.to_thread(path.read_text, "utf-8")


async def transcript(page: Page) -> list[dict[str, Any]]:
    _, text = await download(page, "Everything (.json)")
    return json.loads(text)["utterances"]


def write_wav(path: Path, source: Path, silence_s: float = 1) -> Path:
    """`source` as a WAV with silence before and after it."""
    silence = bytes(2 * int(16_000 * silence_s))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(silence + b"".join(read_sound_file(source)) + silence)
    return path
