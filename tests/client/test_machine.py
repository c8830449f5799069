"""The client's machine, step by step: what it sends, tells and gives up, and when."""

import random

import pytest

from lingua_scheduler.client import events as ev
from lingua_scheduler.client.machine import ClientMachine, Limits, Phase
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.codec import BinaryChunk, BinaryPing
from lingua_scheduler.protocol.errors import ErrorCode
from tests.client.model import SESSION_ID, init_ack, translation

INIT = wire.SessionInit(client_version="t", platform="t", src_lang="en", tgt_lang="pt", protocol_version="1.1")
LOST = ev.SocketLost("the network went away")


def machine(limits: Limits | None = None, addresses: int = 1) -> ClientMachine:
    return ClientMachine(INIT, limits or Limits(), random.Random(1), epoch_ms=1_000_000, addresses=addresses)


def opened(ack: wire.SessionInitAck | None = None, limits: Limits | None = None) -> ClientMachine:
    """Live since 0 ms."""
    made = machine(limits)
    made.handle(ev.Started(), 0)
    made.handle(ev.SocketOpened(), 0)
    made.handle(ev.MessageArrived(ack or init_ack()), 0)
    return made


def resumed(made: ClientMachine, now_ms: int, next_seq: int, replayed: int = 0) -> list[ev.ClientEffect]:
    """Let the machine reconnect from `AWAY`."""
    at_ms = made.next_deadline_ms()
    assert at_ms is not None
    assert made.handle(ev.TimeReached(), max(at_ms, now_ms)) == [ev.Dial()]
    made.handle(ev.SocketOpened(), at_ms)
    ack = wire.SessionResumeAck(session_id=SESSION_ID, resume_token="token-1", next_seq=next_seq, replayed=replayed)
    return made.handle(ev.MessageArrived(ack), at_ms)


def said(effects: list[ev.ClientEffect]) -> list[object]:
    return [effect.message for effect in effects if isinstance(effect, ev.Send)]


def error_of(effects: list[ev.ClientEffect]) -> tuple[ErrorCode, str]:
    end = effects[-1]
    assert isinstance(end, ev.End)
    assert end.error is not None
    return end.error.code, str(end.error)


def chunk(seq: int, audio: bytes, *, is_final: bool = False, at_ms: int = 0) -> BinaryChunk:
    return BinaryChunk(SESSION_ID, seq, 1_000_000 + at_ms, is_final, audio)


def test_a_session_is_opened_and_told():
    made = machine()

    assert made.handle(ev.Started(), 0) == [ev.Dial()]
    assert made.handle(ev.SocketOpened(), 5) == [ev.Send(INIT)]
    assert made.handle(ev.MessageArrived(init_ack()), 9) == [ev.Tell(init_ack())]


def test_audio_spoken_before_the_session_is_open_goes_out_first():
    made = machine()
    made.handle(ev.Started(), 0)
    assert made.handle(ev.AudioSpoken(b"early", is_final=False), 1) == []
    made.handle(ev.SocketOpened(), 2)

    assert said(made.handle(ev.MessageArrived(init_ack()), 3)) == [chunk(0, b"early", at_ms=1)]


def test_without_binary_frames_audio_travels_as_base64():
    made = opened(init_ack(use_binary_frame=False))

    sent = said(made.handle(ev.AudioSpoken(b"abc", is_final=True), 7))

    expected = wire.AudioChunk(
        session_id=SESSION_ID, seq=0, is_final=True, payload="YWJj", client_timestamp_ms=1_000_007
    )
    assert sent == [expected]


@pytest.mark.parametrize(
    ("events", "code", "text"),
    [
        ([ev.Started(), ev.SocketLost("no scheduler answers")], ErrorCode.WS_DISCONNECTED, "no scheduler answers"),
        ([ev.Started(), ev.SocketOpened(), LOST], ErrorCode.WS_DISCONNECTED, "the network went away"),
        (
            [
                ev.Started(),
                ev.SocketOpened(),
                ev.MessageArrived(wire.ErrorMessage(code=ErrorCode.NO_AVAILABLE_NODE, message="no pair")),
            ],
            ErrorCode.NO_AVAILABLE_NODE,
            "no pair",
        ),
    ],
)
def test_a_session_that_cannot_be_opened_fails_with_the_reason(
    events: list[ev.ClientEvent], code: ErrorCode, text: str
):
    made = machine()
    effects = [effect for event in events for effect in made.handle(event, 0)]

    assert error_of(effects) == (code, text)
    assert made.phase is Phase.ENDED


