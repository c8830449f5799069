"""Any course of events: every sample that was sent is said once, and every job ends once.

A model of the scheduler sends jobs of one session, drops and retries them, loses nodes, and sends audio again as the
rules say. The audio names its own samples, so the results tell what was recognised, whatever positions were claimed.
"""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingua_scheduler.node.aggregation.audio_events import (
    AudioArrived,
    AudioEvent,
    Conclude,
    Cut,
    Ignore,
    JobDropped,
    JobReported,
    SessionEnded,
    Span,
    TimeReached,
)
from lingua_scheduler.node.aggregation.limits import AudioLimits
from lingua_scheduler.protocol.ids import JobId
from tests.node.aggregation.shell import Shell, as_spans, job, speech, true_audio

TENTH = AudioLimits(
    short_ms=100,
    unflagged_ms=1000,
    pending_max_ms=2000,
    batch_ms=500,
    piece_min_ms=200,
    piece_max_ms=500,
    pause_ms=40,
    quiet_ms=60,
    near_ms=150,
    whole_max_ms=2500,
)
"""The real limits on a tenth of the audio: the waits stay as they are."""


@dataclass
class Sent:
    """The scheduler's view of one job."""

    number: int
    index: int
    cut: Cut
    own: Span
    attempt: int = 0
    is_open: bool = True
    is_reported: bool = False
    carried: int = 0
    ends: int = 0


