"""Rooms over real sockets: who gets what, on one instance or on two."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import SessionId
from lingua_scheduler.runtime.config import Config
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.embedded import EmbeddedRedis
from lingua_scheduler.store.rooms import SESSION_GUESSES_MAX
from tests.scheduler.conftest import changed
from tests.support import wait_until
from tests.support.peers import ClientPeer, NodePeer, Peers

EVERYTHING = node_wire.LanguageCapabilities(
    asr_languages=["en", "es", "pt"], semantic_languages=["en", "es", "pt"], tts_languages=["en", "es", "pt"]
)


STAGES = ("asr", "mt", "tts")


class Fleet:
    """Instances `a` and `b`, a node at `b` that serves every pair, and people here and there."""

    def __init__(self, instances: list[Scheduler], peers: list[Peers]) -> None:
        self.instances = instances
        self.peers = peers

    async def node(self, node_id: str = "node-a", at: int = 1, **fields: Any) -> NodePeer:
        node = await self.peers[at].node()
        await node.register(node_id, **{"language_capabilities": EVERYTHING, "capacity": 16, **fields})
        return node

    async def person(self, at: int, src: str = "en", tgt: str = "es", **fields: Any) -> ClientPeer:
        client = await self.peers[at].client()
        await client.open(src, tgt, **{"protocol_version": "1.1", **fields})
        return client

    async def room(self, *people: tuple[int, str | None], **fields: Any) -> tuple[str, list[ClientPeer]]:
        """A room of people: at which instance, hearing which language. Everybody knows of everybody."""
        clients: list[ClientPeer] = []
        code = ""
        for at, lang in people:
            client = await self.person(at, lang or "en", "pt" if lang != "pt" else "en", **fields)
            clients.append(client)
            code = await create(client, lang) if not code else await join(client, code, lang)
        for client in clients:
            await members(client, len(people))
        return code, clients


async def create(client: ClientPeer, lang: str | None = None) -> str:
    await client.send(wire.RoomCreate(client_ts=0, preferred_lang=lang, display_name="host"))
    return (await client.wait_for(wire.RoomCreateAck)).room_code


async def join(client: ClientPeer, code: str, lang: str | None = None) -> str:
    await client.send(wire.RoomJoin(room_code=code, preferred_lang=lang))
    return code


async def members(client: ClientPeer, count: int) -> list[wire.RoomMember]:
    """The member list once it has so many, told before or to come."""
    told = [one for one in client.received if isinstance(one, wire.RoomMembers)]
    if told and len(told[-1].members) == count:
        return told[-1].members
    return (await client.wait_for(wire.RoomMembers, lambda one: len(one.members) == count)).members


async def refusal(client: ClientPeer) -> ErrorCode:
    return (await client.wait_for(wire.RoomError)).code


async def answer_all(node: NodePeer, count: int) -> list[node_wire.JobAssign]:
    """Take and answer so many jobs, each with the language that it is for."""
    jobs = [await node.take_job() for _ in range(count)]
    for job in jobs:
        await node.answer(job, text_translated=f"{job.tgt_lang} {job.utterance_index}")
    return jobs


async def heard(client: ClientPeer, count: int = 1) -> list[tuple[str, str]]:
    """The next lines: whose, and what."""
    lines = [await client.wait_for(wire.TranslationResult) for _ in range(count)]
    return [(line.session_id, line.text_translated) for line in lines]


def lines(client: ClientPeer) -> int:
    return sum(isinstance(one, wire.TranslationResult | wire.MissingResult) for one in client.received)


async def settle(client: ClientPeer) -> None:
    """A round trip: whatever was on its way to this client before has arrived."""
    await client.send(wire.ClientHeartbeat(session_id=client.session_id, timestamp=1))
    await client.wait_for(wire.ServerHeartbeat)


@pytest.fixture
async def fleet(redis: EmbeddedRedis, config: Config) -> AsyncGenerator[Fleet]:
    async with AsyncExitStack() as stack:
        instances = [await stack.enter_async_context(Scheduler.start(config, redis.url)) for _ in range(3)]
        peers = [await stack.enter_async_context(Peers.of(one.url, one.context.store)) for one in instances]
        yield Fleet(instances, peers)


async def test_a_room_is_one_for_all_instances(fleet: Fleet):
    host, guest = await fleet.person(0), await fleet.person(1)
    code = await create(host, "en")
    assert code.isdigit()
    assert len(code) == 6
    assert [one.session_id for one in await members(host, 1)] == [host.session_id]
    await join(guest, code, "es")
    for client in (host, guest):
        told = await members(client, 2)
        assert [one.participant_id for one in told] == [host.session_id, guest.session_id]
        assert [one.preferred_lang for one in told] == ["en", "es"]
        assert told[0].display_name == "host"
    await guest.send(
        wire.RoomRawVoicePreference(room_code=code, target_session_id=host.session_id, receive_raw_voice=False)
    )
    told = await host.wait_for(wire.RoomMembers)
    assert told.members[1].raw_voice_preferences == {host.session_id: False}
    await guest.send(wire.RoomLeave(room_code=code))
    await members(host, 1)
    await guest.send(wire.RoomLeave(room_code=code))
    assert await refusal(guest) is ErrorCode.ROOM_NOT_FOUND


async def test_what_cannot_be_is_refused_with_its_code(redis: EmbeddedRedis, config: Config):
    two = changed(config, "rooms", max_members=2)
    async with Scheduler.start(two, redis.url) as one, Peers.of(one.url, one.context.store) as peers:
        fleet = Fleet([one], [peers])
        code, (host, guest) = await fleet.room((0, "en"), (0, "es"))
        late = await fleet.person(0)
        for wrong in ("12345", "abcdef", "1234567", ""):
            await join(late, wrong)
            assert await refusal(late) is ErrorCode.INVALID_ROOM_CODE
        await join(late, code)
        assert await refusal(late) is ErrorCode.ROOM_FULL
        await join(guest, code)
        assert await refusal(guest) is ErrorCode.ALREADY_IN_ROOM
        await guest.send(wire.RoomCreate(client_ts=0))
        assert await refusal(guest) is ErrorCode.ALREADY_IN_ROOM, "one session is in one room"
        unused = "000000" if code != "000000" else "000001"
        for _ in range(SESSION_GUESSES_MAX):
            await join(late, unused)
            assert await refusal(late) is ErrorCode.ROOM_NOT_FOUND
        await join(late, code)
        assert await refusal(late) is ErrorCode.RATE_LIMITED
        other = await fleet.person(0)
        await join(other, code, "Klingon!")
        assert await refusal(other) is ErrorCode.INVALID_MESSAGE
        assert len(await members(host, 2)) == 2


async def test_each_hears_the_others_in_their_own_language_and_nobody_itself(fleet: Fleet):
    node = await fleet.node()
    _, (ana, bea, cleo, dan) = await fleet.room((0, "en"), (1, "es"), (2, "pt"), (0, None))
    await ana.speak(400)
    jobs = await answer_all(node, 2)
    assert sorted(job.tgt_lang for job in jobs) == ["es", "pt"]
    assert {job.session_id for job in jobs} == {ana.session_id}
    assert await heard(bea) == [(ana.session_id, "es 0")]
    assert await heard(cleo) == [(ana.session_id, "pt 0")]
    await bea.speak(400)
    assert sorted(job.tgt_lang for job in await answer_all(node, 2)) == ["en", "pt"]
    assert await heard(ana) == [(bea.session_id, "en 0")]
    assert await heard(cleo) == [(bea.session_id, "pt 0")]
    for client in (ana, bea, cleo, dan):
        await settle(client)
    assert [lines(client) for client in (ana, bea, cleo, dan)] == [1, 1, 2, 0]


async def test_listeners_of_one_language_share_one_job_and_the_runs_saved_are_counted(fleet: Fleet):
    node = await fleet.node()
    _, (ana, bea, cleo, dan) = await fleet.room((0, "en"), (0, "es"), (1, "es"), (2, "pt"))
    await ana.speak(400)
    jobs = [await node.take_job() for _ in range(2)]
    for job in jobs:
        await node.answer(job, tts_audio="UklGRg==")
    for client in (bea, cleo, dan):
        assert (await client.wait_for(wire.TranslationResult)).tts_audio
    registry = fleet.instances[0].context.metrics.registry
    runs = {stage: registry.get_sample_value("lingua_room_runs_saved_total", {"stage": stage}) for stage in STAGES}
    assert runs == {"asr": 2, "mt": 1, "tts": 1}


async def test_alone_in_a_room_is_as_a_single_session(fleet: Fleet):
    node = await fleet.node()
    client = await fleet.person(0, "en", "pt")
    await create(client, "es")
    await client.speak(400)
    [job] = await answer_all(node, 1)
    assert job.tgt_lang == "pt"
    assert await heard(client) == [(client.session_id, "pt 0")]


async def test_among_people_without_a_language_nothing_is_translated(fleet: Fleet):
    node = await fleet.node()
    _, (ana, _) = await fleet.room((0, "en"), (1, None))
    await ana.speak(400)
    await ana.wait_for(wire.AudioAck)
    assert not any(isinstance(one, node_wire.JobAssign) for one in node.received)


async def test_a_slow_language_delays_no_other_and_order_holds_for_each_listener(fleet: Fleet):
    node = await fleet.node()
    _, (ana, bea, cleo) = await fleet.room((0, "en"), (1, "es"), (2, "pt"))
    jobs: list[node_wire.JobAssign] = []
    for _ in range(3):
        await ana.speak(400)
        jobs += [await node.take_job() for _ in range(2)]
    fast = [job for job in jobs if job.tgt_lang == "pt"]
    slow = [job for job in jobs if job.tgt_lang == "es"]
    for job in reversed(fast):
        await node.answer(job, text_translated=f"pt {job.utterance_index}")
    assert await heard(cleo, 3) == [(ana.session_id, f"pt {index}") for index in range(3)]
    for job in reversed(slow):
        await node.answer(job, text_translated=f"es {job.utterance_index}")
    assert await heard(bea, 3) == [(ana.session_id, f"es {index}") for index in range(3)]


async def test_two_who_speak_at_once_are_both_heard(fleet: Fleet):
    node = await fleet.node()
    _, (ana, bea, cleo) = await fleet.room((0, "en"), (1, "es"), (2, "pt"))
    await ana.speak(400)
    await bea.speak(400)
    await answer_all(node, 4)
    assert await heard(ana) == [(bea.session_id, "en 0")]
    assert await heard(bea) == [(ana.session_id, "es 0")]
    assert sorted(await heard(cleo, 2)) == sorted([(ana.session_id, "pt 0"), (bea.session_id, "pt 0")])


async def test_who_changes_language_in_the_middle_hears_every_utterance_once(fleet: Fleet):
    node = await fleet.node()
    code, (ana, bea) = await fleet.room((0, "en"), (1, "es"))
    await ana.speak(400)
    first = await node.take_job()
    await bea.send(wire.RoomUpdate(room_code=code, preferred_lang="pt"))
    told = await ana.wait_for(wire.RoomMembers)
    assert told.members[1].preferred_lang == "pt"
    await ana.speak(400)
    second = await node.take_job()
    assert (first.tgt_lang, second.tgt_lang) == ("es", "pt")
    await node.answer(second, text_translated="pt 1")
    await node.answer(first, text_translated="es 0")
    assert sorted(await heard(bea, 2)) == [(ana.session_id, "es 0"), (ana.session_id, "pt 1")]
    await bea.send(wire.RoomUpdate(room_code=code, preferred_lang=""))
    told = await ana.wait_for(wire.RoomMembers)
    assert told.members[1].preferred_lang is None


async def test_a_speaker_who_changes_language_is_recognised_in_the_new_one(fleet: Fleet):
    node = await fleet.node()
    code, (ana, bea) = await fleet.room((0, "en"), (1, "es"))
    await ana.send(wire.RoomUpdate(room_code=code, src_lang="pt", preferred_lang="pt"))
    await bea.wait_for(wire.RoomMembers)
    await ana.speak(400)
    [job] = await answer_all(node, 1)
    assert (job.src_lang, job.tgt_lang) == ("pt", "es")
    assert await heard(bea) == [(ana.session_id, "es 0")]


async def test_who_leaves_while_a_job_runs_gets_nothing_and_the_others_do(fleet: Fleet):
    node = await fleet.node()
    code, (ana, bea, cleo) = await fleet.room((0, "en"), (1, "es"), (2, "pt"))
    await ana.speak(400)
    jobs = [await node.take_job() for _ in range(2)]
    await bea.send(wire.RoomLeave(room_code=code))
    for client in (ana, cleo):
        await members(client, 2)
    for job in jobs:
        await node.answer(job, text_translated=f"{job.tgt_lang} {job.utterance_index}")
    assert await heard(cleo) == [(ana.session_id, "pt 0")]
    await settle(bea)
    assert lines(bea) == 0


async def test_what_a_speaker_said_before_it_left_is_still_heard(fleet: Fleet):
    node = await fleet.node()
    code, (ana, bea) = await fleet.room((0, "en"), (1, "es"))
    await ana.speak(400)
    job = await node.take_job()
    await ana.send(wire.RoomLeave(room_code=code))
    await members(bea, 1)
    await node.answer(job, text_translated="es 0")
    assert await heard(bea) == [(ana.session_id, "es 0")]


async def test_who_comes_late_reads_the_last_three_lines_and_hears_what_follows(fleet: Fleet):
    node = await fleet.node()
    code, (ana, bea) = await fleet.room((0, "en"), (1, "es"))
    for index in range(5):
        await ana.speak(400)
        await answer_all(node, 1)
        assert await heard(bea) == [(ana.session_id, f"es {index}")]
    store = fleet.instances[0].context.store.rooms
    room = fleet.instances[0].sessions.rooms.room_of(SessionId(ana.session_id))
    assert room is not None

    async def are_kept() -> bool:
        return len(await store.lines(room.room_id)) == 5

    await wait_until(are_kept, "the lines to be kept")
    cleo, dan = await fleet.person(2), await fleet.person(0)
    await join(cleo, code, "es")
    past = [await cleo.wait_for(wire.TranslationResult) for _ in range(3)]
    assert [line.text_translated for line in past] == ["es 2", "es 3", "es 4"]
    assert all(line.extra == {"history": True} and not line.tts_audio for line in past)
    await join(dan, code, "pt")
    past = [await dan.wait_for(wire.TranslationResult) for _ in range(3)]
    assert [(line.text_asr, line.text_translated) for line in past] == [(f"utterance {n}", "") for n in (2, 3, 4)]
    await members(ana, 4)
    await ana.speak(400)
    await answer_all(node, 2)
    assert await heard(cleo) == [(ana.session_id, "es 5")]
    assert await heard(dan) == [(ana.session_id, "pt 5")]


async def test_a_node_s_death_loses_no_language_and_doubles_none(fleet: Fleet):
    node = await fleet.node()
    _, (ana, bea, cleo) = await fleet.room((0, "en"), (1, "es"), (2, "pt"))
    await ana.speak(400)
    jobs = [await node.take_job() for _ in range(2)]
    done = next(job for job in jobs if job.tgt_lang == "es")
    await node.answer(done, text_translated="es 0")
    assert await heard(bea) == [(ana.session_id, "es 0")]
    other = await fleet.node("node-b", 0)
    await node.ws.close()
    again = await other.take_job()
    assert (again.tgt_lang, again.attempt_id) == ("pt", 2)
    await other.answer(again, text_translated="pt 0")
    assert await heard(cleo) == [(ana.session_id, "pt 0")]
    await settle(bea)
    assert lines(bea) == 1


async def test_an_old_node_gets_a_session_of_its_own_for_each_language(fleet: Fleet):
    node = await fleet.node(protocol_version="1")
    _, (ana, bea, cleo) = await fleet.room((0, "en"), (1, "es"), (2, "pt"))
    await ana.speak(400)
    jobs = await answer_all(node, 2)
    assert sorted(job.session_id for job in jobs) == [f"{ana.session_id}.{lang}" for lang in ("es", "pt")]
    assert await heard(bea) == [(ana.session_id, "es 0")]
    assert await heard(cleo) == [(ana.session_id, "pt 0")]


async def test_a_failure_is_told_to_those_who_would_have_heard_it(fleet: Fleet):
    _, (ana, bea) = await fleet.room((0, "en"), (1, "es"))
    await ana.speak(400)
    missing = await bea.wait_for(wire.MissingResult)
    assert (missing.session_id, missing.reason) == (ana.session_id, "no_available_node")
    await settle(ana)
    assert lines(ana) == 0


@pytest.mark.parametrize("protocol", ["1.0", "1.1"])
async def test_who_loses_its_socket_leaves_when_it_can_not_come_back(
    redis: EmbeddedRedis, config: Config, protocol: str
):
    soon = changed(config, "scheduler.web_task_segmentation", resume_window_seconds=1)
    async with Scheduler.start(soon, redis.url) as one, Peers.of(one.url, one.context.store) as peers:
        _, (ana, bea) = await Fleet([one], [peers]).room((0, "en"), (0, "es"), protocol_version=protocol)
        await bea.ws.close()
        await members(ana, 1)


async def test_who_resumes_is_still_in_the_room_and_gets_what_was_said_meanwhile(fleet: Fleet):
    node = await fleet.node()
    code, (ana,) = await fleet.room((0, "en"))
    bea = await fleet.peers[1].client()
    ack = await bea.open("es", "en", protocol_version="1.1")
    await join(bea, code, "es")
    await members(ana, 2)
    await bea.ws.close()
    await wait_until(lambda: _is_away(fleet.instances[1], bea.session_id), "the loss to be noticed")
    await ana.speak(400)
    await answer_all(node, 1)
    await ana.wait_for(wire.AudioAck)
    again = await fleet.peers[1].client()
    await again.send(
        wire.SessionResume(session_id=bea.session_id, resume_token=ack.resume_token or "", last_result_seq=0)
    )
    assert await heard(again) == [(ana.session_id, "es 0")]
    again.session_id = bea.session_id
    await ana.speak(400)
    await answer_all(node, 1)
    assert await heard(again) == [(ana.session_id, "es 1")]


async def test_a_room_ends_when_nobody_has_spoken_for_long(redis: EmbeddedRedis, config: Config):
    short = changed(config, "rooms", expiry_minutes=1 / 60)
    async with AsyncExitStack() as stack:
        instances = [await stack.enter_async_context(Scheduler.start(short, redis.url)) for _ in range(2)]
        peers = [await stack.enter_async_context(Peers.of(one.url, one.context.store)) for one in instances]
        fleet = Fleet(instances, peers)
        node = await fleet.node()
        code, (ana, bea) = await fleet.room((0, "en"), (1, "es"))
        for client in (ana, bea):
            assert (await client.wait_for(wire.RoomExpired)).room_code == code
        await join(ana, code, "en")
        assert await refusal(ana) is ErrorCode.ROOM_NOT_FOUND
        await ana.speak(400)
        [job] = await answer_all(node, 1)
        assert job.tgt_lang == "pt", "by itself again"
        assert await heard(ana) == [(ana.session_id, "pt 0")]


async def test_a_redis_that_comes_back_empty_is_told_of_the_room(fleet: Fleet):
    node = await fleet.node()
    code, (ana, bea) = await fleet.room((0, "en"), (1, "es"))
    instance = fleet.instances[0]
    picture = instance.sessions.rooms.room_of(SessionId(ana.session_id))
    assert picture is not None
    rooms = instance.context.store.rooms
    await rooms.look(picture.room_id, expiry_ms=0)
    assert await rooms.room_of(SessionId(ana.session_id)) is None, "Redis knows nothing of it"
    instance.sessions.rooms.store_returned()
    await bea.wait_for(wire.RoomMembers)
    late = await fleet.person(2)
    await join(late, code, "pt")
    assert [one.session_id for one in await members(bea, 3)] == [ana.session_id, bea.session_id, late.session_id]
    await members(ana, 3)
    await ana.speak(400)
    await answer_all(node, 2)
    assert await heard(bea) == [(ana.session_id, "es 0")]
    assert await heard(late) == [(ana.session_id, "pt 0")]


async def test_signalling_goes_to_members_of_the_room_that_accept_the_voice(fleet: Fleet):
    code, (ana, bea) = await fleet.room((0, "en"), (1, "es"))
    stranger = await fleet.person(0)
    offer = {"type": "offer", "sdp": "v=0"}
    await ana.send(wire.WebrtcOffer(room_code=code, to=bea.session_id, sdp=offer))
    got = await bea.wait_for(wire.WebrtcOffer)
    assert (got.to, got.sdp, got.room_code) == (ana.session_id, offer, code)
    await bea.send(wire.WebrtcAnswer(room_code=code, to=got.to, sdp="answer"))
    assert (await ana.wait_for(wire.WebrtcAnswer)).to == bea.session_id
    await bea.send(wire.WebrtcIce(room_code=code, to=ana.session_id, candidate={"candidate": "x"}))
    assert (await ana.wait_for(wire.WebrtcIce)).candidate == {"candidate": "x"}
    await stranger.send(wire.WebrtcOffer(room_code=code, to=bea.session_id, sdp=offer))
    assert await refusal(stranger) is ErrorCode.ROOM_NOT_FOUND
    await ana.send(wire.WebrtcOffer(room_code=code, to=stranger.session_id, sdp=offer))
    assert await refusal(ana) is ErrorCode.INVALID_SESSION
    await bea.send(
        wire.RoomRawVoicePreference(room_code=code, target_session_id=ana.session_id, receive_raw_voice=False)
    )
    await ana.wait_for(wire.RoomMembers)
    await ana.send(wire.WebrtcOffer(room_code=code, to=bea.session_id, sdp=offer))
    assert await refusal(ana) is ErrorCode.UNAUTHORIZED


def _is_away(instance: Scheduler, session_id: str) -> bool:
    return any(one.session_id == session_id and one.client is None for one in instance.sessions.all())
