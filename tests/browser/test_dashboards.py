"""The dashboards in a real browser, over a fleet that works, loses a node, is drained and has dead letters."""

import json
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Page, expect

from lingua_scheduler.protocol import bus as wire
from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.protocol.messages import TranslationResult
from lingua_scheduler.store.embedded import EmbeddedRedis
from lingua_scheduler.store.store import Store
from tests.browser.conftest import chromium, open_page
from tests.support import Child, Processes, wait_until
from tests.support.peers import Peers

expect.set_options(timeout=30_000)
AXE = Path(__file__).with_name("vendor") / "axe.min.js"
DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 780}}
PAGES = ("dashboard", "cluster", "compute-power", "models", "languages")
NODES = ("node-a", "node-b")


@pytest.fixture
async def redis_url() -> AsyncIterator[str]:
    """Set up before the processes that use it, so that it ends after them."""
    async with EmbeddedRedis.start() as server:
        yield server.url


class Fleet:
    """A scheduler, its Redis, and nodes in processes of their own that answer whatever is said."""

    def __init__(self, url: str, store: Store, scheduler: Child, nodes: dict[str, Child]) -> None:
        self.url, self.store, self.scheduler, self.nodes = url, store, scheduler, nodes

    async def instance_id(self) -> InstanceId:
        return InstanceId((await _get(f"{self.url}/api/v1/cluster"))["instances"][0]["instance_id"])


@asynccontextmanager
async def fleet(processes: Processes, redis_url: str) -> AsyncGenerator[Fleet]:
    scheduler = processes.lingua("serve", "--redis", redis_url, "--port", "0")
    url = (await scheduler.wait_output("listening on")).split()[-1]
    socket = f"{url.replace('http', 'ws')}/ws/node"
    engines = "scripted?text=hello there"
    nodes = {
        name: processes.lingua("node", "--url", socket, "--node-id", name, "--engines", engines, "--capacity", "2")
        for name in NODES
    }
    for node in nodes.values():
        await node.wait_output("registered at", 90)
    async with Store.open(redis_url) as store:
        yield Fleet(url, store, scheduler, nodes)


