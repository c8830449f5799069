"""The shipped recordings as samples, and how far a recognised text is from what was said."""

import re
from pathlib import Path

import av
import numpy as np

from lingua_scheduler.node.engines.base import Audio


def samples_of(path: Path) -> Audio:
    """A sound file of 16 kHz, mono."""
    with av.open(str(path)) as file:
        parts = [frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)]
    pcm = np.concatenate(parts)
    assert pcm.dtype == np.int16, "the shipped recordings are 16-bit"
    return (pcm / 32768).astype(np.float32)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower().replace("mr.", "mister"))


def word_errors(said: str, heard: str) -> int:
    """The least number of words to insert, delete or replace (Levenshtein) to make one of the other."""
    reference, hypothesis = words(said), words(heard)
    row = list(range(len(hypothesis) + 1))
    for i, wanted in enumerate(reference, 1):
        before, row[0] = row[0], i
        for j, got in enumerate(hypothesis, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (wanted != got))
    return row[-1]
