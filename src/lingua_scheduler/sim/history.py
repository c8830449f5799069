"""What happened in a run, one line each, in order: all that checkers know, and what makes two runs comparable."""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from lingua_scheduler.sim.loop import VirtualLoop


class Event(NamedTuple):
    """`who` did or met `what`; the rest depends on `what`, see where it is noted."""

    at_ms: int
    what: str
    who: str
    facts: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.at_ms / 1000:9.3f}  {self.who:10} {self.what:10} {' '.join(str(one) for one in self.facts)}"


class History:
    """Grows by `note`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.events: list[Event] = []
        self._loop = loop

    def note(self, what: str, who: str, *facts: Any) -> None:
        self.events.append(Event(self._loop.now_ms, what, who, facts))

    def of(self, *kinds: str) -> Iterator[Event]:
        return (event for event in self.events if event.what in kinds)

    def digest(self) -> str:
        """Equal for two runs exactly where the same happened at the same times."""
        digest = hashlib.blake2b(digest_size=16)
        for event in self.events:
            digest.update(f"{event.at_ms}|{event.what}|{event.who}|{event.facts}\n".encode())
        return digest.hexdigest()
