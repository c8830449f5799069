"""What a run of a fleet leaves to its checkers, whether the fleet was simulated or real.

`tests/e2e/chaos` fills one with what real processes wrote down. Whoever does needs the events that `checkers` reads,
each with its facts in this order, and times that do not go back:

| what | who | facts |
|---|---|---|
| `opened` | client-N | session, protocol |
| `sent` | client-N | session, seq, first packet, last packet |
| `acked` | client-N | session, seq |
| `result` | client-N | session, utterance index, result_seq or None, text |
| `lacks` | client-N | session, index of an utterance whose end is in no result, as a result says |
| `missing` | client-N | session, utterance index, result_seq or None, reason |
| `reconnected` | client-N | session |
| `over` | client-N | session, `closed` or the code of its error |
| `utterance` | instance | session, index, job, reason, text |
| `concluded` | instance | session, index, job, `by NODE` or the reason of a missing result |
| `kept` | node of protocol 1 | session, text |
| `ended` | instance | session, why |
| `killed`, `left` | instance or node | |
| `bug` | anybody | what is wrong |

A text names packets as `speech.write` does; N is the speaker in them.
"""

from dataclasses import dataclass, field

from lingua_scheduler.sim.history import History
from lingua_scheduler.sim.plan import Plan


@dataclass(slots=True)
class Run:
    """What a run leaves to its checkers."""

    plan: Plan
    history: History
    healed_ms: int = 0
    simulated_ms: int = 0
    steps: int = 0
    asked: int = 0
    unfinished: list[str] = field(default_factory=list[str])
    """Who had not finished `HEAL_MS` after the faults."""
    left: list[str] = field(default_factory=list[str])
    """What was kept when nothing was going on."""
    excess: list[str] = field(default_factory=list[str])
    """Bounds that were passed."""
    bugs: list[str] = field(default_factory=list[str])
