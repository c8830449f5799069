"""What a frame of a client costs the scheduler, by who serves its WebSockets: `python -m bench.frame_path`.

Two real instances, each in a process of its own with an embedded Redis: one with our endpoint, one with aiohttp's. In
turns each is sent some rounds: a chunk of every session, then a heartbeat whose answer is waited for, so that a frame
counts when it was handled, however busy the machine is. What counts is all processor time of the instance's process:
sockets, decoding and machines, and for every `--sentence` chunks a job to a node and its result.
"""

import argparse
import contextlib
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.websocket import BINARY, MASK, PING, PONG, TEXT, frame_head
from lingua_scheduler.runtime.endpoint import unmask
from tests.support.peers import registration

KINDS = {"json": 3200, "pcm": 3200, "opus": 300}
"""Bytes of audio in the chunk of 100 ms; in JSON they are base64. "opus": only its size, in a binary frame."""
ENDPOINTS = ("aiohttp", "own")
HEADER_BYTES = 80


def masked(opcode: int, payload: bytes) -> bytes:
    """A frame of a client."""
    head = bytearray(frame_head(opcode, len(payload)))
    head[1] |= MASK
    key = os.urandom(4)
    body = bytearray(payload)
    unmask(key, body)
    return bytes(head) + key + body


class Peer:
    """One WebSocket, read as far as it must be."""

    def __init__(self, port: int, path: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        said = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}"
        self.sock.sendall(said.encode())
        self._data = b""
        while b"\r\n\r\n" not in self._data:
            self._data += self._received()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        assert b" 101 " in head, head

    def send(self, message: wire.Wire) -> None:
        self.sock.sendall(masked(TEXT, codec.encode(message)))

    def frames(self) -> Iterator[bytes]:
        """Payloads that are there, without waiting."""
        while select.select([self.sock], [], [], 0)[0]:
            self._data += self._received()
        yield from self._whole()

    def wait(self, kind: bytes) -> bytes:
        """The next message whose JSON holds `kind`."""
        while True:
            for payload in self._whole():
                if kind in payload[:64]:
                    return payload
                assert b'"error"' not in payload[:64], payload
            self._data += self._received()

    def _received(self) -> bytes:
        data = self.sock.recv(1 << 18)
        if not data:
            raise ConnectionResetError("closed")
        return data

    def _whole(self) -> Iterator[bytes]:
        while len(self._data) >= 2:
            size, start = self._data[1], 2
            if size >= 126:
                start = 4 if size == 126 else 10
                size = int.from_bytes(self._data[2:start], "big")
            if len(self._data) < start + size:
                return
            opcode, payload = self._data[0] & 0xF, self._data[start : start + size]
            self._data = self._data[start + size :]
            if opcode == PING:
                self.sock.sendall(masked(PONG, payload))
            else:
                yield payload