@dataclass
class Scheduler:
    """One session, its current node, and chance."""

    chance: random.Random
    tells_start: bool
    shell: Shell = field(default_factory=lambda: Shell(TENTH))
    jobs: list[Sent] = field(default_factory=list[Sent])
    spoken: int = 0
    next_index: int = 0
    said: list[Span] = field(default_factory=list[Span])
    unclaimed: list[Span] = field(default_factory=list[Span])
    retries: list[Sent] = field(default_factory=list[Sent])
    fed: list[AudioArrived] = field(default_factory=list[AudioArrived])
    tail_is_on_another_node: bool = False

    def before(self, sent: Sent) -> Sent | None:
        return self.jobs[sent.number - 1] if sent.number else None

    def known_tail(self, sent: Sent) -> int:
        """Samples that the job before it carried, as far as its result has told."""
        before = self.before(sent)
        return before.carried if before is not None and before.is_reported else 0

    def send(self, sent: Sent, head: int) -> None:
        sent.attempt += 1
        audio = true_audio(sent.own.start - head, head + len(sent.own))
        start = sent.own.start - head if self.tells_start else None
        following = self.jobs[sent.number + 1 : sent.number + 2]
        # A tail is for the job that follows. Where that one has its result already, there must be no tail.
        cut = Cut.MANUAL if following and not following[0].is_open else sent.cut
        event = AudioArrived(job(sent.number), sent.attempt, sent.index, audio, cut, head, start)
        self.shell.feed(event)
        self.fed.append(event)

    def speak(self) -> None:
        """The next utterance: of any size and reason, now and then with an index that never comes."""
        if self.chance.random() < 0.1:
            self.next_index += self.chance.randint(1, 3)
            gap = True
        else:
            gap = False
        samples = self.chance.choice((0, 1, 319, 800, 1600, 4000, 8000, 16_000, 16_000, 16_000, 20_000, 45_000))
        samples += self.chance.randint(0, 400) if samples > 1 else 0
        own = Span(self.spoken, self.spoken + samples)
        sent = Sent(len(self.jobs), self.next_index, self.chance.choice(list(Cut)), own)
        self.jobs.append(sent)
        self.spoken += samples
        self.next_index += 1
        can_compare = self.tells_start or not gap
        needless = can_compare and self.chance.random() < 0.3
        self.send(sent, self.known_tail(sent) if self.tail_is_on_another_node or needless else 0)
        self.tail_is_on_another_node = False

    def report(self) -> None:
        """The pipeline keeps the order of the session."""
        if not self.shell.plans:
            return
        sent = min((self.sent(job_id) for job_id in self.shell.plans), key=lambda one: one.number)
        plan = self.shell.plans[job(sent.number)]
        assert plan.carried_ms * 16 == plan.carried
        self.shell.report(job(sent.number))
        spans = self.shell.true_samples(list(plan.batches))
        assert spans == sorted(spans), "a result tells its audio out of order"
        self.said += spans
        assert self.shell.results[-1][1] == sent.attempt
        sent.carried, sent.is_reported = plan.carried, True
        for ended in (sent, *map(self.sent, plan.merged)):
            ended.ends += 1
            ended.is_open = False

    def sent(self, job_id: JobId) -> Sent:
        return self.jobs[int(job_id.removeprefix("job-"))]

    def drop(self) -> None:
        """A lease ends: cancelled, and sent again now or later with what the job before it is known to have carried."""
        open_jobs = [sent for sent in self.jobs if sent.is_open and sent not in self.retries]
        if not open_jobs:
            return
        sent = self.chance.choice(open_jobs)
        self.shell.drop(job(sent.number))
        before = self.before(sent)
        if before is not None and before.is_open and before not in self.retries:
            self.send(sent, 0)
        else:
            self.retries.append(sent)

    def retry(self) -> None:
        if self.retries:
            sent = self.retries.pop(self.chance.randrange(len(self.retries)))
            self.send(sent, self.known_tail(sent))

    def repeat(self) -> None:
        """A message comes twice, or a new attempt of a job comes to the node that is at work on it."""
        if self.fed:
            event = self.chance.choice(self.fed[-5:])
            assert all(isinstance(effect, Ignore) for effect in self.shell.feed(event))
        open_jobs = [sent for sent in self.jobs if sent.is_open and sent not in self.retries]
        if open_jobs:
            sent = self.chance.choice(open_jobs)
            self.send(sent, self.known_tail(sent))

    def lose_node(self) -> None:
        """All that has no result is sent to another node, in order; so is a tail, with the job that follows."""
        self.shell = Shell(TENTH, now_ms=self.shell.now_ms)
        self.retries.clear()
        self.fed.clear()
        for sent in self.jobs:
            if sent.is_open:
                self.send(sent, self.known_tail(sent))
        self.tail_is_on_another_node = bool(self.jobs) and self.jobs[-1].is_reported

    def wait(self) -> None:
        self.shell.run_timers(self.shell.now_ms + self.chance.choice((10, 1000, 5000, 9999, 12_000)))

    def finish(self) -> None:
        while self.retries:
            self.retry()
        if self.tail_is_on_another_node:
            self.say_the_tail()
        if self.chance.random() < 0.5:
            self.shell.run_timers(self.shell.now_ms + 60_000)
            while self.shell.plans:
                self.report()
            if self.jobs and self.jobs[-1].carried:
                self.say_the_tail()
        else:
            self.shell.end()
            for job_id, _, plan in self.shell.results:
                self.note_end(job_id, plan)
            self.unclaimed = self.shell.true_samples(self.shell.unclaimed)

    def note_end(self, job_id: JobId, plan: Conclude) -> None:
        if self.sent(job_id).is_open:
            self.said += self.shell.true_samples(list(plan.batches))
            for ended in (job_id, *plan.merged):
                self.sent(ended).ends += 1
                self.sent(ended).is_open = False

    def say_the_tail(self) -> None:
        last = Sent(len(self.jobs), self.next_index, Cut.MANUAL, Span(self.spoken, self.spoken))
        self.jobs.append(last)
        self.send(last, self.known_tail(last))
        self.report()


STEPS = {
    Scheduler.speak: 10,
    Scheduler.report: 7,
    Scheduler.drop: 1,
    Scheduler.retry: 1,
    Scheduler.repeat: 1,
    Scheduler.lose_node: 0.3,
    Scheduler.wait: 2,
}


def run(chance: random.Random, steps: int, *, faults: bool, tells_start: bool) -> Scheduler:
    scheduler = Scheduler(chance, tells_start)
    if faults:
        weights = dict(STEPS)
    else:
        weights = {step: STEPS[step] for step in (Scheduler.speak, Scheduler.report, Scheduler.wait)}
    for _ in range(steps):
        (step,) = chance.choices(list(weights), list(weights.values()))
        step(scheduler)
    scheduler.finish()
    return scheduler