async def _get(url: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return await answer.json()


async def speak(url: str, sentences: int) -> None:
    """Somebody speaks that many sentences and reads each translation."""
    async with Peers.of(url) as peers:
        client = await peers.client()
        await client.open("en", "pt")
        for _ in range(sentences):
            await client.speak(400)
            await client.wait_for(TranslationResult)
        await client.ws.close()


def row(page: Page, table: str, name: str):
    return page.get_by_role("table", name=table).get_by_role("row").filter(has_text=name)


async def test_a_fleet_at_work_that_loses_a_node(redis_url: str, processes: Processes):
    async with (
        fleet(processes, redis_url) as running,
        chromium() as browser,
        open_page(browser, f"{running.url}/dashboard?lang=en", **DESK) as page,
    ):
        await expect(page.locator("#state")).to_have_text("Live")
        await expect(page.locator(".tile", has_text="Nodes ready").locator(".tile-value")).to_have_text("2")
        await speak(running.url, 3)
        await expect(row(page, "Last jobs", "translated")).to_have_count(3)
        latency = page.get_by_role("img", name="Latency, end of speech to result")
        await expect(latency).not_to_have_accessible_name("Latency, end of speech to result: p95 –, p50 –")
        await expect(page.locator(".tile", has_text="Latency, p95").locator(".tile-value")).not_to_have_text("–")

        await row(page, "Last jobs", "translated").first.get_by_role("button").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("completed")
        await expect(dialog.locator(".candidate[data-chosen=true]")).to_contain_text("node-")
        await page.keyboard.press("Escape")

        running.nodes["node-b"].process.kill()
        await expect(row(page, "What happened", "node-b")).to_contain_text(["Node lost", "Node joined"])
        await expect(page.locator(".tile", has_text="Nodes ready").locator(".tile-value")).to_have_text("1")
        await page.get_by_role("link", name="Cluster").click()
        await expect(row(page, "Nodes", "node-b")).to_contain_text("lost")
        await expect(row(page, "Nodes", "node-a")).to_contain_text("ready")


async def test_a_node_is_drained_and_resumed(redis_url: str, processes: Processes):
    async with (
        fleet(processes, redis_url) as running,
        chromium() as browser,
        open_page(browser, f"{running.url}/cluster?lang=en", **DESK) as page,
    ):
        await page.get_by_role("button", name="Drain node-a: no new jobs").click()
        await expect(page.get_by_role("alert")).to_contain_text("node-a takes no new jobs")
        await expect(row(page, "Nodes", "node-a")).to_contain_text("draining")
        await speak(running.url, 3)
        jobs = (await _get(f"{running.url}/api/v1/jobs"))["jobs"]
        assert {one["node_id"] for one in jobs} <= {"node-b"}
        await page.get_by_role("button", name="Resume node-a: jobs again").click()
        await expect(row(page, "Nodes", "node-a")).to_contain_text("ready")

        search = page.get_by_role("searchbox")
        await search.fill("node-b")
        await expect(row(page, "Nodes", "node-a")).to_have_count(0)
        await expect(row(page, "Nodes", "node-b")).to_have_count(1)


async def test_dead_letters_are_redelivered_and_deleted(redis_url: str, processes: Processes):
    async with fleet(processes, redis_url) as running:
        instance_id, store = await running.instance_id(), running.store
        key = store.keys.dlq(instance_id)
        body = wire.encode_bus(wire.SlotFreed(job_id="job-of-yesterday"))
        for entry in ("1-0", "2-0", "3-0"):
            await store.client.call("XADD", key, "*", "entry", entry, "reason", "it failed", "message", body)
        async with (
            chromium() as browser,
            open_page(browser, f"{running.url}/cluster?lang=en", **DESK) as page,
        ):
            await page.get_by_role("button", name=f"Dead letters of {instance_id}: 3").click()
            letters = page.get_by_role("dialog").get_by_role("row").filter(has_text="SlotFreed · job-of-yesterday")
            await expect(letters).to_have_count(3)
            await letters.first.get_by_role("button", name="Redeliver").click()
            await expect(letters).to_have_count(2)
            await letters.first.get_by_role("button", name="Delete").click()
            await letters.first.get_by_role("button", name="Really delete?").click()
            await expect(letters).to_have_count(1)
            await _check_accessible(page)
            await page.get_by_role("button", name="Redeliver all shown").click()
            await expect(page.get_by_role("dialog")).to_contain_text("There are none.")
            await page.keyboard.press("Escape")
            await expect(page.get_by_role("button", name="Dead letters of")).to_have_count(0)

        async def is_empty() -> bool:
            return await store.client.call("XLEN", store.keys.inbox(instance_id)) == 0

        await wait_until(is_empty, "the redelivered messages to be dealt with")


async def test_an_operators_token_opens_what_is_closed(redis_url: str, processes: Processes, tmp_path: Path):
    keys = str(tmp_path / "keys.toml")
    await processes.lingua("token", "key", "--keys", keys).wait_exit()
    admin = processes.lingua("token", "admin", "--keys", keys)
    assert await admin.wait_exit() == 0
    environment = {"LINGUA_SECURITY__KEYS_FILE": keys}
    scheduler = processes.lingua("serve", "--redis", redis_url, "--port", "0", env=environment)
    url = (await scheduler.wait_output("listening on")).split()[-1]
    async with chromium() as browser, open_page(browser, f"{url}/cluster?lang=en", may_fail=True, **DESK) as page:
        note = page.get_by_text("Read only:")
        await expect(note).to_be_visible()
        for token, is_open in (("nonsense", False), (admin.stdout.strip(), True)):
            await page.get_by_role("button", name="Operator token").click()
            await page.get_by_label("Token", exact=True).fill(token)
            await page.get_by_role("button", name="Keep for this tab").click()
            told = "Live" if is_open else "the token is not one of this service; an administrator's token is needed"
            await expect(page.locator("#state")).to_have_text(told)
            await expect(note).to_be_visible(visible=not is_open)


async def test_a_scheduler_that_goes_away_is_told(redis_url: str, processes: Processes):
    async with (
        fleet(processes, redis_url) as running,
        chromium() as browser,
        open_page(browser, f"{running.url}/cluster?lang=en", may_fail=True, **DESK) as page,
    ):
        await expect(page.locator("#state")).to_have_text("Live")
        await expect(row(page, "Nodes", "node-a")).to_have_count(1)
        running.scheduler.send(signal.SIGTERM)
        await expect(page.locator("#state")).to_have_text("Connection lost, trying again …")
        await expect(row(page, "Nodes", "node-a")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_every_page_is_accessible(scripted_url: str, lonely_url: str, scheme: str, size: dict[str, Any]):
    """With a fleet and without one; the first visit of each by its address, so that the page loads by itself."""
    await speak(scripted_url, 1)
    for url in (scripted_url, lonely_url):
        async with (
            chromium() as browser,
            open_page(browser, f"{url}/{PAGES[0]}", color_scheme=scheme, reduced_motion="reduce", **size) as page,
        ):
            for name in PAGES:
                await page.goto(f"{url}/{name}")
                await expect(page.locator("#state")).to_have_text("Live")
                await expect(page.locator("#nav [aria-current=page]")).to_have_attribute("href", f"/{name}")
                await _check_accessible(page)
                assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} sticks out"


async def test_the_language_matrix_names_each_direction(scripted_url: str):
    async with chromium() as browser, open_page(browser, f"{scripted_url}/languages?lang=en", **DESK) as page:
        await expect(page.locator(".matrix tbody tr")).to_have_count(6)
        cell = page.get_by_title("English to Portuguese: 1 nodes, 0 waiting")
        await expect(cell).to_have_text("1")


async def test_pages_speak_chinese_and_both_languages_have_every_sentence(lonely_url: str):
    async with chromium() as browser, open_page(browser, f"{lonely_url}/cluster", locale="zh-CN", **DESK) as page:
        await expect(page.get_by_role("heading", name="实例")).to_be_visible()
        en, zh = await page.evaluate(
            """async () => [(await import("/static/dash/en.js")).EN, (await import("/static/dash/zh.js")).ZH]"""
        )
        await page.get_by_role("button", name="English").click()
        await expect(page.get_by_role("heading", name="Instances")).to_be_visible()
        await page.reload()
        await expect(page.get_by_role("heading", name="Instances")).to_be_visible()
    assert list(en) == list(zh)
    assert all(("{" in en[key]) == ("{" in zh[key]) for key in en)


async def test_the_keyboard_reads_a_chart(scripted_url: str):
    async with chromium() as browser, open_page(browser, f"{scripted_url}/dashboard?lang=en", **DESK) as page:
        chart = page.get_by_role("figure", name="Sessions and nodes")
        await expect(chart.locator("path.stroke").first).to_be_attached()
        await chart.focus()
        await page.keyboard.press("ArrowLeft")
        await expect(chart.locator(".cursor")).to_be_attached()
        await expect(chart.locator(".moment")).not_to_be_empty()


async def test_the_choice_of_colours_is_kept(lonely_url: str):
    async with (
        chromium() as browser,
        open_page(browser, f"{lonely_url}/dashboard?lang=en", color_scheme="light") as page,
    ):
        await page.get_by_role("button", name="Switch between light and dark").click()
        await page.reload()
        assert await page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"


async def _check_accessible(page: Page) -> None:
    await page.evaluate(AXE.read_text("utf-8") + "; window.axe = axe; undefined")
    found = await page.evaluate(
        """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
            .map(({ id, nodes }) => [id, nodes.map((one) => [one.html.slice(0, 160), one.failureSummary])])"""
    )
    assert not found, json.dumps(found, indent=1)
