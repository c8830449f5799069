"""The client library over real sockets, against schedulers that do what each test says."""

import asyncio

import pytest
from aiohttp import web

from lingua_scheduler.client import ClientError, Disconnected, Limits, Reconnected, SessionOptions, connect
from lingua_scheduler.client.dial import session_url
from lingua_scheduler.client.session import CHUNK_BYTES_MAX, EVENTS_MAX
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.audio import opus_samples
from lingua_scheduler.protocol.errors import ErrorCode
from tests.client.model import SESSION_ID, init_ack, translation
from tests.client.scripted import Visitor, scripted
from tests.support import free_port

CLOSED = wire.SessionCloseAck(session_id=SESSION_ID)


def partial(text: str) -> wire.AsrPartial:
    return wire.AsrPartial(
        session_id=SESSION_ID, utterance_index=0, job_id="j", text=text, is_final=False, trace_id="t"
    )


async def test_speech_goes_out_and_translations_come_back(no_descriptor_leaks: None):
    heard: list[bytes] = []

    async def script(visitor: Visitor) -> None:
        init = await visitor.open()
        assert (init.src_lang, init.tgt_lang, init.protocol_version, init.binary) == ("en", "pt", "1.1", True)
        heard.append(await visitor.listen())
        await visitor.send(partial("hel"), translation(0, 1, "hello"))
        await visitor.wait_for(wire.SessionClose)
        await visitor.send(CLOSED)

    async with scripted(script) as scheduler, connect(scheduler.url, src="en", tgt="pt") as session:
        assert session.ack.session_id == SESSION_ID
        await session.send_audio(b"\1\2" * 100)
        await session.send_audio(b"\3\4" * 100)
        await session.send_final()
        session.finish()
        events = [event async for event in session.events()]
        assert session.sent_samples == 200

    assert heard == [b"\1\2" * 100 + b"\3\4" * 100]
    assert events == [partial("hel"), translation(0, 1, "hello")]


async def test_long_audio_travels_in_pieces():
    sizes: list[int] = []
    pcm = bytes(CHUNK_BYTES_MAX * 3 + 2)

    async def script(visitor: Visitor) -> None:
        await visitor.open()
        while (message := await visitor.next()) and not getattr(message, "is_final", False):
            sizes.append(len(getattr(message, "audio", b"")))

    async with scripted(script) as scheduler, connect(scheduler.url, src="en", tgt="pt") as session:
        await session.send_audio(pcm)
        await session.send_final()

    assert sizes == [CHUNK_BYTES_MAX] * 3 + [2]


async def test_opus_is_sent_when_asked_for():
    heard: list[bytes] = []

    async def script(visitor: Visitor) -> None:
        assert (await visitor.open()).audio_format == "opus"
        heard.append(await visitor.listen())

    options = SessionOptions(audio_format="opus")
    async with scripted(script) as scheduler, connect(scheduler.url, src="en", tgt="pt", options=options) as session:
        await session.send_audio(bytes(2 * 500))
        await session.send_final()

    assert opus_samples(heard[0], 16_000) == 640, "500 samples, filled up to whole frames"


async def test_a_cut_connection_is_resumed_without_losing_a_word():
    heard: list[bytes] = []

    async def first(visitor: Visitor) -> None:
        await visitor.open()
        await visitor.next()
        await visitor.drop()

    async def second(visitor: Visitor) -> None:
        resume = await visitor.next()
        assert isinstance(resume, wire.SessionResume)
        assert (resume.resume_token, resume.last_result_seq) == ("token-0", 0)
        await visitor.send(wire.SessionResumeAck(session_id=SESSION_ID, resume_token="token-1", next_seq=1, replayed=0))
        heard.append(await visitor.listen())
        await visitor.send(translation(0, 1), CLOSED)

    async with scripted(first, second) as scheduler, connect(scheduler.url, src="en", tgt="pt") as session:
        await session.send_audio(b"one!")
        events = session.events()
        assert isinstance(await anext(events), Disconnected)
        await session.send_audio(b"two!")
        session.finish()
        rest = [event async for event in events]

    assert heard == [b"two!"]
    assert rest == [Reconnected(0), translation(0, 1)]


async def test_an_unreachable_scheduler_is_told_in_one_line():
    url = f"ws://127.0.0.1:{free_port()}"
    with pytest.raises(ClientError, match=r"no scheduler answers at ws://127.*refused") as caught:
        async with connect(url, src="en", tgt="pt"):
            pass
    assert caught.value.code is ErrorCode.WS_DISCONNECTED
    assert "\n" not in str(caught.value)


async def test_a_refused_session_is_told():
    async def script(visitor: Visitor) -> None:
        await visitor.next()
        await visitor.send(wire.ErrorMessage(code=ErrorCode.NO_AVAILABLE_NODE, message="auto needs two languages"))

    async with scripted(script) as scheduler:
        with pytest.raises(ClientError, match="auto needs two languages"):
            async with connect(scheduler.url, src="auto", tgt="pt"):
                pass


async def test_another_kind_of_server_is_told():
    async with scripted() as scheduler:
        with pytest.raises(ClientError, match="HTTP 503: it takes no new sessions"):
            async with connect(scheduler.url, src="en", tgt="pt"):
                pass
        with pytest.raises(ClientError, match="HTTP 404: no scheduler answers under this path"):
            async with connect(f"{scheduler.url}/elsewhere", src="en", tgt="pt"):
                pass


