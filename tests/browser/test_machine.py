"""The page's session machine does what the Python client's does, whatever happens.

Both are driven through the same events, and every effect and every deadline is compared.
"""

import random
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lingua_scheduler.client import events as ev
from lingua_scheduler.client.machine import ClientMachine, Limits
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.codec import BinaryChunk, BinaryPing, encode
from tests.browser.conftest import chromium, open_page
from tests.client.model import init_ack
from tests.client.test_machine_properties import World

RUNS = 120
STEPS = 60
LIMITS = {
    "ringBytesMax": 2000,
    "openTimeoutMs": 10_000,
    "redialTimeoutMs": 5_000,
    "closeTimeoutMs": 30_000,
    "heartbeatMs": 15_000,
    "resumeWindowMs": 60_000,
    "firstRetryMs": 250,
    "longestRetryMs": 5_000,
}
_REPLAY = """async ({ stories, limits }) => {
    const { SessionMachine } = await import("/static/session/machine.js");
    const bytes = (text) => Uint8Array.from(text, (char) => char.charCodeAt(0));
    const text = (audio) => Array.from(audio, (byte) => String.fromCharCode(byte)).join("");
    const plain = (effect) => {
        if (effect.do === "sendAudio") return { do: "sendAudio", ...effect.chunk, audio: text(effect.chunk.audio) };
        if (effect.do === "sendPong") return { do: "sendPong" };
        if (effect.do === "tell") return { do: "tell", what: effect.what, type: effect.message?.type ?? null };
        if (effect.do === "end") return { do: "end", code: effect.error?.code ?? null };
        return effect;
    };
    return stories.map(({ init, events }) => {
        const machine = new SessionMachine(init, { limits, random: () => 0.999999, epochMs: 0 });
        return events.map(({ now_ms, event }) => {
            if (event.type === "audioSpoken") event.audio = bytes(event.audio);
            const effects = machine.handle(event, now_ms).map(plain);
            machine.check();
            return { effects, phase: machine.phase, deadline: machine.nextDeadlineMs() };
        });
    });
}"""


class _Latest(random.Random):
    """Always the longest wait: what both machines do with chance is not the question."""

    def randint(self, a: int, b: int) -> int:
        del a
        return b


@dataclass
class Recording(World):
    """A world that writes down what its machine is told and what it answers."""

    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    answers: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def happen(self, event: ev.ClientEvent) -> None:
        handle = self.machine.handle

        def told(event: ev.ClientEvent, now_ms: int) -> list[ev.ClientEffect]:
            effects = handle(event, now_ms)
            self.events.append({"now_ms": now_ms, "event": _event(event)})
            answer = [plain for effect in effects for plain in _effect(effect)]
            deadline = self.machine.next_deadline_ms()
            self.answers.append({"effects": answer, "phase": self.machine.phase.name.lower(), "deadline": deadline})
            return effects

        self.machine.handle = told
        try:
            super().happen(event)
        finally:
            del self.machine.handle


def _plain(message: wire.ServerMessage | wire.ClientMessage | BinaryChunk | BinaryPing) -> dict[str, Any]:
    assert not isinstance(message, BinaryChunk | BinaryPing)
    return msgspec.json.decode(encode(message))


def _event(event: ev.ClientEvent) -> dict[str, Any]:
    match event:
        case ev.MessageArrived():
            is_ping = isinstance(event.message, BinaryPing)
            return {"type": "messageArrived", "message": {"type": "ping"} if is_ping else _plain(event.message)}
        case ev.AudioSpoken():
            return {"type": "audioSpoken", "audio": event.audio.decode("latin-1"), "isFinal": event.is_final}
        case ev.SocketLost():
            return {"type": "socketLost", "reason": event.reason}
        case _:
            name = type(event).__name__
            return {"type": name[0].lower() + name[1:]}


def _effect(effect: ev.ClientEffect) -> list[dict[str, Any]]:
    match effect:
        case ev.Dial():
            return [{"do": "dial"}]
        case ev.HangUp():
            return [{"do": "hangUp"}]
        case ev.Send(BinaryChunk() as chunk):
            audio, final = chunk.audio.decode("latin-1"), chunk.is_final
            spoken_ms = chunk.timestamp_ms
            return [{"do": "sendAudio", "seq": chunk.seq, "audio": audio, "isFinal": final, "spokenAtMs": spoken_ms}]
        case ev.Send(BinaryPing()):
            return [{"do": "sendPong"}]
        case ev.Send(message):
            return [{"do": "send", "message": _plain(message)}]
        case ev.Tell(event):
            return [_told(event)]
        case ev.MakeRoom():
            return [{"do": "makeRoom"}]
        case ev.End():
            return [{"do": "end", "code": str(effect.error.code) if effect.error else None}]


