"""An existing node agent, protocol 1, as schedulers meet it: written from the wire up, sharing no code with ours.

Its habits, each of which a scheduler has to live with:

- it registers without `protocol_version` and capacity, and heartbeats every 15 s (and at once, unless told otherwise);
- it sends no `job_ack` and no `job_started`, and ignores `job_cancel`;
- a `job_id` it has seen, and a second job for the same session and index, it drops without a word;
- a Timeout job under one second it keeps to itself, and answers for the next job of the session, with both texts;
- a MaxDuration job it answers with the text of all but the tail, and says the tail with the next job;
- it may send one more, empty, result with `NO_TEXT_ASSIGNED` for a job that it has answered (`repeats_empty`);
- it reconnects 5 s after a close, under the id that it was given first, and forgets nothing of what it has seen;
- its JSON has `null` where it has nothing to say.

Texts say which audio they come from: `<job-1 3.0s>`, joined in order of arrival, `<tail job-1 5.0s>` for a tail.
"""

import asyncio
import base64
import contextlib
import json
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp

Json = dict[str, Any]

SHORT_S = 1.0
TAIL_S = 5.0
RECONNECT_S = 5.0
DEADLINE_S = 30.0
HEARTBEAT_S = 15.0
OPUS_PACKET = b"\x03\x00\x08ab"
"""20 ms behind its length."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Habits:
    """What differs between agents in the field, and what a test may shorten."""

    node_id: str | None = None
    """None: the scheduler gives one, which is kept."""
    asr_languages: tuple[str, ...] = ("en", "zh")
    tts_languages: tuple[str, ...] = ("en", "zh")
    heartbeat_s: float = HEARTBEAT_S
    heartbeats_at_once: bool = True
    reconnect_s: float = RECONNECT_S
    answers: bool = True
    """False: jobs wait until `answer` or `fail` is called for them."""
    keeps_short: bool = True
    repeats_empty: bool = False


@dataclass(slots=True)
class LegacyNode:
    """Use it as a context manager: connected from the start, gone at the end.

    ```python
    async with LegacyNode(url, Habits(answers=False)) as node:
        job = await node.job(1)
        await node.answer(job["job_id"])
    ```
    """

    url: str
    habits: Habits = field(default_factory=Habits)
    node_id: str | None = None
    received: list[Json] = field(default_factory=list[Json])
    """Everything the scheduler said, in order."""
    sent: list[Json] = field(default_factory=list[Json])
    accepted: list[Json] = field(default_factory=list[Json])
    """The jobs that it works on or has worked on, without audio, `seconds` added."""
    refused: list[Json] = field(default_factory=list[Json])
    connections: int = 0
    _kept: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """By session: what it heard and did not say yet."""
    _ws: aiohttp.ClientWebSocketResponse | None = None
    _task: "asyncio.Task[None] | None" = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __aenter__(self) -> Self:
        self.node_id = self.habits.node_id
        self._task = asyncio.create_task(self._run(), name="legacy-node")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    # ------------------------------------------------------------------------------------- for tests

    async def registered(self, times: int = 1) -> str:
        """Its id, once the scheduler has acknowledged so many registrations."""
        ack = await self._wait(lambda: self._all("node_register_ack")[times - 1 :], f"registration {times}")
        return str(ack["node_id"])

    async def job(self, number: int = 1) -> Json:
        """The n-th job that it accepted."""
        return await self._wait(lambda: self.accepted[number - 1 :], f"job {number}")

    async def told(self, kind: str, times: int = 1) -> Json:
        """The n-th message of a kind from the scheduler."""
        return await self._wait(lambda: self._all(kind)[times - 1 :], f"{kind} {times}")

    async def answer(self, job_id: str, **fields: Any) -> None:
        """Send the result of a job as such an agent does; `fields` replace what it says."""
        job = next(job for job in self.accepted if job["job_id"] == job_id)
        said = self._kept.pop(job["session_id"], [])
        if job.get("is_max_duration_triggered") and job["seconds"] > TAIL_S:
            said.append(f"<{job_id} {job['seconds'] - TAIL_S:.1f}s>")
            self._kept[job["session_id"]] = [f"<tail {job_id} {TAIL_S:.1f}s>"]
        else:
            said.append(f"<{job_id} {job['seconds']:.1f}s>")
        await self._send(self._result(job, " ".join(said)) | fields)
        if self.habits.repeats_empty:
            await self._send(self._result(job, "") | {"extra": {"reason": "NO_TEXT_ASSIGNED"}})

    async def fail(self, job_id: str, code: str = "PROCESSING_ERROR") -> None:
        job = next(job for job in self.accepted if job["job_id"] == job_id)
        error = {"code": code, "message": "it did not work", "details": None}
        await self._send(self._result(job, "") | {"success": False, "error": error})

    async def heartbeat(self) -> None:
        usage = {
            "cpu_percent": 12.5,
            "gpu_percent": None,
            "gpu_mem_percent": None,
            "mem_percent": 40.0,
            "running_jobs": 0,
        }
        await self._send(
            {
                "type": "node_heartbeat",
                "node_id": self.node_id,
                "timestamp": int(time.time() * 1000),
                "resource_usage": usage,
                "installed_services": [],
                "capability_by_type": self._capabilities(),
                "rerun_metrics": None,
            }
        )

    def cut(self) -> None:
        """The connection breaks without a farewell; the agent comes back in its own time."""
        assert self._ws is not None
        transport = self._ws.get_extra_info("socket")
        assert transport is not None
        transport.shutdown(socket.SHUT_RDWR)

    # ------------------------------------------------------------------------------------- its life

    async def _run(self) -> None:
        async with aiohttp.ClientSession() as http:
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with http.ws_connect(self.url, max_msg_size=16 << 20) as self._ws:
                        self.connections += 1
                        await self._converse(self._ws)
                await _pause(self.habits.reconnect_s)

    async def _converse(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        await self._send(self._registration())
        beating = asyncio.create_task(self._beat(), name="legacy-heartbeat")
        try:
            async for message in ws:
                if message.type is aiohttp.WSMsgType.TEXT:
                    await self._on_message(json.loads(message.data))
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            await _pause(self.habits.heartbeat_s)
            await self.heartbeat()

    async def _on_message(self, message: Json) -> None:
        match message["type"]:
            case "node_register_ack":
                self.node_id = message["node_id"]
                if self.habits.heartbeats_at_once:
                    await self.heartbeat()
            case "job_assign":
                await self._on_job(message)
            case _:
                pass  # job_cancel too: such an agent finishes what it began
        async with self._news:
            self.received.append(message)
            self._news.notify_all()

    async def _on_job(self, message: Json) -> None:
        job: Json = {**message, "audio": "", "seconds": _seconds(message)}
        same = [
            one
            for one in self.accepted
            if one["job_id"] == job["job_id"]
            or (one["session_id"], one["utterance_index"]) == (job["session_id"], job["utterance_index"])
        ]
        if same:
            self.refused.append(job)
            return
        self.accepted.append(job)
        if self.habits.keeps_short and job.get("is_timeout_triggered") and job["seconds"] < SHORT_S:
            self._kept.setdefault(job["session_id"], []).append(f"<{job['job_id']} {job['seconds']:.1f}s>")
        elif self.habits.answers:
            await self.answer(job["job_id"])

    # ------------------------------------------------------------------------------------- its words

    def _registration(self) -> Json:
        habits = self.habits
        return {
            "type": "node_register",
            "node_id": self.node_id,
            "version": "2.0.0",
            "capability_schema_version": "2.0",
            "platform": "windows",
            "hardware": {"cpu_cores": 8, "memory_gb": 32, "gpus": [{"name": "some card", "memory_gb": 8}]},
            "installed_models": [],
            "installed_services": [],
            "features_supported": {"emotion_detection": False},
            "advanced_features": None,
            "accept_public_jobs": True,
            "capability_by_type": self._capabilities(),
            "language_capabilities": {
                "asr_languages": list(habits.asr_languages),
                "semantic_languages": list(habits.asr_languages),
                "tts_languages": list(habits.tts_languages),
                "nmt_capabilities": [],
                "supported_language_pairs": None,
                "semantic_core_ready": True,
            },
        }

    def _capabilities(self) -> list[Json]:
        return [
            {"type": kind, "ready": True, "reason": None, "ready_impl_ids": [f"{kind}-1"]}
            for kind in ("asr", "nmt", "tts", "tone", "semantic")
        ]

    def _result(self, job: Json, text: str) -> Json:
        translated = f"[{job['tgt_lang']}] {text}" if text else ""
        return {
            "type": "job_result",
            "job_id": job["job_id"],
            "attempt_id": job["attempt_id"],
            "node_id": self.node_id,
            "session_id": job["session_id"],
            "utterance_index": job["utterance_index"],
            "success": True,
            "text_asr": text,
            "text_translated": translated,
            "tts_audio": base64.b64encode(OPUS_PACKET if text else b"").decode(),
            "tts_format": "opus",
            "extra": {"emotion": None, "service_timings": {"asr_ms": 100, "nmt_ms": 20, "tts_ms": 30}},
            "processing_time_ms": 150,
            "error": None,
            "trace_id": job["trace_id"],
        }

    # ------------------------------------------------------------------------------------- plumbing

    async def _send(self, message: Json) -> None:
        assert self._ws is not None
        await self._ws.send_str(json.dumps(message))
        self.sent.append(message)

    async def _wait(self, found: Callable[[], Sequence[T]], what: str) -> T:
        """The first of what `found` finds, once it finds something; it is asked after each message."""
        try:
            async with asyncio.timeout(DEADLINE_S), self._news:
                await self._news.wait_for(lambda: len(found()) > 0)
        except TimeoutError:
            kinds = [message["type"] for message in self.received]
            raise AssertionError(f"the node waited {DEADLINE_S:g} s for {what}; it was told {kinds}") from None
        return found()[0]

    def _all(self, kind: str) -> list[Json]:
        return [message for message in self.received if message["type"] == kind]


async def _pause(seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().create_future()


def _seconds(job: Json) -> float:
    """How long the job's audio is; an agent that reads Opus counts packets of 20 ms."""
    audio = base64.b64decode(job["audio"])
    if job["audio_format"] == "pcm16":
        return len(audio) / 2 / job["sample_rate"]
    packets, at = 0, 0
    while at + 2 <= len(audio):
        at += 2 + int.from_bytes(audio[at : at + 2], "little")
        packets += 1
    return packets * 0.02
