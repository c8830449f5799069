"""An hour of conversation on virtual time: a client with its habits, jobs with their whims, clocks that are late.

Everything follows from one seed. The client speaks in chunks, pauses, sends finals (in protocol 1.0 some overtake
audio), repeats and breaks a chunk now and then, plays what it hears, loses its connection with what was under way,
comes back or does not, closes, and starts anew. Jobs answer late, fail, fail all together for a while, answer twice.
`Owed` judges what the client gets; the machine checks itself after every event.
"""

import struct
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.session.config import Protocol, SessionConfig, SessionIdentity
from lingua_scheduler.core.session.life import Life
from lingua_scheduler.core.session.machine import SessionMachine
from lingua_scheduler.core.utterance import JobSpec, Missing, Outcome, Speaker, Translated
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language, NodeId, SessionId, TraceId
from lingua_scheduler.protocol.messages import ErrorMessage, SessionResumeAck, TranslationResult
from lingua_scheduler.protocol.node import JobResult
from tests.core.session.owed import Owed

HOUR_MS = 3_600_000
_TOC_120_MS = (11 << 3) | 1
_QUIET_PACKET = struct.pack("<HB", 1, _TOC_120_MS)
_REASONS = ("no_speech", "silence_detected", "merged", "job_failed", "job_timeout", "no_available_node")

SMALL = SessionConfig(
    max_utterance_bytes=600,
    max_chunk_bytes=400,
    session_buffer_bytes_max=2000,
    results_open_max=6,
    results_kept_max=12,
    results_kept_bytes_max=300,
    gap_hold_ms=3000,
    close_grace_ms=4000,
)
"""Bounds on results that an ordinary conversation runs into."""

TIGHT = SessionConfig(max_utterance_bytes=300, max_chunk_bytes=200, session_buffer_bytes_max=700)
"""Bounds on audio that it runs into."""


def speech(seq: int, packets: int) -> bytes:
    """So many packets of 120 ms as one Opus payload that says which chunk it is."""
    return struct.pack("<HBI", 5, _TOC_120_MS, seq) + _QUIET_PACKET * (packets - 1)


