"""One room as one instance sees it: which of its sessions are in it, whom they speak to, and when to look again.

Theory of operation
-------------------
The room itself lives in the store; every instance with a member has a picture of it, and one of these machines.

| state | means | ends |
|---|---|---|
| OPEN | some session of this instance is a member | the room ends, or the last of them leaves |
| GONE | `ForgetRoom` was the last effect | never |

Pictures carry a version: an older one than the last changes nothing, whichever way it came. Each newer one is told to
every member here and settles whom it speaks to. Whoever changes the room tells the instances of its members; as such a
message may be lost, the store is asked every `look_ms` all the same, and at once where it is known to be ahead.

Timers:

| timer | means |
|---|---|
| look | the picture may be old, or the room may have expired: only the store knows when it was last spoken in |
| window | the members of a dead instance had time to resume elsewhere: who is still bound to it has left |

Who wins: the store. An expiry that comes due is a question to it, never a decision. Where the store does not know a
room that cannot have expired, it has lost it, and is told what was last seen.

Bounds: members as the room's; lost instances as members. The machine does not know of sockets, Redis, clocks or audio.
"""

from typing import assert_never

from lingua_scheduler.core.rooms import events as ev
from lingua_scheduler.core.rooms.room import Listeners, Member, Room
from lingua_scheduler.protocol.ids import InstanceId, SessionId
from lingua_scheduler.protocol.messages import RoomExpired

Effects = list[ev.RoomEffect]


class RoomMachine:
    """Handles one event at a time; `now_ms` never goes back."""

    def __init__(self, *, look_ms: int, resume_window_ms: int) -> None:
        self._look_ms = look_ms
        self._window_ms = resume_window_ms
        self.room: Room | None = None
        """The newest picture; None before the first."""
        self.seated: dict[SessionId, tuple[Member | None, Listeners | None]] = {}
        """Sessions of this instance, with what their session machines know of their place."""
        self._look_at_ms: int | None = None
        self._lives_until_ms = 0
        self._lost: dict[InstanceId, int] = {}
        self.is_gone = False

    def handle(self, event: ev.RoomEvent, now_ms: int) -> Effects:
        """What is to be done about `event`, in order."""
        out: Effects = []
        if self.is_gone:
            return out
        match event:
            case ev.RoomSeen():
                self._on_seen(event, now_ms, out)
            case ev.SessionSeated(session_id):
                self.seated.setdefault(session_id, (None, None))
            case ev.SessionUnseated(session_id):
                self._unseat(session_id, out)
            case ev.SpeechNoted(version):
                if self.room is not None and version > self.room.version:
                    self._look(now_ms, out)
            case ev.InstanceLost(instance_id):
                if self.room is not None and instance_id in self.room.instances():
                    self._lost.setdefault(instance_id, now_ms + self._window_ms)
            case ev.RoomEnded():
                self._end(out)
            case ev.TimeReached():
                self._on_time(now_ms, out)
            case _:
                assert_never(event)
        return out

    def lives_at(self, now_ms: int) -> bool:
        """Whether the room cannot have expired yet, as far as was last seen: a store without it has lost it."""
        return not self.is_gone and now_ms < self._lives_until_ms

    def next_deadline_ms(self) -> int | None:
        if self.is_gone:
            return None
        deadlines = [*self._lost.values(), *([self._look_at_ms] if self._look_at_ms is not None else [])]
        return min(deadlines, default=None)

    def check(self) -> None:
        """AssertionError where an invariant is broken."""
        assert not self.is_gone or not self.seated
        if self.room is None or self.is_gone:
            return
        sessions = [one.session_id for one in self.room.members]
        assert len(set(sessions)) == len(sessions), "each member once"
        for session_id, (member, listeners) in self.seated.items():
            assert member == self.room.member(session_id), "a session knows its newest place"
            assert listeners == (_listeners(self.room, session_id) if member is not None else None)
        assert set(self._lost) <= self.room.instances(), "a lost instance matters while it has members"

    def _on_seen(self, event: ev.RoomSeen, now_ms: int, out: Effects) -> None:
        if event.expires_in_ms is not None:
            self._look_at_ms = now_ms + max(0, min(event.expires_in_ms, self._look_ms))
            self._lives_until_ms = now_ms + event.expires_in_ms
        elif self._look_at_ms is None:
            self._look_at_ms = now_ms + self._look_ms
        if self.room is not None and event.room.version <= self.room.version:
            return
        self.room = event.room
        self._lost = {one: at for one, at in self._lost.items() if one in event.room.instances()}
        members = event.room.to_wire()
        for session_id in list(self.seated):
            member = event.room.member(session_id)
            self._place(session_id, member, out)
            if member is not None:
                out.append(ev.TellMember(session_id, members))

    def _place(self, session_id: SessionId, member: Member | None, out: Effects) -> None:
        assert self.room is not None
        place = (member, _listeners(self.room, session_id) if member is not None else None)
        if self.seated[session_id] != place:
            self.seated[session_id] = place
            out.append(ev.SetAudience(session_id, *place))

    def _unseat(self, session_id: SessionId, out: Effects) -> None:
        if self.seated.pop(session_id, None) is None:
            return
        out.append(ev.SetAudience(session_id, None, None))
        if not self.seated:
            self._forget(out)

    def _look(self, now_ms: int, out: Effects) -> None:
        self._look_at_ms = now_ms + self._look_ms
        out.append(ev.LookAtRoom())

    def _on_time(self, now_ms: int, out: Effects) -> None:
        if self._look_at_ms is not None and now_ms >= self._look_at_ms:
            self._look(now_ms, out)
        for instance_id in [one for one, at in self._lost.items() if now_ms >= at]:
            del self._lost[instance_id]
            members = self.room.members if self.room is not None else ()
            out += [ev.DropMember(one.session_id, instance_id) for one in members if one.instance_id == instance_id]

    def _end(self, out: Effects) -> None:
        code = self.room.digits if self.room is not None else ""
        for session_id in list(self.seated):
            del self.seated[session_id]
            out.append(ev.SetAudience(session_id, None, None))
            out.append(ev.TellMember(session_id, RoomExpired(room_code=code)))
        self._forget(out)

    def _forget(self, out: Effects) -> None:
        self.is_gone = True
        out.append(ev.ForgetRoom())


def _listeners(room: Room, session_id: SessionId) -> Listeners | None:
    """None where nobody else is there: as a single session."""
    return None if len(room.members) == 1 else room.listeners(session_id)
