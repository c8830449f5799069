"""The load: clients that speak at their own pace and nodes that answer after a stated time, in one process.

`python -m lingua_scheduler.bench.load` reads a `Plan` from its standard input, connects, says `open`, waits for a line,
says `begin` and `end` around the time that counts, and last the `Outcome`.

Open loop: when a chunk is due was fixed at the start, and a server that is slow does not delay the next. Latencies
count from when something was due, not from when it could be sent, so waiting hides nowhere. What a socket does not take
is kept and sent later, in order.
"""

import select
import socket
import sys
from collections import Counter, deque
from typing import Literal

import msgspec

from lingua_scheduler.bench import frames
from lingua_scheduler.bench.connections import Client, Node, dialled, first_frame, shake
from lingua_scheduler.bench.histogram import Histogram
from lingua_scheduler.bench.machine import allow_sockets, clock_s, cpu_s
from lingua_scheduler.bench.peers import registration
from lingua_scheduler.bench.plan import PAIR, Outcome, Plan
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.audio import join_packets

_AT_ONCE = 50
_BATCH = 32
"""Chunks that are sent before sockets are looked at again."""
_HEARTBEAT_S = 15.0
_SETTLE_S = 3.0
_ROUNDING_S = 1e-6
"""A chunk that is due when the time that counts begins may be a little before it, by the sums of floats."""
_SILK_20_MS = bytes([9 << 3])


class _About(msgspec.Struct):
    """What the load reads of a job or a result."""

    session_id: str
    utterance_index: int
    job_id: str = ""
    attempt_id: int = 1
    trace_id: str = ""
    result_seq: int = 0


class _Trouble(msgspec.Struct):
    """What a client would rather not hear."""

    type: str
    code: str = ""
    reason: str = ""
    action: str = ""

    def told(self) -> str:
        return " ".join(word for word in (self.type, self.code, self.reason, self.action) if word)


_trouble = msgspec.json.Decoder(_Trouble)
_about = msgspec.json.Decoder(_About)
_ack = msgspec.json.Decoder(wire.SessionInitAck)