def expect_everything_once(scheduler: Scheduler, *, in_order: bool) -> None:
    spans = scheduler.said + scheduler.unclaimed
    if not in_order:
        spans = sorted(spans)
    assert sum(map(len, spans)) == scheduler.spoken, "said more or less than was spoken"
    assert as_spans(spans) == ([Span(0, scheduler.spoken)] if scheduler.spoken else [])
    assert [sent.number for sent in scheduler.jobs if sent.ends != 1] == []
    assert scheduler.shell.machine.is_idle
    assert scheduler.shell.machine.next_deadline_ms() is None


@pytest.mark.parametrize(("faults", "seeds"), [(False, 300), (True, 700)], ids=["calm", "faults"])
def test_a_thousand_schedules_recognise_exactly_what_was_sent(faults: bool, seeds: int) -> None:
    for seed in range(seeds):
        try:
            scheduler = run(random.Random(seed), 30, faults=faults, tells_start=bool(seed % 2))
            expect_everything_once(scheduler, in_order=not faults)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error


@given(st.randoms(use_true_random=False), st.integers(1, 25), st.booleans(), st.booleans())
def test_any_schedule_recognises_exactly_what_was_sent(
    chance: random.Random, steps: int, faults: bool, tells_start: bool
) -> None:
    scheduler = run(chance, steps, faults=faults, tells_start=tells_start)
    expect_everything_once(scheduler, in_order=not faults)


NUMBERS = st.integers(0, 5)
ARRIVALS = st.builds(
    AudioArrived,
    job=NUMBERS.map(job),
    attempt=st.integers(1, 4),
    utterance_index=st.integers(0, 6),
    audio=st.sampled_from([0, 1, 500, 1600, 7999, 16_000, 30_001]).map(lambda samples: true_audio(0, samples)),
    cut=st.sampled_from(list(Cut)),
    carried=st.sampled_from([0, 0, 1, 1600, 16_000, 10**9, -1]),
    start=st.sampled_from([None, 0, 1, 8000, 16_000, 40_000, 10**15, -1]),
)
EVENTS = st.one_of(
    ARRIVALS,
    st.builds(JobReported, NUMBERS.map(job)),
    st.builds(JobDropped, NUMBERS.map(job)),
    st.just(TimeReached()),
    st.sampled_from([TimeReached(), TimeReached(), SessionEnded()]),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from([0, 1, 4000, 15_000]), EVENTS), max_size=25))
def test_no_course_of_events_breaks_the_machine(events: list[tuple[int, AudioEvent]]) -> None:
    """Peers may say anything: repeated indices, positions that jump, reports of jobs that never were."""
    shell = Shell(TENTH)
    for waited_ms, event in events:
        shell.feed(event, shell.now_ms + waited_ms)  # check() after each
    shell.end()
    assert shell.machine.is_idle


def test_a_tail_that_comes_back_finds_no_room_and_is_recognised() -> None:
    """Nearly 20 s wait when a dropped job gives back a tail of several seconds."""
    shell = Shell(TENTH)
    shell.feed(AudioArrived(job(0), 1, 0, true_audio(0, 16_000), Cut.MAX_DURATION))
    shell.feed(AudioArrived(job(1), 1, 1, true_audio(16_000, 800), Cut.MANUAL))
    for number in range(2, 18):
        # Too short for a piece of its own: a tail would begin before it.
        shell.feed(AudioArrived(job(number), 1, number, true_audio(number * 1900, 1900), Cut.MAX_DURATION))
    assert len(shell.held) == 16
    assert isinstance(shell.drop(job(1))[-1], Conclude)
    assert not shell.held


LENGTHS = st.lists(st.sampled_from([0.3, 1.0, 2.2, 4.0, 6.5]), min_size=1, max_size=4)


@settings(max_examples=30)
@given(st.lists(st.tuples(LENGTHS, st.sampled_from(list(Cut))), min_size=1, max_size=8))
def test_speech_with_pauses_is_recognised_whole_under_the_real_limits(said: list[tuple[list[float], Cut]]) -> None:
    shell = Shell()
    total = 0
    for number, (lengths, cut) in enumerate(said):
        audio = speech(*lengths)
        total += len(audio)
        shell.feed(AudioArrived(job(number), 1, number, audio, cut))
    shell.end()
    heard = as_spans([*shell.heard(), *(span for number in shell.unclaimed for span in shell.batches[number].spans)])
    assert heard == [Span(0, total)]
    assert len(shell.results) + len(shell.merged) == len(said)
