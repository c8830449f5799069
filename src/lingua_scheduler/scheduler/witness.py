"""Watches the utterances of one session from outside its machines: how long each took to whatever a person notices.

Nothing here happens for a chunk of audio: once when an utterance ends, and once for each message that tells of it.
"""

from collections import OrderedDict
from dataclasses import dataclass

from lingua_scheduler.core.utterance import JobSpec
from lingua_scheduler.protocol.ids import JobId
from lingua_scheduler.protocol.messages import AsrPartial, ServerMessage, TranslationResult
from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.metrics import Metrics

WATCHED_MAX = 512
"""Utterances of one session whose end is remembered: more than a session may have open."""


@dataclass(slots=True)
class _Watched:
    cut_at_ms: int
    is_placed: bool = False
    is_read: bool = False


class Witness:
    """Of one session, its speaker's own messages alone: what others in a room hear is theirs."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._watched: OrderedDict[JobId, _Watched] = OrderedDict()

    def cut(self, spec: JobSpec) -> None:
        """An utterance has ended; it is a job now."""
        self._metrics.utterances.labels(spec.utterance.reason.value).inc()
        self._metrics.asked(spec.speaker.src_lang, spec.tgt_lang)
        self._watched[spec.job_id] = _Watched(spec.utterance.finalized_at_ms)
        if len(self._watched) > WATCHED_MAX:
            self._watched.popitem(last=False)

    def assigned(self, job_id: JobId) -> None:
        """An attempt is on its way to a node."""
        watched = self._watched.get(job_id)
        if watched is not None and not watched.is_placed:
            watched.is_placed = True
            self._metrics.queue_wait_seconds.observe(self._since_s(watched))

    def concluded_ms(self, job_id: JobId) -> int:
        """From the end of the utterance to now, when its job has its outcome."""
        watched = self._watched.get(job_id)
        return self._clock.now_ms() - watched.cut_at_ms if watched is not None else 0

    def sent(self, message: ServerMessage) -> None:
        """The client is told something."""
        if not isinstance(message, AsrPartial | TranslationResult):
            return
        if (watched := self._watched.get(JobId(message.job_id))) is None:
            return
        if not watched.is_read:
            watched.is_read = True
            self._metrics.first_text_seconds.observe(self._since_s(watched))
        if isinstance(message, TranslationResult):
            del self._watched[JobId(message.job_id)]
            if message.tts_audio:
                self._metrics.first_sound_seconds.observe(self._since_s(watched))

    def _since_s(self, watched: _Watched) -> float:
        return max(0, self._clock.now_ms() - watched.cut_at_ms) / 1000
