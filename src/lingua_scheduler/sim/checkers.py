"""What must hold of every history, said without a glance at how it came about.

| rule | says |
|---|---|
| R1 | audio acknowledged, or of an ordered session, is in a text, or its utterance is told missing, or its end unsaid |
| R2 | every utterance ends once; the client of a session that ended in order got exactly one answer for each |
| R3 | a client gets answers in the order of utterances, but for those whose gap was announced |
| R4 | no node ever has more slots taken than its capacity; where Redis forgot slots, none is given beyond it |
| R5 | when faults have ended, everybody finishes within the bound |
| R6 | nobody ever keeps more than what the work at hand explains |
| R7 | when nothing is going on, nothing is kept |
| R0 | no machine breaks its invariants, nothing raises unnoticed |

A node of protocol 1 keeps short speech, and the end of long speech, without a word: whether it says so later nobody can
know. What one had kept is left out of R1 and of the part of R2 that says nothing is said twice.

An utterance that ended while Redis was away is known to its owner alone. Where that goes before anybody has heard of
it, the next one may cut the same audio elsewhere: what is owed then are answers for its utterances.

`merged` is no answer to where the words went: they must be in another text.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import takewhile

from lingua_scheduler.sim import speech
from lingua_scheduler.sim.history import Event
from lingua_scheduler.sim.run import Run

FAREWELL_MS = 1_000
"""What comes later behind the end of a session is no more from who ended it."""


@dataclass(frozen=True, slots=True)
class Violation:
    rule: str
    what: str
    session: str = ""
    """Whose story explains it; empty: nobody's."""
    at_ms: int = 0

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


@dataclass(slots=True)
class _Utterance:
    index: int
    packets: list[speech.Packet]
    owner: str
    """The instance that cut it."""
    concluded_ms: int = -1
    outcomes: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class _Session:
    """All that the history says of one session."""

    id: str
    client: str = ""
    protocol: str = "1.0"
    over: str = ""
    owners: set[str] = field(default_factory=set[str])
    """The instances that it was at."""
    sent: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    acked: int = -1
    answers: list[Event] = field(default_factory=list[Event])
    answered_ms: dict[int, int] = field(default_factory=dict[int, int])
    """When each utterance was answered first."""
    utterances: dict[int, _Utterance] = field(default_factory=dict[int, _Utterance])
    kept: set[speech.Packet] = field(default_factory=set[speech.Packet])
    """What nodes of protocol 1 have kept to themselves for a while."""
    lacking: set[int] = field(default_factory=set[int])
    """Utterances whose end is in no result, as results say."""
    is_abandoned: bool = False
    """An instance that it was at died, or waited for its client in vain: what that one concluded, another need not."""

    def goes_on_behind(self, at_ms: int) -> bool:
        return any(event.at_ms > at_ms + FAREWELL_MS for event in self.answers)


def check(run: Run) -> list[Violation]:
    """All violations of a run, at most a few of each rule for each session. `sim.run` says what it reads."""
    sessions = _sessions(run)
    found: list[Violation] = []
    for session in sessions.values():
        found += _heard(session)
        found += _answered_once(session) + _said_once(session)
        found += _in_order(session)
    found += [Violation("R4" if "slots" in one else "R6", one) for one in run.excess[:5]]
    found += [Violation("R5", f"{one} has not finished") for one in run.unfinished]
    found += [Violation("R7", one) for one in run.left]
    found += [
        Violation("R0", f"{e.who} {' '.join(str(f) for f in e.facts)}", at_ms=e.at_ms) for e in run.history.of("bug")
    ]
    found += [Violation("R0", one) for one in run.bugs]
    return found