async def test_an_error_ends_the_events_and_refuses_more_audio():
    async def script(visitor: Visitor) -> None:
        await visitor.open()
        await visitor.send(
            translation(0, 1), wire.ErrorMessage(code=ErrorCode.SESSION_CLOSED, message="idle for 300 s")
        )
        await visitor.ws.receive()

    async with scripted(script) as scheduler, connect(scheduler.url, src="en", tgt="pt") as session:
        events = session.events()
        assert await anext(events) == translation(0, 1)
        with pytest.raises(ClientError, match="idle for 300 s"):
            await anext(events)
        with pytest.raises(ClientError, match="idle for 300 s"):
            await session.send_audio(b"ab")


async def test_a_speaker_waits_while_the_scheduler_concludes_nothing():
    """The ring of audio is bounded: what does not fit is not taken from the speaker, and nothing is dropped."""
    is_full = asyncio.Event()
    heard: list[bytes] = []

    async def script(visitor: Visitor) -> None:
        await visitor.open()
        await is_full.wait()
        await visitor.send(wire.AudioAck(session_id=SESSION_ID, seq=0))
        heard.append(await visitor.listen())

    options = SessionOptions(limits=Limits(ring_bytes_max=1000))
    async with scripted(script) as scheduler, connect(scheduler.url, src="en", tgt="pt", options=options) as session:
        await session.send_audio(bytes(1000))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await session.send_audio(b"more")
        is_full.set()
        await session.send_audio(b"more")
        await session.send_final()

    assert heard == [bytes(1000) + b"more"]


async def test_a_reader_that_does_not_read_loses_nothing():
    count = 3 * EVENTS_MAX

    async def script(visitor: Visitor) -> None:
        await visitor.open()
        for number in range(count):
            await visitor.send(translation(number, number + 1))
        await visitor.wait_for(wire.SessionClose)
        await visitor.send(CLOSED)

    async with scripted(script) as scheduler, connect(scheduler.url, src="en", tgt="pt") as session:
        session.finish()
        seen = [event.utterance_index async for event in session.events() if isinstance(event, wire.TranslationResult)]

    assert seen == list(range(count))


async def test_leaving_early_says_goodbye(no_descriptor_leaks: None):
    goodbyes: list[wire.Wire] = []

    async def script(visitor: Visitor) -> None:
        await visitor.open()
        goodbyes.append(await visitor.wait_for(wire.SessionClose))

    async with scripted(script) as scheduler, connect(scheduler.url, src="en", tgt="pt") as session:
        await session.send_audio(b"ab")

    assert goodbyes == [wire.SessionClose(session_id=SESSION_ID, reason="client is gone")]


async def test_words_of_a_newer_scheduler_are_passed_over():
    async def script(visitor: Visitor) -> None:
        await visitor.open(init_ack(message="welcome"))
        await visitor.ws.send_str('{"type": "from_the_future"}')
        await visitor.wait_for(wire.SessionClose)
        await visitor.send(translation(0, 1), CLOSED)

    async with scripted(script) as scheduler, connect(scheduler.url, src="en", tgt="pt") as session:
        assert session.ack.message == "welcome"
        session.finish()
        assert [event async for event in session.events()] == [translation(0, 1)]


async def test_half_a_sample_is_refused():
    async def script(visitor: Visitor) -> None:
        await visitor.open()
        await visitor.ws.receive()

    async with scripted(script) as scheduler, connect(scheduler.url, src="en", tgt="pt") as session:
        with pytest.raises(ValueError, match="3 bytes are not whole"):
            await session.send_audio(b"abc")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("localhost:5010", "ws://localhost:5010/ws/session"),
        ("http://h:1/", "ws://h:1/ws/session"),
        ("https://h", "wss://h/ws/session"),
        ("wss://h:2/cell-a/ws/session?token=x", "wss://h:2/cell-a/ws/session?token=x"),
        ("ws://[::1]:5010", "ws://[::1]:5010/ws/session"),
    ],
)
def test_addresses_are_read_as_people_write_them(text: str, url: str):
    assert session_url(text) == url


@pytest.mark.parametrize("text", ["", "ftp://h", "ws://", "h:port", "ws://h:0", "http://[::1"])
def test_what_is_no_address_is_told(text: str):
    with pytest.raises(ClientError, match="is not a scheduler's address"):
        session_url(text)


async def test_a_scheduler_that_accepts_and_says_nothing_is_given_up():
    async def mute(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.receive()
        await ws.receive()
        return ws

    app = web.Application()
    app.router.add_get("/ws/session", mute)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        with pytest.raises(ClientError, match="did not answer in time"):
            async with connect(url, src="en", tgt="pt", options=SessionOptions(limits=Limits(open_timeout_ms=50))):
                pass
    finally:
        await runner.cleanup()


async def test_a_session_opens_at_the_first_address_that_answers():
    async def script(visitor: Visitor) -> None:
        await visitor.open()
        await visitor.wait_for(wire.SessionClose)
        await visitor.send(CLOSED)

    async with scripted(script) as scheduler:
        urls = [f"ws://127.0.0.1:{free_port()}", scheduler.url]
        async with connect(urls, src="en", tgt="pt") as session:
            session.finish()
            assert [event async for event in session.events()] == []
