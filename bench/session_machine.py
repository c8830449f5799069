"""Cost of the session machine: time per chunk, per event and per utterance, memory per idle session.

`python -m bench.session_machine` prints a table for `bench/RESULTS.md`. The best of several rounds is taken: what other
programs on the machine cost is not the machine's.
"""

import gc
import platform
import time
import tracemalloc
from collections.abc import Callable

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.session.config import SessionConfig, SessionIdentity
from lingua_scheduler.core.session.machine import SessionMachine
from lingua_scheduler.core.utterance import Speaker, Translated
from lingua_scheduler.protocol.audio import join_packets
from lingua_scheduler.protocol.ids import Language, NodeId, SessionId, TraceId
from lingua_scheduler.protocol.node import JobResult

ROUNDS = 100
CHUNKS = 2000
SESSIONS = 2000
CONFIG = SessionConfig(max_duration_ms=10**9, max_utterance_bytes=10**9, session_buffer_bytes_max=10**10)
"""Nothing ends by itself: only the way of a chunk is measured."""

_SILK_20_MS = bytes([9 << 3])
CHUNK_KINDS = {
    "PCM16, 100 ms (3,200 bytes)": (b"\1\0" * 1600, 100),
    "Opus, 100 ms (5 packets)": (join_packets([_SILK_20_MS + bytes(60)] * 5), 100),
    "Opus, 260 ms (13 packets)": (join_packets([_SILK_20_MS + bytes(60)] * 13), 260),
}


def identity(number: int) -> SessionIdentity:
    speaker = Speaker(SessionId(f"session-{number:032x}"), TraceId(f"trace-{number:032x}"), Language("en"))
    return SessionIdentity(speaker, (Language("pt"),), 1_700_000_000_000, "1.1", sample_rate=16_000)


def best(run: Callable[[], int]) -> float:
    """Microseconds per operation in the best round; `run` returns nanoseconds for all of its operations."""
    gc.disable()
    try:
        return min(run() for _ in range(ROUNDS)) / 1000 / CHUNKS
    finally:
        gc.enable()


def chunk_us(audio: bytes, every_ms: int) -> float:
    """With the question for the next deadline that the driver asks after every event."""

    def run() -> int:
        machine = SessionMachine(CONFIG, identity(0))
        chunks = [ev.ChunkArrived(seq, audio, is_final=False, client_timestamp_ms=seq) for seq in range(CHUNKS)]
        machine.handle(ev.TimeReached(), 0)
        began = time.perf_counter_ns()
        for seq, chunk in enumerate(chunks):
            machine.handle(chunk, seq * every_ms)
            machine.next_deadline_ms()
        return time.perf_counter_ns() - began

    return best(run)


def utterance_us() -> float:
    """One final with audio, its job's result, and the client's acknowledgement."""
    audio = CHUNK_KINDS["PCM16, 100 ms (3,200 bytes)"][0]

    def run() -> int:
        machine = SessionMachine(SessionConfig(), identity(0))
        began = time.perf_counter_ns()
        for index in range(CHUNKS):
            machine.handle(ev.ChunkArrived(index, audio, is_final=True), index * 100)
            session_id = identity(0).speaker.session_id
            job_id = f"job-{session_id}-{index}-pt"
            result = JobResult(
                job_id=job_id,
                attempt_id=1,
                node_id="node",
                session_id=session_id,
                utterance_index=index,
                success=True,
                trace_id="trace",
                text_asr="hello",
                text_translated="olá",
            )
            outcome = Translated(result, NodeId("node"), index * 100, index * 100 + 50)
            machine.handle(ev.JobConcluded(_job(job_id), index, Language("pt"), outcome), index * 100 + 50)
            machine.handle(ev.AudioFreed(index), index * 100 + 50)
            machine.handle(ev.ResultsAcked(index + 1), index * 100 + 60)
        assert not machine.open_results
        return time.perf_counter_ns() - began

    return best(run)


def heartbeat_us() -> float:
    def run() -> int:
        machine = SessionMachine(SessionConfig(), identity(0))
        event = ev.HeartbeatArrived(0)
        began = time.perf_counter_ns()
        for number in range(CHUNKS):
            machine.handle(event, number)
        return time.perf_counter_ns() - began

    return best(run)


def idle_bytes() -> tuple[float, float]:
    """Per session that was opened and heard: the machine, and the identity that was given to it."""
    config = SessionConfig()
    gc.collect()
    tracemalloc.start()
    try:
        identities = [identity(number) for number in range(SESSIONS)]
        identity_bytes = tracemalloc.get_traced_memory()[0]
        machines = [SessionMachine(config, one) for one in identities]
        for machine in machines:
            machine.handle(ev.HeartbeatArrived(0), 1_000_000)
        gc.collect()
        machine_bytes = tracemalloc.get_traced_memory()[0] - identity_bytes
    finally:
        tracemalloc.stop()
    return machine_bytes / SESSIONS, identity_bytes / SESSIONS


def main() -> None:
    print(f"Python {platform.python_version()}, {platform.machine()}\n")
    print("| what | cost |\n|---|---|")
    for name, (audio, every_ms) in CHUNK_KINDS.items():
        print(f"| chunk, {name} | {chunk_us(audio, every_ms):.2f} µs |")
    print(f"| heartbeat | {heartbeat_us():.2f} µs |")
    print(f"| utterance: final, result, audio freed, acknowledged | {utterance_us():.1f} µs |")
    machine_bytes, identity_bytes = idle_bytes()
    print(f"| memory of an idle session's machine | {machine_bytes:,.0f} bytes |")
    print(f"| memory of its identity (ids, languages) | {identity_bytes:,.0f} bytes |")


def _job(job_id: str) -> ev.JobId:
    return ev.JobId(job_id)


if __name__ == "__main__":
    main()
