"""Whatever happens, in whatever order and at whatever time: the promises hold."""

import struct
from collections.abc import Sequence
from typing import Any

from hypothesis import event as note
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.session.config import Protocol, SessionConfig, SessionIdentity
from lingua_scheduler.core.session.life import Life
from lingua_scheduler.core.session.machine import SessionMachine
from lingua_scheduler.core.session.numbers import SeenNumbers
from lingua_scheduler.core.utterance import JobSpec, Missing
from lingua_scheduler.protocol.messages import ErrorMessage
from tests.core.session.owed import Owed
from tests.core.session.simulation import SMALL, TIGHT
from tests.core.session.support import DEFAULTS, ES, PROTOCOLS, PT, SPEAKER, Scene, pcm

TARGETS = {"1.0": [(ES,)], "1.1": [(ES,), (ES, PT)]}

# Times around every window, and in between.
WAITS_MS = st.one_of(
    st.sampled_from([0, 1, 50, 149, 150, 199, 200, 2999, 3000, 3149, 3150, 3200, 7999, 8000, 10_000, 60_000, 300_000]),
    st.integers(0, 12_000),
)
MISSING = st.sampled_from(["no_speech", "job_failed", "job_timeout", "merged"])


class Run:
    """One machine with a judge, driven by drawn steps: (name, time before it, argument)."""

    def __init__(self, protocol: Protocol, config: SessionConfig, targets: tuple[Any, ...]) -> None:
        self.protocol = protocol
        self.config = config
        self.machine = SessionMachine(config, SessionIdentity(SPEAKER, targets, 0, protocol, "pcm16"))
        self.owed = Owed(targets)
        self.now_ms = 5000
        self.next_seq = 0
        self.jobs: list[JobSpec] = []
        """Begun and not concluded; a cancelled one may still conclude."""
        self.wholes: set[int] = set()
        self.is_connected = True
        self.effects: list[ev.SessionEffect] = []

    def post(self, event: ev.SessionEvent) -> list[ev.SessionEffect]:
        was_ended = self.machine.state is Life.ENDED
        effects = self.machine.handle(event, self.now_ms)
        self.machine.check()
        assert not (was_ended and effects)
        self.effects += effects
        for effect in effects:
            match effect:
                case ev.Send(message):
                    assert self.is_connected
                    self.owed.read(message)
                case ev.StartJob(spec):
                    self.owed.began(spec, is_whole=spec.utterance.index in self.wholes)
                    self.jobs.append(spec)
                case ev.CancelJob() | ev.RestoreAudio() | ev.PreviewSpeech() | ev.SendToRoom() | ev.NoteSpeech():
                    pass
                case ev.EndSession():
                    assert effect is effects[-1]
                    assert self.owed.is_all_said()
                    assert not (self.is_connected and self.owed.unanswered)
        return effects

    def step(self, name: str, wait_ms: int, number: int) -> None:
        self.now_ms += wait_ms
        getattr(self, f"do_{name}")(number)

    def do_chunk(self, number: int) -> None:
        self._speak(struct.pack("<I", self.next_seq) * self._words(number), is_final=False)

    def do_last_chunk(self, number: int) -> None:
        self._speak(struct.pack("<I", self.next_seq) * self._words(number), is_final=True)

    def do_final(self, _: int) -> None:
        self._speak(b"", is_final=True)

    def do_repeat(self, number: int) -> None:
        if self.next_seq:
            self.post(ev.ChunkArrived(self.next_seq - 1 - number % self.next_seq, pcm(50), is_final=True))

    def do_broken(self, _: int) -> None:
        self.post(ev.ChunkArrived(self._count(), b"\1", is_final=False))

    def do_whole(self, number: int) -> None:
        index = self.machine.next_index + number % 3
        if self.machine.state is Life.OPEN:
            self.wholes.add(index)
        self.post(ev.UtteranceArrived(index, pcm(5), "pcm16", 16_000, True, SPEAKER, ES))

    def do_conclude(self, number: int) -> None:
        if self.jobs:
            spec = self.jobs.pop(number % len(self.jobs))
            self._conclude(spec)

    def do_conclude_again(self, number: int) -> None:
        if self.jobs:
            self._conclude(self.jobs[number % len(self.jobs)])

    def do_free(self, number: int) -> None:
        self.post(ev.AudioFreed(number))

    def do_time(self, _: int) -> None:
        self.post(ev.TimeReached())
        deadline_ms = self.machine.next_deadline_ms()
        assert deadline_ms is None or deadline_ms > self.now_ms

    def do_playing(self, number: int) -> None:
        self.post(ev.TtsStarted("g") if number % 2 else ev.TtsEnded("g"))

    def do_heartbeat(self, number: int) -> None:
        self.post(ev.HeartbeatArrived(number))

    def do_acknowledge(self, number: int) -> None:
        self.post(ev.ResultsAcked(min(number, self.owed.last_result_seq)))

    def do_lose(self, _: int) -> None:
        self.post(ev.ConnectionLost())
        self.is_connected = False

    def do_resume(self, _: int) -> None:
        if self.protocol == "1.1" and self.machine.state is not Life.ENDED:
            self.is_connected = True
            self.post(ev.Resumed(self.owed.last_result_seq, "token"))

    def do_close(self, _: int) -> None:
        self.post(ev.CloseRequested("done"))

    def do_store(self, number: int) -> None:
        self.post(ev.DependencyChanged(is_up=bool(number % 2)))

    def do_drain(self, number: int) -> None:
        self.post(ev.DrainStarted(number * 1000))

    def do_unknown(self, number: int) -> None:
        self.post(ev.JobConcluded(ev.JobId(f"job-x-{number}-es"), number, ES, Missing("job_failed")))
        self.post(ev.JobProgressed(ev.JobId(f"job-x-{number}-es"), number, "ERROR"))

    def _count(self) -> int:
        """The number of the next chunk. What nobody takes is sent again under the same number."""
        seq = self.next_seq
        self.next_seq += self.machine.state is Life.OPEN
        return seq

    def _words(self, number: int) -> int:
        """Chunks of up to an eighth of the largest."""
        return 1 + number * self.config.max_chunk_bytes // 400

    def _speak(self, audio: bytes, *, is_final: bool) -> None:
        seq = self._count()
        if audio and self.machine.state is Life.OPEN:
            self.owed.accepted(seq, audio)
        effects = self.post(ev.ChunkArrived(seq, audio, is_final))
        assert self.machine.state is not Life.OPEN or not any(
            isinstance(one, ev.Send) and isinstance(one.message, ErrorMessage) for one in effects
        )

    def _conclude(self, spec: JobSpec) -> None:
        reason = "no_speech" if spec.utterance.index % 2 else "job_failed"
        self.post(ev.JobConcluded(spec.job_id, spec.utterance.index, spec.tgt_lang, Missing(reason)))

    def settle(self) -> None:
        """Let everything that waits come to its end."""
        while self.machine.state is not Life.ENDED and (self.jobs or self.owed.unanswered):
            deadline_ms = self.machine.next_deadline_ms()
            assert deadline_ms is not None
            self.now_ms = max(self.now_ms, deadline_ms)
            self.post(ev.TimeReached())
            while self.jobs:
                self._conclude(self.jobs.pop())