class Stand:
    """An instance, its sessions and its node."""

    def __init__(self, name: str, port: int, pid: int, kind: str, sessions: int) -> None:
        self.name = name
        self._pid = pid
        self._kind = kind
        self._audio = os.urandom(KINDS[kind])
        self._seq = 0
        self._node = Peer(port, "/ws/node")
        self._node.send(registration("bench", capacity=1000, binary_audio=True))
        self._node.wait(b"node_register_ack")
        threading.Thread(target=self._work, daemon=True).start()
        self._clients = [self._open(port) for _ in range(sessions)]

    def round(self, *, is_final: bool) -> None:
        """A chunk of every session, handled when this returns.

        They are made before, so that they come faster than they are handled: as on an instance that has much to do, one
        turn of its loop serves many connections.
        """
        chunks = [self._chunk(session_id, is_final=is_final) for _, session_id in self._clients]
        for (client, _), chunk in zip(self._clients, chunks, strict=True):
            client.sock.sendall(chunk)
        self._seq += 1
        last, session_id = self._clients[-1]
        last.send(wire.ClientHeartbeat(session_id=session_id, timestamp=self._seq))
        last.wait(b"server_heartbeat")

    def settle(self) -> None:
        """Take what has come, so that no queue grows."""
        for client, session_id in self._clients:
            for payload in client.frames():
                if b'"translation_result"' in payload[:64]:
                    seq = json.loads(payload)["result_seq"]
                    client.send(wire.ResultAck(session_id=session_id, result_seq=seq))

    def cpu_s(self) -> float:
        return int(Path(f"/proc/{self._pid}/schedstat").read_text("ascii").split()[0]) / 1e9

    def _open(self, port: int) -> tuple[Peer, str]:
        client = Peer(port, "/ws/session")
        opening = wire.SessionInit(
            client_version="bench", platform="bench", src_lang="en", tgt_lang="pt", protocol_version="1.1",
            audio_format="pcm16", binary=self._kind != "json",
        )  # fmt: skip
        client.send(opening)
        return client, json.loads(client.wait(b"session_init_ack"))["session_id"]

    def _chunk(self, session_id: str, *, is_final: bool) -> bytes:
        if self._kind == "json":
            payload = codec.encode_audio(self._audio)
            chunk = wire.AudioChunk(session_id=session_id, seq=self._seq, is_final=is_final, payload=payload)
            return masked(TEXT, codec.encode(chunk))
        chunk = codec.BinaryChunk(session_id, self._seq, self._seq * 100, is_final, self._audio)
        return masked(BINARY, codec.encode_chunk(chunk))

    def _work(self) -> None:
        with contextlib.suppress(OSError):
            self._answer()

    def _answer(self) -> None:
        """The node, in a thread of its own: it must answer pings while the other instance has its turn.

        It ends with its instance.
        """
        beat = node_wire.NodeHeartbeat(node_id="bench", timestamp=0, resource_usage=node_wire.ResourceUsage())
        while True:
            self._node.send(beat)
            for _ in range(50):
                select.select([self._node.sock], [], [], 0.1)
                for payload in self._node.frames():
                    self._finish(payload)

    def _finish(self, payload: bytes) -> None:
        size = int.from_bytes(payload[:4], "little")
        if b'"job_assign"' not in payload[4:64]:
            return
        job = json.loads(payload[4 : 4 + size])
        result = node_wire.JobResult(
            job_id=job["job_id"], attempt_id=job["attempt_id"], node_id="bench", session_id=job["session_id"],
            utterance_index=job["utterance_index"], trace_id=job["trace_id"], success=True,
            text_asr="what was said", text_translated="o que foi dito",
        )  # fmt: skip
        self._node.send(result)


@contextlib.contextmanager
def instance(name: str) -> Generator[tuple[int, int]]:
    """Port and pid of `lingua serve` with this endpoint."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.toml"
        config.write_text(f'[server]\nwebsocket = "{name}"\n[observability]\nlog_level = "error"\n', "utf-8")
        program = str(Path(sys.executable).with_name("lingua"))
        command = [program, "serve", "--config", str(config), "--embedded-redis", "--port", "0", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            try:
                assert process.stdout is not None
                said = next(line for line in process.stdout if line.startswith(b"{"))
                yield int(json.loads(said)["url"].rpartition(":")[2]), process.pid
            finally:
                process.terminate()
                process.wait()


def measure(stand: Stand, rounds: int, sessions: int, sentence: int) -> float:
    """Microseconds of the instance for one frame."""
    before = stand.cpu_s()
    for number in range(rounds):
        stand.round(is_final=(number + 1) % sentence == 0)
    used = stand.cpu_s() - before
    stand.settle()
    return used / rounds / sessions * 1e6


def compare(kind: str, args: argparse.Namespace) -> None:
    with instance("aiohttp") as library, instance("own") as own:
        stands = [Stand(name, *at, kind, args.sessions) for name, at in zip(ENDPOINTS, (library, own), strict=True)]
        for stand in stands:
            measure(stand, args.rounds, args.sessions, args.sentence)
        seen: dict[str, list[float]] = {name: [] for name in ENDPOINTS}
        for _ in range(args.turns):
            for stand in stands:
                seen[stand.name].append(measure(stand, args.rounds, args.sessions, args.sentence))
    library, own = seen["aiohttp"], seen["own"]
    ratios = [theirs / ours for theirs, ours in zip(library, own, strict=True)]
    best = min(library) / min(own)
    print(
        f"| {kind} | {told(library)} | {told(own)} | {best:.2f} · {told(ratios, 2).partition(' · ')[2]} |", flush=True
    )


def told(values: list[float], digits: int = 1) -> str:
    """The least, the median, and the lower and upper quartile."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{min(values):.{digits}f} · {middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=50, help="of one turn")
    parser.add_argument("--turns", type=int, default=10, help="of each endpoint")
    parser.add_argument("--sentence", type=int, default=50, metavar="N", help="chunks of an utterance")
    parser.add_argument("kinds", nargs="*", default=list(KINDS))
    args = parser.parse_args()
    print(f"sessions {args.sessions}, rounds {args.rounds}, turns {args.turns}, sentence {args.sentence}")
    print("| frame | aiohttp, µs: best · median (quartiles) | own | ratio |")
    for kind in args.kinds:
        compare(kind, args)


if __name__ == "__main__":
    main()
