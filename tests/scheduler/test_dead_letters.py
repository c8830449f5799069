"""Dead letters over HTTP: listed without what they carry, put back into an inbox, deleted."""

from typing import Any

import pytest
from aiohttp import ClientSession

from lingua_scheduler.protocol import bus as wire
from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.protocol.node import JobResult
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.streams import InboxState
from tests.support import wait_until

SECRET = "what was said"


def letter() -> bytes:
    result = JobResult(
        job_id="j1", attempt_id=1, node_id="n1", session_id="s", utterance_index=0, success=True, trace_id="t",
        text_asr=SECRET, text_translated=SECRET,
    )  # fmt: skip
    return wire.encode_bus(wire.ReportJob(node_id="n1", report=result))


async def give_up(scheduler: Scheduler, instance_id: InstanceId, body: bytes) -> str:
    store = scheduler.context.store
    words = ("XADD", store.keys.dlq(instance_id), "*", "entry", "1000-0", "reason", "it failed", "message", body)
    return str(await store.client.call(*words))


async def ask(scheduler: Scheduler, method: str, path: str, **fields: Any) -> tuple[int, Any]:
    async with ClientSession() as http, http.request(method, f"{scheduler.url}/api/v1/{path}", **fields) as response:
        return response.status, await response.json()


async def test_they_are_listed_without_their_content(scheduler: Scheduler):
    me = scheduler.context.instance_id
    letter_id = await give_up(scheduler, me, letter())
    await give_up(scheduler, me, b"\x81nonsense")
    status, told = await ask(scheduler, "GET", f"instances/{me}/dead-letters")
    assert status == 200
    newest, oldest = told["dead_letters"]
    assert newest["kind"] == "unreadable"
    assert oldest == {
        "letter_id": letter_id, "given_up_at_ms": int(letter_id.partition("-")[0]), "written_at_ms": 1000,
        "reason": "it failed", "kind": "ReportJob", "bytes": len(letter()), "node_id": "n1", "job_id": "j1",
    }  # fmt: skip
    assert SECRET not in str(told)


async def test_one_is_redelivered_to_whoever_lives(scheduler: Scheduler):
    """Its own inbox, or this instance's where it was left by one that is gone."""
    store, me, gone = scheduler.context.store, scheduler.context.instance_id, InstanceId("gone")
    await scheduler.upkeep.bus.wait_idle()
    for of in (me, gone):
        letter_id = await give_up(scheduler, of, b"\xff\xfe not for reading")
        path = f"instances/{of}/dead-letters/{letter_id}/redeliver"
        assert await ask(scheduler, "POST", path, json={}) == (200, {"letter_id": letter_id})
        assert (await ask(scheduler, "POST", path, json={}))[0] == 404, "it is there no more"
        assert await store.client.call("XLEN", store.keys.dlq(of)) == 0

    async def waits_again() -> bool:
        return await store.client.call("XLEN", store.keys.inbox(me)) == 2

    await wait_until(waits_again, "both in the inbox, pending: nobody can read them")
    (entry, _) = await scheduler.upkeep.bus._inbox.peek(me)
    assert entry.payload == b"\xff\xfe not for reading", "every byte as it was"


async def test_one_is_deleted(scheduler: Scheduler):
    me = scheduler.context.instance_id
    letter_id = await give_up(scheduler, me, letter())
    path = f"instances/{me}/dead-letters/{letter_id}"
    assert (await ask(scheduler, "DELETE", path, json={}))[0] == 200
    assert (await ask(scheduler, "DELETE", path, json={}))[0] == 404
    assert await ask(scheduler, "GET", f"instances/{me}/dead-letters") == (200, {"dead_letters": []})


@pytest.mark.parametrize(
    "path", ["instances/a b/dead-letters/1-0", "instances/i/dead-letters/-", "instances/i/dead-letters/x"]
)
async def test_nonsense_is_a_404(scheduler: Scheduler, path: str):
    assert (await ask(scheduler, "DELETE", path, json={}))[0] == 404


async def test_only_this_machine_may_touch_them(scheduler: Scheduler):
    me = scheduler.context.instance_id
    letter_id = await give_up(scheduler, me, letter())
    path = f"instances/{me}/dead-letters/{letter_id}"
    assert (await ask(scheduler, "DELETE", path, data="{}"))[0] == 415
    assert (await ask(scheduler, "DELETE", path, json={}, headers={"X-Forwarded-For": "192.0.2.1"}))[0] == 403
    assert (await ask(scheduler, "POST", f"{path}/redeliver", json={}, headers={"Host": "evil.example"}))[0] == 403
    assert len((await ask(scheduler, "GET", f"instances/{me}/dead-letters"))[1]["dead_letters"]) == 1


async def test_how_full_inboxes_are_is_read_for_all_at_once(scheduler: Scheduler):
    store, me = scheduler.context.store, scheduler.context.instance_id
    quiet, busy = InstanceId("quiet"), InstanceId("busy")
    key = store.keys.inbox(busy)
    await store.client.call("XGROUP", "CREATE", key, "scheduler", "0", "MKSTREAM")
    for _ in range(3):
        await store.client.call("XADD", key, "*", "message", "m")
    await store.client.call("XREADGROUP", "GROUP", "scheduler", "busy", "COUNT", "2", "STREAMS", key, ">")
    await give_up(scheduler, busy, letter())
    assert await store.inboxes.states([quiet, busy, me], "scheduler") == {
        quiet: InboxState(0, 0, 0), busy: InboxState(3, 2, 1), me: InboxState(0, 0, 0),
    }  # fmt: skip
    assert (await store.inboxes.states([busy], "another group"))[busy] == InboxState(3, 0, 1)