def test_the_next_address_is_tried_where_one_does_not_answer():
    made = machine(addresses=3)

    assert made.handle(ev.Started(), 0) == [ev.Dial()]
    assert made.handle(ev.SocketLost("refused"), 5) == [ev.Dial()]
    made.handle(ev.SocketOpened(), 10)
    assert [type(one) for one in made.handle(ev.TimeReached(), 10_010)] == [ev.HangUp, ev.Dial], (
        "it accepts, and is mute"
    )
    assert error_of(made.handle(ev.SocketLost("refused"), 10_020)) == (ErrorCode.WS_DISCONNECTED, "refused")


@pytest.mark.parametrize("steps", [1, 2])
def test_a_scheduler_that_does_not_answer_is_given_up(steps: int):
    made = machine()
    for event in [ev.Started(), ev.SocketOpened()][:steps]:
        made.handle(event, 0)

    assert made.next_deadline_ms() == 10_000
    assert made.handle(ev.TimeReached(), 9_999) == []
    assert error_of(made.handle(ev.TimeReached(), 10_000)) == (
        ErrorCode.WS_DISCONNECTED,
        "the scheduler did not answer in time",
    )


def test_a_lost_connection_is_resumed_and_unheard_audio_sent_again():
    made = opened()
    made.handle(ev.AudioSpoken(b"one", is_final=True), 0)
    made.handle(ev.AudioSpoken(b"two", is_final=False), 0)
    made.handle(ev.MessageArrived(wire.AudioAck(session_id=SESSION_ID, seq=0)), 0)
    assert made.handle(LOST, 100) == [ev.Tell(ev.Disconnected("the network went away"))]
    made.handle(ev.AudioSpoken(b"three", is_final=False), 150)

    effects = resumed(made, 100, next_seq=1, replayed=2)

    assert effects[0] == ev.Tell(ev.Reconnected(2))
    assert said(effects) == [chunk(1, b"two"), chunk(2, b"three", at_ms=150)]


def test_what_the_scheduler_has_heard_is_not_sent_again():
    made = opened()
    made.handle(ev.AudioSpoken(b"one", is_final=False), 0)
    made.handle(ev.AudioSpoken(b"two", is_final=False), 0)
    made.handle(LOST, 0)

    assert said(resumed(made, 0, next_seq=2)) == []


def test_each_resume_uses_the_newest_token():
    made = opened()
    made.handle(LOST, 0)
    resumed(made, 0, next_seq=0)
    made.handle(LOST, 1000)
    at_ms = made.next_deadline_ms()
    assert at_ms is not None
    made.handle(ev.TimeReached(), at_ms)

    resume = wire.SessionResume(
        session_id=SESSION_ID, resume_token="token-1", last_result_seq=0, acked_seq=-1, answered=[], memo=""
    )
    assert said(made.handle(ev.SocketOpened(), at_ms)) == [resume]


def test_who_comes_back_says_what_it_has_as_the_scheduler_may_have_lost_it():
    """Redis lost its last writes: the next instance answered an utterance that its client had the result of."""
    made = opened()
    for audio in (b"one", b"two"):
        made.handle(ev.AudioSpoken(audio, is_final=True), 0)
    for index, speaker in ((0, SESSION_ID), (7, "another in the room")):
        result = wire.MissingResult(
            session_id=speaker, utterance_index=index, reason="no_speech", created_at_ms=0, result_seq=index + 1
        )
        made.handle(ev.MessageArrived(result), 0)
    made.handle(ev.MessageArrived(wire.AudioAck(session_id=SESSION_ID, seq=0)), 0)
    made.handle(LOST, 1000)
    at_ms = made.next_deadline_ms()
    assert at_ms is not None
    made.handle(ev.TimeReached(), at_ms)

    (resume,) = said(made.handle(ev.SocketOpened(), at_ms))
    assert isinstance(resume, wire.SessionResume)
    assert (resume.acked_seq, resume.answered) == (0, [0])


