"""One client's conversation: audio in, utterances out to the jobs, results back in order. Nothing is lost on the way.

THEORY OF OPERATION

The parts do the work, this file joins them and owns the session's life.

    ChunkArrived ─▶ Listening, Intake ─▶ Backlog ─StartJob─▶ … ─JobConcluded─▶ Backlog ─▶ Delivery ─Send─▶
                    what is one utterance  what runs, Groups                              order, outbox
         Preview ─PreviewSpeech─▶ … ─PartialArrived─▶ Preview ─Send─▶
         what is being said: best effort, changes nothing

Life of a session (tables in `life.py`):

| state | new audio | results | ends |
|---|---|---|---|
| OPEN | collected | delivered in order | never by itself: idleness leads to CLOSING |
| CLOSING | refused | delivered | nothing is pending, or `close_grace_ms` is over and the rest is told as missing |
| AWAY (1.1) | – | kept | `resume_window_ms` is over; `Resumed` leads back |
| QUIET (1.0) | – | have nobody to go to | nothing is pending, or `close_grace_ms` is over |
| ENDED | – | – | `EndSession` was the last effect |

While OPEN the audio is SILENT, SPEAKING or ENDING (`endpointing.py`). Leaving OPEN flushes what is collected; but who
loses the connection in the middle of speech may come back at once (1.1): until `resume_flush_ms` are over nothing ends
the utterance, and a resume goes on with it.

Timers, each a field, none a task:

| timer | means | acts |
|---|---|---|
| pause, hangover | the utterance has ended | before any event that comes later |
| gap hold | a result was held back for too long by an unfinished one | before any event that comes later |
| idle, grace, resume window, resume flush, drain | the session's life goes on or ends | on `TimeReached` only |

Who wins: time beats what comes after it, so a chunk after the window opens the next utterance even if no timer was
looked at; but a message beats a timer of the session's *life* that was not looked at: who speaks is alive.
Of several reasons to end an utterance: IsFinal, MaxDuration, MaxLength. The first outcome of a job wins, later ones are
counted.

`next_deadline_ms` may be early, never late: audio only moves the pause clock on, so a chunk reckons nothing and the
wake-up that was planned before reckons anew. A chunk costs an append, a count and a few comparisons.

Bounds (`SessionConfig`): audio kept for the session is at most `session_buffer_bytes_max`; past it, and past
`results_open_max` results, the oldest unfinished utterance is given up and told as `audio_lost` or
`pending_overflow_evict`. What `Outbox` and `Delivery` keep is bounded there.

The machine does not know of sockets, frames, nodes, attempts, Redis, clocks, or other sessions.
"""

from collections.abc import Set
from dataclasses import replace
from typing import Literal, assert_never

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.session import replies
from lingua_scheduler.core.session.backlog import Backlog
from lingua_scheduler.core.session.config import SessionConfig, SessionIdentity
from lingua_scheduler.core.session.endpointing import Speech
from lingua_scheduler.core.session.life import FROM_CLIENT, RULES, TRANSITIONS, Life, Rule
from lingua_scheduler.core.session.listening import Listening
from lingua_scheduler.core.session.outbox import Result
from lingua_scheduler.core.session.record import SessionState
from lingua_scheduler.core.session.replies import Subject
from lingua_scheduler.core.session.voice import Effects, Oddity, Voice
from lingua_scheduler.core.utterance import JobSpec, Outcome, Utterance
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import JobId
from lingua_scheduler.protocol.messages import (
    Goaway,
    ServerHeartbeat,
    SessionCloseAck,
    SessionResumeAck,
)

ClosedBy = Literal["client", "idle", "drain"]

_FAREWELLS = {"idle": "nothing was heard for too long", "drain": "this instance is leaving; please connect again"}


