"""Which way to translate in a conversation between two languages."""

from collections.abc import Mapping
from dataclasses import dataclass

from lingua_scheduler.protocol.ids import Language


@dataclass(frozen=True, slots=True)
class Direction:
    src: Language
    tgt: Language


def choose_direction(
    lang_a: Language,
    lang_b: Language,
    probabilities: Mapping[Language, float],
    previous: Direction | None = None,
) -> Direction:
    """From the likelier of the two languages into the other.

    `probabilities` are the recogniser's, by language; a region or script that only one side names makes no difference
    (`zh-tw` has the probability of `zh`). Where both are equally likely, or neither is known, the conversation goes on
    in its `previous` direction if that is between the same two, and else from `lang_a` to `lang_b`.
    """
    p_a, p_b = _probability(lang_a, probabilities), _probability(lang_b, probabilities)
    forward, backward = Direction(lang_a, lang_b), Direction(lang_b, lang_a)
    if p_a > p_b:
        return forward
    if p_b > p_a:
        return backward
    return previous if previous is not None and previous in {forward, backward} else forward


def _probability(language: Language, probabilities: Mapping[Language, float]) -> float:
    """NaN and less than nothing count as nothing known."""
    exact = probabilities.get(language)
    if exact is None:
        primary = language.partition("-")[0]
        related = [p for other, p in probabilities.items() if primary == other.partition("-")[0]]
        exact = sum(p for p in related if p > 0)
    return exact if exact > 0 else 0.0
