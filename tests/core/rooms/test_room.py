"""One room as an instance sees it: pictures in whatever order, who hears whom, when to look and whom to drop."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.core.rooms import events as ev
from lingua_scheduler.core.rooms.machine import RoomMachine
from lingua_scheduler.core.rooms.room import Listeners, Member, Room
from lingua_scheduler.protocol.ids import InstanceId, Language, RoomId, SessionId
from lingua_scheduler.protocol.messages import RoomExpired, RoomMembers

LOOK_MS, WINDOW_MS = 15_000, 60_000
HERE, THERE = InstanceId("here"), InstanceId("there")
ANA, BEA, CLEO, DAN = (SessionId(name) for name in ("ana", "bea", "cleo", "dan"))


def member(session: SessionId, lang: str | None, instance: InstanceId = HERE, at_ms: int = 0) -> Member:
    return Member(session, instance, at_ms, preferred_lang=Language(lang) if lang else None)


def room(version: int, *members: Member) -> Room:
    return Room(RoomId("room-a"), "123456", version, members)


class Scene:
    def __init__(self, *seated: SessionId) -> None:
        self.machine = RoomMachine(look_ms=LOOK_MS, resume_window_ms=WINDOW_MS)
        self.now_ms = 1000
        for session in seated:
            self.handle(ev.SessionSeated(session))

    def handle(self, event: ev.RoomEvent) -> list[ev.RoomEffect]:
        effects = self.machine.handle(event, self.now_ms)
        if not isinstance(event, ev.SessionSeated):  # the picture follows
            self.machine.check()
        return effects

    def see(self, seen: Room, expires_in_ms: int | None = None) -> list[ev.RoomEffect]:
        return self.handle(ev.RoomSeen(seen, expires_in_ms))

    def wait(self, ms: int) -> list[ev.RoomEffect]:
        until_ms, effects = self.now_ms + ms, list[ev.RoomEffect]()
        while (deadline_ms := self.machine.next_deadline_ms()) is not None and deadline_ms <= until_ms:
            self.now_ms = deadline_ms
            effects += self.handle(ev.TimeReached())
        self.now_ms = until_ms
        return effects


def audiences(effects: Sequence[ev.RoomEffect]) -> dict[str, Listeners | None]:
    return {one.session_id: one.listeners for one in effects if isinstance(one, ev.SetAudience)}


def told(effects: Sequence[ev.RoomEffect]) -> list[tuple[str, int]]:
    """To whom, and how many members."""
    tells = [one for one in effects if isinstance(one, ev.TellMember)]
    return [(one.session_id, len(one.message.members)) for one in tells if isinstance(one.message, RoomMembers)]


def test_each_hears_the_others_in_their_own_language_once_and_who_has_none_hears_nothing():
    scene = Scene(ANA, BEA)
    full = room(4, member(ANA, "en"), member(BEA, "es"), member(CLEO, "es", THERE), member(DAN, None, THERE))
    effects = scene.see(full)
    assert told(effects) == [(ANA, 4), (BEA, 4)]
    assert audiences(effects) == {ANA: (("es", (BEA, CLEO)),), BEA: (("en", (ANA,)), ("es", (CLEO,)))}


def test_alone_is_as_a_single_session_and_among_people_without_a_language_nobody_hears():
    scene = Scene(ANA)
    assert audiences(scene.see(room(1, member(ANA, "en")))) == {ANA: None}
    assert audiences(scene.see(room(2, member(ANA, "en"), member(DAN, None, THERE)))) == {ANA: ()}
    assert audiences(scene.see(room(3, member(ANA, "en")))) == {ANA: None}


def test_an_older_picture_changes_nothing():
    scene = Scene(ANA)
    scene.see(room(5, member(ANA, "en"), member(BEA, "es", THERE)))
    assert scene.see(room(4, member(ANA, "en"))) == []
    assert scene.see(room(5, member(ANA, "en"))) == []


def test_a_change_that_does_not_touch_who_hears_whom_is_told_and_settles_nothing():
    scene = Scene(ANA)
    bea = member(BEA, "es", THERE)
    scene.see(room(1, member(ANA, "en"), bea))
    effects = scene.see(room(2, member(ANA, "en"), replace(bea, voices={ANA: False})))
    assert told(effects) == [(ANA, 2)]
    assert audiences(effects) == {}


def test_the_last_who_leaves_ends_the_machine():
    scene = Scene(ANA, BEA)
    scene.see(room(1, member(ANA, "en"), member(BEA, "es")))
    assert scene.handle(ev.SessionUnseated(ANA)) == [ev.SetAudience(ANA, None, None)]
    assert scene.handle(ev.SessionUnseated(BEA)) == [ev.SetAudience(BEA, None, None), ev.ForgetRoom()]
    assert scene.machine.next_deadline_ms() is None
    assert scene.see(room(9, member(ANA, "en"))) == []


def test_the_store_is_asked_now_and_then_and_when_the_room_should_end():
    scene = Scene(ANA)
    scene.see(room(1, member(ANA, "en")), expires_in_ms=40_000)
    assert scene.wait(LOOK_MS - 1) == []
    assert scene.wait(1) == [ev.LookAtRoom()]
    scene.see(room(1, member(ANA, "en")), expires_in_ms=700)
    assert scene.wait(700) == [ev.LookAtRoom()]
    assert scene.wait(LOOK_MS) == [ev.LookAtRoom()], "an answer that never came"
    effects = scene.handle(ev.RoomEnded())
    assert ev.TellMember(ANA, RoomExpired(room_code="123456")) in effects
    assert effects[-1] == ev.ForgetRoom()


def test_until_it_may_have_expired_a_room_is_known_to_live():
    scene = Scene(ANA)
    scene.see(room(1, member(ANA, "en")))
    assert not scene.machine.lives_at(scene.now_ms), "the picture did not say"
    scene.see(room(1, member(ANA, "en")), expires_in_ms=700)
    assert scene.machine.lives_at(scene.now_ms + 699)
    assert not scene.machine.lives_at(scene.now_ms + 700)


def test_speech_shows_that_a_picture_is_old():
    scene = Scene(ANA)
    scene.see(room(3, member(ANA, "en")))
    assert scene.handle(ev.SpeechNoted(3)) == []
    assert scene.handle(ev.SpeechNoted(4)) == [ev.LookAtRoom()]


def test_members_of_a_dead_instance_have_the_resume_window():
    scene = Scene(ANA)
    scene.see(room(1, member(ANA, "en"), member(BEA, "es", THERE), member(CLEO, "pt", THERE)))
    scene.handle(ev.InstanceLost(THERE))
    scene.handle(ev.InstanceLost(InstanceId("never seen")))
    dropped = [one for one in scene.wait(WINDOW_MS - 1) if isinstance(one, ev.DropMember)]
    assert dropped == []
    scene.see(room(2, member(ANA, "en"), member(BEA, "es", HERE), member(CLEO, "pt", THERE)))
    dropped = [one for one in scene.wait(1) if isinstance(one, ev.DropMember)]
    assert dropped == [ev.DropMember(CLEO, THERE)], "the other has resumed"


def test_voices_are_accepted_until_declined_and_only_among_members():
    both = room(1, member(ANA, "en"), replace(member(BEA, "es"), voices={ANA: False}))
    assert both.accepts_voice(ANA, BEA)
    assert not both.accepts_voice(BEA, ANA)
    assert not both.accepts_voice(ANA, DAN)
    assert not both.accepts_voice(DAN, ANA)


PEOPLE = (ANA, BEA, CLEO, DAN)


def seen(version: int, members: list[Member]) -> ev.RoomSeen:
    return ev.RoomSeen(room(version, *members))


MEMBERS = st.lists(
    st.builds(
        member, st.sampled_from(PEOPLE), st.sampled_from(["en", "es", "pt", None]), st.sampled_from([HERE, THERE])
    ),
    unique_by=lambda one: one.session_id,
)
EVENTS = st.lists(
    st.one_of(
        st.builds(seen, st.integers(1, 20), MEMBERS),
        st.builds(ev.SessionUnseated, st.sampled_from(PEOPLE)),
        st.builds(ev.SpeechNoted, st.integers(1, 20)),
        st.builds(ev.InstanceLost, st.sampled_from([HERE, THERE])),
        st.just(ev.RoomEnded()),
    ),
    max_size=20,
)


@given(EVENTS, st.lists(st.integers(0, 70_000), min_size=20, max_size=20))
def test_whatever_happens_a_speaker_never_hears_itself_and_each_other_hears_it_once(
    events: list[ev.RoomEvent], waits: list[int]
):
    scene = Scene(ANA, BEA)
    scene.see(room(1, member(ANA, "en"), member(BEA, "es")))
    for event, wait_ms in zip(events, waits, strict=False):
        effects = [*scene.handle(event), *scene.wait(wait_ms)]
        for speaker, listeners in audiences(effects).items():
            heard = [session for _, sessions in listeners or () for session in sessions]
            assert speaker not in heard
            assert len(set(heard)) == len(heard)
