"""Sessions that go from one living instance to another: what the client gets, what the node is told, who may act."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from lingua_scheduler.core.jobs.phases import Phase
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import JobId, SessionId
from lingua_scheduler.runtime.config import Config
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.scheduler.keeping import token_hash
from lingua_scheduler.store.client import RedisClient, Script
from lingua_scheduler.store.connection import RedisConnection
from lingua_scheduler.store.embedded import EmbeddedRedis
from tests.scheduler.conftest import changed
from tests.support import wait_until
from tests.support.peers import ClientPeer, Peers

TAKEN_OVER = 4000
SPOKEN_MS = 400
MAX_MS = 1000
"""The longest utterance."""


class Fleet:
    """Two instances on one Redis, and their peers."""

    def __init__(self, a: Scheduler, b: Scheduler, at_a: Peers, at_b: Peers) -> None:
        self.a, self.b, self.at_a, self.at_b = a, b, at_a, at_b

    async def speaker(self, utterances: int = 0) -> "Speaker":
        client = await self.at_a.client()
        ack = await client.open(protocol_version="1.1")
        speaker = Speaker(client, ack.resume_token or "", SessionId(ack.session_id))
        for _ in range(utterances):
            await client.speak(SPOKEN_MS)
        return speaker


class Speaker:
    """A client and what it needs to come back."""

    def __init__(self, client: ClientPeer, token: str, session_id: SessionId) -> None:
        self.client, self.token, self.session_id = client, token, session_id
        self.last_result_seq = 0

    async def results(self, count: int) -> list[wire.TranslationResult]:
        found = [await self.client.wait_for(wire.TranslationResult) for _ in range(count)]
        self.last_result_seq = found[-1].result_seq or 0
        return found

    async def resume(self, at: Peers, token: str | None = None) -> wire.SessionResumeAck:
        """On a new connection; the one before stays as it is."""
        seq = self.client.seq
        self.client = await at.client()
        self.client.session_id, self.client.seq = self.session_id, seq
        await self.client.send(
            wire.SessionResume(
                session_id=self.session_id, resume_token=token or self.token, last_result_seq=self.last_result_seq
            )
        )
        answer = await self.client.next()
        assert isinstance(answer, wire.SessionResumeAck), answer
        self.token = answer.resume_token
        return answer

    async def is_refused(self, at: Peers, token: str) -> bool:
        client = await at.client()
        await client.send(wire.SessionResume(session_id=self.session_id, resume_token=token, last_result_seq=0))
        answer = await client.next()
        return isinstance(answer, wire.ErrorMessage) and answer.code == ErrorCode.INVALID_SESSION

    async def say_again(self, ack: wire.SessionResumeAck) -> None:
        """The audio from `next_seq` on, as it was."""
        last, self.client.seq = self.client.seq, ack.next_seq - 1
        while self.client.seq < last:
            await self.client.speak(SPOKEN_MS)


@pytest.fixture
async def fleet(redis: EmbeddedRedis, config: Config) -> AsyncGenerator[Fleet]:
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(Scheduler.start(config, redis.url))
        b = await stack.enter_async_context(Scheduler.start(config, redis.url))
        at_a = await stack.enter_async_context(Peers.of(a.url, a.context.store))
        at_b = await stack.enter_async_context(Peers.of(b.url, b.context.store))
        yield Fleet(a, b, at_a, at_b)


@pytest.fixture
def gap_hold_ms() -> int:
    return 8000


@pytest.fixture
def config(config: Config, gap_hold_ms: int) -> Config:
    """Streamed chunks are finals, so nothing waits for a pause."""
    cut = {"pause_ms": 3000, "max_duration_ms": MAX_MS, "gap_hold_ms": gap_hold_ms}
    return changed(config, "scheduler.web_task_segmentation", **cut)


async def test_a_session_goes_on_elsewhere_with_its_indices_and_numbers(fleet: Fleet):
    node = await fleet.at_a.node()
    await node.register()
    speaker = await fleet.speaker(2)
    for _ in range(2):
        await node.answer(await node.take_job())
    await speaker.results(2)

    ack = await speaker.resume(fleet.at_b)

    assert (ack.next_seq, ack.replayed) == (3, 0)
    await speaker.client.speak(SPOKEN_MS)
    await node.answer(await node.take_job())
    [third] = await speaker.results(1)
    assert (third.utterance_index, third.result_seq) == (2, 3)
    assert (third.speech_start_ms, third.speech_end_ms) == (2 * SPOKEN_MS, 3 * SPOKEN_MS)


async def test_the_instance_that_is_left_forgets_the_session_and_closes_its_socket(fleet: Fleet):
    speaker = await fleet.speaker()
    left = speaker.client
    await speaker.resume(fleet.at_b)
    assert await left.wait_closed() == TAKEN_OVER
    assert (len(fleet.a.sessions), len(fleet.b.sessions)) == (0, 1)


async def test_unacknowledged_results_are_replayed_once_in_order(fleet: Fleet):
    node = await fleet.at_b.node()
    await node.register()
    speaker = await fleet.speaker(3)
    for _ in range(3):
        await node.answer(await node.take_job(), tts_audio=codec.encode_audio(b"\xff\x00\x80"), tts_format="pcm16")
    first = await speaker.results(3)
    speaker.last_result_seq = 1

    ack = await speaker.resume(fleet.at_b)

    assert ack.replayed == 2
    replayed = await speaker.results(2)
    said = [(one.result_seq, one.utterance_index, one.text_translated, one.tts_audio) for one in replayed]
    assert said == [(one.result_seq, one.utterance_index, one.text_translated, one.tts_audio) for one in first[1:]]
    assert said[0][3]


async def test_a_running_job_is_not_sent_again_and_its_result_finds_the_session(fleet: Fleet):
    node = await fleet.at_a.node()
    await node.register()
    speaker = await fleet.speaker(2)
    jobs = [await node.take_job(), await node.take_job()]

    ack = await speaker.resume(fleet.at_b)

    assert ack.next_seq == 1
    await speaker.say_again(ack)
    await node.answer(jobs[1])
    await node.answer(jobs[0])
    assert [one.utterance_index for one in await speaker.results(2)] == [0, 1]
    await speaker.client.speak(SPOKEN_MS)
    assert (await node.take_job()).utterance_index == 2


async def test_an_attempt_that_was_placed_and_not_sent_begins_anew_at_once(fleet: Fleet):
    """It waits for what the one before leaves to it; without word its new owner would wait for the lease to end."""
    nodes = await fleet.at_a.node(), await fleet.at_b.node()
    for name, node in zip(("node-a", "node-b"), nodes, strict=True):
        await node.register(name, capacity=1)
    speaker = await fleet.speaker()
    await speaker.client.speak(MAX_MS, is_final=False)
    taken = [asyncio.create_task(node.take_job()) for node in nodes]
    [of_first], _ = await asyncio.wait(taken, return_when=asyncio.FIRST_COMPLETED)
    [of_second] = set(taken) - {of_first}
    with_first = nodes[taken.index(of_first)]
    with_second = nodes[taken.index(of_second)]
    await speaker.client.speak(MAX_MS, is_final=False)
    await wait_until(lambda: Phase.PARKED in _phases(fleet.a, speaker), "the second to be placed, and not sent")

    ack = await speaker.resume(fleet.at_b)
    speaker.client.seq = ack.next_seq - 1
    for _ in range(2):
        await speaker.client.speak(MAX_MS, is_final=False)

    await wait_until(lambda: Phase.PARKED in _phases(fleet.b, speaker), "the second to be placed again")
    await with_first.answer(of_first.result())
    second = await of_second
    assert (second.utterance_index, second.attempt_id) == (1, 2)
    await with_second.answer(second)
    assert [one.utterance_index for one in await speaker.results(2)] == [0, 1]


async def test_a_result_that_waited_for_its_turn_is_not_lost(fleet: Fleet):
    node = await fleet.at_a.node()
    await node.register()
    speaker = await fleet.speaker(2)
    jobs = [await node.take_job(), await node.take_job()]
    await node.answer(jobs[1])
    await wait_until(lambda: _outbox(fleet.a, speaker), "the second to be finished")

    await speaker.say_again(await speaker.resume(fleet.at_b))

    await node.answer(jobs[0])
    assert [one.utterance_index for one in await speaker.results(2)] == [0, 1]


async def test_after_the_loss_of_a_node_the_audio_that_was_sent_again_is_tried_elsewhere(fleet: Fleet):
    node = await fleet.at_a.node()
    await node.register()
    speaker = await fleet.speaker(2)
    first = [await node.take_job(), await node.take_job()]
    ack = await speaker.resume(fleet.at_b)
    other = await fleet.at_b.node()
    await other.register("node-b")

    await node.ws.close()
    await speaker.say_again(ack)

    sent_again = [await other.take_job(), await other.take_job()]
    for before, again in zip(first, sorted(sent_again, key=lambda one: one.utterance_index), strict=True):
        assert (again.job_id, again.attempt_id, again.audio) == (before.job_id, 2, before.audio)
        await other.answer(again)
    assert [one.utterance_index for one in await speaker.results(2)] == [0, 1]


async def test_new_speech_instead_of_the_old_gives_the_old_up(fleet: Fleet):
    """A client that kept no audio, and a node that is gone: said to be lost, instead of waiting for ever."""
    node = await fleet.at_a.node()
    await node.register()
    speaker = await fleet.speaker(1)
    await node.take_job()
    await speaker.resume(fleet.at_b)

    await speaker.client.speak(SPOKEN_MS)

    missing = await speaker.client.wait_for(wire.MissingResult)
    assert (missing.utterance_index, missing.reason, missing.result_seq) == (0, "audio_lost", 1)
    await node.answer(await node.take_job())
    assert (await speaker.results(1))[0].utterance_index == 1


async def test_each_token_serves_once_wherever_it_is_shown(fleet: Fleet):
    speaker = await fleet.speaker()
    first = speaker.token
    assert await speaker.is_refused(fleet.at_b, "stolen")
    await speaker.resume(fleet.at_b)
    await speaker.client.send(wire.ClientHeartbeat(session_id=speaker.session_id, timestamp=1))
    await speaker.client.wait_for(wire.ServerHeartbeat)

    async def is_spent() -> bool:
        record = await fleet.a.context.store.sessions.read(speaker.session_id)
        return not record["used"]

    await wait_until(is_spent, "the store to know that the client has its next token")
    assert await speaker.is_refused(fleet.at_a, first)
    assert await speaker.is_refused(fleet.at_b, first)
    await speaker.resume(fleet.at_a)


@pytest.mark.parametrize("gap_hold_ms", [200])
async def test_a_result_that_did_not_wait_for_an_earlier_utterance_is_not_told_twice(fleet: Fleet):
    node = await fleet.at_a.node()
    await node.register()
    speaker = await fleet.speaker(2)
    jobs = [await node.take_job(), await node.take_job()]
    await node.answer(jobs[1])
    assert [one.utterance_index for one in await speaker.results(1)] == [1]

    ack = await speaker.resume(fleet.at_b)

    assert ack.replayed == 0
    await node.answer(jobs[0])
    [late] = await speaker.results(1)
    assert (late.utterance_index, late.result_seq) == (0, 2)
    await speaker.client.send(wire.ClientHeartbeat(session_id=speaker.session_id, timestamp=1))
    await speaker.client.wait_for(wire.ServerHeartbeat)
    told = [one.utterance_index for one in speaker.client.received if isinstance(one, wire.TranslationResult)]
    assert told == [0]


async def test_an_answer_that_got_lost_can_be_asked_for_again_elsewhere(fleet: Fleet):
    speaker = await fleet.speaker()
    first = speaker.token
    await speaker.resume(fleet.at_b)
    await speaker.resume(fleet.at_a, first)
    await wait_until(lambda: (len(fleet.a.sessions), len(fleet.b.sessions)) == (1, 0), "one owner")


async def test_of_two_resumes_at_once_one_stays(fleet: Fleet):
    speaker = await fleet.speaker()
    clients = [await fleet.at_a.client(), await fleet.at_b.client()]
    resume = wire.SessionResume(session_id=speaker.session_id, resume_token=speaker.token, last_result_seq=0)
    await asyncio.gather(*(client.send(resume) for client in clients))
    await wait_until(lambda: len(fleet.a.sessions) + len(fleet.b.sessions) == 1, "one owner")
    survivor = clients[len(fleet.b.sessions)]
    survivor.session_id = speaker.session_id
    await survivor.wait_for(wire.SessionResumeAck)
    await survivor.send(wire.ClientHeartbeat(session_id=speaker.session_id, timestamp=1))
    await survivor.wait_for(wire.ServerHeartbeat)


async def test_an_owner_that_did_not_hear_of_the_next_one_cannot_act(fleet: Fleet):
    """As after a pause: it wakes up with speech that it had not passed on, and with a job whose lease ends."""
    node = await fleet.at_b.node()
    await node.register()
    speaker = await fleet.speaker(1)
    job = await node.take_job()
    # The claim alone: no word of it reaches the owner.
    claim = await fleet.b.context.store.sessions.claim(
        speaker.session_id, fleet.b.context.instance_id, token_hash(speaker.token), "fresh"
    )
    left = speaker.client

    await left.speak(SPOKEN_MS)

    assert await left.wait_closed() == TAKEN_OVER
    assert claim.previous == fleet.a.context.instance_id
    assert fleet.a.sessions.find(speaker.session_id) is None
    assert not await node_has_more(node)
    story = await fleet.b.context.store.jobs.story(JobId(job.job_id))
    assert story is not None
    assert story.status in ("assigned", "accepted", "running")


async def node_has_more(node: Any) -> bool:
    """Whether a job came beside those that were taken; what it was sent before its heartbeat's answer counts."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await node.take_job()
    return False


