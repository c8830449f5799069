"""Utterances between their end and their last result: jobs begun, audio counted, room made, outcomes delivered.

Knows nothing of chunks, nor of how a session lives and ends.
"""

from dataclasses import replace

from lingua_scheduler.core.groups import Groups
from lingua_scheduler.core.session.config import SessionConfig
from lingua_scheduler.core.session.delivery import Delivery
from lingua_scheduler.core.session.events import CancelJob, NoteSpeech, RestoreAudio, Send, SessionEffect, StartJob
from lingua_scheduler.core.session.intake import Collected, Intake
from lingua_scheduler.core.session.ordering import KeptUtterance, Slot
from lingua_scheduler.core.session.outbox import Result
from lingua_scheduler.core.session.record import OpenUtterance, Place, SessionState
from lingua_scheduler.core.session.replies import Subject
from lingua_scheduler.core.session.voice import Voice
from lingua_scheduler.core.utterance import (
    FinalizeReason,
    JobSpec,
    Missing,
    Outcome,
    Speaker,
    Translated,
    Utterance,
    Written,
)
from lingua_scheduler.protocol.audio import samples_to_ms
from lingua_scheduler.protocol.ids import AUTO, GroupId, JobId, Language
from lingua_scheduler.protocol.messages import AudioAck, MissingReason, TranslationResult