NAMES = sorted(name.removeprefix("do_") for name in vars(Run) if name.startswith("do_"))
GENTLE = [name for name in NAMES if name not in ("lose", "close", "drain")]
PROTOCOL = st.sampled_from(PROTOCOLS)
CONFIG = st.sampled_from([DEFAULTS, SMALL, TIGHT])


def steps(names: Sequence[str]) -> st.SearchStrategy[list[tuple[str, int, int]]]:
    return st.lists(st.tuples(st.sampled_from(names), WAITS_MS, st.integers(0, 12)), max_size=60)


def walked(data: st.DataObject, names: Sequence[str]) -> Run:
    protocol: Protocol = data.draw(PROTOCOL)
    run = Run(protocol, data.draw(CONFIG), data.draw(st.sampled_from(TARGETS[protocol])))
    for name, wait_ms, number in data.draw(steps(names)):
        run.step(name, wait_ms, number)
    return run


@given(st.data())
def test_any_history_keeps_every_promise(data: st.DataObject):
    run = walked(data, NAMES)
    note(f"ends {run.machine.state}")


@given(st.data())
def test_after_any_history_a_new_utterance_still_goes_through(data: st.DataObject):
    run = walked(data, GENTLE)
    if run.machine.state is not Life.OPEN:
        note("was closed for idleness")
        return
    run.do_final(0)
    run.now_ms += 200
    run.do_time(0)
    index = run.machine.next_index
    run.do_last_chunk(1)
    run.now_ms += 200
    run.do_time(0)
    assert index in run.owed.indices
    run.settle()
    assert not run.owed.unanswered


