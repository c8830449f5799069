"""Engine specifications as people write them: `name`, `name:argument`, `name:argument?key=value&key=value`.

Several stand in one text with commas between them: `whisper:/models/base?device=cuda,bergamot,espeak`. A list inside an
option is joined with `+`: `languages=en+zh`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from lingua_scheduler.node.engines.base import EngineError
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language, language


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Which engine, with which model or address, set how. `str()` gives a text that parses to an equal spec."""

    name: str
    argument: str = ""
    options: Mapping[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        text = f"{self.name}:{self.argument}" if self.argument else self.name
        given = "&".join(f"{key}={quote(value, safe='/:+-._~')}" for key, value in sorted(self.options.items()))
        return f"{text}?{given}" if given else text

    def text(self, key: str, default: str = "") -> str:
        return self.options.get(key, default)

    def number(self, key: str, default: float) -> float:
        given = self.options.get(key)
        if given is None:
            return default
        try:
            return float(given)
        except ValueError:
            raise bad_spec(f"{self.name}: option {key} wants a number, not {given!r}") from None

    def languages(self, key: str = "languages") -> tuple[Language, ...]:
        """The codes of a `+` list; empty where the option is absent."""
        return tuple(_language(self, code) for code in self.options.get(key, "").split("+") if code)

    def pairs(self, key: str = "pairs") -> tuple[tuple[Language, Language], ...]:
        """The directed pairs of a `+` list such as `en-pt+pt-en`; a region is written `en>pt-br`."""
        return tuple(_pair(self, text) for text in self.options.get(key, "").split("+") if text)

    def only(self, *known: str) -> None:
        """Refuse options that the engine does not have, so that a misspelt one is not silently ignored."""
        unknown = sorted(set(self.options) - set(known))
        if unknown:
            there = ", ".join(sorted(known)) or "none"
            raise bad_spec(f"{self.name} has no option {unknown[0]!r}; it has: {there}")


def bad_spec(message: str) -> EngineError:
    return EngineError(ErrorCode.UNSUPPORTED_FEATURE, message, retryable=False)


def parse_specs(text: str) -> tuple[EngineSpec, ...]:
    """Every spec of a comma-separated text. EngineError UNSUPPORTED_FEATURE with the part that is not one."""
    return tuple(parse_spec(part) for part in text.split(",") if part.strip())


def parse_spec(text: str) -> EngineSpec:
    head, _, tail = text.strip().partition("?")
    name, _, argument = head.partition(":")
    if not name or not name.replace("-", "").replace("_", "").isalnum():
        raise bad_spec(f"{text!r} is not an engine: write name, name:model or name:model?option=value")
    options: dict[str, str] = {}
    for item in filter(None, tail.split("&")):
        key, equals, value = item.partition("=")
        if not key or not equals:
            raise bad_spec(f"{text!r}: option {item!r} is not key=value")
        options[key] = unquote(value)
    return EngineSpec(name, argument, options)


def _language(spec: EngineSpec, code: str) -> Language:
    found = language(code)
    if found is None:
        raise bad_spec(f"{spec.name}: {code!r} is not a language code")
    return found


def _pair(spec: EngineSpec, text: str) -> tuple[Language, Language]:
    source, _, target = text.partition(">" if ">" in text else "-")
    return _language(spec, source), _language(spec, target)