async def test_a_record_that_redis_lost_is_written_anew(fleet: Fleet):
    node = await fleet.at_a.node()
    await node.register()
    speaker = await fleet.speaker(1)
    await node.answer(await node.take_job())
    await speaker.results(1)
    await fleet.a.context.store.client.call("FLUSHALL")
    await fleet.a.sessions.renew_records()
    speaker.last_result_seq = 0
    assert (await speaker.resume(fleet.at_b)).replayed == 1
    assert (await speaker.results(1))[0].result_seq == 1


async def test_the_end_of_a_session_removes_all_of_it(fleet: Fleet):
    node = await fleet.at_a.node()
    await node.register()
    speaker = await fleet.speaker(1)
    job = await node.take_job()
    await speaker.say_again(await speaker.resume(fleet.at_b))
    await node.answer(job)
    await speaker.results(1)
    await speaker.client.send(wire.ResultAck(session_id=speaker.session_id, result_seq=1))
    await speaker.client.send(wire.SessionClose(session_id=speaker.session_id, reason="done"))
    await speaker.client.wait_for(wire.SessionCloseAck)

    async def is_gone() -> bool:
        store = fleet.a.context.store
        names = [store.keys.session(speaker.session_id), store.keys.session_outbox(speaker.session_id)]
        return await store.client.call("EXISTS", *names) == 0

    await wait_until(is_gone, "the record to be removed")


