"""Results that a client of protocol 1.1 has not acknowledged, kept so that a new connection can have them again."""

import msgspec

from lingua_scheduler.protocol.messages import MissingResult, TranslationResult

Result = TranslationResult | MissingResult


class Outbox:
    """Numbers results from 1, in the order of delivery.

    Bounds: of the results sent on a living connection the newest `count_max` are kept (older ones count as received:
    their client does not acknowledge). While the client is away nothing is dropped, and no new utterance begins. Past
    `sound_bytes_max` the oldest give up their sound and keep their text.
    """

    __slots__ = ("_count_max", "_kept", "_sound_bytes", "_sound_bytes_max", "last_seq", "sounds_dropped")

    def __init__(self, count_max: int, sound_bytes_max: int) -> None:
        self.last_seq = 0
        self.sounds_dropped = 0
        self._count_max = count_max
        self._sound_bytes_max = sound_bytes_max
        self._kept: list[Result] = []
        self._sound_bytes = 0

    def keep(self, result: Result, *, is_sent: bool) -> None:
        """`result.result_seq` is the one after `last_seq`."""
        self.last_seq += 1
        self._kept.append(result)
        self._sound_bytes += _sound_bytes(result)
        if is_sent and len(self._kept) > self._count_max:
            self._forget(len(self._kept) - self._count_max)
        for at, kept in enumerate(self._kept if self._sound_bytes > self._sound_bytes_max else ()):
            if self._sound_bytes <= self._sound_bytes_max:
                break
            if isinstance(kept, TranslationResult) and kept.tts_audio:
                self._sound_bytes -= len(kept.tts_audio)
                self.sounds_dropped += 1
                self._kept[at] = msgspec.structs.replace(kept, tts_audio="")

    def restore(self, results: list[Result], last_seq: int) -> None:
        """Go on with what another instance had sent: consecutive numbers up to `last_seq`, oldest first."""
        self._kept = list(results)
        self._sound_bytes = sum(map(_sound_bytes, results))
        self.last_seq = last_seq

    def catch_up(self, result_seq: int) -> None:
        """The client has results up to there, so new ones must have higher numbers, whatever was forgotten here."""
        if result_seq > self.last_seq:
            self.last_seq = result_seq
            self._forget(len(self._kept))

    def acknowledge(self, result_seq: int) -> None:
        """Everything up to `result_seq` has arrived."""
        first_seq = self.last_seq - len(self._kept) + 1
        self._forget(min(max(result_seq - first_seq + 1, 0), len(self._kept)))

    @property
    def is_empty(self) -> bool:
        return not self._kept

    def unacknowledged(self) -> list[Result]:
        return list(self._kept)

    def check(self) -> None:
        first_seq = self.last_seq - len(self._kept) + 1
        assert [result.result_seq for result in self._kept] == list(range(first_seq, self.last_seq + 1)), "no gap"
        assert self._sound_bytes == sum(map(_sound_bytes, self._kept)), "sound is counted right"
        assert self._sound_bytes <= self._sound_bytes_max

    def _forget(self, count: int) -> None:
        self._sound_bytes -= sum(map(_sound_bytes, self._kept[:count]))
        del self._kept[:count]


def _sound_bytes(result: Result) -> int:
    return len(result.tts_audio) if isinstance(result, TranslationResult) else 0
