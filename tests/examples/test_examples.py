"""The examples as they stand: a client, a node that shares no code with ours, and a page of somebody else's."""

import asyncio
import functools
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.async_api import expect

from lingua_scheduler.data import COMMANDS
from tests.browser.conftest import chromium, open_page
from tests.browser.controls import write_wav
from tests.support import Processes, free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
LINES_MAX = 50


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as its base names it
        pass


@pytest.fixture
def website() -> Iterator[str]:
    """Another web server, on another port: another origin."""
    handler = functools.partial(_Quiet, directory=str(EXAMPLES))
    with http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


async def fleet(processes: Processes, **env: str) -> str:
    """The address of a scheduler with the example's node behind it."""
    serve = processes.lingua("serve", "--embedded-redis", "--port", "0", env=env)
    url = (await serve.wait_output("listening on")).split()[-1].replace("http", "ws")
    node = processes.start(sys.executable, str(EXAMPLES / "node.py"), f"{url}/ws/node")
    await node.wait_output("registered as")
    return url


async def test_the_client_and_the_node_find_each_other(processes: Processes, tmp_path: Path):
    url = await fleet(processes)
    recording = await asyncio.to_thread(write_wav, tmp_path / "speech.wav", COMMANDS.path, 0.1)
    client = processes.start(sys.executable, str(EXAMPLES / "client.py"), str(recording), "en", "pt", url)

    assert await client.wait_exit() == 0, client.story()
    lines = client.stdout.splitlines()
    spoken = [line for line in lines if line.endswith(" seconds of speech")]
    translated = [line for line in lines if line.startswith("  → ")]
    assert spoken
    assert translated == [f"  → {line.split()[0]} segundos de fala" for line in spoken]


async def test_a_client_that_is_refused_says_why(processes: Processes, tmp_path: Path):
    recording = await asyncio.to_thread(write_wav, tmp_path / "speech.wav", COMMANDS.path, 0.1)
    url = f"ws://127.0.0.1:{free_port()}"
    client = processes.start(sys.executable, str(EXAMPLES / "client.py"), str(recording), "en", "pt", url)

    assert await client.wait_exit() == 1
    assert f"no scheduler answers at {url}" in client.stderr
    assert "Traceback" not in client.stderr


async def test_a_page_of_another_origin_speaks(processes: Processes, website: str, tmp_path: Path):
    longest = {"LINGUA_SCHEDULER__WEB_TASK_SEGMENTATION__MAX_DURATION_MS": "2000"}
    url = await fleet(processes, LINGUA_SECURITY__ALLOWED_ORIGINS=f'["{website}"]', **longest)
    recording = await asyncio.to_thread(write_wav, tmp_path / "microphone.wav", COMMANDS.path)
    async with chromium(recording) as browser, open_page(browser, f"{website}/browser.html?url={quote(url)}") as page:
        await page.get_by_role("button", name="Speak").click()
        await expect(page.locator("#said li").first).to_contain_text("segundos de fala", timeout=30_000)


@pytest.mark.parametrize("name", ["client.py", "node.py", "browser.html"])
def test_an_example_is_short(name: str):
    text = (EXAMPLES / name).read_text("utf-8")
    head = '"""\n' if name.endswith(".py") else "-->\n"
    code = [line for line in text.partition(head)[2].splitlines() if line.strip() and not line.startswith("import ")]
    assert len(code) <= LINES_MAX
