"""What an attempt asks of the store and tells the node: pure translation of a job into messages."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lingua_scheduler.core.jobs.config import JobsConfig
from lingua_scheduler.core.jobs.job import Job
from lingua_scheduler.core.placement import SelectRequest
from lingua_scheduler.core.utterance import JobSpec
from lingua_scheduler.protocol.audio import samples_to_ms
from lingua_scheduler.protocol.ids import AUTO, InstanceId, JobId, Language, NodeId
from lingua_scheduler.protocol.node import JobAssign


@dataclass(frozen=True, slots=True)
class Avoid:
    """Nodes that should not get this attempt; where `is_soft`, one of them may if nobody else could."""

    nodes: frozenset[NodeId]
    is_soft: bool


def job_key(spec: JobSpec) -> str:
    """The idempotency key `tenant:session:index:translation:tgt_lang:features_hash`."""
    speaker = spec.speaker
    wanted = repr((speaker.features, speaker.pipeline, speaker.mode, speaker.dialect))
    features_hash = hashlib.sha256(wanted.encode()).hexdigest()[:16]
    parts = (speaker.tenant_id, speaker.session_id, str(spec.utterance.index), "translation", spec.tgt_lang)
    return ":".join((*parts, features_hash))


def pairs_of(spec: JobSpec) -> tuple[tuple[Language, Language], ...]:
    """The directed pairs a node must serve: both directions where it is the node that finds out which was spoken."""
    speaker = spec.speaker
    is_open = speaker.mode == "two_way_auto" or speaker.src_lang == AUTO
    if is_open and speaker.lang_a and speaker.lang_b:
        return (speaker.lang_a, speaker.lang_b), (speaker.lang_b, speaker.lang_a)
    return ((speaker.src_lang, spec.tgt_lang),)


def select_request(
    job: Job,
    config: JobsConfig,
    instance_id: InstanceId,
    *,
    wait_ms: int,
    avoid: Avoid,
    affinity: NodeId | None,
) -> SelectRequest:
    spec = job.spec
    return SelectRequest(
        job_id=spec.job_id,
        job_key=job_key(spec),
        attempt=job.attempt,
        session_id=spec.speaker.session_id,
        tenant_id=spec.speaker.tenant_id,
        utterance_index=spec.utterance.index,
        pairs=pairs_of(spec),
        services=spec.speaker.pipeline.services(),
        lease_ms=config.store_lease_ms,
        wait_ms=wait_ms,
        trace_id=spec.speaker.trace_id,
        preferred_instance=instance_id,
        exclude=avoid.nodes,
        exclude_is_soft=avoid.is_soft,
        affinity_node=affinity,
        affinity_wait_ms=config.affinity_wait_ms if affinity else 0,
        bind=_binds(job, config),
    )


def _binds(job: Job, config: JobsConfig) -> Literal["timeout", "max_duration"] | None:
    """What a node may come to keep of the job, as the session's affinity knows it."""
    if not job.may_be_kept(config):
        return None
    return "max_duration" if job.cut(config) == "max_duration" else "timeout"


def assign_message(
    job: Job, config: JobsConfig, *, ahead_samples: int, is_joined: bool, kept: Sequence[JobId]
) -> JobAssign:
    """`job_assign` without its audio, of which the first `ahead_samples` samples were sent before with another job.

    Not `is_joined`: something is missing between them and the utterance. Then they are sent as if they were new,
    because they lie elsewhere than the message could say. `kept`: what else the node has of the session.
    """
    speaker, utterance = job.spec.speaker, job.utterance
    cut = job.cut(config)
    is_second = job.node is not None and job.node.protocol == 2
    ahead_ms = samples_to_ms(ahead_samples, utterance.sample_rate)
    return JobAssign(
        job_id=job.job_id,
        attempt_id=job.attempt,
        session_id=speaker.session_id if is_second else job.node_session,
        utterance_index=utterance.index,
        src_lang=speaker.src_lang,
        tgt_lang=job.spec.tgt_lang,
        pipeline=speaker.pipeline,
        audio="",
        audio_format=utterance.audio_format,
        sample_rate=utterance.sample_rate,
        enable_streaming_asr=speaker.enable_streaming_asr,
        partial_update_interval_ms=speaker.partial_update_interval_ms,
        trace_id=speaker.trace_id,
        group_id=utterance.group_id,
        part_index=utterance.part_index,
        context_text=utterance.context_text or None,
        padding_ms=utterance.padding_ms,
        is_manual_cut=True if cut == "manual" else None,
        is_timeout_triggered=True if cut == "timeout" else None,
        is_max_duration_triggered=True if cut == "max_duration" else None,
        deadline_ms=config.job_timeout_ms if is_second else None,
        carried_audio_ms=ahead_ms or None if is_second and is_joined else None,
        kept_jobs=list(kept) if is_second else None,
        start_samples=max(0, utterance.start_samples - ahead_samples) if is_second else None,
        dialect=speaker.dialect,
        features=speaker.features,
        mode=speaker.mode if speaker.mode == "two_way_auto" else None,
        lang_a=speaker.lang_a,
        lang_b=speaker.lang_b,
        auto_langs=list(speaker.auto_langs) or None,
    )