def _sessions(run: Run) -> dict[str, _Session]:
    """Everything of each session that a client opened."""
    sessions: defaultdict[str, _Session] = defaultdict(lambda: _Session(""))
    dead = {event.who for event in run.history.of("killed", "left")}
    for event in run.history.of("opened", "sent", "acked", "result", "missing", "reconnected", "over"):
        _read_client(sessions[event.facts[0]], event)
    for event in run.history.of("lacks"):
        sessions[event.facts[0]].lacking.add(event.facts[1])
    for event in run.history.of("utterance", "concluded", "kept"):
        _read_scheduler(sessions[event.facts[0]], event)
    for one in sessions.values():
        one.is_abandoned = bool(one.owners & dead)
    for event in run.history.of("ended"):
        if sessions[event.facts[0]].goes_on_behind(event.at_ms):
            sessions[event.facts[0]].is_abandoned = True
    sessions.pop("", None)
    return {session_id: one for session_id, one in sessions.items() if one.client}


def _read_client(session: _Session, event: Event) -> None:
    match event.what:
        case "opened":
            session.id, session.protocol = event.facts
            session.client = event.who
        case "sent":
            session.sent[event.facts[1]] = event.facts[2], event.facts[3]
        case "acked":
            session.acked = max(session.acked, event.facts[1])
        case "over":
            session.over = event.facts[1]
        case _:
            session.answers.append(event)
            if event.what != "reconnected" and event.facts[3] != "gap_timeout":
                session.answered_ms.setdefault(event.facts[1], event.at_ms)


def _read_scheduler(session: _Session, event: Event) -> None:
    match event.what:
        case "utterance":
            _, index, _, _, text = event.facts
            if event.at_ms > session.answered_ms.get(index, event.at_ms):
                return  # an owner that was replaced, and does not know it yet
            session.owners.add(event.who)
            session.utterances[index] = _Utterance(index, list(speech.read(text)), event.who)
        case "concluded":
            _, index, _, how = event.facts
            if (utterance := session.utterances.get(index)) is not None:
                utterance.outcomes.append(how)
                utterance.concluded_ms = event.at_ms
        case _:
            session.kept.update(speech.read(event.facts[1]))


def _heard(session: _Session) -> list[Violation]:
    """R1."""
    is_orderly = session.over == "closed"
    said = {p for e in session.answers if e.what == "result" for p in speech.read(e.facts[3] or "")}
    told = {e.facts[1]: e.facts[3] for e in session.answers if e.what == "missing" and e.facts[3] != "gap_timeout"}
    excused = session.kept | {
        packet
        for utterance in session.utterances.values()
        if told.get(utterance.index, "merged") != "merged"
        for packet in utterance.packets
    }
    where = {packet: u.index for u in session.utterances.values() for packet in u.packets}
    # What a node carried over goes with the utterance that took it: the next that has an answer of its own.
    answered = {e.facts[1]: told.get(e.facts[1], "result") for e in session.answers if e.what in ("result", "missing")}
    takers = {index: how for index, how in answered.items() if how != "merged"}
    speaker = int(session.client.rpartition("-")[2])
    found: list[Violation] = []
    for seq, (first, last) in session.sent.items():
        if not (is_orderly or seq <= session.acked):
            continue
        lost = [n for n in range(first, last + 1) if (speaker, n) not in said and (speaker, n) not in excused]
        index = where.get((speaker, lost[0])) if lost else None
        taker = min((one for one in takers if index is not None and _may_take(session, index, one)), default=None)
        if taker is None and not is_orderly and index is not None:
            continue  # its taker was still to be answered when the client gave up
        if index in session.lacking and set(lost) <= {n for _, n in _end_of(session.utterances[index], said)}:
            continue
        if lost and (taker is None or takers[taker] == "result"):
            how = "acknowledged" if seq <= session.acked else "of a session that ended in order"
            outcome = session.utterances[index].outcomes if index is not None else []
            which = f"packets {lost[0]}–{lost[-1]} of {session.client}"
            text = f"{which}, {how}, are in no text (utterance {index}, {outcome})"
            found.append(Violation("R1", text, session.id))
    foreign = {p for p in said if p[0] != speaker}
    if foreign:
        found.append(Violation("R1", f"{session.client} was told what others said: {sorted(foreign)[:3]}", session.id))
    return found[:3]