@given(st.data())
def test_after_any_history_closing_answers_everything_and_ends(data: st.DataObject):
    run = walked(data, NAMES)
    if not run.is_connected:
        run.do_resume(0)
    run.do_close(0)
    for _ in range(10):
        run.now_ms = max(run.now_ms, run.machine.next_deadline_ms() or 0)
        run.post(ev.TimeReached())
    assert run.machine.state is Life.ENDED
    assert not (run.is_connected and run.owed.unanswered)


@given(st.data())
def test_timers_that_are_looked_at_more_often_change_nothing_but_when_it_is_noticed(data: st.DataObject):
    """The same events, once with every timer on time and once with timers seen only when an event comes."""
    names = ["chunk", "last_chunk", "final", "heartbeat", "playing"]
    protocol: Protocol = data.draw(PROTOCOL)
    drawn = data.draw(steps(names))
    drawn = [(name, min(wait_ms, 100_000), number) for name, wait_ms, number in drawn]
    late, punctual = (Run(protocol, DEFAULTS, (ES,)) for _ in range(2))
    for name, wait_ms, number in drawn:
        late.step(name, wait_ms, number)
        until_ms = punctual.now_ms + wait_ms
        while (deadline_ms := punctual.machine.next_deadline_ms()) is not None and deadline_ms <= until_ms:
            punctual.now_ms = max(punctual.now_ms, deadline_ms)
            punctual.do_time(0)
        punctual.now_ms = until_ms
        punctual.step(name, 0, number)
    for run in (late, punctual):
        run.do_close(0)
    cut = [
        [(spec.utterance.index, spec.utterance.audio, spec.utterance.reason) for spec in run.jobs]
        for run in (late, punctual)
    ]
    assert cut[0] == cut[1]


@given(
    st.integers(1, 200),
    st.lists(st.integers(1, 400), min_size=1, max_size=40),
    st.lists(st.integers(1, 400), min_size=1, max_size=40),
)
def test_how_audio_is_cut_into_chunks_does_not_matter(unit: int, one: list[int], other: list[int]):
    """Two ways to send the same speech below the longest duration, then a final: the same utterance."""
    length = min(sum(one), sum(other), 10_000 * 32 // 2 // unit - 1)
    audio = bytes(range(256)) * (length * unit * 2 // 256 + 1)
    audio = audio[: length * unit * 2]
    heard: list[tuple[bytes, int]] = []
    for sizes in (one, other):
        scene, at = Scene(), 0
        for size in [*sizes, len(audio)]:
            piece = audio[at : at + size * unit * 2]
            at += len(piece)
            scene.chunk(piece)
        scene.chunk(b"", final=True)
        heard += [(spec.utterance.audio, spec.utterance.samples) for spec in scene.started]
    assert heard == [(audio, length * unit)] * 2


@given(st.lists(st.integers(0, 40), max_size=80))
def test_a_number_is_new_exactly_once(numbers: list[int]):
    seen, known = SeenNumbers(), set[int]()
    for number in numbers:
        assert seen.has(number) == (number in known)
        assert seen.add(number) == (number not in known)
        known.add(number)
    assert seen.missing() == max(known, default=-1) + 1 - len(known)
