"""Which way a job goes: the languages to recognise, the one to translate into, and the stages its flags leave."""

from dataclasses import dataclass
from typing import Self

from lingua_scheduler.node.aggregation.direction import Direction, choose_direction
from lingua_scheduler.node.engines.base import primary
from lingua_scheduler.node.hearing import Heard
from lingua_scheduler.protocol.errors import ErrorCode, PeerError
from lingua_scheduler.protocol.ids import AUTO, Language, language
from lingua_scheduler.protocol.node import JobAssign, JobPreview


@dataclass(frozen=True, slots=True)
class Route:
    """`source` None: recognition decides, among `candidates` where there are any."""

    source: Language | None
    target: Language
    candidates: tuple[Language, ...] = ()
    is_two_way: bool = False
    """The two candidates are translated into each other, whichever is spoken."""
    use_asr: bool = True
    use_mt: bool = True
    use_tts: bool = True
    use_semantic: bool = False

    @classmethod
    def of(cls, assign: JobAssign | JobPreview) -> Self:
        """PeerError INVALID_MESSAGE where a language is none, or the source is open and nothing says between what."""
        flags = assign.pipeline
        a, b = _optional(assign.lang_a), _optional(assign.lang_b)
        is_auto = assign.src_lang.strip().lower() == AUTO
        both = (a, b) if a is not None and b is not None else None
        is_two_way = both is not None and (is_auto or assign.mode == "two_way_auto")
        among = both or tuple(_required(code) for code in assign.auto_langs or ())
        target = _required(both[1] if both and assign.tgt_lang.strip().lower() == AUTO else assign.tgt_lang)
        return cls(
            source=None if is_auto or is_two_way else _required(assign.src_lang),
            target=target,
            candidates=among if is_auto or is_two_way else (),
            is_two_way=is_two_way,
            use_asr=flags.use_asr is not False,
            use_mt=flags.use_nmt is not False,
            use_tts=flags.use_tts is not False,
            use_semantic=flags.use_semantic is True,
        )

    def directions(self) -> tuple[Direction, ...]:
        """Every way that this job may turn out to go, as far as it is known before anybody has listened."""
        if self.is_two_way:
            a, b = self.candidates
            return Direction(a, b), Direction(b, a)
        sources = self.candidates if self.source is None else (self.source,)
        return tuple(Direction(source, self.target) for source in sources)

    def resolve(self, heard: Heard, previous: Direction | None) -> Direction:
        """The way that it goes, by what was heard."""
        if self.is_two_way:
            a, b = self.candidates
            return choose_direction(a, b, heard.language_probabilities, previous)
        return Direction(self.source or heard.language, self.target)


def is_same_language(direction: Direction) -> bool:
    return primary(direction.src) == primary(direction.tgt)


def _optional(code: str | None) -> Language | None:
    return _required(code) if code else None


def _required(code: str) -> Language:
    found = language(code)
    if found is None:
        raise PeerError(ErrorCode.INVALID_MESSAGE, f"{code!r} is not a language code")
    return found
