"""What the floors do, whatever their sockets are: receive, decode, collect; hand on, and nothing else.

It speaks as much of both protocols as the load does. A chunk is decoded by the scheduler's own codec and appended; a
final sends what was collected to a node, and a node's result goes to the client, or to all of a room who listen in its
language. A node that leaves has its jobs sent to another one; a client that resumes is told one result from memory. No
machine, no order, no fence, no Redis, no metrics.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from lingua_scheduler.bench.plan import PAIR
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire

S = TypeVar("S")
"""A socket, as whoever serves it knows it."""
Said = tuple[S, bytes, bool]
"""To whom, the payload, whether the frame is binary."""
_PIPELINE = wire.Pipeline()


@dataclass(slots=True, eq=False)
class Client(Generic[S]):
    """One speaker or listener."""

    socket: S
    session_id: str = ""
    pair: tuple[str, str] = PAIR
    audio: bytearray = field(default_factory=bytearray)
    utterances: int = 0
    listeners: "dict[str, list[Client[S]]]" = field(default_factory=dict)
    """Of its room, by language."""


@dataclass(slots=True, eq=False)
class Node(Generic[S]):
    socket: S


@dataclass(slots=True, eq=False)
class Job(Generic[S]):
    """Until its result: who asked, who has it, and what was sent."""

    client: Client[S]
    node: Node[S]
    assign: node_wire.JobAssign
    audio: bytes


class Relay(Generic[S]):
    """Each call is told what came, and returns what is to be sent."""

    def __init__(self) -> None:
        self._opened = 0
        self._rooms: dict[str, Client[S]] = {}
        self._nodes: defaultdict[tuple[str, str], list[Node[S]]] = defaultdict(list)
        self._jobs: dict[str, Job[S]] = {}
        self._turn = 0

    def client_said(self, client: Client[S], data: str | bytes) -> Sequence[Said[S]]:
        message = codec.decode_client(data)
        match message:
            case wire.AudioChunk() | codec.BinaryChunk():
                client.audio += codec.chunk_audio(message)
                return self._end(client) if message.is_final else ()
            case wire.SessionInit():
                self._opened += 1
                client.session_id, client.pair = f"session-{self._opened:032x}", (message.src_lang, message.tgt_lang)
                return [(client.socket, codec.encode(_opened(client.session_id, message)), False)]
            case wire.SessionResume():
                return self._resume(client, message)
            case wire.RoomCreate() | wire.RoomJoin():
                return self._room(client, message)
            case _:
                return ()

    def node_said(self, node: Node[S], data: str | bytes) -> Sequence[Said[S]]:
        message = codec.decode_node(data)
        match message:
            case node_wire.JobResult():
                return self._tell(message)
            case node_wire.NodeRegister():
                for pair in message.language_capabilities.supported_language_pairs or ():
                    self._nodes[pair.src, pair.tgt].append(node)
                ack = node_wire.NodeRegisterAck(node_id=message.node_id or "", message="", status="ready")
                return [(node.socket, codec.encode(ack), False)]
            case _:
                return ()

    def node_left(self, node: Node[S]) -> Sequence[Said[S]]:
        for nodes in self._nodes.values():
            if node in nodes:
                nodes.remove(node)
        left = [job for job in self._jobs.values() if job.node is node]
        return [said for job in left for said in self._send(job.client, job.assign, job.audio, attempt=2)]

    def _end(self, client: Client[S]) -> Sequence[Said[S]]:
        audio, client.audio = bytes(client.audio), bytearray()
        index, client.utterances = client.utterances, client.utterances + 1
        said: list[Said[S]] = []
        for language in client.listeners or client.pair[1:]:
            assign = node_wire.JobAssign(
                job_id=f"job-{client.session_id}-{index}-{language}", attempt_id=1, session_id=client.session_id,
                utterance_index=index, src_lang=client.pair[0], tgt_lang=language, pipeline=_PIPELINE, audio="",
                audio_format="pcm16", sample_rate=16_000, enable_streaming_asr=False, partial_update_interval_ms=1000,
                trace_id="trace",
            )  # fmt: skip
            said += self._send(client, assign, audio)
        return said

    def _send(
        self, client: Client[S], assign: node_wire.JobAssign, audio: bytes, attempt: int = 1
    ) -> Sequence[Said[S]]:
        nodes = self._nodes[assign.src_lang, assign.tgt_lang]
        if not nodes:
            return ()
        self._turn += 1
        node = nodes[self._turn % len(nodes)]
        if attempt > 1:
            assign = msgspec.structs.replace(assign, attempt_id=attempt)
        self._jobs[assign.job_id] = Job(client, node, assign, audio)
        data = codec.encode_assign(assign, audio, binary=True)
        assert isinstance(data, bytes)
        return [(node.socket, data, True)]

    def _tell(self, result: node_wire.JobResult) -> Sequence[Said[S]]:
        if (job := self._jobs.pop(result.job_id, None)) is None:
            return ()
        data = codec.encode(_result(result))
        listeners = job.client.listeners.get(job.assign.tgt_lang, ())
        return [(one.socket, data, False) for one in (job.client, *listeners)]

    def _resume(self, client: Client[S], message: wire.SessionResume) -> Sequence[Said[S]]:
        """Whatever the session was: one result that had come before, and the audio from the second chunk."""
        client.session_id, client.utterances = message.session_id, 1
        ack = wire.SessionResumeAck(
            session_id=client.session_id, resume_token=message.resume_token, next_seq=1, replayed=1
        )
        kept = node_wire.JobResult(
            job_id="job", attempt_id=1, node_id="", session_id=client.session_id, utterance_index=0, success=True,
            trace_id="trace", text_asr="text", text_translated="text",
        )  # fmt: skip
        return [(client.socket, codec.encode(one), False) for one in (ack, _result(kept))]

    def _room(self, client: Client[S], message: wire.RoomCreate | wire.RoomJoin) -> Sequence[Said[S]]:
        if isinstance(message, wire.RoomCreate):
            code = f"{len(self._rooms):06}"
            self._rooms[code] = client
            return [(client.socket, codec.encode(wire.RoomCreateAck(room_code=code, room_id=code)), False)]
        speaker = self._rooms[message.room_code]
        speaker.listeners.setdefault(message.preferred_lang or client.pair[1], []).append(client)
        inside = [speaker, *(one for listeners in speaker.listeners.values() for one in listeners)]
        members = [
            wire.RoomMember(participant_id=one.session_id, session_id=one.session_id, joined_at=0) for one in inside
        ]
        told = codec.encode(wire.RoomMembers(room_code=message.room_code, members=members))
        return [(client.socket, told, False)]


def _opened(session_id: str, init: wire.SessionInit) -> wire.SessionInitAck:
    audio_format = init.audio_format or "opus"
    return wire.SessionInitAck(
        session_id=session_id, message="", trace_id="trace", protocol_version="1.1",
        use_binary_frame=bool(init.binary), negotiated_codec=audio_format, negotiated_audio_format=audio_format,
        negotiated_sample_rate=16_000, negotiated_channel_count=1,
    )  # fmt: skip


def _result(result: node_wire.JobResult) -> wire.TranslationResult:
    return wire.TranslationResult(
        session_id=result.session_id, utterance_index=result.utterance_index, job_id=result.job_id,
        text_asr=result.text_asr or "", text_translated=result.text_translated or "",
        tts_audio=result.tts_audio or "", tts_format=result.tts_format or "", trace_id=result.trace_id,
        scheduler_sent_at_ms=0, result_seq=result.utterance_index + 1,
    )  # fmt: skip
