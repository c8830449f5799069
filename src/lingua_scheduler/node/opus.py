"""Opus packets to 16 kHz samples and back, by libopus itself.

Called through ctypes, because a general media library between costs as much as the codec: it decodes at 48 kHz, which
must then be resampled, and makes objects of every packet. libopus is the one that the wheel of PyAV brings, else the
system's. The codec's state lies in a buffer of Python's, so nothing has to be freed.

Speech is encoded by the transform half of Opus alone (restricted low delay), which takes half the processor time of the
speech half at 24 kb/s, and a third more bytes. Recognition of it was no worse than of the samples (bench/RESULTS.md).
From complexity 1 on it watches for sudden onsets.

Memory: a packet's own header says how many samples it holds, at most 120 ms; the buffer is made for exactly these, and
libopus is told that there is room for no more. Lengths go with every pointer; what is pointed at outlives the call.
"""

import ctypes
import ctypes.util
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from lingua_scheduler.protocol.audio import OPUS_CLOCK_HZ, opus_packet_ticks

OPUS_RATE: Final = 16_000
FRAME_SAMPLES: Final = OPUS_RATE // 50
"""A packet of 20 ms."""
BITRATE: Final = 32_000
_COMPLEXITY: Final = 1
_MAX_PACKET_BYTES: Final = 1_276
"""One frame: RFC 6716 §3.2."""
# Numbers of opus_defines.h.
_OK: Final = 0
_RESTRICTED_LOW_DELAY: Final = 2051
_SET_BITRATE: Final = 4002
_SET_COMPLEXITY: Final = 4010
_GET_LOOKAHEAD: Final = 4027

MISSING: Final = (
    "libopus was found neither in the package `av` nor on the system: "
    "install `av` from its wheel, or libopus (Debian: libopus0)"
)

Samples = npt.NDArray[np.int16]


class OpusDecoder:
    """One stream. A packet predicts from those before it. One call at a time."""

    def __init__(self) -> None:
        lib = libopus()
        self._decode = lib.opus_decode
        self._state = ctypes.create_string_buffer(lib.opus_decoder_get_size(1))
        _must(lib.opus_decoder_init(self._state, OPUS_RATE, 1))

    def decode(self, packets: Iterable[bytes]) -> tuple[Samples, int, int]:
        """Samples exactly as long as the packets say, how many packets there were, how many were not Opus.

        Those are silence. PeerError where a packet does not even say how long it is.
        """
        whole = [(packet, opus_packet_ticks(packet) * OPUS_RATE // OPUS_CLOCK_HZ) for packet in packets]
        out = np.zeros(sum(samples for _, samples in whole), np.int16)
        address, bad = out.ctypes.data, 0
        for packet, samples in whole:
            # libopus writes no more than it is told there is room for, and refuses a packet that holds more.
            if self._decode(self._state, packet, len(packet), address, samples, 0) != samples:
                ctypes.memset(address, 0, samples * out.itemsize)
                bad += 1
            address += samples * out.itemsize
        return out, len(whole), bad


def encode_opus(pcm: Samples) -> list[bytes]:
    """16 kHz samples as packets of 20 ms. The last is filled with silence; it holds the end of the last sound too,
    which the encoder gives out 2.5 ms late.
    """
    lib = libopus()
    state = ctypes.create_string_buffer(lib.opus_encoder_get_size(1))
    _must(lib.opus_encoder_init(state, OPUS_RATE, 1, _RESTRICTED_LOW_DELAY))
    _must(lib.opus_encoder_ctl(state, _SET_BITRATE, ctypes.c_int32(BITRATE)))
    _must(lib.opus_encoder_ctl(state, _SET_COMPLEXITY, ctypes.c_int32(_COMPLEXITY)))
    late = ctypes.c_int32()
    _must(lib.opus_encoder_ctl(state, _GET_LOOKAHEAD, ctypes.byref(late)))
    samples = np.pad(pcm, (0, late.value + -(len(pcm) + late.value) % FRAME_SAMPLES))
    packet = (ctypes.c_ubyte * _MAX_PACKET_BYTES)()
    packets: list[bytes] = []
    for at in range(samples.ctypes.data, samples.ctypes.data + samples.nbytes, FRAME_SAMPLES * samples.itemsize):
        size = lib.opus_encode(state, at, FRAME_SAMPLES, packet, _MAX_PACKET_BYTES)
        _must(min(size, _OK))
        packets.append(ctypes.string_at(packet, size))
    return packets


@cache
def libopus() -> ctypes.CDLL:
    """The library with the types of what is called here. OSError where there is none."""
    bundled = _bundled()
    name = str(bundled) if bundled else ctypes.util.find_library("opus")
    if name is None:
        raise OSError(MISSING)
    lib = ctypes.CDLL(name)
    pointer, number = ctypes.c_void_p, ctypes.c_int32
    lib.opus_decoder_init.argtypes = (pointer, number, ctypes.c_int)
    lib.opus_decode.argtypes = (pointer, ctypes.c_char_p, number, pointer, ctypes.c_int, ctypes.c_int)
    lib.opus_encoder_init.argtypes = (pointer, number, ctypes.c_int, ctypes.c_int)
    lib.opus_encode.argtypes = (pointer, pointer, ctypes.c_int, pointer, number)
    # Of variable length: ctypes passes what goes beyond these as such, which some machines need.
    lib.opus_encoder_ctl.argtypes = (pointer, ctypes.c_int)
    return lib


def why_no_opus() -> str | None:
    """What to tell a person on a machine whose node can only do PCM16; None where Opus works."""
    try:
        libopus()
    except (OSError, AttributeError) as error:  # not there, not loadable, or some other library
        return f"no Opus, only pcm16: {error}"
    return None


def _bundled() -> Path | None:
    """The one in the wheel of PyAV, wherever the tool that repaired the wheel for this system puts libraries."""
    spec = find_spec("av")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    found = [file for folder in (package.parent / "av.libs", package / ".dylibs") for file in folder.glob("*opus[-.]*")]
    return min(found, default=None)


def _must(code: int) -> None:
    if code != _OK:
        message = f"libopus reports error {code}"
        raise OSError(message)
