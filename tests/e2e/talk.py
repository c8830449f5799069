"""A client that speaks and keeps a log, through the project's own library; and the checker over that log.

Every utterance has a length of its own, and a node of `node_agent` answers with the length of what it heard: so the
checker sees not only that each utterance has one outcome, but that it is the outcome of that utterance's audio.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from lingua_scheduler.client import ClientError, Disconnected, Reconnected, Session, SessionEvent, connect
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.messages import ErrorMessage, MissingResult, TranslationResult
from tests.support import wait_until

Outcome = TranslationResult | MissingResult
PENDING = "gap_timeout"
"""Says that a result is late: the utterance's outcome is still to come."""


def length_ms(index: int) -> int:
    """How long the n-th utterance of a talk is."""
    return 200 + 20 * (index % 40)


@dataclass(slots=True)
class Heard:
    """What a node says it heard."""

    ms: int
    attempt: int
    node_id: str

    @staticmethod
    def of(outcome: Outcome) -> "Heard":
        assert isinstance(outcome, TranslationResult), outcome
        ms, attempt, node_id = outcome.text_translated.split()
        return Heard(int(ms), int(attempt), node_id)


@dataclass(slots=True)
class Talk:
    """One session and all that was heard of it."""

    session: Session
    log: list[SessionEvent] = field(default_factory=list[SessionEvent])
    error: ClientError | None = None
    """Why the session ended before its time."""
    has_ended: bool = False
    spoken: int = 0

    async def speak(self, count: int = 1) -> None:
        """Utterances, each with its final."""
        for _ in range(count):
            await self.session.send_audio(b"\x10\x01" * 16 * length_ms(self.spoken))
            await self.session.send_final()
            self.spoken += 1

    @property
    def outcomes(self) -> list[Outcome]:
        """Final ones, in order of arrival."""
        results = [event for event in self.log if isinstance(event, TranslationResult | MissingResult)]
        return [one for one in results if not (isinstance(one, MissingResult) and one.reason == PENDING)]

    @property
    def heard(self) -> list[Heard]:
        """What nodes heard, by utterance; an AssertionError where an outcome is no translation."""
        return [Heard.of(one) for one in sorted(self.outcomes, key=lambda one: one.utterance_index)]

    def errors(self, code: ErrorCode) -> int:
        return sum(isinstance(event, ErrorMessage) and event.code == code for event in self.log)

    def reconnections(self) -> int:
        return sum(isinstance(event, Reconnected) for event in self.log)

    def disconnections(self) -> int:
        return sum(isinstance(event, Disconnected) for event in self.log)

    async def wait_outcomes(self, count: int, deadline_s: float = 30) -> None:
        def enough() -> bool:
            assert not self.error, f"the session ended: {self.error}; {self.log[-5:]}"
            return len(self.outcomes) >= count

        await wait_until(enough, f"{count} outcomes, there are {self.story()}", deadline_s)

    async def finish(self, deadline_s: float = 30) -> None:
        """Nothing more is said; returns when all is answered and checked."""
        self.session.finish()
        await wait_until(lambda: self.has_ended, "the end of the session", deadline_s)
        assert self.error is None, f"{self.error}; {self.story()}"
        self.check()

    def check(self) -> None:
        """Every utterance that was spoken has exactly one outcome, of its own audio, in order."""
        outcomes = self.outcomes
        counts = Counter(one.utterance_index for one in outcomes)
        lost = [index for index in range(self.spoken) if not counts[index]]
        doubled = [index for index, count in counts.items() if count > 1]
        assert (lost, doubled) == ([], []), f"lost {lost}, doubled {doubled}: {self.story()}"
        assert set(counts) == set(range(self.spoken)), f"nobody said these: {self.story()}"
        gaps = [one for one in self.log if isinstance(one, MissingResult) and one.reason == PENDING]
        late = {one.utterance_index for one in gaps}
        in_order = [one.utterance_index for one in outcomes if one.utterance_index not in late]
        assert in_order == sorted(in_order), f"out of order: {self.story()}"
        sequence = [one.result_seq or 0 for one in outcomes]
        assert sequence == sorted(set(sequence)), f"result_seq {sequence}"
        for one in outcomes:
            if isinstance(one, TranslationResult):
                assert Heard.of(one).ms == length_ms(one.utterance_index), f"other audio: {self.story()}"

    def missing(self) -> list[str]:
        return [one.reason for one in self.outcomes if isinstance(one, MissingResult)]

    def story(self) -> str:
        told = [
            f"{one.utterance_index}:{one.reason if isinstance(one, MissingResult) else one.text_translated}"
            for one in self.log
            if isinstance(one, TranslationResult | MissingResult)
        ]
        others = Counter(type(one).__name__ for one in self.log)
        return f"{self.spoken} spoken; {told}; {dict(others)}"


@contextlib.asynccontextmanager
async def talking(*urls: str) -> AsyncGenerator[Talk]:
    """A talk, open at the first address; abandoned at the end of the block unless it has finished."""
    async with connect(urls, src="en", tgt="pt") as session:
        talk = Talk(session)
        reading = asyncio.create_task(_read(talk), name="talk")
        try:
            yield talk
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _read(talk: Talk) -> None:
    try:
        async for event in talk.session.events():
            talk.log.append(event)
    except ClientError as error:
        talk.error = error
    talk.has_ended = True
