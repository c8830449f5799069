"""Each checker catches a bug that was planted for it: production code with one thought forgotten."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from lingua_scheduler.core.jobs import takeovers
from lingua_scheduler.core.jobs.book import Book
from lingua_scheduler.core.jobs.job import Job
from lingua_scheduler.core.session.backlog import Backlog
from lingua_scheduler.core.session.buffer import AudioBuffer
from lingua_scheduler.core.session.events import Send
from lingua_scheduler.core.session.intake import Intake
from lingua_scheduler.core.session.listening import Listening
from lingua_scheduler.core.session.ordering import ResultOrder, Slot
from lingua_scheduler.core.utterance import Outcome, Translated
from lingua_scheduler.protocol.ids import NodeId
from lingua_scheduler.protocol.messages import AudioAck
from lingua_scheduler.protocol.node import JobResult
from lingua_scheduler.runtime.timers import Timers
from lingua_scheduler.scheduler.nodes import Nodes
from lingua_scheduler.scheduler.sessions import Sessions
from lingua_scheduler.sim.plan import Size, make_plan
from lingua_scheduler.sim.runner import judge
from lingua_scheduler.store.model.world import World

# pyright: reportPrivateUsage=false

Plant = Callable[[pytest.MonkeyPatch], None]
SEEDS = 200
CALM = Size(faults=(), minutes=1.0)
DYING = Size(faults=("kill_instance",), minutes=1.5)
REPEATING = Size(faults=("repeat_client",), minutes=1.5)
TWO_WAY = Size(faults=(), minutes=1.0, two_way=1.0)
LOSSY = Size(faults=("redis_lossy", "kill_instance", "cut_node"), minutes=1.5, fault_every_ms=4_000)


def _do_nothing(*_: object) -> None: ...


def _lose_every_fifth_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audio is counted and not kept."""
    append, count = AudioBuffer.append, [0]

    def forget(self: AudioBuffer, audio: bytes) -> None:
        count[0] += 1
        append(self, audio[9:] if count[0] % 5 == 0 and len(audio) > 9 else audio)

    monkeypatch.setattr(AudioBuffer, "append", forget)


def _conclude_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outcome is not remembered: a slot can be concluded again and its result is sent again."""
    conclude = Backlog.conclude

    def twice(self: Backlog, slot: Any, outcome: Any, now_ms: int, out: list[Any]) -> None:
        before = len(out)
        conclude(self, slot, outcome, now_ms, out)
        out.extend(out[before:])

    monkeypatch.setattr(Backlog, "conclude", twice)


def _one_slot_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """An off-by-one in what counts as full."""
    free_slots = World.free_slots

    def one_more(self: World, node_id: NodeId) -> int:
        return free_slots(self, node_id) + 1

    monkeypatch.setattr(World, "free_slots", one_more)


def _lose_the_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No deadline is ever kept."""
    monkeypatch.setattr(Timers, "wake_at", _do_nothing)


def _never_give_slots_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished job keeps its slot."""
    monkeypatch.setattr(World, "give_back", _do_nothing)


def _keep_ended_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that ended is not forgotten."""
    monkeypatch.setattr(Sessions, "ended", _do_nothing)


def _keep_users_of_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who used a node is remembered for good."""
    monkeypatch.setattr(Nodes, "forget_owner", _do_nothing)


def _forget_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Concluded jobs stay in the list of open ones."""
    monkeypatch.setattr(Sessions, "disown_job", _do_nothing)


def _deliver_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result does not wait for those of the utterances before it."""

    def release(self: ResultOrder) -> list[Slot]:
        released = [slot for slot in self._queue if slot.outcome is not None]
        self._queue[:] = [slot for slot in self._queue if slot.outcome is None]
        return released

    monkeypatch.setattr(ResultOrder, "release", release)


def _acknowledge_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that was heard is acknowledged, whether its results are there or not."""

    def acknowledge(self: Backlog, intake: Intake, out: list[Any]) -> None:
        if self._identity.protocol != "1.0" and self._voice.is_connected and intake.seqs.highest > self._acked_seq:
            self._acked_seq = intake.seqs.highest
            out.append(Send(AudioAck(session_id=self._identity.speaker.session_id, seq=self._acked_seq)))

    monkeypatch.setattr(Backlog, "acknowledge_audio", acknowledge)


def _believe_what_was_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a result says that it contains is not heeded: it contains what it was to contain."""

    def account(_: Book, job: Job, __: JobResult) -> bool:
        job.unsaid = frozenset()
        return False

    monkeypatch.setattr(takeovers, "account", account)


def _hear_repeated_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fence against repeated chunk numbers is forgotten."""

    def is_new(self: Listening, seq: int, out: list[Any]) -> bool:
        del self, seq, out
        return True

    monkeypatch.setattr(Listening, "_is_new", is_new)


def _believe_in_one_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two who speak in turn the languages that the session was opened with are told, not what the node heard."""
    conclude = Backlog.conclude

    def one_way(self: Backlog, slot: Slot, outcome: Outcome, now_ms: int, out: list[Any]) -> None:
        if isinstance(outcome, Translated):
            heard = msgspec.structs.replace(outcome.result, src_lang=slot.utterance.speaker.src_lang, tgt_lang=None)
            outcome = replace(outcome, result=heard)
        conclude(self, slot, outcome, now_ms, out)

    monkeypatch.setattr(Backlog, "conclude", one_way)


BUGS: dict[str, tuple[Plant, Size, str]] = {
    "audio is lost": (_lose_every_fifth_chunk, CALM, "R1"),
    "a result is sent twice": (_conclude_twice, CALM, "R2"),
    "one slot too many": (_one_slot_too_many, CALM, "R4"),
    "timers are lost": (_lose_the_timers, CALM, "R5"),
    "slots are never given back": (_never_give_slots_back, CALM, "R7"),
    "ended sessions are kept": (_keep_ended_sessions, CALM, "R7"),
    "users of nodes are kept": (_keep_users_of_nodes, CALM, "R7"),
    "concluded jobs are kept": (_forget_jobs, CALM, "R7"),
    "results come in any order": (_deliver_as_they_come, CALM, "R3"),
    "audio is acknowledged too early": (_acknowledge_too_early, DYING, "R1"),
    "repeated chunks are heard twice": (_hear_repeated_chunks, REPEATING, "R2"),
    "two who speak in turn have one direction": (_believe_in_one_direction, TWO_WAY, "R0"),
    "what results contain is not heeded": (_believe_what_was_expected, LOSSY, "R2"),
}

TRY_FIRST = {"what results contain is not heeded": 168}
"""Where a search from the first seed takes a minute."""


def _breaks(seed: int, size: Size, rule: str) -> bool:
    return any(one.rule == rule for one in judge(make_plan(seed, size), checks=False).violations)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str):
    """A seed counts that breaks the rule with the bug and keeps it without."""
    plant, size, rule = BUGS[bug]
    begin = TRY_FIRST.get(bug, 0)
    for seed in (*range(begin, SEEDS), *range(begin)):
        with pytest.MonkeyPatch.context() as planted:
            plant(planted)
            is_found = _breaks(seed, size, rule)
        if is_found and not _breaks(seed, size, rule):
            return
    raise AssertionError(f"{bug}: no seed of {SEEDS} found it")
