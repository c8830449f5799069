"""Every parser of bytes from elsewhere takes anything, and answers with a value or with its own error.

Three kinds of fuzzers: bytes spoilt at random, Hypothesis, which finds the smallest fault, and atheris, which looks for
ways through the code that it has not taken yet. In CI they have half a minute together. By hand, ten minutes each:
`FUZZ_SECONDS=30 GUIDED_SECONDS=600 .venv/bin/pytest tests/fuzz -q --timeout 0`.
"""

import importlib.util
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.runtime.clock import Clock
from tests.fuzz.parsers import PARSERS, parse
from tests.tidy import sources

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0.5"))
GUIDED_SECONDS = int(os.environ.get("GUIDED_SECONDS", "20"))


@pytest.mark.parametrize("name", PARSERS)
def test_any_bytes_are_a_value_or_the_parsers_own_error(name: str):
    _, _, seeds = PARSERS[name]
    clock, chance = Clock(), random.Random(name)
    until_ms = clock.wall_ms() + int(SECONDS * 1000)
    for count, data in enumerate(_spoilt(chance, seeds)):
        parse(name, data)
        if count % 64 == 0 and clock.wall_ms() >= until_ms:
            assert count > 64, "too slow to find anything"
            return


def _spoilt(chance: random.Random, seeds: list[bytes]) -> Iterator[bytes]:
    """The seeds themselves, then what comes of them by cutting, doubling, splicing and changing bytes."""
    pool = list(seeds)
    yield from pool
    while True:
        data = bytearray(chance.choice(pool))
        for _ in range(chance.choice((1, 1, 2, 4, 8))):
            at, to = (chance.randrange(len(data) + 1) for _ in range(2))
            match chance.randrange(6):
                case 0:
                    data[at:at] = chance.choice(_SPICE)
                case 1:
                    data[at:to] = b""
                case 2:
                    data[at:at] = data[at:to] * chance.choice((1, 2, 50))
                case 3:
                    data[at:at] = chance.randbytes(chance.choice((1, 2, 4, 100)))
                case 4:
                    data[at : at + 1] = bytes([chance.randrange(256)])
                case _:
                    data[at:to] = chance.choice(pool)
        del data[4096:]
        if chance.random() < 0.02 and len(pool) < 500:
            pool.append(bytes(data))
        yield bytes(data)


_SPICE = (
    b"18446744073709551616", b"-1", b"1e999", b"NaN", b"null", b"true", b"[" * 200, b'{"a":' * 200, b'"', b"\\ud800",
    b"\xff\xfe", b"\xed\xa0\x80", b"\x00", b"9" * 400, b",", b":", b"=", b"\x7f\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
)  # fmt: skip


@st.composite
def _pieces(draw: st.DrawFn) -> tuple[str, bytes]:
    """A parser, and what it likes with something else in the middle of it; or something else alone."""
    name = draw(st.sampled_from(list(PARSERS)))
    seed = draw(st.sampled_from([b"", *PARSERS[name][2]]))
    at, to = draw(st.integers(0, len(seed))), draw(st.integers(0, len(seed)))
    return name, seed[:at] + draw(st.binary(max_size=200) | st.sampled_from(_SPICE)) + seed[to:]


@given(_pieces())
def test_whatever_stands_in_it_is_a_value_or_the_parsers_own_error(case: tuple[str, bytes]):
    parse(*case)


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python or processor"
)
@pytest.mark.timeout(GUIDED_SECONDS + 120)
def test_no_way_through_a_parser_ends_in_another_error(tmp_path: Path):
    command = [sys.executable, "-m", "tests.fuzz.guided", str(GUIDED_SECONDS), str(tmp_path)]
    run = subprocess.run(command, cwd=sources.ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    done = re.search(r"Done (\d+) runs", run.stderr)
    assert done, run.stderr[-500:]
    assert int(done[1]) > 1000, "too slow to find anything"