def _end_of(utterance: _Utterance, said: set[speech.Packet]) -> list[speech.Packet]:
    """The packets behind the last one that is in a text."""
    return list(takewhile(lambda packet: packet not in said, reversed(utterance.packets)))


def _may_take(session: _Session, index: int, other: int) -> bool:
    """Whether `other` may have had to say the end of `index`: not where it was done before that was left."""
    of, by = session.utterances.get(index), session.utterances.get(other)
    return other > index and (of is None or by is None or of.concluded_ms <= by.concluded_ms)


def _answered_once(session: _Session) -> list[Violation]:
    """R2 by index."""
    answers: defaultdict[int, list[str]] = defaultdict(list)
    for event in session.answers:
        if event.what != "reconnected" and not (event.what == "missing" and event.facts[3] == "gap_timeout"):
            answers[event.facts[1]].append(event.what)
    found = [
        Violation("R2", f"utterance {utterance.index} {why}", session.id)
        for utterance in session.utterances.values()
        if (why := _why_not_once(session, utterance, answers.get(utterance.index, [])))
        and not _was_cut_anew(session, utterance)
    ]
    found += [
        Violation("R2", f"an answer for utterance {index}, which nobody said", session.id)
        for index in answers
        if index not in session.utterances
    ]
    return found[:3]


def _why_not_once(session: _Session, utterance: _Utterance, answers: list[str]) -> str:
    """Empty, or what is wrong."""
    if len(utterance.outcomes) > 1 and not session.is_abandoned:
        return f"ended as {utterance.outcomes}"
    if len(answers) > 1:
        return f"was answered with {answers}"
    if session.over != "closed":
        return ""
    if not answers:
        return f"({utterance.outcomes}) was never answered"
    return "" if utterance.outcomes or session.is_abandoned else "never ended"


def _was_cut_anew(session: _Session, utterance: _Utterance) -> bool:
    """Whether its owner went before anybody heard of it: the next one cut the same audio elsewhere and answers that."""
    heard_of = {event.facts[1] for event in session.answers if event.what != "reconnected"}
    if utterance.outcomes or utterance.index in heard_of:
        return False
    others = (one for one in session.utterances.values() if one.owner != utterance.owner and one.index in heard_of)
    return set(utterance.packets) <= {packet for one in others for packet in one.packets}


def _said_once(session: _Session) -> list[Violation]:
    """R2 by words. A cut goes through a packet now and then: a single one may be heard on both sides of it."""
    said: defaultdict[speech.Packet, int] = defaultdict(int)
    for event in session.answers:
        if event.what == "result":
            for packet in speech.read(event.facts[3] or ""):
                said[packet] += 1
    twice = {packet for packet, count in said.items() if count > 1 and packet not in session.kept}
    runs = sorted((who, n) for who, n in twice if {(who, n + 1), (who, n + 2)} <= twice)
    if not runs:
        return []
    text = f"{len(twice)} packets were said twice, {runs[0][1]} and more of {session.client}"
    return [Violation("R2", text, session.id)]


def _in_order(session: _Session) -> list[Violation]:
    """R3."""
    announced: set[int] = set()
    highest, last_seq = -1, 0
    found: list[Violation] = []
    for event in session.answers:
        if event.what == "reconnected":
            continue
        _, index, seq, detail = event.facts
        if event.what == "missing" and detail == "gap_timeout":
            announced.add(index)
            continue
        if index < highest and index not in announced:
            found.append(
                Violation("R3", f"the answer for {index} came after that for {highest}", session.id, event.at_ms)
            )
        highest = max(highest, index)
        if seq is not None:
            if seq <= last_seq:
                found.append(Violation("R3", f"result_seq {seq} came after {last_seq}", session.id, event.at_ms))
            last_seq = max(last_seq, seq)
    return found[:2]
