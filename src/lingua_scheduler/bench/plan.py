"""What one run of the load is to be, and what it came to: read and written as JSON between two processes."""

from typing import Literal

import msgspec

FrameKind = Literal["json", "binary", "opus"]
FRAMES: tuple[FrameKind, ...] = ("json", "binary", "opus")
"""PCM16 in JSON, PCM16 in binary frames, Opus in binary frames."""
PAIR = ("en", "pt")
TICK_MS = 100


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions send a chunk at each tick while they speak; a sentence ends with a final, and a pause follows.

    Session i of n begins i/n of a tick after the first one, and at another place of its cycle: the same number of
    frames and of sentences falls into every moment.
    """

    host: str
    port: int
    sessions: int
    frames: FrameKind = "json"
    tick_ms: float = TICK_MS
    """From one chunk of a session to its next."""
    chunk_ms: int = TICK_MS
    """Speech in a chunk."""
    sentence_ticks: int = 50
    """0: nobody ever comes to an end."""
    pause_ticks: int = 0
    nodes: int = 4
    capacity: int = 1000
    """Jobs at once, of each node."""
    service_ms: int = 300
    """From a job at a node to its result."""
    reply_bytes: int = 16_000
    """Of the spoken translation: four seconds of Opus."""
    warm_s: float = 1.5
    seconds: float = 10.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Counts are of the measured time, errors of all of it."""

    frames: int
    utterances: int
    results: int
    seconds: float
    dispatch: dict[str, int]
    """Histogram: the moment at which the last chunk of a sentence was due, to its job at a node."""
    result: dict[str, int]
    """Histogram: the moment at which a node's answer was due, to the client that has it."""
    late: dict[str, int]
    """Histogram: how much later than due the load sent a chunk. It is inside the two above."""
    load_cpu_s: float
    connect_s: float
    errors: dict[str, int]
