"""From the end of a job to the client: order, gaps, what is kept for a resume, and how far audio is concluded.

Knows nothing of audio or of when utterances end.
"""

from collections.abc import Iterator
from dataclasses import replace

from lingua_scheduler.core.session import replies
from lingua_scheduler.core.session.config import SessionConfig
from lingua_scheduler.core.session.events import Send, SendToRoom, SessionEffect
from lingua_scheduler.core.session.lines import Lines, fitted, is_announcement
from lingua_scheduler.core.session.ordering import ResultOrder, Slot
from lingua_scheduler.core.session.outbox import Outbox, Result
from lingua_scheduler.core.session.record import HeardSpeaker, SessionState
from lingua_scheduler.core.session.replaying import order_of, own_results, with_announcements
from lingua_scheduler.core.session.voice import Voice
from lingua_scheduler.core.utterance import Outcome, Translated, Written
from lingua_scheduler.protocol.ids import JobId, Language


class Delivery:
    """Every slot is delivered exactly once; `deliver` gives what was delivered back to the machine."""

    __slots__ = ("_config", "_lines", "_orders", "_redelivery", "_targets_most", "_voice", "outbox", "slots")

    def __init__(self, config: SessionConfig, voice: Voice) -> None:
        self._config = config
        self._voice = voice
        self.slots: dict[JobId, Slot] = {}
        """Every slot that is not delivered, oldest first."""
        self.outbox = (
            Outbox(config.results_kept_max, config.results_kept_bytes_max) if voice.identity.protocol == "1.1" else None
        )
        self._orders: dict[Language, ResultOrder] = {}
        self._redelivery: dict[int, Result] = {}
        self._lines = Lines()
        self._targets_most = len(voice.identity.targets)

    def open(self, slot: Slot) -> None:
        self.slots[slot.job_id] = slot
        self._targets_most = max(self._targets_most, slot.utterance.slots_open)
        self._orders.setdefault(slot.tgt_lang, ResultOrder()).add(slot)

    def resolve(self, slot: Slot, outcome: Outcome | Written, now_ms: int) -> None:
        """The slot has its outcome; `deliver` is to follow."""
        assert slot.outcome is None
        slot.outcome = outcome
        slot.ready_at_ms = now_ms

    def deliver(self, slot: Slot, now_ms: int, out: list[SessionEffect]) -> list[Slot]:
        """Send what the outcome of `slot` allows, in order; the slots that are done with."""
        done = [slot] if slot.has_stepped_aside else self._release(slot.tgt_lang)
        for one in done:
            self._send(one, now_ms, out)
        return done

    def announce_gaps(self, now_ms: int, out: list[SessionEffect]) -> list[Slot]:
        """Let results pass that were held back too long; the slots that are done with. Nobody waits while away."""
        done: list[Slot] = []
        for tgt_lang in list(self._orders) if self._is_awaited else ():
            aside = self._orders[tgt_lang].step_aside(now_ms, self._config.gap_hold_ms)
            for slot in aside:
                self._announce_gap(slot, now_ms, out)
            for slot in self._release(tgt_lang) if aside else ():
                self._send(slot, now_ms, out)
                done.append(slot)
        return done

    def shows_partials_of(self, job_id: JobId) -> bool:
        """Several jobs may recognise one utterance: the client is shown the texts of the first that has any."""
        slot = self.slots.get(job_id)
        if slot is None:
            return True
        slot.utterance.partials_of = slot.utterance.partials_of or job_id
        return slot.utterance.partials_of == job_id

    def pass_on(self, line: Result, out: list[SessionEffect]) -> None:
        """What another member of the room said, once: it is numbered and kept as the client's own results are."""
        identity = self._voice.identity
        if not self._lines.is_new(line):
            self._voice.count("repeated_line")
            return
        if is_announcement(line) or not self.outbox:
            self._voice.send(fitted(line, identity.protocol, None), out)
            return
        numbered = fitted(line, identity.protocol, self.outbox.last_seq + 1)
        self.outbox.keep(numbered, is_sent=self._voice.is_connected)
        self._voice.send(numbered, out)

    def deadline_ms(self) -> int | None:
        if not self._is_awaited or len(self.slots) < 2:
            return None
        deadlines = (order.deadline_ms(self._config.gap_hold_ms) for order in self._orders.values())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def unresolved(self) -> Iterator[Slot]:
        return (slot for slot in self.slots.values() if slot.outcome is None)

    def heard(self) -> tuple[HeardSpeaker, ...]:
        """Of others in the room."""
        return self._lines.snapshot()

    def restore(self, sent: list[Result], state: SessionState) -> None:
        """Go on with what another instance had sent. Protocol 1.1 only."""
        assert self.outbox is not None
        self.outbox.restore(sent, state.last_result_seq)
        self._lines.restore(state.heard)

    def acknowledge(self, result_seq: int) -> None:
        """1.1: everything up to `result_seq` has arrived. A client of 1.0 has nothing to acknowledge."""
        if self.outbox is not None:
            self.outbox.acknowledge(result_seq)

    def replay(self, last_result_seq: int) -> list[Result]:
        """What a new connection does not have, in order. Protocol 1.1 only."""
        assert self.outbox is not None
        self.outbox.catch_up(last_result_seq)
        self.outbox.acknowledge(last_result_seq)
        return self.outbox.unacknowledged()

    def announced(self, replayed: list[Result], now_ms: int) -> list[Result]:
        """What is replayed, and before each what it went past: that is waited for no more. `go_on` is to follow."""
        identity = self._voice.identity
        messages = list(with_announcements(identity, replayed, self.slots.values(), now_ms))
        for result in own_results(identity, replayed):
            for tgt_lang, order in self._orders.items():
                if order_of(identity, tgt_lang) == order_of(identity, result.tgt_lang):
                    order.let_pass(result.utterance_index)
        return messages

    def go_on(self, now_ms: int, out: list[SessionEffect]) -> list[Slot]:
        """Send what nothing holds back any more; the slots that are done with."""
        done = [slot for tgt_lang in list(self._orders) for slot in self._release(tgt_lang)]
        for slot in done:
            self._send(slot, now_ms, out)
        return done

    def is_past_gap(self, result: Result) -> bool:
        """Whether earlier utterances are still to be answered: it could not wait for them."""
        order = order_of(self._voice.identity, result.tgt_lang)
        own = (slot for slot in self.slots.values() if slot.recipients is None)
        return any(
            slot.index < result.utterance_index and order_of(self._voice.identity, slot.tgt_lang) == order
            for slot in own
        )

    def concluded_whole(self, index: int) -> Result | None:
        """The result of a whole utterance, in case its message is repeated; None where it is not kept (any more)."""
        return self._redelivery.get(index)

    def awaits_whole(self, index: int) -> bool:
        """Whether a whole utterance of this index awaits its result."""
        return any(slot.index == index and slot.utterance.first_seq is None for slot in self.slots.values())

    def check(self) -> None:
        for order in self._orders.values():
            order.check()
        assert len(self.slots) <= max(self._config.results_open_max, self._targets_most)
        assert len(self._redelivery) <= self._config.redelivery_max
        for job_id, slot in self.slots.items():
            assert slot.job_id == job_id
            assert slot.utterance.slots_open > 0
        if self.outbox:
            self.outbox.check()

    def _release(self, tgt_lang: Language) -> list[Slot]:
        """A target is forgotten with its last place: a client may name a new one in each whole utterance."""
        order = self._orders[tgt_lang]
        released = order.release()
        if order.is_empty:
            del self._orders[tgt_lang]
        return released

    @property
    def _is_awaited(self) -> bool:
        """Whether somebody waits for results now: the client, or others that hear it."""
        return self._voice.is_connected or any(slot.recipients is not None for slot in self.slots.values())

    def _announce_gap(self, slot: Slot, now_ms: int, out: list[SessionEffect]) -> None:
        identity = self._voice.identity
        if slot.recipients is None:
            self._voice.send(replies.missing(identity, slot, "gap_timeout", now_ms, None), out)
        else:
            told = replies.missing(replace(identity, protocol="1.1"), slot, "gap_timeout", now_ms, None)
            out.append(SendToRoom(slot.recipients, slot.tgt_lang, told))

    def _send_to_room(self, slot: Slot, now_ms: int, out: list[SessionEffect]) -> None:
        assert slot.recipients is not None
        outcome = slot.outcome
        heard_at = outcome.node_id if isinstance(outcome, Translated) and outcome.hears_once else None
        line = replies.line_message(self._voice.identity, slot, now_ms)
        out.append(SendToRoom(slot.recipients, slot.tgt_lang, line, heard_at))

    def _send(self, slot: Slot, now_ms: int, out: list[SessionEffect]) -> None:
        del self.slots[slot.job_id]
        slot.utterance.slots_open -= 1
        if slot.recipients is not None:
            self._send_to_room(slot, now_ms, out)
            return
        result_seq = self.outbox.last_seq + 1 if self.outbox else None
        message = replies.result_message(self._voice.identity, slot, now_ms, result_seq)
        if self.outbox:
            self.outbox.keep(message, is_sent=self._voice.is_connected)
        if slot.utterance.first_seq is None:
            self._keep_for_repeat(slot.index, message)
        if self._voice.is_connected:
            out.append(Send(message))
        elif not self.outbox:
            self._voice.count("undelivered_result")

    def _keep_for_repeat(self, index: int, result: Result) -> None:
        self._redelivery[index] = result
        if len(self._redelivery) > self._config.redelivery_max:
            del self._redelivery[next(iter(self._redelivery))]
