"""What a node says of itself: registration and heartbeat, from its engines' own cards and the state of their lanes."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from lingua_scheduler.node.engines.base import Stage, primary, serves
from lingua_scheduler.node.opus import why_no_opus
from lingua_scheduler.node.workers.host import EngineHost
from lingua_scheduler.protocol.ids import Language
from lingua_scheduler.protocol.node import (
    JOB_PREVIEW,
    Capability,
    InstalledModel,
    InstalledService,
    LanguageCapabilities,
    LanguagePair,
    NmtCapability,
)

_NOT_CONFIGURED = "not configured"


def software_version() -> str:
    try:
        return version("lingua-scheduler")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0"


def serves_pair(host: EngineHost, source: Language, target: Language, *, spoken: bool) -> bool:
    """Whether speech in `source` can come out in `target`; the same language is only recognised, and spoken again."""
    if not serves(host.languages(Stage.ASR), source):
        return False
    if spoken and not serves(host.languages(Stage.TTS), target):
        return False
    return primary(source) == primary(target) or host.translates(source, target)


def language_capabilities(host: EngineHost) -> LanguageCapabilities:
    """Languages in the wire's three groups, and the directed pairs that go all the way.

    A pair of one language with itself is among them: listeners in a room may speak the speaker's language. Without a
    repair stage texts pass unchanged, so its languages are the recognised ones; without a voice the translated ones
    stand for the spoken ones, and `capability_by_type` says that nothing is spoken.
    """
    heard = _named(host.languages(Stage.ASR))
    spoken = _named(host.languages(Stage.TTS) or (target for _, target in host.mt_pairs()))
    pairs = [(a, b) for a in heard for b in spoken if serves_pair(host, a, b, spoken=bool(host.languages(Stage.TTS)))]
    return LanguageCapabilities(
        asr_languages=[*heard],
        semantic_languages=[*(_named(host.languages(Stage.SEMANTIC)) or heard)],
        tts_languages=[*spoken],
        nmt_capabilities=[
            NmtCapability(model_id=card.name, supported_pairs=[LanguagePair(src=a, tgt=b) for a, b in card.pairs])
            for card in host.cards
            if card.stage is Stage.MT
        ],
        supported_language_pairs=[LanguagePair(src=a, tgt=b) for a, b in pairs],
        semantic_core_ready=_ready(host, Stage.SEMANTIC),
    )


def capabilities(host: EngineHost) -> list[Capability]:
    """Each type of service, ready or not and why."""
    found: list[Capability] = []
    for stage in Stage:
        lanes = [lane for lane in host.status() if lane.stage is stage]
        # Recognition that translates by itself needs no other engine for it.
        alone = stage is Stage.MT and not lanes and any(card.translates_to for card in host.cards)
        ready = [str(lane.spec) for lane in lanes if lane.ready]
        reason = None if ready or alone else next((lane.reason for lane in lanes), _NOT_CONFIGURED)
        found.append(Capability(type=stage, ready=bool(ready) or alone, reason=reason, ready_impl_ids=ready or None))
    return [*found, Capability(type="tone", ready=False, reason=_NOT_CONFIGURED)]


def advanced_features(host: EngineHost) -> list[str] | None:
    """`job_preview` where a recogniser reads along."""
    return [JOB_PREVIEW] if any(card.streams for card in host.cards if card.stage is Stage.ASR) else None


def services(host: EngineHost) -> list[InstalledService]:
    return [
        InstalledService(
            service_id=str(lane.spec),
            type=lane.stage,
            device=lane.spec.text("device", "cpu"),
            status="running" if lane.ready else "stopped",
        )
        for lane in host.status()
    ]


def models(host: EngineHost) -> list[InstalledModel]:
    return [InstalledModel(model_id=card.name, kind=card.stage, enabled=True) for card in host.cards]


def console_lines(host: EngineHost) -> list[str]:
    """One line for each engine: what it does, with what, and what a person should know of it."""
    lines: list[str] = []
    for lane in host.status():
        if (card := lane.card) is None:
            continue
        served = ", ".join(f"{a}→{b}" for a, b in card.pairs) or ", ".join(card.languages)
        if len(served) > 60:
            served = f"{len(card.pairs) or len(card.languages)} {'pairs' if card.pairs else 'languages'}"
        lines.append(f"{lane.stage}: {card.name} [{served}], {lane.slots} at a time, loaded in {lane.load_ms} ms")
        lines += [f"{lane.stage}: note: {note}" for note in card.notes]
    if (missing := why_no_opus()) is not None:
        lines.append(f"note: {missing}")
    return lines


def _ready(host: EngineHost, stage: Stage) -> bool:
    return any(lane.ready for lane in host.status() if lane.stage is stage)


def _named(languages: Iterable[Language]) -> list[Language]:
    """Each language once, with its form without a region: whoever asks for `pt` is served by `pt-br`."""
    return list(dict.fromkeys(code for one in languages for code in (one, primary(one))))