def _told(event: ev.SessionEvent) -> dict[str, Any]:
    match event:
        case wire.SessionInitAck():
            return {"do": "tell", "what": "open", "type": None}
        case ev.Disconnected():
            return {"do": "tell", "what": "away", "type": None}
        case ev.Reconnected():
            return {"do": "tell", "what": "back", "type": None}
        case _:
            return {"do": "tell", "what": "message", "type": _plain(event)["type"]}


def _story(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One random life of a session, with a scheduler and a network that behave anyhow."""
    rng = random.Random(seed)
    token = "t.o.k" if seed % 2 else None
    init = wire.SessionInit(
        client_version="t", platform="t", src_lang="en", tgt_lang="pt", protocol_version="1.1", token=token
    )
    world = Recording(ClientMachine(init, Limits(ring_bytes_max=2000), _Latest(), epoch_ms=0))
    world.happen(ev.Started())
    world.wait(0)
    world.carry_up(1)
    if rng.random() < 0.1:
        world.down[0] = init_ack(resume_token=None)
    world.carry_down(1)
    # A scheduler that says strange things cannot also be held to what it said: it then says nothing else.
    kinds = ["speak", "speak", "final", "down", "down", "wait", "cut", "pause", "goaway"]
    kinds += ["strange"] * 3 if rng.random() < 0.4 else ["up", "up"]
    for _ in range(STEPS):
        if world.ended:
            break
        kind = rng.choice(kinds)
        if kind == "strange" and world.is_connected:
            world.happen(rng.choice(_STRANGE))
        else:
            world.step(kind, rng.randbytes(rng.randint(1, 200)) if kind == "speak" else rng.randint(1, 40))
    if not world.ended:
        world.happen(rng.choice([ev.FinishRequested(), ev.Abandoned()]))
    if not world.ended:
        world.wait(90_000)
    return {"init": _plain(init), "events": world.events}, world.answers


_STRANGE: list[ev.ClientEvent] = [
    ev.SocketOpened(),
    ev.TimeReached(),
    ev.MessageArrived(wire.SessionResumeAck(session_id="s-1", resume_token="x", next_seq=99, replayed=0)),
    ev.MessageArrived(wire.AudioAck(session_id="s-1", seq=1_000_000)),
    ev.MessageArrived(wire.Backpressure(action="PAUSE", resume_after_ms=-5)),
    ev.MessageArrived(BinaryPing("s-1", 1, 2)),
    ev.MessageArrived(wire.ServerHeartbeat(session_id="s-1", timestamp=1)),
]


async def test_both_machines_agree_on_every_effect(lonely_url: str):
    told = [_story(seed) for seed in range(RUNS)]
    async with chromium() as browser, open_page(browser, lonely_url) as page:
        stories = [story for story, _ in told]
        answers = await page.evaluate(_REPLAY, {"stories": stories, "limits": LIMITS})

    phases = {answer["phase"] for _, expected in told for answer in expected}
    assert phases == {"dialling", "opening", "live", "away", "redialling", "resuming", "ended"}, "all is walked through"
    for seed, ((story, expected), found) in enumerate(zip(told, answers, strict=True)):
        for at, (one, other) in enumerate(zip(expected, found, strict=True)):
            assert one == other, f"seed {seed}, event {at}: {story['events'][at]}"


async def test_a_browser_that_says_it_is_offline_is_believed(lonely_url: str):
    """The network is gone: the socket would only time out. It is back: the back-off would only cost time."""
    async with chromium() as browser, open_page(browser, lonely_url) as page:
        phases = await page.evaluate(
            """async (ack) => {
                const { SessionMachine } = await import("/static/session/machine.js");
                const machine = new SessionMachine({ type: "session_init" });
                const after = (event) => {
                    const effects = machine.handle(event, 0).map((effect) => effect.do);
                    return [machine.phase, ...effects];
                };
                for (const type of ["started", "socketOpened"]) after({ type });
                after({ type: "messageArrived", message: ack });
                return ["networkBack", "networkLost", "networkLost", "networkBack"].map((type) => after({ type }));
            }""",
            _plain(init_ack()),
        )

    assert phases == [["live"], ["away", "hangUp", "tell"], ["away"], ["redialling", "dial"]]