def test_attempts_to_reconnect_grow_apart_and_end_with_the_window():
    made = opened(init_ack(resume_window_ms=20_000))
    now_ms, waits = 0, list[int]()
    effects = made.handle(LOST, now_ms)
    while not any(isinstance(effect, ev.End) for effect in effects):
        at_ms = made.next_deadline_ms()
        assert at_ms is not None
        waits.append(at_ms - now_ms)
        now_ms = at_ms
        effects = made.handle(ev.TimeReached(), now_ms)
        if effects == [ev.Dial()]:
            effects = made.handle(ev.SocketLost("refused"), now_ms)

    assert now_ms == 20_000
    assert 125 <= waits[0] <= 250
    assert all(125 <= wait <= 5000 for wait in waits[:-1])
    assert waits[4] > waits[0]
    assert error_of(effects) == (ErrorCode.WS_DISCONNECTED, "the scheduler could not be reached for 20 s")


def test_without_a_token_a_lost_connection_ends_the_session():
    made = opened(init_ack(resume_token=None, protocol_version="1.0"))

    code, text = error_of(made.handle(LOST, 0))

    assert code is ErrorCode.WS_DISCONNECTED
    assert "cannot resume" in text


def test_a_session_that_the_scheduler_forgot_is_over():
    made = opened()
    made.handle(LOST, 0)
    at_ms = made.next_deadline_ms()
    assert at_ms is not None
    made.handle(ev.TimeReached(), at_ms)
    made.handle(ev.SocketOpened(), at_ms)
    unknown = wire.ErrorMessage(code=ErrorCode.INVALID_SESSION, message="unknown session")

    assert error_of(made.handle(ev.MessageArrived(unknown), at_ms)) == (ErrorCode.INVALID_SESSION, "unknown session")


def test_a_scheduler_that_is_busy_while_resuming_is_asked_again():
    made = opened()
    made.handle(LOST, 0)
    at_ms = made.next_deadline_ms()
    assert at_ms is not None
    made.handle(ev.TimeReached(), at_ms)
    made.handle(ev.SocketOpened(), at_ms)
    busy = wire.ErrorMessage(code=ErrorCode.SCHEDULER_DEPENDENCY_DOWN, message="Redis is down")

    assert isinstance(made.handle(ev.MessageArrived(busy), at_ms)[0], ev.HangUp)
    assert made.phase is Phase.AWAY


def test_a_repeated_result_is_acknowledged_and_not_told_twice():
    made = opened()
    first = translation(0, 1)

    assert made.handle(ev.MessageArrived(first), 0) == [
        ev.Send(wire.ResultAck(session_id=SESSION_ID, result_seq=1)),
        ev.Tell(first),
    ]
    assert made.handle(ev.MessageArrived(first), 0) == [
        ev.Send(wire.ResultAck(session_id=SESSION_ID, result_seq=1)),
    ]


def test_results_of_an_older_scheduler_are_told_without_acknowledgement():
    made = opened(init_ack(resume_token=None, protocol_version="1.0"))
    result = translation(0, None)

    assert made.handle(ev.MessageArrived(result), 0) == [ev.Tell(result)]


def test_a_pause_holds_audio_back_and_loses_none():
    made = opened()
    pause = wire.Backpressure(action="PAUSE", resume_after_ms=500)

    assert made.handle(ev.MessageArrived(pause), 100) == [ev.Tell(pause)]
    assert made.handle(ev.AudioSpoken(b"one", is_final=False), 200) == []
    assert made.handle(ev.AudioSpoken(b"two", is_final=True), 300) == []
    assert made.next_deadline_ms() == 600
    assert said(made.handle(ev.TimeReached(), 600)) == [
        chunk(0, b"one", at_ms=200),
        chunk(1, b"two", is_final=True, at_ms=300),
    ]


def test_the_close_waits_until_a_pause_is_over():
    made = opened()
    made.handle(ev.MessageArrived(wire.Backpressure(action="PAUSE", resume_after_ms=500)), 0)
    made.handle(ev.AudioSpoken(b"one", is_final=False), 0)
    assert made.handle(ev.FinishRequested(), 0) == []

    close = wire.SessionClose(session_id=SESSION_ID, reason="finished")
    assert said(made.handle(ev.TimeReached(), 500)) == [chunk(0, b"one"), close]


