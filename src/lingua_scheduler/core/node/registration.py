"""What a node says it can do, checked field by field: a registration, or the name of the field that is at fault."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lingua_scheduler.core.node.config import (
    ACTIVE_JOBS_MAX,
    CAPACITY_MAX,
    LANGUAGES_MAX,
    PAIRS_MAX,
    REQUIRED_SERVICES,
    SERVICES_MAX,
    TENANTS_MAX,
    TEXT_CHARS_MAX,
)
from lingua_scheduler.core.node.events import Languages, NodeLoad, Registration
from lingua_scheduler.protocol.ids import Language, NodeId, TenantId, language, valid_id
from lingua_scheduler.protocol.node import (
    Capability,
    LanguageCapabilities,
    LanguagePair,
    NodeRegister,
    ResourceUsage,
)


class SchemaError(Exception):
    """A registration that cannot be accepted, and which field is why."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field


@dataclass(frozen=True, slots=True)
class Identity:
    """What the scheduler gives a node that does not say so itself."""

    node_id: NodeId
    capacity: int


def read_registration(message: NodeRegister, default: Identity) -> Registration:
    """SchemaError where a field is at fault."""
    for field in ("version", "platform"):
        if len(getattr(message, field)) > TEXT_CHARS_MAX:
            raise SchemaError(field, f"longer than {TEXT_CHARS_MAX} characters")
    if message.node_id is not None and not valid_id(message.node_id):
        raise SchemaError("node_id", "1 to 128 of A-Z a-z 0-9 . _ -, a letter or digit first")
    if message.zone and not valid_id(message.zone):
        raise SchemaError("zone", "1 to 128 of A-Z a-z 0-9 . _ -, a letter or digit first")
    if message.capacity is not None and not 1 <= message.capacity <= CAPACITY_MAX:
        raise SchemaError("capacity", f"{message.capacity} is not within 1 to {CAPACITY_MAX}")
    active = message.active_jobs or []
    if len(active) > ACTIVE_JOBS_MAX or not all(valid_id(job.job_id) for job in active):
        raise SchemaError("active_jobs", f"at most {ACTIVE_JOBS_MAX}, each with a valid job_id")
    return Registration(
        node_id=NodeId(message.node_id) if message.node_id is not None else default.node_id,
        protocol=_protocol(message.protocol_version),
        capacity=message.capacity if message.capacity is not None else default.capacity,
        languages=read_languages(message.language_capabilities),
        services=read_services(message.capability_by_type, message.language_capabilities),
        accept_public_jobs=message.accept_public_jobs,
        binary_audio=bool(message.binary_audio),
        zone=message.zone or "",
        message=message,
        tenants=_tenants(message),
    )


def _tenants(message: NodeRegister) -> tuple[TenantId, ...] | None:
    """None where the node is for everybody."""
    if message.accept_public_jobs:
        return None
    named = message.tenants or []
    if len(named) > TENANTS_MAX or not all(valid_id(one) for one in named):
        raise SchemaError(
            "tenants", f"at most {TENANTS_MAX}, each 1 to 128 of A-Z a-z 0-9 . _ -, a letter or digit first"
        )
    return tuple(TenantId(one) for one in dict.fromkeys(named))


def _protocol(version: str | None) -> Literal[1, 2]:
    """1 where it is absent or no number; a newer node speaks 2 with us."""
    major = (version or "1").split(".")[0]
    return 2 if major.isascii() and major.isdigit() and int(major[:4]) >= 2 else 1


def read_languages(told: LanguageCapabilities) -> Languages:
    """SchemaError where a list is empty, too long, or has something in it that is no language."""
    asr = _languages("asr_languages", told.asr_languages)
    semantic = _languages("semantic_languages", told.semantic_languages)
    tts = _languages("tts_languages", told.tts_languages)
    pairs = _pairs(told.supported_language_pairs) if told.supported_language_pairs else None
    served = len(asr) * len(tts)
    if pairs is not None:
        served = sum(src in asr and tgt in tts for src, tgt in pairs)
    if not 1 <= served <= PAIRS_MAX:
        raise SchemaError(_path("supported_language_pairs"), f"{served} pairs are served, not 1 to {PAIRS_MAX}")
    return Languages(asr, semantic, tts, pairs)


def _path(field: str) -> str:
    return f"language_capabilities.{field}"


def _languages(field: str, codes: Sequence[str]) -> tuple[Language, ...]:
    if not 1 <= len(codes) <= LANGUAGES_MAX:
        raise SchemaError(_path(field), f"{len(codes)} languages, not 1 to {LANGUAGES_MAX}")
    return tuple(dict.fromkeys(_language(field, code) for code in codes))


def _language(field: str, code: str) -> Language:
    found = language(code)
    if found is None:
        raise SchemaError(_path(field), f"{code[:32]!r} is not a language code")
    return found


def _pairs(told: Sequence[LanguagePair]) -> tuple[tuple[Language, Language], ...]:
    field = "supported_language_pairs"
    if len(told) > PAIRS_MAX:
        raise SchemaError(_path(field), f"more than {PAIRS_MAX}")
    return tuple(dict.fromkeys((_language(field, pair.src), _language(field, pair.tgt)) for pair in told))


def read_services(told: Sequence[Capability] | None, languages: LanguageCapabilities | None) -> tuple[str, ...]:
    """The service types that are ready. A node that lists none is taken at its languages' word."""
    if not told:
        semantic = ("semantic",) if languages is not None and languages.semantic_core_ready else ()
        return (*REQUIRED_SERVICES, *semantic)
    ready = (one.type.lower() for one in told if one.ready)
    return tuple(dict.fromkeys(name for name in ready if valid_id(name)))[:SERVICES_MAX]


def read_load(usage: ResourceUsage) -> NodeLoad:
    """Tolerant: what is odd is taken as not reported."""
    return NodeLoad(
        running_jobs=max(0, usage.running_jobs or 0),
        queue_length=max(0, usage.gpu_queue_length or 0),
        cpu_percent=_percent(usage.cpu_percent),
        mem_percent=_percent(usage.mem_percent),
        gpu_percent=_percent(usage.gpu_percent),
        gpu_mem_percent=_percent(usage.gpu_mem_percent),
    )


def _percent(value: float | None) -> float | None:
    return value if value is not None and 0.0 <= value <= 100.0 else None
