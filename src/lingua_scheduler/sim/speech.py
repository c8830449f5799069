"""What is said in a simulation: numbered packets, so that every text shows whose speech it is, which, and how often.

A packet is a well-formed Opus packet of 60 ms that carries its speaker and number. Nodes "recognise" ranges of them:
`7:120-186` is what speaker 7 said from packet 120 to 186.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from struct import Struct

PACKET_MS = 60
PACKET_BYTES = 9
_TOC = bytes([3 << 3])
_HEAD = (PACKET_BYTES - 2).to_bytes(2, "little") + _TOC
_PACKET = Struct(f">{len(_HEAD)}sHI")
_FIELDS = Struct(f">{len(_HEAD)}xHI")
_RANGE = re.compile(r"(\d+):(\d+)-(\d+)")

TURN_PACKETS = 100
"""Six seconds: a long turn changes its language in the middle, as it may where people fall into each other's words."""

Packet = tuple[int, int]
"""Speaker and number."""


def say(speaker: int, numbers: Iterable[int]) -> bytes:
    """The audio of these packets, as an `audio_chunk` carries it."""
    pack = _PACKET.pack
    return b"".join([pack(_HEAD, speaker, number) for number in numbers])


def hear(audio: bytes) -> list[Packet]:
    """The packets in a payload."""
    return list(_FIELDS.iter_unpack(audio))


def ends(audio: bytes) -> tuple[int, int]:
    """The first and the last number in a payload that is not empty."""
    return _FIELDS.unpack_from(audio)[1], _FIELDS.unpack_from(audio, len(audio) - PACKET_BYTES)[1]


def write(packets: list[Packet]) -> str:
    """Ranges of packets that follow each other."""
    if not packets:
        return ""
    ranges: list[str] = []
    first = packets[0]
    for last, following in pairwise([*packets, (-1, -1)]):
        if following != (last[0], last[1] + 1):
            ranges.append(f"{first[0]}:{first[1]}-{last[1]}")
            first = following
    return " ".join(ranges)


def read(text: str) -> Iterator[Packet]:
    """The packets that a text names."""
    for speaker, first, last in _RANGE.findall(text):
        for number in range(int(first), int(last) + 1):
            yield int(speaker), number


def direction(lang_a: str, lang_b: str, packets: list[Packet]) -> tuple[str, str]:
    """From which language to which, where two speak with one device: they take turns of `TURN_PACKETS`."""
    is_back = bool(packets) and packets[0][1] // TURN_PACKETS % 2 == 1
    return (lang_b, lang_a) if is_back else (lang_a, lang_b)
