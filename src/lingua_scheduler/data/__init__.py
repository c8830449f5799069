"""Recorded speech that ships with the package, for the demo and for tests: see PROVENANCE.md beside this file."""

from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Recording:
    """A 16 kHz mono FLAC file and what is said in it: lower case, no punctuation, one sentence a line."""

    name: str
    language: str

    @property
    def path(self) -> Path:
        return _FOLDER / f"{self.name}.flac"

    @property
    def transcript(self) -> str:
        return (_FOLDER / f"{self.name}.txt").read_text("utf-8")


SENSE_AND_SENSIBILITY = Recording("sense-and-sensibility", "en")
"""28 s, five sentences of prose; two of them without a pause between, so that one utterance outgrows ten seconds."""

COMMANDS = Recording("commands", "en")
"""7 s, two short commands by another speaker."""
