"""What each instance tells its peers for the pages, every two seconds: any of them can then show the whole fleet.

Rows are bounded for the fleet as a whole: the more instances there are, the fewer each one tells.
"""

import msgspec

from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.sessions import SessionActor, Sessions
from lingua_scheduler.scheduler.tally import RecentJob, shortened

SESSION_ROWS_MAX = 500
JOB_ROWS_MAX = 200
"""Of the whole fleet, as one instance shows it."""
LANGUAGES_MAX = 100


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A session, without what was said and without the id that a client proves itself with."""

    session: str
    src_lang: str
    tgt_lang: str
    mode: str
    platform: str
    is_connected: bool
    is_v11: bool
    instance_id: str
    jobs_open: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One instance. Counts of `outcomes`, `retries` and `stages` are from its start."""

    instance_id: str
    sessions: int
    clients: int
    """Sessions with a connection at this moment."""
    jobs_open: int
    nodes: int
    is_draining: bool
    languages: dict[str, tuple[int, int]]
    """Sessions that speak each, and that want it."""
    outcomes: dict[str, int]
    retries: dict[str, int]
    stages: dict[str, dict[int, int]]
    """By stage, how many durations in which bucket (`tally.BOUNDS_MS`)."""
    session_rows: list[SessionRow]
    recent_jobs: list[RecentJob]
    """Newest first."""


_decoder = msgspec.json.Decoder(Report)


def encode_report(report: Report) -> bytes:
    return msgspec.json.encode(report)


def decode_report(body: str | bytes) -> Report | None:
    """None where another version wrote what this one cannot read."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError:
        return None


def make_report(context: Context, sessions: Sessions, *, nodes: int, is_draining: bool, instances: int) -> Report:
    """This instance as one of `instances`."""
    actors, tally = sessions.all(), sessions.tally
    share = max(1, instances)
    return Report(
        instance_id=context.instance_id,
        sessions=len(actors),
        clients=sum(actor.client is not None for actor in actors),
        jobs_open=sessions.jobs_open,
        nodes=nodes,
        is_draining=is_draining,
        languages=_languages(actors),
        outcomes=dict(tally.outcomes),
        retries=dict(tally.retries),
        stages={stage: dict(buckets) for stage, buckets in tally.stages.items()},
        session_rows=[_row(actor, context.instance_id) for actor in actors[-max(5, SESSION_ROWS_MAX // share) :]][::-1],
        recent_jobs=list(tally.recent)[-max(5, JOB_ROWS_MAX // share) :][::-1],
    )


def _languages(actors: list[SessionActor]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for actor in actors:
        for language, is_source in ((actor.opening.speaker.src_lang, True), (actor.opening.tgt_lang, False)):
            spoken, wanted = found.get(language, (0, 0))
            found[language] = (spoken + is_source, wanted + (not is_source))
    top = sorted(found.items(), key=lambda item: (-sum(item[1]), item[0]))
    return dict(top[:LANGUAGES_MAX])


def _row(actor: SessionActor, instance_id: InstanceId) -> SessionRow:
    opening = actor.opening
    return SessionRow(
        session=shortened(actor.session_id),
        src_lang=opening.speaker.src_lang,
        tgt_lang=opening.tgt_lang,
        mode=opening.speaker.mode,
        platform=opening.platform,
        is_connected=actor.client is not None,
        is_v11=opening.is_v11,
        instance_id=instance_id,
        jobs_open=len(actor.machine.open_jobs),
    )
