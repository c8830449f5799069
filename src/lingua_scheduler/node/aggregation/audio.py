"""Decides for the audio of one session what is recognised when, together with what, and which job says so.

Theory of operation
===================

All audio lies on one time line in samples. It comes in *stretches*, each brought by a job, and a stretch is in one of
three places: *pending* (not yet given to recognition), in a *flight* (given to recognition, its job's result not yet
handed to the link), or gone. Every sample is in one place only, and leaves a flight by exactly one job's result.

| audio comes with | what is done with it and all that is pending |
|---|---|
| manual | recognised now |
| timeout | recognised now if at least 1 s, else the job is held |
| max duration | cut in pauses; complete batches (≥ 5 s) are recognised now, the tail is carried; none complete: held |
| no flag | recognised now if at least 10 s, else held |
| anything | recognised now if 20 s or more would wait, if there is no sample to wait with, or after `SessionEnded` |

| a job is | until |
|---|---|
| held | its successor arrives, or its deadline (10 s) passes: then the last held job reports for all that is pending |
| working | `JobReported`; or `JobDropped` |
| closed | remembered for a while, to tell repeats from news |

*Who reports.* The job whose arrival (or the last held one, whose deadline) set off the recognition. Held jobs whose
audio is in it are merged into it. A carried tail has no job, since its own has its result; the next job of the session
takes it over on arrival. Should none come within 12 s, the tail is recognised for nobody, and the next job's `Conclude`
names that batch first: its text is said late rather than never. Only a session that ends leaves it `Unclaimed`; a
scheduler avoids that by sending, at the end of speech, a last job with the carried audio alone.

*The tail* is always the end of its job's own audio, and not all of it; else the job is held instead. It holds at least
the audio after the last pause, because that was cut by the clock, in the middle of a word as like as not.

*Audio that is sent again.* The rule is: audio that is still here is not taken again; audio whose result was handed over
is gone, and whoever sends it again wants it again. In particular:
- an attempt that is not later than the one known is ignored; a later attempt of a held or working job changes only the
  number in its result, since its audio is here;
- the head of a job's audio that was carried before (`carried`) is compared with what is pending or in flight, by
  position: only what is missing is taken. Positions come from `start`; without it the head ends where the time line
  does, provided that no index is missing in between;
- a job never heard of brings new audio, whatever its position claims (time lines restart, peers err);
- a dropped job takes with it its own audio, the tail it carried and the tail it had taken over, wherever they are by
  now; but a tail whose own job has no result yet goes back to waiting, since nobody else knows of it. Flights that lose
  audio start over with what is left (`Discard`, then a new `Conclude`), under the last of the jobs left. So whoever is
  dropped is forgotten here and whoever is not is answered here, in any order;
- a later attempt of a job whose result was handed over counts as dropped first, if it is still the newest; otherwise
  its tail stays with the job that took it.

*Late jobs.* A job with a lower index than the newest came after its turn: it is recognised at once and alone, whatever
its flag, so that it neither waits nor tears apart what is pending.

*Gaps.* A missing index, or a position further on, ends a piece: no recognition spans audio that is not there.

Bounds: less than 20 s pending; 64 open jobs, beyond which an attempt is refused; a flight keeps its audio, by
reference, until it is reported; at most one tail waits to be claimed, as the next arrival claims it.

It knows neither engines nor texts nor wire messages. One aggregator serves one session and one target language: jobs of
other languages repeat the same utterances, and get the same batches (equal spans) from an aggregator of their own, so
that recognition can be shared by span.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal, assert_never

from lingua_scheduler.node.aggregation.audio_events import (
    Adopt,
    AudioArrived,
    AudioEffect,
    AudioEvent,
    Batch,
    Conclude,
    Cut,
    Discard,
    Dismiss,
    Hold,
    Ignore,
    JobDropped,
    JobReported,
    Recognize,
    Refuse,
    SessionEnded,
    Span,
    Taken,
    TimeReached,
    Unclaimed,
)
from lingua_scheduler.node.aggregation.levels import SessionLevels
from lingua_scheduler.node.aggregation.limits import AudioLimits
from lingua_scheduler.node.aggregation.open_jobs import HoldReason, Job, JobBook, State
from lingua_scheduler.node.aggregation.planning import Batches, plan_monologue, plan_whole
from lingua_scheduler.node.aggregation.stretches import Stretch, outside, samples, split_at
from lingua_scheduler.node.aggregation.timeline import TimeLine, carried_samples, own_samples
from lingua_scheduler.protocol.ids import JobId


@dataclass(slots=True)
class _Flight:
    """Audio that is being recognised for one result."""

    owner: JobId | None
    """None: a tail that found no successor yet."""
    stretches: list[Stretch]
    merged: tuple[JobId, ...] = ()
    carried: int = 0
    batches: list[int] = field(default_factory=list[int])

    def has_part_of(self, job: JobId) -> bool:
        return job == self.owner or job in self.merged or any(part.belongs_to(job) for part in self.stretches)


class AudioAggregator:
    """See the module's theory of operation."""

    def __init__(self, limits: AudioLimits | None = None) -> None:
        self._limits = limits or AudioLimits()
        self._levels = SessionLevels()
        self._jobs = JobBook(self._limits.known_jobs_max)
        self._pending: list[Stretch] = []
        self._flights: list[_Flight] = []
        self._carry_deadline_ms: int | None = None
        self._line = TimeLine()
        self._batch_count = 0
        self._has_ended = False

    # ------------------------------------------------------------------------------------- the machine's face

    def handle(self, event: AudioEvent, now_ms: int) -> list[AudioEffect]:
        match event:
            case AudioArrived():
                # A timer that is late is not overtaken: what should have been recognised by now is no more held.
                return self._pass_time(now_ms) + self._on_audio_arrived(event, now_ms)
            case JobReported():
                return self._on_job_reported(event.job)
            case JobDropped():
                return self._on_job_dropped(event.job, now_ms)
            case SessionEnded():
                return self._on_session_ended()
            case TimeReached():
                return self._on_time_reached(now_ms)
            case _:
                assert_never(event)

    def next_deadline_ms(self) -> int | None:
        deadlines = [job.deadline_ms for job in self._jobs.held()]
        if self._carry_deadline_ms is not None:
            deadlines.append(self._carry_deadline_ms)
        return min(deadlines, default=None)

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing is being recognised: whoever needs the room may throw the aggregator away."""
        return not self._pending and not self._flights and not self._jobs.open_count()

    def left_of_others(self, kept: Collection[JobId], index: int) -> list[JobId]:
        """Jobs with audio here, of utterances up to `index`, that are not among `kept`."""
        here = {job for part in self._all_here() for job in (part.origin, part.taker)}
        jobs = [job for job in self._jobs if job.id in here or job.state is not State.CLOSED]
        return [job.id for job in jobs if job.id not in kept and job.index <= index]

    def check(self) -> None:
        spans = [stretch.span for stretch in self._pending]
        assert all(left.stop <= right.start for left, right in pairwise(spans)), "pending audio is out of order"
        assert all(span.stop > span.start for span in spans), "an empty stretch is pending"
        assert self._may_wait(), "too much is pending"
        held = {job.id for job in self._jobs.held()}
        takers = {stretch.taker for stretch in self._pending}
        assert takers - {None} <= held, "pending audio of a job that is not held"
        assert (None in takers) == (self._carry_deadline_ms is not None), "a carried tail and its timer belong together"
        assert not (self._has_ended and self._pending), "something waits for a successor that cannot come"
        flying = [job for flight in self._flights for job in (flight.owner, *flight.merged) if job is not None]
        working = [job.id for job in self._jobs if job.state is State.WORKING]
        assert sorted(flying) == sorted(working), "a working job is in exactly one flight"
        assert sum(flight.owner is None for flight in self._flights) <= 1, "two tails wait to be claimed"
        assert self._jobs.open_count() <= self._limits.open_jobs_max

    # ------------------------------------------------------------------------------------- arrival

    def _on_audio_arrived(self, event: AudioArrived, now_ms: int) -> list[AudioEffect]:
        known = self._jobs.get(event.job)
        if known is not None:
            if event.attempt <= known.attempt:
                return [Ignore(event.job, event.attempt, _why_ignored(event.attempt, known.attempt))]
            if known.state is not State.CLOSED:
                return [_next_attempt(known, event.attempt)]
        if self._jobs.open_count() >= self._limits.open_jobs_max:
            return [Refuse(event.job, event.attempt)]
        if self._line.is_late(event):
            return self._take_late(event, known)
        return self._take_next(event, known, now_ms)

    def _take_late(self, event: AudioArrived, known: Job | None) -> list[AudioEffect]:
        own_start = self._line.place_late(event) if known is None else known.own_start
        own_stop = own_start + own_samples(event)
        own_tail = [part.span for part in self._all_here() if part.origin == event.job]
        stretches = self._enter(event, own_start, own_tail)
        carried = own_stop - max([own_start, *(part.span.stop for part in stretches)])
        stretches = self._pop_left_by(event.job) + stretches
        return self._launch(_Flight(event.job, stretches, carried=carried))

    def _pop_left_by(self, job_id: JobId) -> list[Stretch]:
        """The tail that was given back when an earlier attempt of this job was dropped, if it still waits."""
        left = [part for part in self._pending if part.taker is None and part.left_by == job_id]
        self._pending = [part for part in self._pending if part not in left]
        self._stop_carry_timer_if_idle()
        return [replace(part, taker=job_id) for part in left]

    def _stop_carry_timer_if_idle(self) -> None:
        if all(part.taker is not None for part in self._pending):
            self._carry_deadline_ms = None

    def _take_next(self, event: AudioArrived, known: Job | None, now_ms: int) -> list[AudioEffect]:
        effects = self._forget(event.job, now_ms) if known is not None else []
        own_start = self._line.place_next(event) if known is None else known.own_start
        arrived = self._enter(event, own_start, [])
        self._line.newest_index = event.utterance_index
        self._take_over(event.job)
        self._pending = sorted([*self._pending, *arrived], key=lambda part: part.start)
        return effects + self._decide(event, own_start, now_ms)

    def _enter(self, event: AudioArrived, own_start: int, here: list[Span]) -> list[Stretch]:
        """Write the job down; what is new of its audio, as stretches: not `here`, nor of its head what is anywhere."""
        here = here + [
            Span(part.span.start, min(part.span.stop, own_start)) for part in self._all_here() if part.start < own_start
        ]
        self._jobs.enter(event, own_start)
        whole = Stretch(own_start - carried_samples(event), event.audio, event.job, event.job)
        self._line.cover(whole.span)
        new = [whole.part(span) for span in outside(whole.span, here)]
        for part in new:
            self._levels.hear(part.audio)
        return new

    def _all_here(self) -> list[Stretch]:
        return [*self._pending, *(part for flight in self._flights for part in flight.stretches)]

    def _take_over(self, job: JobId) -> None:
        """Carried audio that waits, or was recognised for nobody, is `job`'s from now on."""
        self._pending = [replace(part, taker=part.taker or job) for part in self._pending]
        for flight in self._flights:
            flight.stretches = [replace(part, taker=part.taker or job) for part in flight.stretches]
        self._carry_deadline_ms = None

    # ------------------------------------------------------------------------------------- decision

    def _decide(self, event: AudioArrived, own_start: int, now_ms: int) -> list[AudioEffect]:
        limits = self._limits
        waiting = samples(self._pending)
        if self._has_ended or not waiting or event.cut is Cut.MANUAL:
            return self._conclude_pending(event.job)
        if event.cut is Cut.TIMEOUT:
            reason, at_most = "short", limits.short_ms
        elif event.cut is Cut.NONE:
            reason, at_most = "unflagged", limits.unflagged_ms
        else:
            batches, tail_start = plan_monologue(self._pending, self._levels.pause_threshold, limits)
            if batches and tail_start > own_start:
                return self._conclude_carrying(event.job, tail_start, batches, now_ms)
            reason, at_most = "no_complete_batch", limits.pending_max_ms
        if waiting < limits.samples(at_most):
            return [self._hold(event.job, reason, now_ms)]
        return self._conclude_pending(event.job)

    def _hold(self, job_id: JobId, reason: HoldReason, now_ms: int) -> AudioEffect:
        job = self._jobs.get(job_id)
        assert job is not None
        job.state, job.hold_reason, job.deadline_ms = State.HELD, reason, now_ms + self._limits.hold_ms
        return Hold(job.id, job.attempt, reason, job.deadline_ms)

    def _conclude_pending(self, owner: JobId | None) -> list[AudioEffect]:
        """Recognise all that is pending; `owner` None: for nobody yet."""
        flight = _Flight(owner, self._pending, self._merge_held(owner))
        self._pending = []
        self._carry_deadline_ms = None
        unclaimed = self._pop_unclaimed() if owner is not None else None
        return self._launch(flight, claims=unclaimed)

    def _conclude_carrying(self, owner: JobId, tail_start: int, batches: Batches, now_ms: int) -> list[AudioEffect]:
        now, tail = split_at(self._pending, tail_start)
        self._pending = [replace(part, taker=None) for part in tail]
        self._carry_deadline_ms = now_ms + self._limits.carry_ms
        flight = _Flight(owner, now, self._merge_held(owner), carried=samples(tail))
        return self._launch(flight, batches, claims=self._pop_unclaimed())

    def _merge_held(self, owner: JobId | None) -> tuple[JobId, ...]:
        """Put all held jobs to work; those of them that `owner` will speak for."""
        held = self._jobs.held()
        for job in held:
            job.state = State.WORKING
        return tuple(job.id for job in held if job.id != owner)

    def _pop_unclaimed(self) -> _Flight | None:
        for flight in self._flights:
            if flight.owner is None:
                self._flights.remove(flight)
                return flight
        return None

    # ------------------------------------------------------------------------------------- flights

    def _launch(
        self, flight: _Flight, batches: Batches | None = None, claims: _Flight | None = None
    ) -> list[AudioEffect]:
        """Start recognition of all that the flight has, or of `batches`; `claims` is already under way."""
        effects: list[AudioEffect] = []
        if batches is None:
            batches = plan_whole(flight.stretches, self._levels.pause_threshold, self._limits)
        for pieces in batches:
            self._batch_count += 1
            audio = tuple(piece.audio for piece in pieces)
            batch = Batch(self._batch_count, tuple(piece.span for piece in pieces), audio)
            verb = Dismiss if self._levels.is_silence(audio) else Recognize
            effects.append(verb(batch, flight.owner))
            flight.batches.append(batch.number)
        if claims is not None:
            flight.stretches = claims.stretches + flight.stretches
            flight.batches = claims.batches + flight.batches
        self._flights.append(flight)
        if flight.owner is not None:
            taken = self._taken(flight.owner, flight.stretches)
            effects.append(Conclude(flight.owner, tuple(flight.batches), flight.merged, flight.carried, taken))
        return effects

    def _taken(self, owner: JobId, stretches: list[Stretch]) -> tuple[Taken, ...]:
        """What the owner says that is not its own: of others, or sent in front of its own once more."""
        job = self._jobs.get(owner)
        assert job is not None, "an open job is never forgotten"
        counts: Counter[JobId] = Counter()
        for part in stretches:
            is_own = part.origin == owner
            counts[part.origin] += (
                min(len(part.audio), max(0, job.own_start - part.start)) if is_own else len(part.audio)
            )
        return tuple(Taken(origin, count) for origin, count in counts.items() if count)

    def _on_job_reported(self, job_id: JobId) -> list[AudioEffect]:
        for flight in [flight for flight in self._flights if flight.owner == job_id]:
            self._flights.remove(flight)
            for member in (job_id, *flight.merged):
                self._close(member)
        return []

    def _on_job_dropped(self, job_id: JobId, now_ms: int) -> list[AudioEffect]:
        if self._jobs.get(job_id) is None:
            return []
        effects = self._forget(job_id, now_ms)
        self._close(job_id)
        if self._has_ended:
            return effects + self._give_up()
        # A tail that came back may be more than there is room for beside what waits already.
        return effects + (self._flush() if not self._may_wait() else [])

    def _may_wait(self) -> bool:
        return samples(self._pending) < self._limits.samples(self._limits.pending_max_ms)

    def _close(self, job_id: JobId) -> None:
        job = self._jobs.get(job_id)
        assert job is not None, "an open job is never forgotten"
        job.state = State.CLOSED

    def _forget(self, job_id: JobId, now_ms: int) -> list[AudioEffect]:
        """Take a job and its audio out of everything that is here; flights that had part of it start over."""
        given_back = [
            replace(part, taker=None, left_by=job_id) for part in self._all_here() if self._goes_back(part, job_id)
        ]
        self._pending = [part for part in self._pending if not part.belongs_to(job_id)]
        effects: list[AudioEffect] = []
        for flight in [flight for flight in self._flights if flight.has_part_of(job_id)]:
            self._flights.remove(flight)
            if flight.batches:
                effects.append(Discard(tuple(flight.batches)))
            effects += self._start_over(flight, job_id)
        self._pending = sorted([*self._pending, *given_back], key=lambda part: part.start)
        if given_back:
            self._carry_deadline_ms = now_ms + self._limits.carry_ms
        self._stop_carry_timer_if_idle()
        return effects

    def _goes_back(self, part: Stretch, job_id: JobId) -> bool:
        """A tail that `job_id` took over, of which the scheduler cannot know yet: nobody else would say it."""
        if part.taker != job_id or part.origin == job_id:
            return False
        origin = self._jobs.get(part.origin)
        return origin is not None and origin.state is State.WORKING

    def _start_over(self, flight: _Flight, without: JobId) -> list[AudioEffect]:
        left = [part for part in flight.stretches if not part.belongs_to(without)]
        jobs = [job for job in (*flight.merged, flight.owner) if job is not None and job != without]
        if not jobs and not left:
            return []
        owner = jobs[-1] if jobs else None
        carried = flight.carried if owner == flight.owner else 0
        return self._launch(_Flight(owner, left, tuple(jobs[:-1]), carried))

    # ------------------------------------------------------------------------------------- the end of waiting

    def _on_time_reached(self, now_ms: int) -> list[AudioEffect]:
        deadline = self.next_deadline_ms()
        return self._flush() if deadline is not None and now_ms >= deadline else []

    def _pass_time(self, now_ms: int) -> list[AudioEffect]:
        deadline = self.next_deadline_ms()
        return self._flush() if deadline is not None and now_ms > deadline else []

    def _on_session_ended(self) -> list[AudioEffect]:
        self._has_ended = True
        return self._give_up()

    def _give_up(self) -> list[AudioEffect]:
        """Wait no more: what no job can report is recognised all the same, and said to be nobody's."""
        effects = self._flush()
        unclaimed = self._pop_unclaimed()
        if unclaimed is not None:
            effects.append(Unclaimed(unclaimed.stretches[-1].origin, tuple(unclaimed.batches)))
        return effects

    def _flush(self) -> list[AudioEffect]:
        held = self._jobs.held()
        if not held and not self._pending:
            return []
        return self._conclude_pending(held[-1].id if held else None)


def _next_attempt(job: Job, attempt: int) -> AudioEffect:
    job.attempt = attempt
    if job.state is State.HELD:
        return Hold(job.id, attempt, job.hold_reason, job.deadline_ms)
    return Adopt(job.id, attempt)


def _why_ignored(attempt: int, known: int) -> Literal["duplicate", "stale_attempt"]:
    return "duplicate" if attempt == known else "stale_attempt"
