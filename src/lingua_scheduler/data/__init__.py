"""Speech that ships with the package, for the demo and for tests: see PROVENANCE.md beside this file."""

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

    def translation(self, language: str) -> str | None:
        """What a person would say in that language, one sentence a line; None where there is none."""
        path = _FOLDER / f"{self.name}.{language}.txt"
        return path.read_text("utf-8") if path.exists() else None


SENSE_AND_SENSIBILITY = Recording("sense-and-sensibility", "en")
"""28 s, five sentences of prose; two of them without a pause between, so that one utterance outgrows ten seconds."""

COMMANDS = Recording("commands", "en")
"""7 s, two short commands by another speaker."""

MANDARIN = Recording("mandarin", "zh")
"""22 s, five everyday sentences; synthetic speech."""

DEMO = (SENSE_AND_SENSIBILITY, MANDARIN)
"""What the demo speaks: one for each language."""


def recording_in(language: str) -> Recording | None:
    """The demo's recording in a language, whatever the region (`zh-CN`); None where none ships."""
    wanted = language.lower().partition("-")[0]
    return next((one for one in DEMO if one.language == wanted), None)