class World:
    """Virtual time and what is to happen in it."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.now_ms = self.rng.randrange(10**6)
        self.end_ms = self.now_ms + HOUR_MS
        self.heard: set[str] = set()
        """Reasons of missing results and requests to hold back that clients got."""
        self._queue: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0

    def after(self, ms: int, do: Callable[..., object], *arguments: Any) -> None:
        self._count += 1
        heappush(self._queue, (self.now_ms + ms, self._count, do, arguments))

    def run(self, until_ms: int) -> None:
        while self._queue and self._queue[0][0] <= until_ms:
            self.now_ms, _, do, arguments = heappop(self._queue)
            do(*arguments)
        self.now_ms = until_ms


class Conversation:
    """One session from its opening to its end: the client, the jobs and the timer of one machine."""

    def __init__(self, world: World, number: int, protocol: Protocol, config: SessionConfig) -> None:
        rng = self.rng = world.rng
        self.world = world
        self.config = config
        self.is_new = protocol == "1.1"
        # A missing_result of protocol 1.0 does not say which target it means.
        count = rng.choice((1, 1, 2, 3)) if self.is_new else 1
        targets = tuple(Language(name) for name in ("es", "pt", "de")[:count])
        speaker = Speaker(SessionId(f"s{number}"), TraceId("t"), Language("en"))
        self.machine = SessionMachine(config, SessionIdentity(speaker, targets, 0, protocol, "opus"))
        self.speaker = speaker
        self.owed = Owed(targets)
        self.is_connected = True
        self.is_over = False
        self.is_calm = False
        """Nothing goes wrong any more: timers are punctual, jobs succeed."""
        self.next_seq = 0
        self.ring: list[tuple[int, bytes, bool]] = []
        """1.1: chunks that are not acknowledged, for the next connection."""
        self.wholes: set[int] = set()
        self._timer_at_ms: int | None = None
        self.post(ev.DependencyChanged(is_up=True))

    # ------------------------------------------------------------------------------------------- the shell

    def post(self, event: ev.SessionEvent) -> list[ev.SessionEffect]:
        """Let the machine handle an event and perform the effects, as the shell does."""
        if self.is_over:
            return []
        effects = self.machine.handle(event, self.world.now_ms)
        self.machine.check()
        for effect in effects:
            assert not self.is_over, "the end is the last effect"
            match effect:
                case ev.Send(message):
                    assert self.is_connected, "nothing is sent to nobody"
                    self.owed.read(message)
                    self.world.heard.add(getattr(message, "reason", None) or getattr(message, "action", ""))
                    if isinstance(message, TranslationResult):
                        self._play(message.group_id or "")
                case ev.StartJob(spec):
                    self.owed.began(spec, is_whole=spec.utterance.index in self.wholes)
                    self.world.after(self._job_ms(), self._conclude, spec, self._outcome(spec))
                case ev.CancelJob() | ev.RestoreAudio() | ev.PreviewSpeech() | ev.SendToRoom() | ev.NoteSpeech():
                    pass
                case ev.EndSession():
                    self.is_over = True
                    assert not self.machine.open_results
                    assert self.owed.is_all_said(), "no byte is left behind"
                    assert not (self.is_connected and self.owed.unanswered), "every utterance is answered"
        self._watch()
        return effects

    def _watch(self) -> None:
        """Keep the deadline, on time or late."""
        deadline_ms = self.machine.next_deadline_ms()
        if deadline_ms is None or (self._timer_at_ms is not None and self._timer_at_ms <= deadline_ms):
            return
        late_ms = 0 if self.is_calm or self.rng.random() < 0.8 else self.rng.randrange(3000)
        self._timer_at_ms = max(deadline_ms, self.world.now_ms) + late_ms
        self.world.after(self._timer_at_ms - self.world.now_ms, self._time_reached)

    def _time_reached(self) -> None:
        self._timer_at_ms = None
        deadline_ms = self.machine.next_deadline_ms()
        if deadline_ms is not None and deadline_ms <= self.world.now_ms:
            self.post(ev.TimeReached())
            deadline_ms = self.machine.next_deadline_ms()
            assert deadline_ms is None or deadline_ms > self.world.now_ms, "a timer that was looked at is over"
        self._watch()

    # ------------------------------------------------------------------------------------------- the jobs

    def _job_ms(self) -> int:
        whim = 0.0 if self.is_calm else self.rng.random()
        return self.rng.randrange(100, 2500 if whim < 0.85 else 10_000 if whim < 0.97 else 60_000)

    def _outcome(self, spec: JobSpec) -> Outcome:
        is_outage = (self.world.now_ms // 60_000) % 20 == 7 and not self.is_calm
        if is_outage or (not self.is_calm and self.rng.random() < 0.12):
            return Missing("no_available_node" if is_outage else self.rng.choice(_REASONS))
        result = JobResult(
            job_id=spec.job_id,
            attempt_id=1,
            node_id="n",
            session_id=self.speaker.session_id,
            utterance_index=spec.utterance.index,
            success=True,
            trace_id="t",
            text_asr=f"words of {spec.utterance.index}",
            tts_audio="A" * self.rng.choice((0, 40, 120)),
        )
        return Translated(result, NodeId("n"), self.world.now_ms, self.world.now_ms)

    def _conclude(self, spec: JobSpec, outcome: Outcome) -> None:
        index, whim = spec.utterance.index, self.rng.random()
        if whim < 0.3:
            self.post(ev.JobProgressed(spec.job_id, index, "DISPATCHED"))
            self.post(ev.PartialArrived(spec.job_id, index, "wor", is_final=False, stable_chars=1))
        event = ev.JobConcluded(spec.job_id, index, spec.tgt_lang, outcome)
        self.post(event)
        if whim > 0.95:
            self.post(event)
        self.world.after(0 if whim < 0.9 else self.rng.randrange(20_000), self.post, ev.AudioFreed(index))

    # ------------------------------------------------------------------------------------------- the client

    def say(self, packets: int, *, final: bool = False) -> None:
        """Speak, connected or not: a client of 1.1 keeps what it could not send."""
        audio = speech(self.next_seq, packets) if packets else b""
        self.next_seq += 1
        chunk = (self.next_seq - 1, audio, final)
        if self.is_new:
            self.ring.append(chunk)
        if self.is_connected:
            self._transmit(chunk)

    def _transmit(self, chunk: tuple[int, bytes, bool]) -> None:
        seq, audio, final = chunk
        is_over = self.is_over
        if audio and not is_over and self.machine.state is Life.OPEN:
            # Told before the event: it may end the utterance that it belongs to.
            self.owed.accepted(seq, audio)
        effects = self.post(ev.ChunkArrived(seq, audio, final))
        refused = [one for one in effects if isinstance(one, ev.Send) and isinstance(one.message, ErrorMessage)]
        assert not refused or self.machine.state is not Life.OPEN, "good audio is accepted"

    def say_again(self) -> None:
        """The last chunk once more, or one that is broken: neither changes anything."""
        before = self.machine.kept_bytes
        if self.rng.random() < 0.5:
            self.post(ev.ChunkArrived(self.next_seq - 1, speech(0, 3), is_final=True))
        elif not self.is_over and self.machine.state is Life.OPEN:
            self.next_seq += 1
            effects = self.post(ev.ChunkArrived(self.next_seq - 1, b"\xff\xff\0", is_final=False))
            told = [one.message for one in effects if isinstance(one, ev.Send)]
            assert [one.code for one in told if isinstance(one, ErrorMessage)] == [ErrorCode.INVALID_MESSAGE]
        assert self.machine.kept_bytes <= max(before, self.config.session_buffer_bytes_max)

    def utter_whole(self) -> None:
        """An utterance in one message, perhaps once more, perhaps with indices left out."""
        if self.is_over or self.machine.state is not Life.OPEN:
            return
        index = self.machine.next_index + self.rng.choice((0, 0, 0, 1, 5))
        self.wholes.add(index)
        audio, target = speech(index, self.rng.randrange(1, 30)), Language(self.owed.targets[0])
        event = ev.UtteranceArrived(index, audio, "opus", 16_000, True, self.speaker, target)
        self.post(event)
        if self.rng.random() < 0.3:
            assert not self.machine.handle(event, self.world.now_ms), "the same job, and no second one"

    def _play(self, group_id: str) -> None:
        if self.rng.random() < 0.3:
            self.world.after(self.rng.randrange(300), self._hear, ev.TtsStarted(group_id))
            if self.rng.random() < 0.95:
                self.world.after(self.rng.randrange(300, 6000), self._hear, ev.TtsEnded(group_id))
        if self.is_new and self.rng.random() < 0.9:
            self.world.after(self.rng.randrange(1, 400), self.acknowledge)

    def _hear(self, event: ev.SessionEvent) -> None:
        if self.is_connected:
            self.post(event)

    def acknowledge(self) -> None:
        if self.is_connected:
            self.owed.acknowledged_results()
            self.post(ev.ResultsAcked(self.owed.last_result_seq))
            self.ring = [chunk for chunk in self.ring if chunk[0] > self.owed.acked_seq]

    def close(self) -> None:
        if self.is_connected:
            self.post(ev.CloseRequested("done"))

    def lose_connection(self) -> None:
        """With what was under way in both directions."""
        if not self.is_connected or self.is_over:
            return
        self.post(ev.ConnectionLost())
        self.is_connected = False
        if self.is_new and not self.is_over:
            self.owed.unread(self.rng.choice((0, 0, 1, 3)))

    def come_back(self) -> None:
        if self.is_connected or self.is_over or not self.is_new:
            return
        self.is_connected = True
        self.owed.acknowledged_results()
        effects = self.post(ev.Resumed(self.owed.last_result_seq, "token"))
        ack = next(one.message for one in effects if isinstance(one, ev.Send))
        assert isinstance(ack, SessionResumeAck)
        assert ack.next_seq <= self.next_seq
        for chunk in [chunk for chunk in self.ring if chunk[0] >= ack.next_seq]:
            self._transmit(chunk)


class Hour:
    """The conversations of an hour, one after the other."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.rng = self.world.rng
        self.protocol: Protocol = self.rng.choice(("1.0", "1.1"))
        self.config = self.rng.choice((SessionConfig(), SMALL, TIGHT))
        self.is_streaming = self.rng.random() < 0.8
        self.is_speaking = True
        self.answers = 0
        self.sessions = 0
        self.now = self._open()

    def run(self) -> "Hour":
        self.world.after(0, self._step)
        self.world.after(30_000, self._beat)
        self.world.run(self.world.end_ms)
        self._heal()
        return self

    def _open(self) -> Conversation:
        self.sessions += 1
        return Conversation(self.world, self.sessions, self.protocol, self.config)

    def _step(self) -> None:
        """One act of the client, and when the next one follows."""
        if not self.is_speaking:
            return
        if self.now.is_over:
            self.answers += self.now.owed.answers
            self.now = self._open()
        self.world.after(self._act(self.rng.random()), self._step)

    def _act(self, whim: float) -> int:
        """Returns milliseconds until the next act."""
        now, rng = self.now, self.rng
        if whim < 0.80:
            packets = rng.randrange(8, 25)
            now.say(packets, final=whim < 0.08)
            return packets * 120
        if whim < 0.88:
            now.say(0, final=True)
            for _ in range(rng.randrange(5) if self.protocol == "1.0" else 0):
                now.say(2)
            return rng.randrange(3000)
        if whim < 0.97:
            return rng.randrange(9000)
        if whim < 0.974:
            now.say_again()
            return 100
        if whim < 0.980 and not self.is_streaming:
            now.utter_whole()
            return rng.randrange(2000)
        return self._disturb(rng.random())

    def _disturb(self, whim: float) -> int:
        now, rng = self.now, self.rng
        if whim < 0.25:
            now.lose_connection()
            for ms in (rng.randrange(100, 50_000), rng.randrange(50_000, 70_000)):
                self.world.after(ms, now.come_back)
        elif whim < 0.32:
            now.close()
        elif whim < 0.36:
            now.post(ev.DrainStarted(rng.randrange(60_000)))
        elif whim < 0.6:
            now.post(ev.DependencyChanged(is_up=rng.random() < 0.5))
        elif whim < 0.65:
            return rng.randrange(250_000, 400_000)
        return rng.randrange(100, 30_000)

    def _beat(self) -> None:
        if self.rng.random() < 0.9 and self.now.is_connected:
            self.now.post(ev.HeartbeatArrived(0))
        self.world.after(30_000, self._beat)

    def _heal(self) -> None:
        """From here on nothing goes wrong: an utterance must go through, and the session must end with all answered."""
        self.is_speaking = False
        self.now.is_calm = True
        self.now.come_back()
        self._pass(70_000)
        if self.now.is_over or self.now.machine.state is not Life.OPEN:
            self.now = self._open()
            self.now.is_calm = True
        now, index = self.now, self.now.machine.next_index
        now.say(5, final=True)
        self._pass(20_000)
        assert index in now.owed.indices, "the next utterance goes through"
        assert index not in {unanswered for unanswered, _ in now.owed.unanswered}
        now.close()
        now.acknowledge()
        self._pass(self.config.close_grace_ms)
        assert now.is_over
        assert not now.owed.unanswered
        self.answers += now.owed.answers

    def _pass(self, ms: int) -> None:
        """Let time pass; the client only listens."""
        self.world.run(self.world.now_ms + ms)
