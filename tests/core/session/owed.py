"""What a client is owed, reckoned apart from the machine: the judge of simulated conversations."""

from bisect import bisect_right
from dataclasses import dataclass

from lingua_scheduler.core.utterance import JobSpec
from lingua_scheduler.protocol.messages import (
    AudioAck,
    MissingResult,
    ServerMessage,
    SessionResumeAck,
    TranslationResult,
)

Key = tuple[int, str]
"""Utterance index and target language."""


@dataclass(slots=True)
class Said:
    """A streamed utterance: the bytes from `start` to `end` of all that was spoken."""

    start: int
    end: int
    unanswered: int


class Owed:
    """Follows one session from the client's side. Every broken promise is an AssertionError where it is broken."""

    def __init__(self, targets: tuple[str, ...]) -> None:
        self.targets = targets
        self.unanswered: set[Key] = set()
        self.announced: set[Key] = set()
        self._announced_here: set[Key] = set()
        """On the connection of the moment."""
        self.answers = 0
        self.last_result_seq = 0
        self.acked_seq = -1
        self.indices: set[int] = set()
        self._spoken = bytearray()
        self._seqs: list[int] = []
        self._seq_ends: list[int] = []
        self._utterances: list[Said] = []
        self._by_index: dict[int, Said] = {}
        self._line_samples = 0
        self._concluded = 0
        """So many utterances from the first one on are answered."""
        self._log: list[tuple[Key, int | None]] = []
        """What was read and not acknowledged, by number; without one: that a gap was announced."""

    def accepted(self, seq: int, audio: bytes) -> None:
        """The client sent this and was not told otherwise."""
        self._spoken += audio
        self._seqs.append(seq)
        self._seq_ends.append(len(self._spoken))

    def began(self, spec: JobSpec, *, is_whole: bool) -> None:
        """A job began: the first of an utterance brings its audio."""
        utterance, key = spec.utterance, (spec.utterance.index, spec.tgt_lang)
        assert key not in self.unanswered
        self.unanswered.add(key)
        if utterance.index in self.indices:
            self._by_index[utterance.index].unanswered += 1
            return
        assert utterance.start_samples == self._line_samples, "utterances lie end to end"
        self._line_samples += utterance.samples
        if is_whole:
            self._by_index[utterance.index] = Said(0, 0, 1)
        else:
            start = self._utterances[-1].end if self._utterances else 0
            end = start + len(utterance.audio)
            assert utterance.audio == self._spoken[start:end], "every byte once and in order"
            assert utterance.audio, "an utterance has audio"
            said = self._by_index[utterance.index] = Said(start, end, 1)
            self._utterances.append(said)
        self.indices.add(utterance.index)

    def read(self, message: ServerMessage) -> None:
        """The client read a message."""
        match message:
            case TranslationResult():
                target = message.job_id.rpartition("-")[2]
                self._answered((message.utterance_index, target), message.result_seq)
            case MissingResult(reason="gap_timeout"):
                key = (message.utterance_index, message.tgt_lang or self.targets[0])
                assert key in self.unanswered
                assert key not in self._announced_here, "a gap is announced once on a connection"
                self._announced_here.add(key)
                self.announced.add(key)
                self._log.append((key, None))
            case MissingResult():
                self._answered((message.utterance_index, message.tgt_lang or self.targets[0]), message.result_seq)
            case AudioAck(seq=seq):
                self._acknowledged(seq)
            case SessionResumeAck():
                self._announced_here.clear()
            case _:
                pass

    def unread(self, count: int) -> None:
        """The connection was lost before the client could read its last results (those it did not acknowledge)."""
        count = min(count, sum(result_seq is not None for _, result_seq in self._log))
        while count or (self._log and self._log[-1][1] is None):
            key, result_seq = self._log.pop()
            if result_seq is None:
                self.announced.discard(key)
                continue
            count -= 1
            self.last_result_seq = result_seq - 1
            self.unanswered.add(key)
            self._by_index[key[0]].unanswered += 1
            self.answers -= 1
            self._concluded = 0

    def acknowledged_results(self) -> None:
        """The client says what it has read: that cannot become unread any more."""
        self._log.clear()

    def is_all_said(self) -> bool:
        """Whether everything spoken is in an utterance."""
        return len(self._spoken) == (self._utterances[-1].end if self._utterances else 0)

    def _answered(self, key: Key, result_seq: int | None) -> None:
        assert key in self.unanswered, f"{key} is answered twice, or was never asked"
        self.unanswered.remove(key)
        index, target = key
        earlier = [one for one in self.unanswered if one[1] == target and one[0] < index]
        held = [one for one in earlier if one not in self.announced]
        assert not held or key in self.announced, f"{key} came before {held}"
        if result_seq is not None:
            assert result_seq == self.last_result_seq + 1, "results are numbered without a gap"
            self.last_result_seq = result_seq
        self._by_index[index].unanswered -= 1
        self._log.append((key, result_seq))
        self.answers += 1

    def _acknowledged(self, seq: int) -> None:
        self.acked_seq = max(self.acked_seq, seq)
        while self._concluded < len(self._utterances) and not self._utterances[self._concluded].unanswered:
            self._concluded += 1
        heard = bisect_right(self._seqs, seq)
        is_all_concluded = self._concluded == len(self._utterances)
        ended = self._utterances[-1].end if self._utterances else 0
        limit = ended if is_all_concluded else self._utterances[self._concluded].start
        assert not heard or self._seq_ends[heard - 1] <= limit, "only concluded audio is acknowledged"
