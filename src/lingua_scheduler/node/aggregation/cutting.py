"""Where to cut speech: in its pauses, into pieces, and the pieces into batches.

Positions are samples from the start of the audio given. All cuts lie on the grid of 20 ms frames counted back from the
end, so they never split a sample, and what follows the last cut is whole milliseconds.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from lingua_scheduler.node.aggregation.audio_events import Audio
from lingua_scheduler.node.aggregation.levels import FRAME, Levels, frame_rms
from lingua_scheduler.node.aggregation.limits import AudioLimits


def cut_points(audio: Audio, quiet_rms: float, limits: AudioLimits) -> list[int]:
    """Where to cut so that every piece is between the least and the greatest length; [] where `audio` is one piece.

    Each cut is in the middle of the longest pause in reach, else of the quietest stretch near the latest cut possible.
    The piece after the last cut is never shorter than the least either: no cut is near either end of the audio.
    """
    least, most = limits.samples(limits.piece_min_ms), limits.samples(limits.piece_max_ms)
    levels = frame_rms(audio)
    offset = len(audio) % FRAME
    pauses = list(_pauses(levels, quiet_rms, limits.samples(limits.pause_ms) // FRAME))
    cuts: list[int] = []
    at = 0
    while len(audio) - at > most:
        first = -(-(at + least - offset) // FRAME)
        last = (min(at + most, len(audio) - least) - offset) // FRAME
        frame = _in_longest_pause(pauses, first, last, limits)
        if frame is None:
            frame = _in_quietest(levels, first, last, limits)
        at = offset + frame * FRAME
        cuts.append(at)
    return cuts


def complete_batches(lengths: Sequence[int], least: int) -> list[int]:
    """How many pieces go into each batch of at least `least` samples; what is left at the end is in none."""
    counts: list[int] = []
    count = samples = 0
    for length in lengths:
        count, samples = count + 1, samples + length
        if samples >= least:
            counts.append(count)
            count = samples = 0
    return counts


def full_batches(lengths: Sequence[int], most: int) -> list[int]:
    """How many pieces go into each batch of at most `most` samples (a longer piece is one alone); all are in one."""
    counts: list[int] = []
    samples = 0
    for length in lengths:
        if counts and samples + length <= most:
            counts[-1] += 1
            samples += length
        else:
            counts.append(1)
            samples = length
    return counts


def _pauses(levels: Levels, quiet_rms: float, least: int) -> Iterator[tuple[int, int]]:
    """Runs of at least `least` quiet frames, as (first, one past the last)."""
    edges = np.diff(np.concatenate(([0], (levels < quiet_rms).astype(np.int8), [0])))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        if stop - start >= least:
            yield start, stop


def _in_longest_pause(pauses: list[tuple[int, int]], first: int, last: int, limits: AudioLimits) -> int | None:
    """The middle of the longest pause, or as near to it as `first` to `last` allow without touching the speech.

    Of pauses equally long the latest wins: longer pieces give the recogniser more to go by.
    """
    margin = limits.samples(limits.pause_ms) // FRAME // 2
    found = [
        (stop - start, cut)
        for start, stop in pauses
        if start + margin <= (cut := min(max((start + stop) // 2, first), last)) <= stop - margin
    ]
    return max(found)[1] if found else None


def _in_quietest(levels: Levels, first: int, last: int, limits: AudioLimits) -> int:
    """The middle of the quietest window among cuts from `near_ms` before `last` to `last`; the latest of equals."""
    width = limits.samples(limits.quiet_ms) // FRAME
    earliest = max(first, last - limits.samples(limits.near_ms) // FRAME)
    before = width // 2
    window = np.square(levels[earliest - before : last - before + width])
    power = np.convolve(window, np.ones(width), mode="valid")
    # Sums of equal windows differ in their last bits: rounding keeps "the latest of equals" true.
    return last - int(np.argmin(np.round(power[::-1], 12)))
