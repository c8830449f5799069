"""One session in one target language on a node: its audio, its recognitions, its results, each in order.

Theory of operation
===================

A line owns an `AudioAggregator` (what is recognised when, and who reports it) and performs what it wants:

| effect | done |
|---|---|
| Recognize | a recognition starts (`Ears`) |
| Dismiss | the batch counts as recognised, with nothing in it |
| Conclude | when its batches are heard: judge the text, translate, speak, report; a repeated one replaces the first |
| Hold, Adopt, Refuse, Ignore | told to the scheduler, or logged |
| Discard, Unclaimed | recognitions that have not begun do not begin; texts are thrown away |

*Order.* Decoding takes turns, because an Opus decoder has a memory. Recognitions of a line run side by side; texts are
judged, and results sent, in the order of the Conclude effects (`Turns`). Translation and speech of one job overlap with
the recognition of the next.

*A failure* is reported in its turn, then the aggregator hears that the job is dropped: its audio is gone here and comes
with the scheduler's next attempt.

*Cancelled* jobs end at the next boundary of a stage: what waits for a model leaves its queue, what a model works on is
thrown away when it is done.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lingua_scheduler.node.aggregation.audio import AudioAggregator
from lingua_scheduler.node.aggregation.audio_events import (
    RATE,
    Adopt,
    AudioArrived,
    AudioEffect,
    AudioEvent,
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
    TimeReached,
    Unclaimed,
)
from lingua_scheduler.node.aggregation.direction import Direction
from lingua_scheduler.node.aggregation.utterances import LIVE, OFFLINE, Recognized
from lingua_scheduler.node.audio import SessionDecoder
from lingua_scheduler.node.ears import Ears
from lingua_scheduler.node.engines.base import Audio
from lingua_scheduler.node.hearing import Heard
from lingua_scheduler.node.meter import Ending
from lingua_scheduler.node.pipeline import Said, StageError, Wanted
from lingua_scheduler.node.route import Route
from lingua_scheduler.node.run import JobRun, reject
from lingua_scheduler.node.sharing import Recognitions
from lingua_scheduler.node.turns import Turns
from lingua_scheduler.node.workshop import Workshop
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import JobId, Language, SessionId
from lingua_scheduler.protocol.node import JobAssign, JobResult, NodeFault
from lingua_scheduler.runtime.driver import Driver
from lingua_scheduler.runtime.logs import get_logger

FULL_RETRY_MS = 1000

_log = get_logger("node.line")


@dataclass(slots=True, eq=False)
class _Conclusion:
    """A job on its way to its result: its places in the two orders of its line, and the task that walks them."""

    effect: Conclude
    run: JobRun
    texting: asyncio.Event
    sending: asyncio.Event
    is_again: bool
    """The job was judged before, in an earlier attempt or with other audio."""
    task: "asyncio.Task[None] | None" = None


class Line:
    """See the module's theory of operation. Called from the loop only. `over` hears once of each job that ended."""

    def __init__(
        self,
        session: SessionId,
        target: Language,
        workshop: Workshop,
        recognitions: Recognitions,
        over: Callable[[JobRun], None],
    ) -> None:
        self.session = session
        self.has_ended = False
        """It was told that no successor comes: whatever comes all the same is processed at once."""
        self._key = SessionId(f"{session}>{target}")
        self._shop = workshop
        self._over = over
        self._decoder = SessionDecoder()
        self._decoding = asyncio.Lock()
        self._runs: dict[JobId, JobRun] = {}
        self._ears = Ears(recognitions, workshop)
        self._concluding: dict[JobId, _Conclusion] = {}
        self._texting, self._sending = Turns(), Turns()
        self._route: Route | None = None
        self._direction: Direction | None = None
        self._machine = AudioAggregator()
        self._driver: Driver[AudioEvent, AudioEffect] = Driver(
            self._machine, self._perform, TimeReached(), workshop.timers, workshop.clock, self._crashed
        )

    @property
    def is_idle(self) -> bool:
        """Nothing is in hand or kept: the line may be forgotten."""
        return not self._runs and (self._machine.is_idle or self._driver.is_stopped)

    @property
    def is_broken(self) -> bool:
        """A bug stopped it: its session needs a new one."""
        return self._driver.is_stopped

    def submit(self, run: JobRun, assign: JobAssign, audio: bytes) -> None:
        """Take on an attempt of `run`; `assign` is this attempt's message."""
        if assign.kept_jobs is not None:
            self._keep_only({run.id, *map(JobId, assign.kept_jobs)}, assign.utterance_index)
        self._runs[run.id] = run
        self._route = run.route
        self._shop.scope.start(self._take_in(run, assign, audio), f"take-in {run.id}")

    def drop(self, job: JobId) -> None:
        """Forget a job, and carried audio of it if it is over already."""
        if (run := self._runs.get(job)) is not None:
            self._end(run, "cancelled")
        self._give_up(job)
        self._driver.post(JobDropped(job))

    def _keep_only(self, kept: set[JobId], index: int) -> None:
        """Whatever else is here up to that utterance is no more this node's to say, as after a change of owner."""
        undecoded = [one.id for one in self._runs.values() if one.assign.utterance_index <= index]
        for job in {*self._machine.left_of_others(kept, index), *undecoded} - kept:
            _log.info("job forgotten", job=job, cause="said elsewhere")
            self.drop(job)

    def end(self) -> None:
        """No successor is coming: what is held is processed now."""
        self.has_ended = True
        self._driver.post(SessionEnded())

    def forget(self) -> None:
        """The line is thrown away."""
        self.end()
        self._driver.stop()
        self._shop.texts.forget(self._key)

    # ------------------------------------------------------------------------------------- arrival

    async def _take_in(self, run: JobRun, assign: JobAssign, audio: bytes) -> None:
        async with self._decoding:
            if run.is_over:
                return
            try:
                samples = await self._shop.pipeline.decode(self._decoder, assign, audio, run.watch)
            except StageError as error:
                fault = error.fault()
            except Exception as error:  # noqa: BLE001 - a bug in one job is that job's failure, told to the scheduler
                fault = _bug(run, error)
            else:
                if not run.is_over:
                    self._driver.post(_arrived(assign, samples))
                return
            if not run.is_over:
                self._fail(run, fault)

    # ------------------------------------------------------------------------------------- what the machine wants

    def _perform(self, effect: AudioEffect) -> None:
        match effect:
            case Recognize():
                self._on_recognize(effect)
            case Dismiss():
                self._ears.dismiss(effect.batch)
            case Conclude():
                self._on_conclude(effect)
            case Hold():
                if (run := self._runs.get(effect.job)) is not None:
                    run.hold(self._shop.out, effect.reason, effect.deadline_ms - self._shop.clock.now_ms())
            case Adopt():
                if (run := self._runs.get(effect.job)) is not None:
                    run.is_started = False
                    run.start(self._shop.out)
            case Ignore():
                self._on_ignore(effect)
            case Refuse():
                self._on_refuse(effect)
            case Discard() | Unclaimed():
                self._on_unwanted(effect)

    def _on_recognize(self, effect: Recognize) -> None:
        """A tail that nobody claimed yet is heard as the line's last job was."""
        run = self._runs.get(effect.job) if effect.job is not None else None
        route = run.route if run is not None else self._route
        assert route is not None, "audio has come with a job"
        self._ears.listen(effect.batch, run, route)

    def _on_conclude(self, effect: Conclude) -> None:
        for job in (*effect.merged, effect.job):
            if (run := self._runs.get(job)) is not None:
                run.start(self._shop.out)
        is_replacing = self._give_up(effect.job)
        if (run := self._runs.get(effect.job)) is None:
            return
        is_again = is_replacing or run.attempt > 1
        conclusion = _Conclusion(effect, run, self._texting.take(), self._sending.take(), is_again)
        self._concluding[effect.job] = conclusion
        conclusion.task = self._shop.scope.start(self._conclude(conclusion), f"conclude {effect.job}")

    def _give_up(self, job: JobId) -> bool:
        """Stop working on a job's result; whether anybody did."""
        if (conclusion := self._concluding.pop(job, None)) is None:
            return False
        if conclusion.task is not None:
            conclusion.task.cancel()
        self._leave(conclusion)
        return True

    def _leave(self, conclusion: _Conclusion) -> None:
        self._texting.leave(conclusion.texting)
        self._sending.leave(conclusion.sending)

    def _on_ignore(self, effect: Ignore) -> None:
        """A repeat of a job that is over: its result is on its way or has been read."""
        _log.info("attempt ignored", job=effect.job, attempt=effect.attempt, cause=effect.why)
        run = self._runs.get(effect.job)
        if run is not None and not run.is_started and not run.is_held and effect.job not in self._concluding:
            self._end(run, "cancelled")

    def _on_refuse(self, effect: Refuse) -> None:
        if (run := self._runs.get(effect.job)) is not None:
            reject(self._shop.out, run.assign, "FULL", FULL_RETRY_MS)
            self._end(run, "rejected")

    def _on_unwanted(self, effect: Discard | Unclaimed) -> None:
        if isinstance(effect, Unclaimed):
            _log.warning("the end of a session's speech found no job to report it", job=effect.job)
        self._ears.forget(effect.batches)

    # ------------------------------------------------------------------------------------- conclusion

    async def _conclude(self, conclusion: _Conclusion) -> None:
        run = conclusion.run
        run.work_in_trace()
        outcome = await self._outcome(conclusion)
        await conclusion.sending.wait()
        if not run.is_over:
            self._report(conclusion.effect, run, outcome)
        if self._concluding.get(run.id) is conclusion:
            del self._concluding[run.id]
        self._leave(conclusion)

    async def _outcome(self, conclusion: _Conclusion) -> tuple[Heard, Said] | NodeFault | None:
        """What there is to report: a translation, a fault, or None where nobody spoke."""
        run = conclusion.run
        try:
            heard = await self._ears.hear(run, conclusion.effect.batches)
            await conclusion.texting.wait()
            wanted = self._judge(conclusion, heard) if heard is not None else None
            self._texting.leave(conclusion.texting)
            if heard is None or wanted is None:
                return None
            said = await self._shop.pipeline.say(wanted, run.route, run.assign.audio_format, run.watch)
            return heard, said
        except StageError as error:
            return error.fault()
        except Exception as error:  # noqa: BLE001 - a bug in one job is that job's failure, told to the scheduler
            return _bug(run, error)
        finally:
            self._texting.leave(conclusion.texting)

    def _judge(self, conclusion: _Conclusion, heard: Heard) -> Wanted | None:
        """What to translate: the job's own text, without words that the one before has from the same audio."""
        run = conclusion.run
        if conclusion.is_again:
            # The one before may be this very job's: all of it would count as a repeat.
            self._shop.texts.forget(self._key)
        self._direction = direction = run.route.resolve(heard, self._direction)
        recognized = Recognized(
            text=heard.text,
            span=heard.span,
            language=direction.src,
            is_manual=_cut_of(run.assign) is Cut.MANUAL,
            quality=heard.quality,
            language_probability=heard.language_probability,
            language_probabilities=heard.language_probabilities,
        )
        pace = LIVE if run.route.is_two_way or run.assign.mode == "two_way_auto" else OFFLINE
        judgement = self._shop.texts.judge(self._key, recognized, pace, self._shop.clock.now_ms())
        if not judgement.text.strip():
            return None
        context = run.assign.context_text or judgement.context
        translation = heard.translation if judgement.text == heard.text else None
        return Wanted(judgement.text, direction, context, translation)

    def _report(self, effect: Conclude, run: JobRun, outcome: tuple[Heard, Said] | NodeFault | None) -> None:
        now_ms, out = self._shop.clock.wall_ms(), self._shop.out
        if isinstance(outcome, NodeFault):
            self._fail(run, outcome)
            return
        for job in effect.merged:
            if (merged := self._runs.get(job)) is not None:
                self._send(merged, merged.merged(out, now_ms, run.id), b"", "merged")
        if outcome is None:
            self._send(run, run.nothing_said(out, now_ms, effect), b"", "empty")
        else:
            heard, said = outcome
            result = run.translated(out, now_ms, heard, said, effect)
            self._send(run, result, said.speech.data if said.speech is not None else b"", "completed")
        self._ears.forget(effect.batches)
        self._driver.post(JobReported(run.id))

    def _fail(self, run: JobRun, fault: NodeFault) -> None:
        _log.warning("job failed", job=run.id, code=fault.code, cause=fault.message)
        out = self._shop.out
        self._send(run, run.failure(out, self._shop.clock.wall_ms(), fault), b"", "failed")
        self._driver.post(JobDropped(run.id))

    def _send(self, run: JobRun, result: JobResult, audio: bytes, how: Ending) -> None:
        self._end(run, how)
        self._shop.out.send_result(result, audio)

    def _end(self, run: JobRun, how: Ending) -> None:
        run.is_over = True
        self._runs.pop(run.id, None)
        self._ears.forget_partials(run)
        run.close_span(how, asyncio.get_running_loop().time())
        self._shop.meter.ended(how)
        self._shop.meter.took("total", run.watch.total_ms())
        self._over(run)

    def _crashed(self, error: Exception, story: Sequence[str]) -> None:
        _log.error("a session's audio was given up by a bug", session=self.session, cause=repr(error), story=story)
        fault = NodeFault(code=ErrorCode.INTERNAL_ERROR, message=f"{type(error).__name__} in the node")
        for job in list(self._concluding):
            self._give_up(job)
        for run in list(self._runs.values()):
            self._fail(run, fault)


def _arrived(assign: JobAssign, samples: Audio) -> AudioArrived:
    rate = assign.sample_rate
    carried_ms, start = assign.carried_audio_ms, assign.start_samples
    return AudioArrived(
        job=JobId(assign.job_id),
        attempt=assign.attempt_id,
        utterance_index=assign.utterance_index,
        audio=samples,
        cut=_cut_of(assign),
        carried=carried_ms * RATE // 1000 if carried_ms is not None else 0,
        start=start * RATE // rate if start is not None and rate > 0 else None,
    )


def _cut_of(assign: JobAssign) -> Cut:
    return Cut.of_flags(
        manual=assign.is_manual_cut is True,
        timeout=assign.is_timeout_triggered is True,
        max_duration=assign.is_max_duration_triggered is True,
    )


def _bug(run: JobRun, error: Exception) -> NodeFault:
    _log.error("job failed by a bug", job=run.id, cause=repr(error))
    return NodeFault(code=ErrorCode.INTERNAL_ERROR, message=f"{type(error).__name__} in the node")
