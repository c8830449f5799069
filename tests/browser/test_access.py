"""A page whose scheduler wants a token asks for it, uses it, and forgets it with its tab."""

from collections.abc import Callable
from pathlib import Path

from playwright.async_api import expect

from lingua_scheduler.data import COMMANDS
from tests.browser.conftest import chromium, open_page
from tests.browser.controls import START, press, rows
from tests.support import Processes
from tests.support.tokens import KeyFile

expect.set_options(timeout=30_000)


async def test_a_page_asks_for_the_token_that_it_needs(
    processes: Processes, tmp_path: Path, microphone: Callable[[Path], Path]
):
    keys = KeyFile.made(tmp_path / "keys.toml")
    scheduler = processes.lingua("serve", "--embedded-redis", "--port", "0", "--keys", str(keys.path))
    url = (await scheduler.wait_output("listening on")).split()[-1]
    async with (
        chromium(microphone(COMMANDS.path)) as browser,
        open_page(browser, f"{url}/?from=en&to=pt&lang=en") as page,
    ):
        field = page.get_by_label("Access token")
        await expect(field).to_be_hidden()
        await press(page, START)
        await expect(field).to_be_focused()
        await expect(page.locator("#notice-text")).to_contain_text("Check the access token")
        await field.fill(keys.client())
        await field.press("Enter")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        await press(page, START)
        await expect(rows(page, "missing").first).to_contain_text("No translation node")
        await page.reload()
        await press(page, START)
        await expect(rows(page, "missing").first).to_contain_text("No translation node")
        kept = await page.evaluate("JSON.stringify(localStorage)")
        assert "eyJ" not in kept, "what outlives the tab holds no token"
