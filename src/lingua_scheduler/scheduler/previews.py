"""Shows what is being spoken to a node connected here, and passes back what it reads so far.

Best effort from end to end: no job, no slot, no Redis, no other instance. For each utterance the ready node with the
fewest previews of those that announce `job_preview` and serve the pair is chosen, and kept while its connection lives;
another one is shown the utterance from its start. Where none is, the preview is dropped and counted. The first job of
the utterance ends it: from then on only the node that has the job may speak of it.

Bounds: one preview for each session; nothing is queued for a node that does not read.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from lingua_scheduler.core.node.events import JobReport, LostCause, Registration
from lingua_scheduler.core.session.events import PartialArrived, PreviewSpeech
from lingua_scheduler.core.utterance import Speaker
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol.ids import JobId, Language, NodeId, SessionId
from lingua_scheduler.protocol.node import JOB_PREVIEW, JobPreview, NodeAsrPartial
from lingua_scheduler.runtime.metrics import Metrics
from lingua_scheduler.scheduler.nodes import Nodes, Registered
from lingua_scheduler.scheduler.opening import directed_pairs

BEHIND_BYTES = 256 << 10
"""A node that has so much unread gets no previews on top: they must not be what makes it too slow for its jobs."""


@dataclass(slots=True, eq=False)
class Previewed:
    """One utterance that is being shown; as owner of the job to come it hears what the node reads."""

    session_id: SessionId
    job_id: JobId
    index: int
    node: Registered
    nodes: Nodes
    tell: Callable[[PartialArrived], None]
    chunks_sent: int = 0
    bytes_sent: int = 0

    def report(self, node_id: NodeId, report: JobReport) -> None:
        if isinstance(report, NodeAsrPartial) and node_id == self.node.registration.node_id and not report.is_final:
            self.tell(PartialArrived(self.job_id, self.index, report.text, False, report.stable_chars))
        else:
            self.nodes.refuse_report(node_id, report)

    def node_lost(self, node_id: NodeId, epoch: int | None, cause: LostCause) -> None:
        """Nothing was promised."""

    def jobs_on(self, node_id: NodeId, since_epoch: int) -> list[tuple[JobId, int]]:
        """A preview takes no slot."""
        return []


class Previews:
    """The previews of this instance's sessions."""

    def __init__(self, metrics: Metrics, nodes: Nodes) -> None:
        self._counter = metrics.previews
        self._nodes = nodes
        self._by_session: dict[SessionId, Previewed] = {}
        self._by_job: dict[JobId, Previewed] = {}

    def __len__(self) -> int:
        return len(self._by_session)

    def show(self, speech: PreviewSpeech, tell: Callable[[PartialArrived], None]) -> None:
        """Send what a node has not seen of the utterance, or drop it; `tell` gets what comes back."""
        session_id = speech.speaker.session_id
        shown = self._by_session.get(session_id)
        if shown is None or shown.job_id != speech.job_id or not self._is_good(shown.node):
            self.over(session_id)
            node = self._choose(speech.speaker, speech.tgt_lang)
            if node is None:
                self._counter.labels("no_node").inc()
                return
            shown = Previewed(session_id, speech.job_id, speech.index, node, self._nodes, tell)
            self._by_session[session_id] = self._by_job[speech.job_id] = shown
        if shown.node.connection.queued_bytes > BEHIND_BYTES:
            self._counter.labels("slow_node").inc()
            return
        audio = b"".join(speech.chunks[shown.chunks_sent :])
        frame = codec.encode_assign(
            _message(speech, shown.bytes_sent), audio, binary=shown.node.registration.binary_audio
        )
        shown.node.connection.send_frame(frame)
        shown.chunks_sent = len(speech.chunks)
        shown.bytes_sent += len(audio)
        self._counter.labels("sent").inc()

    def began(self, job_id: JobId) -> None:
        """The utterance has ended: what a node still reads of it by preview is refused."""
        if (shown := self._by_job.get(job_id)) is not None:
            self.over(shown.session_id)

    def over(self, session_id: SessionId) -> None:
        """The session shows nothing any more."""
        shown = self._by_session.pop(session_id, None)
        if shown is not None:
            del self._by_job[shown.job_id]

    def owner_of(self, job_id: JobId) -> Previewed | None:
        return self._by_job.get(job_id)

    def _choose(self, speaker: Speaker, tgt_lang: Language) -> Registered | None:
        pairs = directed_pairs(speaker, tgt_lang)
        able = [one for one in self._nodes.all() if _may(one.registration, speaker, pairs) and self._is_good(one)]
        if not able:
            return None
        busy = Counter(shown.node.registration.node_id for shown in self._by_session.values())
        return min(able, key=lambda one: busy[one.registration.node_id] / one.registration.capacity)

    def _is_good(self, node: Registered) -> bool:
        return self._nodes.get(node.registration.node_id) is node and node.connection.status == "ready"


def _may(registration: Registration, speaker: Speaker, pairs: tuple[tuple[Language, Language], ...]) -> bool:
    """Whether the node may hear the speaker, and can read along."""
    if registration.tenants is not None and speaker.tenant_id not in registration.tenants:
        return False
    languages = registration.languages
    if registration.protocol != 2 or JOB_PREVIEW not in (registration.message.advanced_features or ()):
        return False
    if languages.pairs is not None:
        return all(pair in languages.pairs for pair in pairs)
    return all(src in languages.asr and tgt in languages.tts for src, tgt in pairs)


def _message(speech: PreviewSpeech, at_bytes: int) -> JobPreview:
    speaker = speech.speaker
    return JobPreview(
        job_id=speech.job_id,
        session_id=speaker.session_id,
        utterance_index=speech.index,
        src_lang=speaker.src_lang,
        tgt_lang=speech.tgt_lang,
        pipeline=speaker.pipeline,
        audio="",
        audio_format=speech.audio_format,
        sample_rate=speech.sample_rate,
        at_bytes=at_bytes,
        partial_update_interval_ms=speaker.partial_update_interval_ms,
        trace_id=speaker.trace_id,
        mode=speaker.mode,
        lang_a=speaker.lang_a,
        lang_b=speaker.lang_b,
        auto_langs=list(speaker.auto_langs) or None,
    )
