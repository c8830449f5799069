"""From `session_init` or `utterance` to the speaker it describes: what a client may ask for, field by field."""

from dataclasses import dataclass
from typing import Literal

from lingua_scheduler.core.access import Grant
from lingua_scheduler.core.session.config import SessionIdentity
from lingua_scheduler.core.utterance import AudioFormat, Speaker
from lingua_scheduler.protocol.errors import ErrorCode, PeerError
from lingua_scheduler.protocol.ids import AUTO, Language, SessionId, TenantId, TraceId, language, valid_id
from lingua_scheduler.protocol.messages import Pipeline, SessionInit, UtteranceMessage
from lingua_scheduler.runtime.traces import valid_traceparent

OPUS_RATES = frozenset((8000, 12_000, 16_000, 24_000, 48_000))
PCM_RATES = range(8000, 48_001)
PARTIAL_INTERVALS_MS = range(200, 10_001)
AUTO_LANGS_MAX = 16


@dataclass(frozen=True, slots=True)
class Opening:
    """What the client settled when it opened its session."""

    speaker: Speaker
    tgt_lang: Language
    is_v11: bool
    is_binary: bool
    audio_format: AudioFormat | None
    """None: the first chunk decides."""
    sample_rate: int
    platform: str
    traceparent: str = ""
    """The client's span, for those of its utterances to hang below."""
    holder: str = ""
    """Tenant of the token that opened the session: only its tokens resume it. Empty without authentication."""


def identity_of(opening: Opening, epoch_ms: int) -> SessionIdentity:
    """The opening as the session machine knows it; `epoch_ms`: the wall clock at its start."""
    return SessionIdentity(
        speaker=opening.speaker,
        targets=(opening.tgt_lang,),
        epoch_ms=epoch_ms,
        protocol="1.1" if opening.is_v11 else "1.0",
        audio_format=opening.audio_format,
        sample_rate=opening.sample_rate,
        ui_language=opening.platform,
    )


def read_opening(init: SessionInit, session_id: SessionId, trace_id: TraceId, grant: Grant | None = None) -> Opening:
    """Check `session_init`. PeerError INVALID_MESSAGE names the field, NO_AVAILABLE_NODE `auto` without a pair.

    With a grant the tenant is its own, whatever the message says.
    """
    is_v11 = init.protocol_version == "1.1"
    audio_format, sample_rate = check_audio(init.audio_format, init.sample_rate)
    return Opening(
        speaker=_speaker(init, session_id, trace_id, grant.tenant_id if grant is not None else None),
        tgt_lang=_target(init),
        is_v11=is_v11,
        is_binary=is_v11 and init.binary is True,
        audio_format=audio_format,
        sample_rate=sample_rate,
        platform=init.platform[:64],
        traceparent=valid_traceparent(init.traceparent),
        holder=grant.tenant_id if grant is not None else "",
    )


def read_utterance(message: UtteranceMessage, speaker: Speaker) -> tuple[Speaker, Language]:
    """The speaker of one `utterance` message: the session's, with what the message says otherwise."""
    check_audio(message.audio_format, message.sample_rate)
    trace_id = TraceId(message.trace_id) if message.trace_id and valid_id(message.trace_id) else speaker.trace_id
    return _speaker(message, speaker.session_id, trace_id, speaker.tenant_id), _target(message)


def check_audio(audio_format: AudioFormat | None, sample_rate: int | None) -> tuple[AudioFormat | None, int]:
    """Format and rate as declared; the rate is 16 kHz where none was."""
    rate = 16_000 if sample_rate is None else sample_rate
    if rate not in (OPUS_RATES if audio_format == "opus" else PCM_RATES):
        raise PeerError(ErrorCode.INVALID_MESSAGE, f"sample_rate: {rate} Hz is not a rate of {audio_format or 'pcm16'}")
    return audio_format, rate


def directed_pairs(speaker: Speaker, tgt_lang: Language) -> tuple[tuple[Language, Language], ...]:
    """The pairs that a node must serve: both directions in two-way mode."""
    if speaker.mode == "two_way_auto" and speaker.lang_a is not None and speaker.lang_b is not None:
        return (speaker.lang_a, speaker.lang_b), (speaker.lang_b, speaker.lang_a)
    return ((speaker.src_lang, tgt_lang),)


def _speaker(
    init: SessionInit | UtteranceMessage, session_id: SessionId, trace_id: TraceId, tenant_id: TenantId | None = None
) -> Speaker:
    lang_a, lang_b = _optional(init.lang_a, "lang_a"), _optional(init.lang_b, "lang_b")
    src_lang = AUTO if init.src_lang.strip().lower() == AUTO else _required(init.src_lang, "src_lang")
    if (src_lang == AUTO or init.mode == "two_way_auto") and (lang_a is None or lang_b is None):
        reason = "two-way translation" if init.mode == "two_way_auto" else 'src_lang "auto"'
        raise PeerError(ErrorCode.NO_AVAILABLE_NODE, f"{reason} needs lang_a and lang_b")
    if lang_a is not None and lang_a == lang_b:
        raise PeerError(ErrorCode.INVALID_MESSAGE, "lang_a and lang_b are the same language")
    mode: Literal["one_way", "two_way_auto"] = "two_way_auto" if src_lang == AUTO else init.mode or "one_way"
    return Speaker(
        session_id=session_id,
        trace_id=trace_id,
        src_lang=src_lang,
        tenant_id=_tenant(init) if tenant_id is None else tenant_id,
        mode=mode,
        lang_a=lang_a,
        lang_b=lang_b,
        auto_langs=_auto_langs(init.auto_langs),
        dialect=init.dialect,
        features=init.features,
        pipeline=init.pipeline or Pipeline(),
        enable_streaming_asr=init.enable_streaming_asr is True,
        partial_update_interval_ms=_interval(init.partial_update_interval_ms),
    )


def _target(init: SessionInit | UtteranceMessage) -> Language:
    """In two-way mode clients may leave the target to the pair: `lang_b` then names it."""
    if init.tgt_lang.strip().lower() == AUTO and init.lang_b is not None:
        return _required(init.lang_b, "lang_b")
    return _required(init.tgt_lang, "tgt_lang")


def _tenant(init: SessionInit | UtteranceMessage) -> TenantId:
    tenant = init.tenant_id if isinstance(init, SessionInit) else None
    if tenant and not valid_id(tenant):
        raise PeerError(ErrorCode.INVALID_MESSAGE, "tenant_id: 1–128 letters, digits, '.', '_' or '-'")
    return TenantId(tenant or "")


def _auto_langs(texts: list[str] | None) -> tuple[Language, ...]:
    if texts and len(texts) > AUTO_LANGS_MAX:
        raise PeerError(ErrorCode.INVALID_MESSAGE, f"auto_langs: at most {AUTO_LANGS_MAX} languages")
    return tuple(_required(text, "auto_langs") for text in texts or ())


def _interval(asked_ms: int | None) -> int:
    asked_ms = 1000 if asked_ms is None else asked_ms
    return min(max(asked_ms, PARTIAL_INTERVALS_MS.start), PARTIAL_INTERVALS_MS.stop - 1)


def _required(text: str, field: str) -> Language:
    if (found := language(text)) is None:
        raise PeerError(ErrorCode.INVALID_MESSAGE, f"{field}: {text[:20]!r} is not a language code such as en or zh")
    return found


def _optional(text: str | None, field: str) -> Language | None:
    return None if text is None or text == "" else _required(text, field)