class Load:
    """Everything of one run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._poll = select.epoll()
        self._peers: dict[int, Client | Node] = {}
        self.clients: list[Client] = []
        self.nodes: list[Node] = []
        self._sessions: dict[str, Client] = {}
        self._answers: deque[tuple[float, Node, _About]] = deque()
        self._answered_s: dict[tuple[str, int], float] = {}
        self._beats: deque[tuple[float, Node]] = deque()
        self._audio = _audio(plan)
        self._reply = codec.encode_audio(bytes(plan.reply_bytes))
        self._window = (0.0, 0.0)
        self.errors: Counter[str] = Counter()
        self.dispatch, self.result, self.late = Histogram(), Histogram(), Histogram()
        self.frames = self.utterances = self.results = 0

    # ------------------------------------------------------------------------------------------- connecting

    def connect(self) -> None:
        """Nodes first, then clients, some at a time. ConnectionError where one is not let in."""
        for number in range(self.plan.nodes):
            self.nodes += [self._register(number)]
        left = self.plan.sessions
        while left > 0:
            self._open_sessions(min(left, _AT_ONCE))
            left -= _AT_ONCE

    def _dialled(self, path: str) -> socket.socket:
        return dialled(self.plan.host, self.plan.port, path)

    def _add(self, peer: Client | Node) -> None:
        peer.sock.setblocking(False)
        self._peers[peer.sock.fileno()] = peer
        self._poll.register(peer.sock, select.EPOLLIN)

    def _register(self, number: int) -> Node:
        node = Node(self._dialled("/ws/node"), self._poll)
        shake(node.sock)
        node.node_id = f"bench-{number}"
        said = codec.encode(registration(node.node_id, [PAIR], self.plan.capacity, binary_audio=True))
        node.sock.sendall(frames.masked(frames.TEXT, said))
        first_frame(node.sock)
        self._add(node)
        self._beat(node)
        self._beats.append((clock_s() + _HEARTBEAT_S * (number + 1) / self.plan.nodes, node))
        return node

    def _open_sessions(self, count: int) -> None:
        opening = wire.SessionInit(
            client_version="bench", platform="bench", src_lang=PAIR[0], tgt_lang=PAIR[1], protocol_version="1.1",
            audio_format="opus" if self.plan.frames == "opus" else "pcm16", binary=self.plan.frames != "json",
        )  # fmt: skip
        said = frames.masked(frames.TEXT, codec.encode(opening))
        made = [Client(self._dialled("/ws/session"), self._poll) for _ in range(count)]
        for client in made:
            shake(client.sock)
            client.sock.sendall(said)
        for client in made:
            client.session_id = _ack.decode(first_frame(client.sock)).session_id
            kind = frames.JsonChunk if self.plan.frames == "json" else frames.BinaryChunk
            client.chunk = kind(client.session_id, self._audio)
            self._sessions[client.session_id] = client
            self._add(client)
        self.clients += made

    # ------------------------------------------------------------------------------------------- the loop

    def run(self) -> None:
        """Speak for the warm-up and the time that counts, then take what is still to come."""
        plan = self.plan
        start = clock_s() + 0.1
        begin = start + plan.warm_s
        end = begin + plan.seconds
        self._window = (begin - _ROUNDING_S, end - _ROUNDING_S)
        marks: deque[tuple[float, Literal["begin", "end"]]] = deque([(begin, "begin"), (end, "end")])
        turn = tick = 0
        tick_s, count = plan.tick_ms / 1000, len(self.clients)
        due = start
        while marks or (clock_s() < end + _SETTLE_S + plan.service_ms / 1000 and self.results < self.utterances):
            now = clock_s()
            if marks and now >= marks[0][0]:
                _say(marks.popleft()[1])
            batch = _BATCH
            while due <= now and batch and due < end:
                self._speak(self.clients[turn], turn, tick, due, now)
                batch -= 1
                turn += 1
                if turn == count:
                    turn, tick = 0, tick + 1
                due = start + (tick + turn / count) * tick_s
            self._answer_due(now)
            self._wait(now, min(due if due < end else end + 1, marks[0][0] if marks else end + 1))

    def _wait(self, now: float, until: float) -> None:
        """Handle what comes, until there is something to do."""
        if self._answers:
            until = min(until, self._answers[0][0])
        # epoll rounds a timeout up to milliseconds; select on its descriptor does not.
        left = max(0.0, min(until - now, 0.1))
        if left > 0:
            select.select([self._poll], [], [], left)
        for number, events in self._poll.poll(0):
            peer = self._peers[number]
            if events & select.EPOLLOUT:
                peer.flush()
            if events & ~select.EPOLLOUT:
                self._on_readable(peer)

    def _speak(self, client: Client, turn: int, tick: int, due: float, now: float) -> None:
        plan = self.plan
        is_final = False
        if plan.sentence_ticks:
            cycle = plan.sentence_ticks + plan.pause_ticks
            place = (tick + turn * 7919) % cycle
            if place >= plan.sentence_ticks:
                return
            is_final = place == plan.sentence_ticks - 1
        client.seq += 1
        if is_final:
            client.due_s[client.finals] = due
            client.finals += 1
        client.send(client.chunk.numbered(client.seq, is_final=is_final))
        if self._counts(due):
            self.frames += 1
            self.utterances += is_final
            self.late.add_s(now - due)

    def _counts(self, due: float) -> bool:
        begin, end = self._window
        return begin <= due < end

    def _on_readable(self, peer: Client | Node) -> None:
        for is_text, payload in peer.read():
            if isinstance(peer, Client):
                self._on_client_frame(peer, payload)
            elif not is_text:
                self._on_job(peer, payload)
            elif payload.startswith(b'{"type":"error"'):
                self.errors["node refused"] += 1
        if peer.is_closed:
            self.errors["closed"] += 1

    # ------------------------------------------------------------------------------------------- what comes

    def _on_client_frame(self, client: Client, payload: bytes) -> None:
        kind = payload[9 : payload.find(b'"', 9)]
        if kind == b"translation_result":
            about = _about.decode(payload)
            acknowledged = wire.ResultAck(session_id=client.session_id, result_seq=about.result_seq)
            client.send(frames.masked(frames.TEXT, codec.encode(acknowledged)))
            answered = self._answered_s.pop((about.session_id, about.utterance_index), None)
            due = client.due_s.pop(about.utterance_index, None)
            if answered is None or due is None:
                self.errors["doubled"] += 1
            elif self._counts(due):
                self.results += 1
                self.result.add_s(clock_s() - answered)
        elif kind in (b"error", b"missing_result", b"backpressure", b"goaway"):
            self.errors[_trouble.decode(payload).told()] += 1

    def _on_job(self, node: Node, payload: bytes) -> None:
        now = clock_s()
        header = payload[4 : 4 + int.from_bytes(payload[:4], "little")]
        if not header.startswith(b'{"type":"job_assign"'):
            return
        about = _about.decode(header)
        due = self._sessions[about.session_id].due_s.get(about.utterance_index)
        if due is not None and self._counts(due):
            self.dispatch.add_s(now - due)
        for kind in (node_wire.JobAck, node_wire.JobStarted):
            word = kind(
                job_id=about.job_id, attempt_id=about.attempt_id, node_id=node.node_id, session_id=about.session_id,
                trace_id=about.trace_id,
            )  # fmt: skip
            node.send(frames.masked(frames.TEXT, codec.encode(word)))
        self._answers.append((now + self.plan.service_ms / 1000, node, about))

    def _answer_due(self, now: float) -> None:
        while self._answers and self._answers[0][0] <= now:
            due, node, about = self._answers.popleft()
            self._answered_s[about.session_id, about.utterance_index] = due
            result = node_wire.JobResult(
                job_id=about.job_id, attempt_id=about.attempt_id, node_id=node.node_id, session_id=about.session_id,
                utterance_index=about.utterance_index, success=True, trace_id=about.trace_id,
                text_asr="what was said, as the node heard it", text_translated="o que foi dito, em outra língua",
                tts_audio=self._reply, tts_format="opus", processing_time_ms=float(self.plan.service_ms),
            )  # fmt: skip
            node.send(frames.masked(frames.TEXT, codec.encode(result)))
        while self._beats and self._beats[0][0] <= now:
            due, node = self._beats.popleft()
            self._beat(node)
            self._beats.append((due + _HEARTBEAT_S, node))

    @staticmethod
    def _beat(node: Node) -> None:
        beat = node_wire.NodeHeartbeat(node_id=node.node_id, timestamp=0, resource_usage=node_wire.ResourceUsage())
        node.send(frames.masked(frames.TEXT, codec.encode(beat)))

    def outcome(self, connect_s: float, load_cpu_s: float) -> Outcome:
        missing = self.utterances - self.results
        return Outcome(
            frames=self.frames, utterances=self.utterances, results=self.results, seconds=self.plan.seconds,
            dispatch=self.dispatch.dump(), result=self.result.dump(), late=self.late.dump(),
            load_cpu_s=load_cpu_s, connect_s=connect_s,
            errors=dict(self.errors) | ({"no result": missing} if missing else {}),
        )  # fmt: skip


def _audio(plan: Plan) -> bytes:
    """Of one chunk."""
    if plan.frames == "opus":
        return join_packets([_SILK_20_MS + frames.random_pcm(2)[:59]] * (plan.chunk_ms // 20))
    return frames.random_pcm(plan.chunk_ms)


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.readline(), type=Plan)
    allow_sockets()
    load = Load(plan)
    began = clock_s()
    load.connect()
    connect_s = clock_s() - began
    _say("open")
    sys.stdin.readline()
    used = cpu_s(0)
    load.run()
    _say(msgspec.json.encode(load.outcome(connect_s, cpu_s(0) - used)).decode())


if __name__ == "__main__":
    main()
