"""Speech of numbered packets: sound that says whose it is, however it is cut.

A packet is 60 ms of PCM16 made of groups of four samples, each of which says whose packet it is and which. The text of
an utterance names its packets as in a simulation (`sim/speech.py`): `7:120-186` is what speaker 7 said from packet 120
to 186.
"""

from array import array
from collections.abc import Iterable

from lingua_scheduler.sim.speech import PACKET_MS, Packet

PACKET_SAMPLES = 16 * PACKET_MS
MARK = -32_768
"""Begins a group; no other sample has this value."""
GROUP = 4
DIGIT = 1 << 12


def say(speaker: int, numbers: Iterable[int]) -> bytes:
    """PCM16 of these packets."""
    groups = (array("h", (MARK, speaker, number // DIGIT, number % DIGIT)) for number in numbers)
    return b"".join(group.tobytes() * (PACKET_SAMPLES // GROUP) for group in groups)


def hear(audio: bytes) -> list[Packet]:
    """The packets of PCM16 that was cut between packets, as clients and instances cut it."""
    samples = array("h", audio)
    starts = range(0, len(samples), PACKET_SAMPLES)
    assert all(samples[at] == MARK for at in starts), "cut within a packet"
    return [(samples[at + 1], samples[at + 2] * DIGIT + samples[at + 3]) for at in starts]
