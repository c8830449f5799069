"""A session that can be resumed: who may write and claim it, and what an owner that was replaced can do."""

from lingua_scheduler.core.placement import Selected, StaleOwner
from lingua_scheduler.protocol.ids import InstanceId, JobId, NodeId, SessionId
from lingua_scheduler.store.records import Claim, Fence, Word
from lingua_scheduler.store.sessions import Ownership, SessionChange
from lingua_scheduler.store.store import Store
from tests.store.dump import check_keys, dump
from tests.store.samples import HERE, THERE, join, request

S = SessionId("s")
J = JobId("j")
BYTES = b"\x00\xff:\xfe\r\n"
OPENING = {"opening": "o", "token": "t0", "state": "1"}
TTL_MS = 90_000


def here(epoch: int = 5) -> Ownership:
    return Ownership(S, HERE, epoch)


async def test_a_session_is_written_read_and_removed(stores: Store):
    assert await stores.sessions.read(S) == {}
    assert (await stores.sessions.write(here(), SessionChange(OPENING, ttl_ms=TTL_MS))).is_whole
    assert (await stores.sessions.read(S)).items() >= {**OPENING, "epoch": "5", "owner": HERE}.items()
    assert TTL_MS - 1000 < (await dump(stores.client))["scheduler:session:s"].ttl_ms <= TTL_MS
    await stores.sessions.write(here(), SessionChange({"state": "2"}, kept={J: BYTES}, ttl_ms=TTL_MS))
    assert (await stores.sessions.read(S))["state"] == "2"
    await check_keys(stores)
    assert (await stores.sessions.outbox(S, [J, JobId("other")]))[J].body == BYTES
    await stores.sessions.write(here(), SessionChange(forgotten=[J]))
    assert await stores.sessions.outbox(S, [J]) == {}
    assert await stores.sessions.drop(S, 5) is Word.OK
    assert await dump(stores.client) == {}


async def test_an_owner_learns_that_redis_lost_its_session(stores: Store):
    assert not (await stores.sessions.write(here(), SessionChange({"state": "2"}))).is_whole
    assert await stores.sessions.owner(S) is None


async def test_a_token_claims_a_session_and_serves_until_the_next_one_is_known(stores: Store):
    assert (await stores.sessions.claim(S, THERE, "t0", "t1")).word is Word.UNKNOWN_SESSION
    await stores.sessions.write(here(), SessionChange(OPENING, kept={J: BYTES}))
    assert await stores.sessions.claim(S, THERE, "stolen", "t1") == Claim(Word.REFUSED)
    claim = await stores.sessions.claim(S, THERE, "t0", "t1")
    assert claim.epoch > 5
    assert (claim.previous, claim.fields["state"], claim.outbox[J].body) == (HERE, "1", BYTES)
    again = await stores.sessions.claim(S, THERE, "t0", "t2")
    assert (again.epoch, again.previous) == (claim.epoch, THERE), "its answer may have been lost"
    assert (await stores.sessions.claim(S, HERE, "t1", "t3")).word is Word.REFUSED, "that one was never told"
    await stores.sessions.write(Ownership(S, THERE, claim.epoch), SessionChange({"used": ""}))
    assert (await stores.sessions.claim(S, HERE, "t0", "t3")).word is Word.REFUSED
    assert (await stores.sessions.claim(S, HERE, "t2", "t3")).epoch > claim.epoch
    await check_keys(stores)


async def test_an_owner_that_was_replaced_can_do_nothing(stores: Store):
    await join(stores, "n", "zh>en", capacity=2)
    await stores.sessions.write(here(), SessionChange(OPENING))
    placed = await stores.jobs.select(request("j", session_id=S, session_epoch=5))
    assert isinstance(placed, Selected)
    claim = await stores.sessions.claim(S, THERE, "t0", "t1")
    before = await dump(stores.client)
    fence = Fence(S, 5)
    assert (await stores.sessions.write(here(), SessionChange({"state": "9"}, [J]))).word is Word.STALE_EPOCH
    assert await stores.jobs.select(request("k", session_id=S, session_epoch=5)) == StaleOwner(claim.epoch)
    assert (await stores.jobs.requeue(J, 1, "timeout", fence=fence)).word is Word.STALE_EPOCH
    ended = await stores.jobs.finish(J, 1, NodeId("n"), "completed", fence=fence, result=BYTES)
    assert (ended.word, ended.attempt) == (Word.STALE_EPOCH, claim.epoch)
    assert await stores.sessions.drop(S, 5) is Word.STALE_EPOCH
    assert await stores.sessions.adopt(here(), [J]) is None
    after = await dump(stores.client)
    assert {name: one.value for name, one in after.items()} == {name: one.value for name, one in before.items()}


async def test_a_new_owner_takes_jobs_over_and_their_results_go_into_the_outbox(stores: Store):
    registered = await join(stores, "n", "zh>en", capacity=2)
    await stores.sessions.write(here(), SessionChange(OPENING))
    for job in ("j", "k", "l"):
        await stores.jobs.select(request(job, session_id=S, session_epoch=5, lease_ms=30_000))
    await stores.jobs.requeue(JobId("k"), 1, "timeout", fence=Fence(S, 5))
    claim = await stores.sessions.claim(S, THERE, "t0", "t1")
    jobs = [J, JobId("k"), JobId("l"), JobId("m")]
    placed, revoked, _, unknown = await stores.sessions.adopt(Ownership(S, THERE, claim.epoch), jobs) or []
    assert (placed.status, placed.attempt, placed.node_id, placed.epoch) == ("assigned", 1, "n", registered.epoch)
    assert 25_000 < placed.lease_ms <= 30_000
    assert (placed.instance_id, placed.protocol) == (HERE, 2)
    assert (revoked.status, revoked.attempt, revoked.revoked, revoked.node_id) == ("pending", 1, 1, None)
    assert unknown.status is None
    story = await stores.jobs.story(J)
    assert story is not None
    assert story.owner == THERE
    fence = Fence(S, claim.epoch)
    assert (await stores.jobs.finish(J, 1, NodeId("n"), "completed", fence=fence, result=BYTES)).is_ok
    found = await stores.sessions.claim(S, InstanceId("third"), "t1", "t2")
    assert [(job, kept.body) for job, kept in found.outbox.items()] == [(J, BYTES)]


async def test_a_result_of_a_session_that_is_gone_is_not_kept(stores: Store):
    await join(stores, "n", "zh>en", capacity=2)
    await stores.jobs.select(request("j", session_id=S, session_epoch=5))
    assert (await stores.jobs.finish(J, 1, NodeId("n"), "completed", fence=Fence(S, 5), result=BYTES)).is_ok
    assert not [name for name in await dump(stores.client) if "session" in name]
