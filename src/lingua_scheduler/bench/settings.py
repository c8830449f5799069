"""What a user may choose for a scenario."""

from dataclasses import dataclass

import msgspec

from lingua_scheduler.bench.plan import TICK_MS, FrameKind, Plan
from lingua_scheduler.bench.stand import Server


@dataclass(frozen=True, slots=True)
class Settings:
    """Scenarios use what concerns them."""

    sessions: int = 1000
    frames: FrameKind = "json"
    sentence_s: float = 5.0
    duty: float = 1.0
    """Share of its time in which a session speaks."""
    find: bool = False
    """Instead of one number of sessions: as many as can be served in time."""
    rounds: int = 5
    warm_s: float = 1.5
    seconds: float = 10.0
    rate: float = 100.0
    """Utterances a second, of all sessions together."""
    nodes: int = 4
    service_ms: int = 300
    reply_bytes: int = 16_000
    workers: int = 1
    trials: int = 50

    def told(self, *names: str) -> dict[str, str | int | float]:
        """For a report."""
        return {name.replace("_", " "): getattr(self, name) for name in names}

    def plan(self, server: Server, **changes: float) -> Plan:
        """Speech at its own pace."""
        sentence_ticks = max(1, round(self.sentence_s * 1000 / TICK_MS))
        plan = Plan(
            host=server.host, port=server.port, sessions=self.sessions, frames=self.frames,
            sentence_ticks=sentence_ticks, pause_ticks=round(sentence_ticks * (1 / self.duty - 1)),
            nodes=self.nodes, service_ms=self.service_ms,
            reply_bytes=self.reply_bytes, warm_s=self.warm_s, seconds=self.seconds,
        )  # fmt: skip
        return msgspec.structs.replace(plan, **changes)

    def utterance_plan(self, server: Server, speech_ms: int) -> Plan:
        """Sentences of one chunk, so many a second from all sessions together."""
        return self.plan(
            server, sentence_ticks=1, pause_ticks=0, chunk_ms=speech_ms, tick_ms=self.sessions / self.rate * 1000
        )
