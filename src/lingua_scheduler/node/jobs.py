"""The jobs a node has in hand: which it takes, which it refuses and why, and the sessions they belong to.

| `job_assign` | answer |
|---|---|
| draining | `job_reject DRAINING` |
| as many jobs being worked on as the node's capacity | `job_reject FULL` |
| languages or stages that the engines do not serve, no languages at all | `job_reject UNSUPPORTED` |
| the attempt in hand once more | `job_ack`, nothing else |
| a later attempt of a job in hand | `job_ack`; the result will name it |
| an earlier attempt | nothing: the scheduler has given it up |
| else | `job_ack` at once |

Held jobs wait for audio, not for a model: they are not counted against the capacity, or a node of capacity one could
never take the job that they wait for.

Bounds: 500 sessions, of which the longest unused without a job leaves first; five minutes without a job. Sessions with
jobs stay, so their number is bounded by the scheduler's slots. 2,048 jobs are remembered after their end, so that a
cancel can still take back audio that was carried from them.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from lingua_scheduler.node.lines import FULL_RETRY_MS, Line
from lingua_scheduler.node.meter import Stopwatch
from lingua_scheduler.node.pipeline import unsupported
from lingua_scheduler.node.route import Route
from lingua_scheduler.node.run import JobRun, reject, without_audio
from lingua_scheduler.node.sharing import Recognitions
from lingua_scheduler.node.workers.host import EngineHost
from lingua_scheduler.node.workshop import Workshop
from lingua_scheduler.protocol.errors import PeerError
from lingua_scheduler.protocol.ids import JobId, Language, SessionId
from lingua_scheduler.protocol.node import ActiveJob, JobAssign
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.runtime.traces import valid_traceparent

SESSIONS_MAX = 500
SESSION_TTL_MS = 5 * 60_000
KNOWN_JOBS_MAX = 2048

_log = get_logger("node.jobs")


@dataclass(slots=True)
class _Session:
    recognitions: Recognitions
    used_at_ms: int
    lines: dict[Language, Line] = field(default_factory=dict[Language, Line])

    @property
    def is_idle(self) -> bool:
        return all(line.is_idle for line in self.lines.values())


class Jobs:
    """Everything the node works on."""

    def __init__(self, workshop: Workshop, capacity: int) -> None:
        self.capacity = capacity
        self.is_draining = False
        self._shop = workshop
        self._runs: dict[JobId, JobRun] = {}
        self._lines_of: OrderedDict[JobId, Line] = OrderedDict()
        self._sessions: OrderedDict[SessionId, _Session] = OrderedDict()
        self._none_left = asyncio.Event()
        self._none_left.set()

    @property
    def running(self) -> int:
        """Jobs that are worked on or wait for a model."""
        return sum(not run.is_held for run in self._runs.values())

    @property
    def held(self) -> int:
        return sum(run.is_held for run in self._runs.values())

    @property
    def sessions(self) -> int:
        return len(self._sessions)

    def active(self) -> list[ActiveJob]:
        return [ActiveJob(job_id=run.id, attempt_id=run.attempt) for run in self._runs.values()]

    def assign(self, assign: JobAssign, audio: bytes, host: EngineHost) -> None:
        """Take on a job or refuse it; either is told before this returns."""
        known = self._runs.get(JobId(assign.job_id))
        if known is not None:
            self._again(known, assign, audio)
        elif (run := self._admit(assign, host)) is not None:
            run.acknowledge(self._shop.out)
            self._runs[run.id] = run
            self._none_left.clear()
            line = self._line(run)
            self._lines_of[run.id] = line
            self._lines_of.move_to_end(run.id)
            while len(self._lines_of) > KNOWN_JOBS_MAX:
                self._lines_of.popitem(last=False)
            line.submit(run, run.assign, audio)

    def cancel(self, job: JobId) -> None:
        """Stop a job at the next boundary of a stage. One that is over loses the audio it left for a successor."""
        if (line := self._lines_of.get(job)) is not None:
            line.drop(job)

    def drain(self) -> None:
        """Take nothing new; what is held is processed now, since its successors will go elsewhere."""
        self.is_draining = True
        for session in self._sessions.values():
            for line in session.lines.values():
                line.end()

    def resume(self) -> None:
        """Take jobs again."""
        self.is_draining = False

    async def wait_idle(self) -> None:
        """Until no job is in hand."""
        await self._none_left.wait()

    def ended(self, run: JobRun) -> None:
        if self._runs.get(run.id) is run:
            del self._runs[run.id]
        if not self._runs:
            self._none_left.set()

    def sweep(self) -> None:
        """Forget sessions that are idle for long, or too many."""
        now_ms = self._shop.clock.now_ms()
        gone: set[Line] = set()
        for session_id, session in list(self._sessions.items()):
            is_old = now_ms - session.used_at_ms >= SESSION_TTL_MS
            if not is_old and len(self._sessions) <= SESSIONS_MAX:
                break
            if session.is_idle:
                del self._sessions[session_id]
                gone.update(session.lines.values())
        for line in gone:
            line.forget()
        if gone:
            self._lines_of = OrderedDict((job, line) for job, line in self._lines_of.items() if line not in gone)

    def _admit(self, assign: JobAssign, host: EngineHost) -> JobRun | None:
        if self.is_draining:
            return self._refuse(assign, "DRAINING", "draining")
        if self.running >= self.capacity:
            return self._refuse(assign, "FULL", f"{self.running} jobs in hand", FULL_RETRY_MS)
        try:
            route = Route.of(assign)
        except PeerError as error:
            return self._refuse(assign, "UNSUPPORTED", error.message)
        if (why := unsupported(host, route)) is not None:
            return self._refuse(assign, "UNSUPPORTED", why)
        watch = Stopwatch(asyncio.get_running_loop().time, self._shop.meter)
        run = JobRun(without_audio(assign), route, watch, assign.attempt_id)
        if self._shop.traces is not None:
            run.span = self._shop.traces.begin(
                "job", self._shop.clock.now_ms(), parent=valid_traceparent(assign.traceparent), kind="server",
                job_id=run.id, attempt=run.attempt, trace_id=assign.trace_id, node=self._shop.out.node_id,
            )  # fmt: skip
        return run

    def _refuse(self, assign: JobAssign, code: str, cause: str, retry_after_ms: int | None = None) -> None:
        _log.info("job refused", job=assign.job_id, code=code, cause=cause)
        self._shop.meter.ended("rejected")
        reject(self._shop.out, assign, code, retry_after_ms)

    def _again(self, run: JobRun, assign: JobAssign, audio: bytes) -> None:
        if assign.attempt_id < run.attempt:
            _log.info("attempt ignored", job=run.id, attempt=assign.attempt_id, cause="stale_attempt")
            return
        is_news = assign.attempt_id > run.attempt
        run.attempt = assign.attempt_id
        run.acknowledge(self._shop.out)
        if is_news:
            self._lines_of[run.id].submit(run, without_audio(assign), audio)

    def _line(self, run: JobRun) -> Line:
        """The line of the job's session and language, made where there is none that works."""
        now_ms = self._shop.clock.now_ms()
        session = self._sessions.get(run.session_id)
        if session is None:
            session = _Session(Recognitions(self._shop.pipeline), now_ms)
            self._sessions[run.session_id] = session
            self.sweep()
        session.used_at_ms = now_ms
        self._sessions.move_to_end(run.session_id)
        line = session.lines.get(run.route.target)
        if line is None or line.is_broken or (line.has_ended and line.is_idle):
            line = Line(run.session_id, run.route.target, self._shop, session.recognitions, self.ended)
            session.lines[run.route.target] = line
        return line