async def test_a_sentence_of_a_session_that_can_be_resumed_costs_two_round_trips(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
):
    node = await fleet.at_a.node()
    await node.register()
    speaker = await fleet.speaker()
    asked: list[tuple[str, int]] = []
    writes = 0
    run, flush = RedisClient.run, RedisConnection._flush

    async def counting(self: RedisClient, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        asked.append((script.name, writes))
        return await run(self, script, keys, arguments)

    def counting_flush(self: RedisConnection) -> None:
        nonlocal writes
        writes += 1
        flush(self)

    monkeypatch.setattr(RedisClient, "run", counting)
    monkeypatch.setattr(RedisConnection, "_flush", counting_flush)
    for number in range(1, 11):
        await speaker.client.speak(SPOKEN_MS)
        await node.answer(await node.take_job())
        await speaker.results(1)
        await speaker.client.send(wire.ResultAck(session_id=speaker.session_id, result_seq=number))
    said = [one for one in asked if one[0] in {"select_node", "finish_job", "write_session"}]
    assert [name for name, _ in said] == ["write_session", "select_node", "finish_job"] * 10
    trips = [number for _, number in said]
    assert trips[::3] == trips[1::3], "the record leaves in one write with the placement"


def _phases(scheduler: Scheduler, speaker: Speaker) -> list[Phase]:
    actor = scheduler.sessions.find(speaker.session_id)
    return list(actor.phases().values()) if actor is not None else []


async def _outbox(scheduler: Scheduler, speaker: Speaker) -> int:
    store = scheduler.context.store
    return int(str(await store.client.call("HLEN", store.keys.session_outbox(speaker.session_id))))