class SessionMachine:
    """Handles one event at a time; `now_ms` never goes back. The first event, whatever it is, starts the clocks."""

    __slots__ = (
        "_backlog",
        "_closed_by",
        "_config",
        "_drain_at_ms",
        "_ends_at_ms",
        "_flush_at_ms",
        "_identity",
        "_is_farewell_said",
        "_is_outage_told",
        "_is_store_up",
        "_last_message_ms",
        "_listening",
        "_voice",
        "_wake_ms",
        "state",
    )

    def __init__(self, config: SessionConfig, identity: SessionIdentity) -> None:
        self._config = config
        self._identity = identity
        self.state = Life.OPEN
        self._voice = Voice(identity)
        self._backlog = Backlog(config, self._voice)
        self._listening = Listening(config, identity, self._backlog, self._voice)
        self._wake_ms = 0
        """Not later than the next deadline."""
        self._last_message_ms: int | None = None
        self._ends_at_ms = 0
        """Not OPEN: when waiting is over."""
        self._flush_at_ms: int | None = None
        """AWAY: until when the speech that was being collected waits for its client."""
        self._drain_at_ms: int | None = None
        self._closed_by: ClosedBy | None = None
        self._is_farewell_said = False
        self._is_store_up = True
        self._is_outage_told = False

    @property
    def counts(self) -> dict[Oddity, int]:
        """How often each oddity was met and survived."""
        return self._voice.counts

    @property
    def next_index(self) -> int:
        """Of the next utterance to begin."""
        return self._listening.intake.next_index

    @property
    def is_collecting(self) -> bool:
        """Whether there is audio beyond the last utterance."""
        return self._listening.intake.index is not None

    @property
    def open_results(self) -> int:
        """Results that the client is still to get."""
        return len(self._backlog.delivery.slots)

    @property
    def open_jobs(self) -> Set[JobId]:
        """Jobs whose results the client is still to get."""
        return self._backlog.delivery.slots.keys()

    @property
    def kept_bytes(self) -> int:
        """Audio kept for the session, against `session_buffer_bytes_max`."""
        return self._backlog.kept_bytes

    def snapshot(self) -> SessionState:
        """What another instance needs in order to go on, should this one die now. Protocol 1.1."""
        intake, backlog = self._listening.intake, self._backlog
        group, parts = backlog.groups.place
        return SessionState(
            index_highest=intake.indices.highest - (intake.index is not None),
            index_gaps=intake.indices.gaps,
            sealed_seq=intake.sealed_seq,
            line_samples=intake.buffer.line_samples,
            audio_format=intake.buffer.audio_format,
            group=group,
            parts=parts,
            last_result_seq=backlog.delivery.outbox.last_seq if backlog.delivery.outbox else 0,
            open=backlog.snapshot(),
            heard=backlog.delivery.heard(),
        )

    def restore(self, state: SessionState, sent: list[Result], now_ms: int, mark: str = "") -> list[JobSpec]:
        """Be the session that another instance had; its open jobs, without audio. `mark` is this owner's own.

        `sent`: unacknowledged results by number. Outcomes that were known but not sent follow as `JobConcluded`, in the
        order in which they came, then `Resumed`.
        """
        assert self._backlog.delivery.outbox is not None, "only sessions of protocol 1.1 move"
        assert not self._wake_ms, "nothing has happened here yet"
        self._last_message_ms = now_ms
        self._enter(Life.AWAY)
        self._ends_at_ms = now_ms + self._config.resume_window_ms
        self._listening.restore(state)
        self._backlog.delivery.restore(sent, state)
        specs = self._backlog.restore(state, mark)
        self._wake_ms = min(self._deadlines())
        return specs

    def utterance(self, index: int) -> Utterance | None:
        """An open one, without its audio."""
        return self._backlog.utterance(index)

    def forget_audio(self, index: int) -> None:
        """After `restore`: the end of that utterance turned out to be said."""
        self._backlog.free(index)

    def draft(self, job_id: JobId, outcome: Outcome, now_ms: int) -> Result | None:
        """What the client will be told of this outcome, but for its number. None where it is not told: not (any more).

        Others in the room hear the rest.
        """
        slot = self._backlog.delivery.slots.get(job_id)
        if slot is None or slot.outcome is not None or slot.recipients is not None:
            return None
        return replies.result_message(self._identity, replace(slot, outcome=outcome), now_ms, None)

    def is_past_gap(self, result: Result) -> bool:
        """Whether earlier utterances are still to be answered: it could not wait for them."""
        return self._backlog.delivery.is_past_gap(result)

    def held_back(self, now_ms: int) -> dict[JobId, Result]:
        """Results that wait for earlier ones, unnumbered. Without those that others in the room hear."""
        held = [slot for slot in self._backlog.delivery.slots.values() if slot.outcome and slot.recipients is None]
        held.sort(key=lambda slot: slot.ready_at_ms)
        return {slot.job_id: replies.result_message(self._identity, slot, now_ms, None) for slot in held}

    def unacknowledged(self) -> list[Result]:
        """Results that were sent and may not have arrived."""
        outbox = self._backlog.delivery.outbox
        return outbox.unacknowledged() if outbox else []

    def handle(self, event: ev.SessionEvent, now_ms: int) -> Effects:
        """What is to be done about `event`, in order."""
        out: Effects = []
        kind = type(event)
        if now_ms >= self._wake_ms and kind is not ev.Resumed:
            self._pass_time(now_ms, out)
        rule = RULES[kind][self.state]
        if rule is Rule.HANDLED:
            if kind in FROM_CLIENT:
                self._last_message_ms = now_ms
            if isinstance(event, ev.ChunkArrived):
                if self._listening.on_chunk(event, now_ms, out) and not out:
                    return out
            else:
                self._dispatch(event, now_ms, out)
        elif rule is Rule.REFUSED:
            self._voice.refuse(ErrorCode.SESSION_CLOSED, "the session is being closed", out)
        else:
            self._voice.count("stale_event")
        self._conclude(now_ms, out)
        return out

    def next_deadline_ms(self) -> int | None:
        """When to hand in `TimeReached`, or a little earlier; None once the session has ended."""
        return None if self.state is Life.ENDED else self._wake_ms

    def check(self) -> None:
        """AssertionError where an invariant is broken."""
        self._listening.check()
        assert self._voice.is_connected == (self.state in (Life.OPEN, Life.CLOSING))
        assert self._flush_at_ms is None or self.state is Life.AWAY
        if self.state is not Life.OPEN and self._flush_at_ms is None:
            assert self._listening.intake.index is None, "leaving OPEN flushes what was collected"
        if self.state is Life.ENDED:
            assert not self._backlog.delivery.slots, "a session ends when nothing is pending"
        else:
            assert self._wake_ms <= min(self._deadlines(), default=0), "a wake-up may be early, never late"

    # ------------------------------------------------------------------------------------------- time

    def _pass_time(self, now_ms: int, out: Effects) -> None:
        """What the time since the last event has decided already."""
        if self._last_message_ms is None:
            self._last_message_ms = now_ms
        if self._flush_at_ms is None:
            self._listening.pass_time(now_ms, out)
        self._backlog.announce_gaps(now_ms, out)
        self._wake_ms = min(self._deadlines())

    def _deadlines(self) -> list[int]:
        speech_ms = self._listening.intake.endpointing.deadline_ms() if self._flush_at_ms is None else self._flush_at_ms
        deadlines = [speech_ms, self._backlog.delivery.deadline_ms()]
        if self.state is not Life.OPEN:
            deadlines.append(self._ends_at_ms)
        elif self._last_message_ms is not None:
            deadlines += [self._last_message_ms + self._config.session_idle_ms, self._drain_at_ms]
        return [deadline for deadline in deadlines if deadline is not None]

    def _on_time_reached(self, now_ms: int, out: Effects) -> None:
        if self._flush_at_ms is not None and now_ms >= min(self._flush_at_ms, self._ends_at_ms):
            self._flush_at_ms = None
            self._listening.flush(now_ms, out)
        if self.state is not Life.OPEN:
            if now_ms >= self._ends_at_ms:
                self._backlog.conclude_all("job_timeout", now_ms, out)
                self._end(out)
        elif self._drain_at_ms is not None and now_ms >= self._drain_at_ms:
            self._close("drain", now_ms, out)
        elif self._last_message_ms is not None and now_ms >= self._last_message_ms + self._config.session_idle_ms:
            self._close("idle", now_ms, out)

    # ------------------------------------------------------------------------------------------- events

    def _dispatch(  # noqa: C901, PLR0912 - one line for each event
        self, event: ev.SessionEvent, now_ms: int, out: Effects
    ) -> None:
        match event:
            case ev.ChunkArrived():
                raise AssertionError("chunks take the short way")
            case ev.UtteranceArrived():
                self._listening.on_utterance(event, now_ms, out)
            case ev.TtsStarted() | ev.TtsEnded():
                self._on_playing(event, now_ms, out)
            case ev.HeartbeatArrived(timestamp):
                self._voice.send(ServerHeartbeat(session_id=self._session_id, timestamp=timestamp), out)
            case ev.RoomAsked():
                pass  # it was heard from, and that is all
            case ev.ResultsAcked(result_seq):
                self._backlog.delivery.acknowledge(result_seq)
            case ev.CloseRequested():
                self._close("client", now_ms, out)
            case ev.ConnectionLost():
                self._on_connection_lost(now_ms, out)
            case ev.Resumed():
                self._on_resumed(event, now_ms, out)
            case ev.JobConcluded():
                self._on_job_concluded(event, now_ms, out)
            case ev.AudioFreed(index):
                self._backlog.free(index)
            case ev.JobProgressed():
                self._on_job_progressed(event, now_ms, out)
            case ev.PartialArrived(job_id) if not self._backlog.delivery.shows_partials_of(job_id):
                pass  # another job recognises the same speech, and its texts are shown
            case ev.PartialArrived():
                self._listening.preview.on_partial(event, out)
            case ev.AudienceChanged(audience):
                self._listening.intake.audience = audience
            case ev.LineArrived(line):
                self._backlog.delivery.pass_on(line, out)
            case ev.DependencyChanged(is_up):
                self._is_store_up = is_up
                self._tell_outage(out)
            case ev.DrainStarted(time_left_ms):
                self._on_drain_started(time_left_ms, now_ms, out)
            case ev.TimeReached():
                self._on_time_reached(now_ms, out)
            case _:
                assert_never(event)

    def _on_playing(self, event: ev.TtsStarted | ev.TtsEnded, now_ms: int, out: Effects) -> None:
        endpointing, groups = self._listening.intake.endpointing, self._backlog.groups
        if isinstance(event, ev.TtsStarted):
            endpointing.suspend(now_ms)
            groups.playing(now_ms + self._config.tts_suspend_max_ms)
        else:
            endpointing.restart(now_ms)
            groups.played(now_ms)
        name = "TTS_PLAY_STARTED" if isinstance(event, ev.TtsStarted) else "TTS_PLAY_ENDED"
        self._voice.tell(name, self._backlog.last_spoken(event.group_id), out)

    def _on_job_concluded(self, event: ev.JobConcluded, now_ms: int, out: Effects) -> None:
        slot = self._backlog.delivery.slots.get(event.job_id)
        if slot is None or slot.outcome is not None:
            self._voice.count("unknown_job")
        else:
            self._backlog.conclude(slot, event.outcome, now_ms, out)

    def _on_job_progressed(self, event: ev.JobProgressed, now_ms: int, out: Effects) -> None:
        slot = self._backlog.delivery.slots.get(event.job_id)
        if slot is None:
            self._voice.count("unknown_job")
            return
        elapsed_ms = now_ms - slot.utterance.finalized_at_ms
        self._voice.tell(
            event.event, Subject.of(slot), out, elapsed_ms=elapsed_ms, code=event.code, shortage=event.shortage
        )

    def _tell_outage(self, out: Effects) -> None:
        """Once per outage, as soon as there is a client to tell."""
        if self._is_store_up:
            self._is_outage_told = False
        elif self._voice.is_connected and not self._is_outage_told:
            self._is_outage_told = True
            self._voice.refuse(
                ErrorCode.SCHEDULER_DEPENDENCY_DOWN, "Redis is unreachable; speech is kept meanwhile", out
            )

    def _on_drain_started(self, time_left_ms: int, now_ms: int, out: Effects) -> None:
        """A client of 1.1 is told to move. Whoever stays is closed in time to get what is pending."""
        if self.state is Life.AWAY:
            self._ends_at_ms = min(self._ends_at_ms, now_ms + time_left_ms)
            return
        self._drain_at_ms = now_ms + max(0, time_left_ms - self._config.close_grace_ms)
        if self._identity.protocol == "1.1":
            self._voice.send(Goaway(reason="drain", time_left_ms=time_left_ms), out)

    # ------------------------------------------------------------------------------------------- life

    @property
    def _session_id(self) -> str:
        return self._identity.speaker.session_id

    def _enter(self, state: Life) -> None:
        assert (self.state, state) in TRANSITIONS, f"{self.state} → {state}"
        self.state = state
        self._voice.is_connected = state in (Life.OPEN, Life.CLOSING)

    def _close(self, by: ClosedBy, now_ms: int, out: Effects) -> None:
        self._listening.flush(now_ms, out)
        self._closed_by = by
        self._ends_at_ms = now_ms + self._config.close_grace_ms
        self._enter(Life.CLOSING)

    def _on_connection_lost(self, now_ms: int, out: Effects) -> None:
        endpointing = self._listening.intake.endpointing
        if self._identity.protocol == "1.1" and self._config.resume_flush_ms and endpointing.state is Speech.SPEAKING:
            self._flush_at_ms = now_ms + self._config.resume_flush_ms
        else:
            self._listening.flush(now_ms, out)
        endpointing.restart(now_ms)
        if self._identity.protocol == "1.1":
            self._enter(Life.AWAY)
            self._ends_at_ms = now_ms + self._config.resume_window_ms
        else:
            self._enter(Life.QUIET)
            self._ends_at_ms = now_ms + self._config.close_grace_ms

    def _on_resumed(self, event: ev.Resumed, now_ms: int, out: Effects) -> None:
        """On a new connection, whether or not the loss of the old one was noticed."""
        if self._identity.protocol == "1.0":
            self._voice.count("stale_event")
            return
        if self.state is Life.AWAY:
            self._enter(Life.OPEN if self._closed_by is None else Life.CLOSING)
        if self._flush_at_ms is not None:
            self._flush_at_ms = None
            self._listening.intake.endpointing.restart(now_ms)  # nobody knows what was said meanwhile
        self._ends_at_ms = now_ms + self._config.close_grace_ms
        self._is_farewell_said = False
        kept = self._backlog.replay(event.last_result_seq)
        ack = SessionResumeAck(
            session_id=self._session_id,
            resume_token=event.resume_token,
            next_seq=self._listening.next_seq(),
            replayed=len(kept),
        )
        for message in (ack, *self._backlog.delivery.announced(kept, now_ms)):
            self._voice.send(message, out)
        self._backlog.go_on(now_ms, out)
        self._tell_outage(out)
        # Not before: what time has released is for the new connection, behind the answer to its resume.
        self._pass_time(now_ms, out)

    def _conclude(self, now_ms: int, out: Effects) -> None:
        """After every event: what it has made possible, and when to look again."""
        self._backlog.acknowledge_audio(self._listening.intake, out)
        if self.state in (Life.CLOSING, Life.AWAY, Life.QUIET) and not self._backlog.delivery.slots:
            self._finish(out)
        self._wake_ms = min(self._deadlines(), default=now_ms)

    def _finish(self, out: Effects) -> None:
        """Nothing is pending.

        Who closed the session is told at once. A client of 1.1 may lose its connection before it reads that: the
        session stays until its results are acknowledged, or the grace or the resume window is over.
        """
        if self.state is Life.CLOSING:
            self._say_farewell(out)
        outbox = self._backlog.delivery.outbox
        if self.state is Life.QUIET or (self._closed_by is not None and (outbox is None or outbox.is_empty)):
            self._end(out)

    def _say_farewell(self, out: Effects) -> None:
        if self._is_farewell_said:
            return
        self._is_farewell_said = True
        if self._closed_by == "client":
            self._voice.send(SessionCloseAck(session_id=self._session_id), out)
        else:
            self._voice.refuse(ErrorCode.SESSION_CLOSED, _FAREWELLS[self._closed_by or "drain"], out)

    def _end(self, out: Effects) -> None:
        if self.state is Life.CLOSING:
            self._say_farewell(out)
        self._enter(Life.ENDED)
        out.append(ev.EndSession(self._closed_by or "connection_lost"))
