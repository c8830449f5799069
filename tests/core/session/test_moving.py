"""A session that loses its instance again and again: what the next one makes of the record, the outbox and the client.

The model of the client is the promise of protocol 1.1: it keeps every chunk, sends again from `next_seq`, and takes
each `result_seq` once. The model of the store is what is written when: the record with each job that begins, a result
when its job ends.
"""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.session.config import SessionIdentity
from lingua_scheduler.core.session.machine import SessionMachine
from lingua_scheduler.core.session.outbox import Result
from lingua_scheduler.core.session.record import SessionState
from lingua_scheduler.core.utterance import JobSpec, Missing, Outcome, Translated, Written
from lingua_scheduler.protocol.ids import JobId, NodeId
from lingua_scheduler.protocol.messages import MissingResult, SessionResumeAck, TranslationResult
from tests.core.session.support import DEFAULTS, EPOCH_MS, ES, SPEAKER, job_id, job_result, pcm

IDENTITY = SessionIdentity(SPEAKER, (ES,), EPOCH_MS, "1.1", "pcm16")
CHUNK_MS = 20

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("chunk"), st.booleans()),
        st.tuples(st.just("answer"), st.integers(0, 5)),
        st.tuples(st.just("ack"), st.integers(0, 3)),
        st.tuples(st.just("die"), st.booleans()),
    ),
    max_size=60,
)


def key_of(result: Result) -> JobId:
    return JobId(result.job_id) if isinstance(result, TranslationResult) else job_id(result.utterance_index)


