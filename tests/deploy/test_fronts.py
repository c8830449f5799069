"""The load balancers' examples: speech through each real proxy, while instances behind it leave."""

import json
import signal
import ssl
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector

from lingua_scheduler.data import COMMANDS
from lingua_scheduler.protocol import messages as wire
from tests.deploy.fronts import KINDS, Front, start_front, wait_served
from tests.e2e.conftest import fleet as fleet
from tests.e2e.fleet import Fleet, Instance
from tests.support import wait_until
from tests.support.certificates import Authority
from tests.support.peers import ClientPeer

TRUSTS = '["127.0.0.1"]'


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def trust(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.ca_file))


@pytest.fixture(params=KINDS)
async def front(request: pytest.FixtureRequest, fleet: Fleet, authority: Authority) -> Front:
    """Before two instances that trust it, which have one node."""
    instances = await fleet.serve(2, server__trusted_proxies=TRUSTS)
    await fleet.node("node", *instances, work_ms=-1)
    hosts = [one.url.removeprefix("http://") for one in instances]
    running = start_front(request.param, fleet.processes, hosts, authority.issue("localhost"))
    await wait_served(running, authority.ca_file)
    return running


async def instance_with_a_session(fleet: Fleet) -> Instance:
    """The one that has sessions; the test sees to it that no other has."""
    found: list[Instance] = []

    async def is_there() -> bool:
        running = [one for one in fleet.instances if one.child.running]
        counts = {one.url: "\nlingua_sessions_open 0.0\n" not in await text(f"{one.url}/metrics") for one in running}
        found[:] = [one for one in running if counts[one.url]]
        return bool(found)

    await wait_until(is_there, "a session")
    assert len(found) == 1, "one session"
    return found[0]


async def text(url: str) -> str:
    async with ClientSession() as http, http.get(url) as answer:
        return await answer.text()


async def finish(front: Front, fleet: Fleet) -> None:
    """The proxy first: it keeps connections to instances."""
    front.child.send(signal.SIGTERM)
    await front.child.wait_exit()
    await fleet.finish()


async def instances_learn_who_speaks(front: Front, fleet: Fleet, trust: ssl.SSLContext) -> None:
    """And pages of the proxy's own address are theirs."""
    connector = TCPConnector(local_addr=("127.0.0.2", 0), ssl=trust)
    async with ClientSession(connector=connector) as http:
        own = {"Origin": front.url, "X-Forwarded-For": "203.0.113.9"}
        page = ClientPeer(await http.ws_connect(f"{front.url}/ws/session", headers=own))
        await page.open()
        await page.ws.close()
        async with http.post(f"{front.url}/api/v1/drain", json={}, headers=own) as answer:
            assert answer.status == 403, "through a proxy nobody is on the instance's own machine"

    def told() -> list[str]:
        return [one.child.stderr for one in fleet.instances if "control refused" in one.child.stderr]

    await wait_until(told, "the audit log")
    assert "address='127.0.0.2'" in told()[0], told()[0]


async def test_an_instance_that_leaves_gets_nobody_new_and_finishes_what_it_has(
    front: Front, fleet: Fleet, trust: ssl.SSLContext
):
    """A client of protocol 1.0 cannot move: what it said is answered where it is, however long that takes."""
    [node] = fleet.nodes
    await instances_learn_who_speaks(front, fleet, trust)
    async with ClientSession() as http:
        speaker = ClientPeer(await http.ws_connect(f"{front.url}/ws/session", ssl=trust))
        await speaker.open()
        await speaker.speak(400)
        await node.wait_jobs()
        leaving = await instance_with_a_session(fleet)
        leaving.child.send(signal.SIGTERM)
        await wait_until(lambda: is_leaving(leaving), "the instance to leave")

        for _ in range(8):
            newcomer = ClientPeer(await http.ws_connect(f"{front.url}/ws/session", ssl=trust))
            await newcomer.open()
            await newcomer.ws.close()
        assert leaving.child.running, "it waits for the sentence"

        node.release()
        result = await speaker.wait_for(wire.TranslationResult)
        assert result.text_translated == "400 1 node"
        assert await leaving.child.wait_exit(60) == 0, leaving.child.story()
        await speaker.wait_closed()
    await finish(front, fleet)


async def is_leaving(instance: Instance) -> bool:
    async with ClientSession() as http, http.get(f"{instance.url}/ready") as answer:
        return answer.status == 503


async def test_a_speaker_behind_the_proxy_outlives_their_instance(front: Front, fleet: Fleet, authority: Authority):
    [node] = fleet.nodes
    node.release()
    said = fleet.processes.lingua(
        "translate", str(COMMANDS.path), "--from", "en", "--to", "pt", "--json", "--url", front.url,
        env={"SSL_CERT_FILE": str(authority.ca_file)},
    )  # fmt: skip
    await said.wait_output('"utterance"')
    leaving = await instance_with_a_session(fleet)
    drain = fleet.processes.lingua("drain", leaving.url)

    assert await drain.wait_exit(60) == 0, drain.story()
    assert await said.wait_exit(60) == 0, said.story()
    summary = json.loads(said.stdout.splitlines()[-1])
    assert (summary["lost"], summary["duplicated"], summary["failed"]) == (0, 0, 0)
    assert "connected again" in said.stderr
    await finish(front, fleet)
