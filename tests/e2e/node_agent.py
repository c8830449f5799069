"""A node in a process of its own, protocol 2, to be killed, stopped and moved about; it recognises nothing.

    python -m tests.e2e.node_agent NODE_ID CAPACITY WORK_MS HEEDS_CANCEL SPOKEN_BYTES URL [URL …]

It serves en:pt and answers each job after WORK_MS with `<milliseconds of audio> <attempt> <node id>`, so that a reader
can tell which audio a sentence was made of, and with SPOKEN_BYTES of sound. With WORK_MS -1 it takes jobs and answers
only on SIGUSR1: all that it has at that moment, and from then on at once. Unless HEEDS_CANCEL is 1 it ignores
`job_cancel`. It goes to the next URL whenever it loses its connection. What happens is printed, a line each:
`registered URL`, `job ID ATTEMPT INDEX`, `answered ID ATTEMPT`, `told to drain`, `OVER CAPACITY …`.
"""

import asyncio
import contextlib
import itertools
import signal
import sys
from collections.abc import Coroutine
from dataclasses import dataclass, field

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, WSMsgType

from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import node as wire
from tests.support.peers import registration

HEARTBEAT_S = 5.0
RECONNECT_S = 0.2
NEVER = -1


@dataclass(slots=True)
class Agent:
    node_id: str
    capacity: int
    work_ms: int
    heeds_cancel: bool
    spoken_bytes: int
    ws: ClientWebSocketResponse | None = None
    current: dict[str, wire.JobAssign] = field(default_factory=dict[str, wire.JobAssign])
    """Jobs that it has and has not answered, as far as this connection knows."""
    lengths_ms: dict[str, int] = field(default_factory=dict[str, int])
    tasks: "set[asyncio.Task[None]]" = field(default_factory=set["asyncio.Task[None]"])

    async def run(self, urls: list[str]) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.release)
        async with ClientSession() as http:
            for url in itertools.cycle(urls):
                with contextlib.suppress(ClientError, OSError):
                    async with http.ws_connect(f"{url}/ws/node", max_msg_size=0) as self.ws:
                        await self._converse(self.ws, url)
                self.current.clear()
                await _pause(RECONNECT_S)

    def release(self) -> None:
        self.work_ms = 0
        for job in list(self.current.values()):
            self._start(self._answer(job))

    async def _converse(self, ws: ClientWebSocketResponse, url: str) -> None:
        await self._send(registration(self.node_id, capacity=self.capacity, binary_audio=True))
        beating = asyncio.create_task(self._beat(ws), name="heartbeat")
        try:
            async for frame in ws:
                if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    continue
                message, audio = codec.decode_scheduler(frame.data)
                match message:
                    case wire.NodeRegisterAck():
                        await self._heartbeat()
                        _say("registered", url)
                    case wire.JobAssign():
                        await self._on_job(message, audio or codec.decode_audio(message.audio))
                    case wire.JobCancel(job_id=job_id) if self.heeds_cancel:
                        self.current.pop(job_id, None)
                    case wire.NodeControl(command="drain"):
                        _say("told to drain")
                    case _:
                        pass
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _on_job(self, job: wire.JobAssign, audio: bytes) -> None:
        self.lengths_ms[job.job_id] = len(audio) // 32  # PCM16 at 16 kHz: 32 bytes a millisecond
        self.current[job.job_id] = job
        _say("job", job.job_id, job.attempt_id, job.utterance_index)
        if len(self.current) > self.capacity:
            _say("OVER CAPACITY", len(self.current), "of", self.capacity)
        about = {"job_id": job.job_id, "session_id": job.session_id, "trace_id": job.trace_id}
        await self._send(wire.JobAck(attempt_id=job.attempt_id, node_id=self.node_id, **about))
        if self.work_ms != NEVER:
            self._start(self._work(job))

    async def _work(self, job: wire.JobAssign) -> None:
        await _pause(self.work_ms / 1000)
        await self._answer(job)

    async def _answer(self, job: wire.JobAssign) -> None:
        """Once for each attempt; a job that was cancelled, or whose connection is gone, is not answered."""
        if self.current.get(job.job_id) is not job:
            return
        del self.current[job.job_id]
        text = f"{self.lengths_ms[job.job_id]} {job.attempt_id} {self.node_id}"
        await self._send(
            wire.JobResult(
                job_id=job.job_id, attempt_id=job.attempt_id, node_id=self.node_id, session_id=job.session_id,
                utterance_index=job.utterance_index, trace_id=job.trace_id, success=True, text_asr=text,
                text_translated=text, tts_audio=codec.encode_audio(bytes(self.spoken_bytes)), tts_format="pcm16",
            )
        )  # fmt: skip
        _say("answered", job.job_id, job.attempt_id)

    async def _beat(self, ws: ClientWebSocketResponse) -> None:
        while not ws.closed:
            await _pause(HEARTBEAT_S)
            await self._heartbeat()

    async def _heartbeat(self) -> None:
        await self._send(wire.NodeHeartbeat(node_id=self.node_id, timestamp=0, resource_usage=wire.ResourceUsage()))

    async def _send(self, message: wire.Wire) -> None:
        if self.ws is not None:
            with contextlib.suppress(ConnectionError):
                await self.ws.send_str(codec.encode(message).decode())

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def _pause(seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().create_future()


def main(argv: list[str]) -> None:
    node_id, capacity, work_ms, heeds_cancel, spoken_bytes, *urls = argv
    agent = Agent(node_id, int(capacity), int(work_ms), heeds_cancel == "1", int(spoken_bytes))
    asyncio.run(agent.run(urls))


if __name__ == "__main__":
    main(sys.argv[1:])
