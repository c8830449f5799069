"""Decodes random and spoilt Opus packets in a process of its own, which a crash of the codec would end.

Prints how many packets were decoded, how many refused. It is run by test_opus.py.
"""

import random
import sys

import numpy as np

from lingua_scheduler.node.opus import OpusDecoder, encode_opus
from lingua_scheduler.protocol.errors import PeerError


def main(count: int) -> None:
    chance = random.Random(count)  # the same packets every time
    tone = (9000 * np.sin(np.arange(16_000) * 0.17)).astype(np.int16)
    packets = encode_opus(tone)
    decoder = OpusDecoder()
    decoded = refused = 0
    for number in range(count):
        packet = _random(chance) if number % 2 else _spoilt(chance, chance.choice(packets))
        try:
            samples, _, bad = decoder.decode([packet])
        except PeerError:
            refused += 1
            continue
        assert len(samples) <= 1920, "more than 120 ms"
        assert not (bad and samples.any()), "a packet that is not Opus is heard"
        refused += bad
        decoded += not bad
    sys.stdout.write(f"{decoded} {refused}\n")


def _random(chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice((0, 1, 2, 3, 10, 80, 300, 1275, 1276, 5000, 65_535)))


def _spoilt(chance: random.Random, packet: bytes) -> bytes:
    spoilt = bytearray(packet[: chance.randint(1, len(packet))])
    for _ in range(chance.randint(1, 5)):
        spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
    return bytes(spoilt)


if __name__ == "__main__":
    main(int(sys.argv[1]))
