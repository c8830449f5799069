"""Rooms in Redis do what the model says, whatever is asked in whatever order."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from lingua_scheduler.core.rooms.room import Member, Room
from lingua_scheduler.protocol.ids import InstanceId, Language, RoomId, SessionId
from lingua_scheduler.store.records import Word
from lingua_scheduler.store.rooms import SESSION_GUESSES_MAX, Guesser, Line
from lingua_scheduler.store.store import Store
from tests.store.lockstep import LockStep

EXPIRY_MS = 30 * 60_000
SESSIONS = st.sampled_from([SessionId(f"s{number}") for number in range(4)])
ROOMS = st.sampled_from([RoomId("room-a"), RoomId("room-b")])
CODES = st.sampled_from(["000001", "000002", "999999"])
INSTANCES = st.sampled_from([InstanceId("here"), InstanceId("there")])
LANGUAGES = st.none() | st.sampled_from([Language("es"), Language("pt")])
PASSING = st.sampled_from([1000, 30_000, 61_000, EXPIRY_MS - 5000, EXPIRY_MS + 65_000])


def member(session: str, instance: str = "here", joined_at_ms: int = 1, **facts: Any) -> Member:
    return Member(SessionId(session), InstanceId(instance), joined_at_ms, **facts)


def guesser(session: str, address: str = "address") -> Guesser:
    return Guesser(SessionId(session), address)


class Machine(RuleBasedStateMachine):
    """What can happen to rooms."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.step = LockStep(self.url)

    def teardown(self) -> None:
        self.step.close()

    def _call(self, name: str, *args: Any, **named: Any) -> Any:
        return self.step.call(getattr(self.step.real.rooms, name), getattr(self.step.model.rooms, name), *args, **named)

    @rule(room=ROOMS, session=SESSIONS, codes=st.lists(CODES, min_size=1, max_size=2), language=LANGUAGES)
    def create(self, room: RoomId, session: SessionId, codes: list[str], language: Language | None) -> None:
        if self.step.model.rooms.look(room, expiry_ms=EXPIRY_MS * 9).word is Word.OK and (
            self.step.model.rooms.room_of(session) != room
        ):
            return  # ids are random: no room is made twice
        self._call("create", room, codes, member(session, preferred_lang=language), expiry_ms=EXPIRY_MS)

    @rule(code=CODES, session=SESSIONS, instance=INSTANCES, joined=st.integers(1, 3), language=LANGUAGES)
    def join(self, code: str, session: SessionId, instance: InstanceId, joined: int, language: Language | None) -> None:
        who = member(session, instance, joined, preferred_lang=language, display_name='Ünï | "x"')
        self._call("join", code, who, guesser(session), members_max=3, expiry_ms=EXPIRY_MS)

    @rule(room=ROOMS, session=SESSIONS, only_at=st.none() | INSTANCES)
    def leave(self, room: RoomId, session: SessionId, only_at: InstanceId | None) -> None:
        self._call("leave", room, session, only_at=only_at)

    @rule(room=ROOMS, session=SESSIONS, instance=INSTANCES, language=LANGUAGES)
    def change(self, room: RoomId, session: SessionId, instance: InstanceId, language: Language | None) -> None:
        self._call("change", room, member(session, instance, 2, src_lang=language))

    @rule(room=ROOMS, listener=SESSIONS, speaker=SESSIONS, accepts=st.booleans())
    def accept(self, room: RoomId, listener: SessionId, speaker: SessionId, accepts: bool) -> None:
        self._call("accept", room, listener, speaker, accepts=accepts)

    @rule(room=ROOMS, session=SESSIONS, index=st.none() | st.integers(0, 9), most=st.integers(1, 3))
    def speak(self, room: RoomId, session: SessionId, index: int | None, most: int) -> None:
        line = None if index is None else Line(session, index, "en", "es", "said", "dicho")
        self._call("spoke", room, line, expiry_ms=EXPIRY_MS, lines_max=most)
        self._call("lines", room)

    @rule(room=ROOMS, code=CODES, version=st.integers(1, 9), who=st.lists(SESSIONS, max_size=2, unique=True))
    def restore(self, room: RoomId, code: str, version: int, who: list[SessionId]) -> None:
        rooms = self.step.model.rooms
        if any(rooms.room_of(session) not in {None, room} for session in who):
            return  # who has joined another room meanwhile is no matter of this one
        lost = Room(room, code, version, tuple(member(one, voices={who[0]: True}) for one in who))
        self._call("restore", lost, expiry_ms=EXPIRY_MS)

    @rule(room=ROOMS)
    def look(self, room: RoomId) -> None:
        self._call("look", room, expiry_ms=EXPIRY_MS)

    @rule(by_ms=PASSING)
    def time_passes(self, by_ms: int) -> None:
        self.step.advance(by_ms)


def test_scripts_and_model_agree(redis_urls: str) -> None:
    class OnThisServer(Machine):
        url = redis_urls

    examples = settings().max_examples // 2
    run_state_machine_as_test(OnThisServer, settings=settings(stateful_step_count=30, max_examples=examples))


async def test_wrong_codes_are_counted_for_the_session_and_for_its_address(store: Store):
    rooms = store.rooms
    made = await rooms.create(RoomId("room-a"), ["123456"], member("host"), expiry_ms=EXPIRY_MS)
    assert made.word is Word.OK

    async def guess(session: str, address: str, code: str = "000000") -> Word:
        reply = await rooms.join(code, member(session), guesser(session, address), members_max=32, expiry_ms=EXPIRY_MS)
        return reply.word

    assert [await guess("one", "home") for _ in range(SESSION_GUESSES_MAX)] == [Word.ROOM_NOT_FOUND] * 10
    assert await guess("one", "elsewhere", "123456") is Word.RATE_LIMITED, "the right code does not help any more"
    for number in range(5):
        assert [await guess(f"more-{number}", "home") for _ in range(SESSION_GUESSES_MAX)][-1] is Word.ROOM_NOT_FOUND
    assert await guess("fresh", "home", "123456") is Word.RATE_LIMITED
    assert await guess("fresh", "elsewhere", "123456") is Word.OK


async def test_of_the_lines_the_last_are_kept_and_they_go_with_the_room(store: Store):
    rooms, room = store.rooms, RoomId("room-a")
    await rooms.create(room, ["123456"], member("host"), expiry_ms=EXPIRY_MS)
    for index in range(9):
        line = Line(SessionId("host"), index, "en", "es", "said", "dicho")
        await rooms.spoke(room, line, expiry_ms=EXPIRY_MS, lines_max=6)
    assert [line.index for line in await rooms.lines(room)] == [3, 4, 5, 6, 7, 8]
    await rooms.spoke(room, Line(SessionId("host"), 9, "en", "es", "said", "dicho"), expiry_ms=EXPIRY_MS, lines_max=2)
    assert [line.index for line in await rooms.lines(room)] == [8, 9], "fewer languages need fewer"
    assert (await rooms.look(room, expiry_ms=0)).word is Word.EXPIRED
    assert await rooms.lines(room) == []
    assert await rooms.room_of(SessionId("host")) is None