class Backlog:
    """`kept_bytes` is all audio kept for the session, what is being collected included: the machine adds to it."""

    __slots__ = (
        "_acked_seq",
        "_config",
        "_has_news",
        "_identity",
        "_last_answered",
        "_mark",
        "_utterances",
        "_voice",
        "delivery",
        "groups",
        "kept_bytes",
    )

    def __init__(self, config: SessionConfig, voice: Voice) -> None:
        self._config = config
        self._identity = identity = voice.identity
        self._voice = voice
        self._utterances: dict[int, KeptUtterance] = {}
        """By index, oldest first: every utterance that awaits a result or whose audio is not free."""
        self._acked_seq = -1
        self._mark = ""
        """Of the utterances that were cut here, in the ids of their jobs; empty where no other owner was before."""
        self._has_news = False
        """Results were delivered since the last acknowledgement."""
        self.kept_bytes = 0
        self.delivery = Delivery(config, voice)
        self.groups = Groups(
            identity.speaker.session_id, config.group_gap_ms, config.group_parts_max, config.context_chars_max
        )
        self._last_answered = (GroupId(""), Subject(identity.speaker.trace_id, JobId(""), 0))

    def job_id(self, index: int, tgt_lang: Language) -> JobId:
        """The same for the same utterance and target, whoever asks.

        Not for another utterance of that index, as there is where Redis lost that the first had ended: its audio was
        cut anew by the next owner, and an answer for the one is none for the other.
        """
        kept = self._utterances.get(index)
        mark = self._mark if kept is None else kept.mark
        return JobId(f"job-{self._identity.speaker.session_id}-{index}-{tgt_lang}{mark}")

    def subject(self, index: int, speaker: Speaker, targets: tuple[Language, ...]) -> Subject:
        """An utterance goes by the job of its first target."""
        return Subject(speaker.trace_id, self.job_id(index, next(iter(targets), AUTO)), index)

    def last_spoken(self, group_id: str) -> Subject:
        """Which result a client plays; without a job where it names another group than that of the last one."""
        last_group_id, subject = self._last_answered
        return subject if group_id == last_group_id else subject._replace(job_id=JobId(""))

    def launch(self, collected: Collected, now_ms: int, out: list[SessionEffect]) -> None:
        """Begin a job for each target. Without any target the audio is dropped: nobody listens."""
        listeners = None if collected.audience is None else dict(collected.audience.listeners)
        if listeners is not None:
            out.append(NoteSpeech())
        if not collected.targets:
            self.kept_bytes -= len(collected.audio)
            self._has_news = True
            return
        while len(self.delivery.slots) + len(collected.targets) > self._config.results_open_max:
            if not self._give_up_oldest("pending_overflow_evict", now_ms, out):
                break
        utterance = self._describe(collected, now_ms)
        kept = self._keep(collected, utterance)
        for tgt_lang in collected.targets:
            recipients = None if listeners is None else listeners[tgt_lang]
            slot = Slot(self.job_id(collected.index, tgt_lang), tgt_lang, kept, recipients)
            self.delivery.open(slot)
            out.append(StartJob(JobSpec(slot.job_id, collected.speaker, utterance, tgt_lang, recipients is not None)))

    def make_room(self, now_ms: int, out: list[SessionEffect]) -> None:
        """Give up audio until what is kept is within its bound.

        The oldest unfinished utterance goes first. Where none is left, audio is still with a node after its result: the
        jobs keep it, it is merely no longer counted.
        """
        while self.kept_bytes > self._config.session_buffer_bytes_max:
            if self._give_up_oldest("audio_lost", now_ms, out):
                continue
            oldest = next((kept for kept in self._utterances.values() if kept.audio_bytes), None)
            if oldest is None:
                break
            self.free(oldest.index)

    def conclude(self, slot: Slot, outcome: Outcome | Written, now_ms: int, out: list[SessionEffect]) -> None:
        if isinstance(outcome, Translated):
            self.groups.heard(slot.index, outcome.result.text_asr or "")
        elif isinstance(outcome, Written) and isinstance(outcome.message, TranslationResult):
            self.groups.heard(slot.index, outcome.message.text_asr)
        if _leaves_audio(outcome):
            slot.utterance.is_unsaid = True
        self.delivery.resolve(slot, outcome, now_ms)
        self._settle(self.delivery.deliver(slot, now_ms, out), now_ms)

    def announce_gaps(self, now_ms: int, out: list[SessionEffect]) -> None:
        self._settle(self.delivery.announce_gaps(now_ms, out), now_ms)

    def go_on(self, now_ms: int, out: list[SessionEffect]) -> None:
        """Deliver what is held back by nothing any more."""
        self._settle(self.delivery.go_on(now_ms, out), now_ms)

    def conclude_all(self, reason: MissingReason, now_ms: int, out: list[SessionEffect]) -> None:
        """Cancel every job that still runs; its result is missing, and so are the ends that nobody can say any more."""
        unsaid = [kept.index for kept in self._utterances.values() if kept.is_unsaid]
        for slot in list(self.delivery.unresolved()):
            out.append(CancelJob(slot.job_id, reason))
            before = tuple(index for index in unsaid if index < slot.index)
            self.conclude(slot, Missing(reason, unsaid=before), now_ms, out)

    def free(self, index: int) -> bool:
        """The audio of utterance `index` is not needed any more. Whether that was news."""
        kept = self._utterances.get(index)
        if kept is None or not (kept.audio_bytes or kept.is_unsaid):
            return False
        kept.is_unsaid = False
        self._has_news = True
        self.kept_bytes -= kept.audio_bytes
        kept.audio_bytes = 0
        self._drop_if_done(kept)
        return True

    def acknowledge_audio(self, intake: Intake, out: list[SessionEffect]) -> None:
        """1.1: tell the client up to which chunk its audio is concluded, if that is further than it knows.

        Sent behind the results on the same connection, so whoever reads it has read them. Never behind what is still
        being collected or awaited.
        """
        if not self._has_news or self._identity.protocol == "1.0" or not self._voice.is_connected:
            return
        self._has_news = False
        open_seqs = [kept.first_seq for kept in self._utterances.values() if kept.slots_open or kept.is_unsaid]
        pending = [seq for seq in (intake.first_seq, *open_seqs) if seq is not None]
        seq = min(pending) - 1 if pending else intake.seqs.highest
        if seq > self._acked_seq:
            self._acked_seq = seq
            out.append(Send(AudioAck(session_id=self._identity.speaker.session_id, seq=seq)))

    def replay(self, last_result_seq: int) -> list[Result]:
        """What a new connection does not have, in order; the acknowledgement of audio is given again behind it."""
        self._acked_seq = -1
        self._has_news = True
        return self.delivery.replay(last_result_seq)

    # ------------------------------------------------------------------------------- from instance to instance

    def snapshot(self) -> tuple[OpenUtterance, ...]:
        """Every utterance with a result to come, or whose audio may be needed, in the order of their ends."""
        by_index: dict[int, list[Slot]] = {
            kept.index: [] for kept in self._utterances.values() if kept.slots_open or kept.is_unsaid
        }
        for slot in self.delivery.slots.values():
            by_index[slot.index].append(slot)
        return tuple(self._open_utterance(self._utterances[index], slots) for index, slots in by_index.items())

    def _open_utterance(self, kept: KeptUtterance, slots: list[Slot]) -> OpenUtterance:
        said = kept.said
        return OpenUtterance(
            index=kept.index,
            first_seq=kept.first_seq,
            last_seq=kept.last_seq,
            size_bytes=kept.size_bytes,
            audio_format=said.audio_format,
            sample_rate=said.sample_rate,
            start_samples=said.start_samples,
            samples=said.samples,
            reason=said.reason,
            finalized_epoch_ms=self._identity.epoch_ms + kept.finalized_at_ms,
            padding_ms=said.padding_ms,
            group_id=said.group_id,
            part_index=said.part_index,
            web_to_scheduler_ms=kept.web_to_scheduler_ms,
            mark=kept.mark,
            places=tuple(Place(slot.tgt_lang, slot.recipients) for slot in slots),
            speaker=None if kept.speaker == self._identity.speaker else kept.speaker,
        )

    def restore(self, state: SessionState, mark: str) -> list[JobSpec]:
        """Go on with open utterances from another instance; their jobs, without audio."""
        self._mark = mark
        tails = {tail.index for tail in state.tails}
        needed = [one for one in state.open if one.places or one.index in tails]
        specs = [spec for one in needed for spec in self._restore(one, is_unsaid=one.index in tails)]
        self.groups.restore(state.group, state.parts, len(self.delivery.slots))
        return specs

    def _restore(self, one: OpenUtterance, *, is_unsaid: bool) -> list[JobSpec]:
        speaker = one.speaker or self._identity.speaker
        said = Utterance(
            index=one.index,
            audio=b"",
            audio_format=one.audio_format,
            sample_rate=one.sample_rate,
            start_samples=one.start_samples,
            samples=one.samples,
            reason=one.reason,
            finalized_at_ms=one.finalized_epoch_ms - self._identity.epoch_ms,
            padding_ms=one.padding_ms,
            group_id=one.group_id,
            part_index=one.part_index,
        )
        kept = KeptUtterance(
            index=one.index,
            speaker=speaker,
            group_id=one.group_id,
            part_index=one.part_index,
            speech_start_ms=samples_to_ms(one.start_samples, one.sample_rate),
            speech_end_ms=samples_to_ms(one.start_samples + one.samples, one.sample_rate),
            finalized_at_ms=said.finalized_at_ms,
            web_to_scheduler_ms=one.web_to_scheduler_ms,
            first_seq=one.first_seq,
            audio_bytes=0,
            slots_open=len(one.places),
            said=said,
            last_seq=one.last_seq,
            size_bytes=one.size_bytes,
            is_unsaid=is_unsaid,
            mark=one.mark,
        )
        self._utterances[kept.index] = kept
        specs: list[JobSpec] = []
        for place in one.places:
            slot = Slot(self.job_id(one.index, place.tgt_lang), place.tgt_lang, kept, place.recipients)
            self.delivery.open(slot)
            specs.append(JobSpec(slot.job_id, speaker, said, place.tgt_lang, place.recipients is not None))
        return specs

    @property
    def wanted(self) -> set[int]:
        """Utterances whose audio is of use should it come again."""
        unsaid = {kept.index for kept in self._utterances.values() if kept.is_unsaid and not kept.audio_bytes}
        return unsaid | {slot.index for slot in self.delivery.unresolved()}

    def utterance(self, index: int) -> Utterance | None:
        """Without its audio; None where nothing of it is open."""
        kept = self._utterances.get(index)
        return kept.said if kept is not None else None

    def refill(self, index: int, audio: bytes, out: list[SessionEffect]) -> None:
        """The audio of an utterance is here again, unless its results were quicker."""
        kept = self._utterances.get(index)
        if kept is not None and (kept.slots_open or kept.is_unsaid) and not kept.audio_bytes:
            kept.audio_bytes = len(audio)
            self.kept_bytes += kept.audio_bytes
            out.append(RestoreAudio(index, audio))

    def lose(self, index: int, now_ms: int, out: list[SessionEffect]) -> None:
        """The audio of an utterance will not come again: what has no result yet gets none."""
        if (kept := self._utterances.get(index)) is not None and kept.is_unsaid:
            kept.is_unsaid = False
            self._drop_if_done(kept)
        for slot in [slot for slot in self.delivery.unresolved() if slot.index == index]:
            out.append(CancelJob(slot.job_id, "audio_lost"))
            self.conclude(slot, Missing("audio_lost"), now_ms, out)

    def check(self, collecting_bytes: int) -> None:
        self.delivery.check()
        self.groups.check()
        assert self.kept_bytes == collecting_bytes + sum(kept.audio_bytes for kept in self._utterances.values())
        assert self.kept_bytes <= self._config.session_buffer_bytes_max
        for index, kept in self._utterances.items():
            assert kept.index == index
            assert kept.slots_open or kept.audio_bytes or kept.is_unsaid, "what is done with is forgotten"
        for slot in self.delivery.slots.values():
            assert self._utterances[slot.index] is slot.utterance
        assert sum(kept.slots_open for kept in self._utterances.values()) == len(self.delivery.slots)

    def _describe(self, collected: Collected, now_ms: int) -> Utterance:
        group_id, part_index, context = self.groups.next_part(len(collected.targets))
        return Utterance(
            index=collected.index,
            audio=collected.audio,
            audio_format=collected.audio_format,
            sample_rate=collected.sample_rate,
            start_samples=collected.start_samples,
            samples=collected.samples,
            reason=collected.reason,
            finalized_at_ms=now_ms,
            padding_ms=self._padding_ms(collected.reason),
            group_id=group_id,
            part_index=part_index,
            context_text=context,
        )

    def _padding_ms(self, reason: FinalizeReason) -> int:
        match reason:
            case FinalizeReason.IS_FINAL:
                return self._config.padding_manual_ms
            case FinalizeReason.MAX_LENGTH:
                return 0
            case FinalizeReason.TIMEOUT | FinalizeReason.MAX_DURATION | FinalizeReason.SESSION_CLOSE:
                return self._config.padding_auto_ms

    def _keep(self, collected: Collected, utterance: Utterance) -> KeptUtterance:
        end_samples = collected.start_samples + collected.samples
        kept = KeptUtterance(
            index=collected.index,
            speaker=collected.speaker,
            group_id=utterance.group_id,
            part_index=utterance.part_index,
            speech_start_ms=samples_to_ms(collected.start_samples, collected.sample_rate),
            speech_end_ms=samples_to_ms(end_samples, collected.sample_rate),
            finalized_at_ms=utterance.finalized_at_ms,
            web_to_scheduler_ms=collected.web_to_scheduler_ms,
            first_seq=collected.first_seq,
            audio_bytes=len(collected.audio),
            slots_open=len(collected.targets),
            said=replace(utterance, audio=b""),
            last_seq=collected.last_seq,
            size_bytes=len(collected.audio),
            mark=self._mark,
        )
        self._utterances[kept.index] = kept
        return kept

    def _give_up_oldest(self, reason: MissingReason, now_ms: int, out: list[SessionEffect]) -> bool:
        """Give up the oldest utterance with a job that still runs. Whether there was one."""
        oldest = next(self.delivery.unresolved(), None)
        if oldest is None:
            return False
        kept = oldest.utterance
        for slot in [slot for slot in self.delivery.unresolved() if slot.utterance is kept]:
            out.append(CancelJob(slot.job_id, reason))
            self.conclude(slot, Missing(reason), now_ms, out)
        self.free(kept.index)
        return True

    def _settle(self, delivered: list[Slot], now_ms: int) -> None:
        for slot in delivered:
            self._has_news = True
            self._last_answered = (slot.utterance.group_id, Subject.of(slot))
            self.groups.answered(now_ms)
            self._drop_if_done(slot.utterance)

    def _drop_if_done(self, kept: KeptUtterance) -> None:
        if not (kept.slots_open or kept.audio_bytes or kept.is_unsaid):
            self._utterances.pop(kept.index, None)


def _leaves_audio(outcome: Outcome | Written) -> bool:
    """Whether a later utterance has to say some of it."""
    if isinstance(outcome, Translated):
        return bool(outcome.result.carried_ms)
    return isinstance(outcome, Missing) and outcome.reason == "merged"
