"""RFC 6455 as a table: what the Autobahn suite asks of a server without extensions, by its numbers, and more."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.protocol import websocket
from lingua_scheduler.protocol.websocket import Close, Event, FrameParser, Ping, Pong, Violation
from lingua_scheduler.runtime import endpoint
from tests.protocol.frames import binary, close, frame, pieces, text

MOST = 1 << 20
GREEK = "Hello-µ@ßöäüàá-UTF-8!!"


def read(*data: bytes, most: int = MOST) -> list[Event]:
    parser = FrameParser(most, endpoint.unmask)
    return [event for part in data for event in parser.feed(part)]


def codes(events: Iterable[Event]) -> list[object]:
    """Violations by their code, everything else as it is."""
    return [event.code if isinstance(event, Violation) else event for event in events]


SIZES = (0, 1, 125, 126, 127, 128, 65_535, 65_536, 262_144)

CASES: dict[str, tuple[bytes, list[object]]] = {
    **{f"1.1 text of {size}": (text(b"*" * size), ["*" * size]) for size in SIZES},
    **{f"1.2 binary of {size}": (binary(b"\xfe" * size), [b"\xfe" * size]) for size in SIZES},
    "2.1 ping without payload": (frame(0x89), [Ping(b"")]),
    "2.2 ping with text": (frame(0x89, b"Hello, world!"), [Ping(b"Hello, world!")]),
    "2.3 ping with bytes": (frame(0x89, b"\x00\xff\xfe\x00"), [Ping(b"\x00\xff\xfe\x00")]),
    "2.4 ping of 125": (frame(0x89, b"\xfe" * 125), [Ping(b"\xfe" * 125)]),
    "2.5 ping of 126": (frame(0x89, b"\xfe" * 126), [1002]),
    "2.7 unsolicited pong": (frame(0x8A) + text("x"), [Pong(), "x"]),
    "2.8 unsolicited pong with payload": (frame(0x8A, b"mine") + text("x"), [Pong(), "x"]),
    "2.9 ping behind pong": (frame(0x8A, b"a") + frame(0x89, b"b"), [Pong(), Ping(b"b")]),
    "2.10 ten pings": (b"".join(frame(0x89, b"%d" % i) for i in range(10)), [Ping(b"%d" % i) for i in range(10)]),
    "3.1 reserved bit 3": (frame(0x91, b"x"), [1002]),
    "3.2 reserved bit 2": (text("ok") + frame(0xA1, b"x"), ["ok", 1002]),
    "3.3 reserved bits 2 and 3": (frame(0xB1, b"x"), [1002]),
    "3.4 reserved bit 1": (frame(0xC1, b"x"), [1002]),
    "3.5 bits of binary": (frame(0xD2, b"x"), [1002]),
    "3.6 bits of a ping": (frame(0xE9, b"x"), [1002]),
    "3.7 bits of a close": (frame(0xF8), [1002]),
    **{f"4.1 opcode {op}": (frame(0x80 | op, b"x"), [1002]) for op in (3, 4, 5, 6, 7)},
    **{f"4.2 opcode {op}": (text("ok") + frame(0x80 | op) + frame(0x89), ["ok", 1002]) for op in range(11, 16)},
    "5.1 ping in fragments": (frame(0x09, b"a") + frame(0x80, b"b"), [1002]),
    "5.2 pong in fragments": (frame(0x0A, b"a") + frame(0x80, b"b"), [1002]),
    "5.3 text in two": (frame(0x01, b"fragment1") + frame(0x80, b"fragment2"), ["fragment1fragment2"]),
    "5.6 ping between fragments": (
        frame(0x01, b"one ") + frame(0x89, b"p") + frame(0x80, b"two"),
        [Ping(b"p"), "one two"],
    ),
    "5.9 continuation of nothing": (frame(0x80, b"x") + text("y"), [1002]),
    "5.12 continuation of nothing, not final": (frame(0x00, b"x"), [1002]),
    "5.15 continuation behind a whole message": (pieces(b"ab", 1) + frame(0x00, b"x"), ["ab", 1002]),
    "5.18 text within text": (frame(0x01, b"a") + frame(0x81, b"b"), [1002]),
    "5.18 binary within text": (frame(0x01, b"a") + frame(0x02, b"b"), [1002]),
    "5.19 five fragments and pings": (
        frame(0x01, b"1") + frame(0x00, b"2") + frame(0x89, b"p")
        + frame(0x00, b"3") + frame(0x00, b"4") + frame(0x89, b"q") + frame(0x80, b"5"),
        [Ping(b"p"), Ping(b"q"), "12345"],
    ),
    "6.1 empty text in fragments": (pieces(b"", 0, 0), [""]),
    "6.1 text in the middle": (pieces(b"middle", 0, 6), ["middle"]),
    "6.2 UTF-8": (text(GREEK), [GREEK]),
    "6.2 UTF-8 in fragments": (pieces(GREEK.encode(), 7, 1, 2), [GREEK]),
    "6.2 UTF-8 byte by byte": (pieces("κόσμε".encode(), *[1] * 10), ["κόσμε"]),
    "6.3 not UTF-8": (text("κόσμε".encode() + b"\xed\xa0\x80edited"), [1007]),
    "6.3 not UTF-8, byte by byte": (pieces("κόσμε".encode() + b"\xed\xa0\x80edited", *[1] * 18), [1007]),
    "6.4 fails in the middle": (frame(0x01, "κόσμε".encode()) + frame(0x00, b"\xf4\x90"), [1007]),
    "6.22 an incomplete last character": (pieces("κόσμε".encode()[:-1], 4), [1007]),
    "7.1 a close and what is behind it": (text("x") + close() + text("y") + frame(0x89), ["x", Close(1000, "")]),
    "7.1 a close within a message": (frame(0x01, b"a") + close(), [Close(1000, "")]),
    "7.3 a close without code": (close(None), [Close(1005, "")]),
    "7.3 a close of one byte": (frame(0x88, b"\x03"), [1002]),
    "7.3 a close with a reason": (close(1000, b"Hello"), [Close(1000, "Hello")]),
    "7.3 the longest reason": (close(1000, b"*" * 123), [Close(1000, "*" * 123)]),
    "7.3 a reason too long": (close(1000, b"*" * 124), [1002]),
    "7.5 a reason that is not UTF-8": (close(1000, b"\xce\xba\xed\xa0\x80"), [1007]),
    **{
        f"7.7 code {code}": (close(code), [Close(code, "")])
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
    },
    **{
        f"7.9 code {code}": (close(code), [1002])
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
    },
    "a frame without mask": (frame(0x81, b"x", key=None), [1002]),
    "a ping without mask": (frame(0x89, b"x", key=None), [1002]),
    "a close without mask": (frame(0x88, key=None), [1002]),
    "a key of zeros": (frame(0x81, b"x", key=bytes(4)), ["x"]),
    "a length longer than it needs to be": (frame(0x81, b"x", escape=126), [1002]),
    "a length much longer than it needs to be": (frame(0x82, b"x" * 200, escape=127), [1002]),
    "a length with the highest bit": (b"\x82\xff" + b"\xff" * 8, [1002]),
    "a message over the limit": (frame(0x82, bytes(MOST + 1)), [1009]),
    "the largest message": (frame(0x82, bytes(MOST)), [bytes(MOST)]),
    "fragments over the limit": (pieces(bytes(MOST + 1), 1 << 19, kind=2), [1009]),
    "fragments up to the limit": (pieces(bytes(MOST), 1 << 19, kind=2), [bytes(MOST)]),
    "fragments without end": (frame(0x01) + frame(0x00) * websocket.FRAGMENTS_MAX, [1009]),
    "noncharacters": (text("\ufffe\uffff\U0010fffe"), ["\ufffe\uffff\U0010fffe"]),
}  # fmt: skip


@pytest.mark.parametrize(("data", "events"), CASES.values(), ids=CASES.keys())
def test_what_a_peer_says_is_understood_or_refused(data: bytes, events: list[object]):
    assert codes(read(data)) == events


def _small() -> dict[str, tuple[bytes, list[object]]]:
    return {name: case for name, case in CASES.items() if len(case[0]) < 2000}


@pytest.mark.parametrize(("data", "events"), _small().values(), ids=_small().keys())
def test_it_does_not_matter_how_it_arrives(data: bytes, events: list[object]):
    assert codes(read(*(data[i : i + 1] for i in range(len(data))))) == events


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x05", 1002),  # no mask: nothing else of it has to arrive
        (b"\x83\x80", 1002),
        (b"\x89\xfe", 1002),
        (b"\x82\xff" + (MOST + 1).to_bytes(8, "big"), 1009),
        (b"\x82\xff" + (1 << 62).to_bytes(8, "big"), 1009),
        (text("κόσμε".encode() + b"\xf4\x90" + b"x" * 50)[:-50], 1007),
        (frame(0x01, b"a" * 9) + text(b"")[:0] + frame(0x00, b"\xff" + b"a" * 50)[:-50], 1007),
    ],
)
def test_a_fault_is_told_as_soon_as_it_shows(data: bytes, code: int):
    assert codes(read(data)) == [code]
    assert codes(read(data[:-1])) == []


# ------------------------------------------------------------------------------------------- properties

FIRSTS = st.sampled_from([0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A]) | st.integers(0, 255)
PAYLOADS = st.one_of(
    st.text(max_size=200).map(str.encode),
    st.binary(max_size=200),
    st.integers(120, 70_000).map(lambda size: b"z" * size),
)
KEYS = st.binary(min_size=4, max_size=4)
FRAMES = st.builds(frame, FIRSTS, PAYLOADS, key=KEYS)
GOOD = st.one_of(
    st.text(max_size=300).map(text),
    st.binary(max_size=300).map(binary),
    st.builds(pieces, st.text(min_size=1, max_size=40).map(str.encode), st.integers(0, 40), st.integers(0, 40)),
    st.binary(max_size=125).map(lambda data: frame(0x89, data)),
)


def chop(data: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(at)]


@given(st.lists(GOOD | FRAMES, max_size=6), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_however_bytes_are_cut_the_same_is_understood(sent: list[bytes], cuts: list[int]):
    data = b"".join(sent)
    assert read(*chop(data, cuts), most=4096) == read(data, most=4096)


@given(st.lists(GOOD, max_size=4), st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=6))
def test_whatever_comes_nothing_is_raised_and_nothing_follows_a_violation(
    sent: list[bytes], changes: list[tuple[int, int]]
):
    data = bytearray(b"".join(sent))
    for at, value in changes:
        if data:
            data[at % len(data)] = value
    events = read(bytes(data), most=4096)
    last = [i for i, event in enumerate(events) if isinstance(event, Violation | Close)]
    assert last in ([], [len(events) - 1])


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=5))
def test_rubbish_is_harmless(data: bytes, cuts: list[int]):
    read(*chop(data, cuts), most=500)


@given(st.lists(st.one_of(st.text(max_size=300), st.binary(max_size=300)), max_size=8), st.lists(st.integers(0, 4000)))
def test_what_is_sent_arrives(messages: list[str | bytes], cuts: list[int]):
    data = b"".join(text(one) if isinstance(one, str) else binary(one) for one in messages)
    assert read(*chop(data, cuts)) == messages


@given(st.binary(max_size=3000), KEYS)
def test_unmasking_in_c_and_in_python_agree(data: bytes, key: bytes):
    assert endpoint.unmask is not websocket.unmask, "aiohttp's C is there in what we ship with"
    ours, theirs = bytearray(data), bytearray(data)
    websocket.unmask(key, ours)
    endpoint.unmask(key, theirs)
    assert ours == theirs == bytes(byte ^ key[i % 4] for i, byte in enumerate(data))


# ------------------------------------------------------------------------------------------- what we send


@pytest.mark.parametrize("size", SIZES)
def test_a_head_says_the_length_in_its_shortest_form(size: int):
    head = websocket.frame_head(websocket.BINARY, size)
    assert head == frame(0x82, bytes(size), key=None)[: len(head)]
    assert len(head) == (2 if size < 126 else 4 if size < 65_536 else 10)


@pytest.mark.parametrize(
    ("code", "reason", "payload"),
    [
        (1000, "", b"\x03\xe8"),
        (1002, "no", b"\x03\xeano"),
        (1005, "nothing may stand there", b""),
        (1000, "語" * 60, b"\x03\xe8" + "語".encode() * 41),
    ],
)
def test_a_close_frame_fits(code: int, reason: str, payload: bytes):
    assert websocket.close_frame(code, reason) == frame(0x88, payload, key=None)
    assert len(payload) <= 125