class Story:
    """One client, one store, and the instance of the moment."""

    def __init__(self) -> None:
        self.now_ms = 1000
        self.machine = SessionMachine(DEFAULTS, IDENTITY)
        self.chunks: list[tuple[bytes, bool]] = []
        self.results: dict[int, Result] = {}
        self.acked = 0
        self.record = b""
        self.numbers: dict[JobId, int] = {}
        self.outbox: dict[JobId, Written] = {}
        self.running: dict[JobId, JobSpec] = {}
        self.audio: dict[int, bytes] = {}
        self.wanted: set[int] = set()
        """Utterances whose audio this instance lacks."""

    def handle(self, event: ev.SessionEvent) -> list[ev.SessionEffect]:
        self.now_ms += 1
        effects = self.machine.handle(event, self.now_ms)
        self.machine.check()
        for effect in effects:
            match effect:
                case ev.StartJob(spec):
                    assert spec.job_id not in self.running, "one job for one utterance"
                    assert spec.utterance.index not in self.audio, "an index is used once"
                    self.running[spec.job_id] = spec
                    self.audio[spec.utterance.index] = spec.utterance.audio
                    self.write()
                case ev.RestoreAudio(index, audio):
                    assert audio == self.audio[index], "the same bounds as the first time"
                    self.wanted.discard(index)
                case ev.Send(TranslationResult() | MissingResult() as result):
                    self.take(result)
                case _:
                    pass
        return effects

    def write(self) -> None:
        self.record = msgspec.json.encode(self.machine.snapshot())
        self.numbers = {key_of(one): one.result_seq or 0 for one in self.machine.unacknowledged()}

    def take(self, result: Result) -> None:
        """As a client does: what it has it drops; what it lacks comes in order, without a hole."""
        assert result.result_seq is not None
        if result.result_seq in self.results:
            assert result.utterance_index == self.results[result.result_seq].utterance_index, (
                "a number means one result"
            )
            return
        assert result.result_seq == len(self.results) + 1
        assert result.utterance_index not in {one.utterance_index for one in self.results.values()}, "told twice"
        self.results[result.result_seq] = result

    def chunk(self, is_final: bool) -> None:
        self.chunks.append((pcm(CHUNK_MS, len(self.chunks) * CHUNK_MS), is_final))
        self.send(len(self.chunks) - 1)

    def send(self, seq: int) -> None:
        audio, is_final = self.chunks[seq]
        self.handle(ev.ChunkArrived(seq, audio, is_final))

    def answer(self, which: int) -> None:
        if not self.running:
            return
        job = sorted(self.running)[which % len(self.running)]
        index = self.running.pop(job).utterance.index
        outcome: Outcome = Missing("no_speech")
        if which % 2:
            outcome = Translated(job_result(index, f"text {index}"), NodeId("n"), self.now_ms, self.now_ms)
        if (message := self.machine.draft(job, outcome, self.now_ms)) is not None:
            self.outbox[job] = Written(message)
        self.handle(ev.JobConcluded(job, index, ES, outcome))

    def ack(self, behind: int) -> None:
        self.acked = max(self.acked, len(self.results) - behind)
        self.handle(ev.ResultsAcked(self.acked))

    def die(self, is_orphaned: bool) -> None:
        """The instance is gone with all that it had not written; perhaps a job ends while nobody has the session."""
        if not self.record:
            return
        if is_orphaned and self.running:
            job = min(self.running)
            index = self.running.pop(job).utterance.index
            self.outbox[job] = Written(
                MissingResult(session_id="s", utterance_index=index, reason="no_speech", created_at_ms=0, tgt_lang=ES)
            )
        self.machine = SessionMachine(DEFAULTS, IDENTITY)
        state = msgspec.json.decode(self.record, type=SessionState)
        sent = [
            msgspec.structs.replace(self.outbox[job].message, result_seq=number)
            for job, number in sorted(self.numbers.items(), key=lambda one: one[1])
        ]
        specs = self.machine.restore(state, sent, self.now_ms)
        self.machine.check()
        unknown = {spec.job_id for spec in specs} - self.outbox.keys()
        assert unknown == self.running.keys()
        self.wanted = {self.running[job].utterance.index for job in unknown}
        for job, written in self.outbox.items():
            if job in {spec.job_id for spec in specs}:
                self.handle(ev.JobConcluded(job, written.message.utterance_index, ES, written))
        effects = self.handle(ev.Resumed(len(self.results), "token"))
        [ack] = [
            one.message for one in effects if isinstance(one, ev.Send) and isinstance(one.message, SessionResumeAck)
        ]
        for seq in range(ack.next_seq, len(self.chunks)):
            self.send(seq)
        assert not self.wanted, "every job that runs has its audio again"

    def finish(self) -> None:
        self.handle(ev.CloseRequested("done"))
        while self.running:
            self.answer(1)
        spoken = b"".join(audio for audio, _ in self.chunks)
        assert b"".join(self.audio[index] for index in sorted(self.audio)) == spoken, "no byte is lost or doubled"
        assert sorted(self.audio) == list(range(len(self.audio)))
        assert [one.utterance_index for one in self.results.values()] == sorted(self.audio)


@given(STEPS)
def test_no_death_loses_or_doubles_a_word(steps: list[tuple[str, int]]):
    story = Story()
    for name, argument in steps:
        match name:
            case "chunk":
                story.chunk(bool(argument))
            case "answer":
                story.answer(argument)
            case "ack":
                story.ack(argument)
            case _:
                story.die(bool(argument))
    story.finish()


def test_a_client_is_never_given_a_number_that_it_has():
    """Redis may lose its last writes in a failover: what the client has by number decides."""
    story = Story()
    story.chunk(True)
    story.machine = SessionMachine(DEFAULTS, IDENTITY)
    story.machine.restore(msgspec.json.decode(story.record, type=SessionState), [], story.now_ms)
    story.handle(ev.Resumed(7, "token"))
    [effect] = [
        one
        for one in story.machine.handle(ev.JobConcluded(job_id(0), 0, ES, Missing("no_speech")), story.now_ms + 5)
        if isinstance(one, ev.Send) and isinstance(one.message, MissingResult)
    ]
    assert isinstance(effect.message, MissingResult)
    assert effect.message.result_seq == 8