def test_the_close_is_repeated_after_a_resume():
    made = opened()
    close = wire.SessionClose(session_id=SESSION_ID, reason="finished")
    assert said(made.handle(ev.FinishRequested(), 0)) == [close]
    made.handle(LOST, 10)

    assert said(resumed(made, 10, next_seq=0)) == [close]
    ended = made.handle(ev.MessageArrived(wire.SessionCloseAck(session_id=SESSION_ID)), 500)
    assert ended == [ev.HangUp(1000, "done"), ev.End(None)]


def test_a_scheduler_that_never_finishes_is_given_up():
    made = opened(init_ack(heartbeat_interval_ms=60_000))
    made.handle(ev.FinishRequested(), 0)

    assert made.next_deadline_ms() == 30_000
    assert error_of(made.handle(ev.TimeReached(), 30_000))[0] is ErrorCode.JOB_TIMEOUT


def test_a_scheduler_that_closes_unasked_ends_the_session():
    effects = opened().handle(ev.MessageArrived(wire.SessionCloseAck(session_id=SESSION_ID)), 0)

    assert error_of(effects)[0] is ErrorCode.SESSION_CLOSED


@pytest.mark.parametrize("code", [ErrorCode.SESSION_CLOSED, ErrorCode.INTERNAL_ERROR, ErrorCode.INVALID_SESSION])
def test_an_error_that_ends_the_session_is_raised(code: ErrorCode):
    effects = opened().handle(ev.MessageArrived(wire.ErrorMessage(code=code, message="over")), 0)

    assert error_of(effects) == (code, "over")


def test_any_other_error_is_told_and_the_session_goes_on():
    error = wire.ErrorMessage(code=ErrorCode.INVALID_MESSAGE, message="odd")
    made = opened()

    assert made.handle(ev.MessageArrived(error), 0) == [ev.Tell(error)]
    assert made.phase is Phase.LIVE


def test_heartbeats_keep_the_session_and_find_a_dead_connection():
    made = opened()
    assert made.next_deadline_ms() == 10_000
    heartbeat = wire.ClientHeartbeat(session_id=SESSION_ID, timestamp=1_010_000)
    assert made.handle(ev.TimeReached(), 10_000) == [ev.Send(heartbeat)]
    made.handle(ev.MessageArrived(wire.ServerHeartbeat(session_id=SESSION_ID, timestamp=1_010_000)), 10_100)
    made.handle(ev.TimeReached(), 20_000)
    made.handle(ev.TimeReached(), 30_000)

    assert made.next_deadline_ms() == 35_100, "two and a half intervals after the last message"
    assert made.handle(ev.TimeReached(), 35_100) == [
        ev.HangUp(1000, "reconnecting"),
        ev.Tell(ev.Disconnected("the scheduler fell silent")),
    ]


def test_goaway_moves_the_session_elsewhere():
    made = opened()
    goaway = wire.Goaway(reason="drain", time_left_ms=30_000)

    effects = made.handle(ev.MessageArrived(goaway), 0)

    assert effects[:2] == [ev.Tell(goaway), ev.HangUp(1000, "reconnecting")]
    assert made.phase is Phase.AWAY


def test_a_binary_ping_is_answered():
    assert said(opened().handle(ev.MessageArrived(BinaryPing(SESSION_ID, 3, 4)), 0)) == [
        BinaryPing(SESSION_ID, 3, 4, is_pong=True)
    ]


def test_a_full_ring_takes_audio_again_once_it_is_acknowledged():
    made = opened(limits=Limits(ring_bytes_max=100))
    made.handle(ev.AudioSpoken(bytes(100), is_final=False), 0)
    assert not made.has_room

    effects = made.handle(ev.MessageArrived(wire.AudioAck(session_id=SESSION_ID, seq=0)), 0)

    assert effects == [ev.MakeRoom()]
    assert made.has_room


def test_leaving_early_says_goodbye_and_waits_for_nothing():
    close = wire.SessionClose(session_id=SESSION_ID, reason="client is gone")

    assert opened().handle(ev.Abandoned(), 0) == [ev.Send(close), ev.HangUp(1000, "done"), ev.End(None)]
