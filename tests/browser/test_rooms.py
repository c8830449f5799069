"""Two people in one room, each in a browser of their own instance: signalling through the room, sound between them."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from lingua_scheduler.data import COMMANDS
from lingua_scheduler.runtime.config import Config, ServerConfig
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.embedded import EmbeddedRedis
from tests.browser.conftest import chromium, open_page
from tests.support import wait_until

_ENTER = """async ({ language, code }) => {
    const socket = new WebSocket(location.origin.replace("http", "ws") + "/ws/session");
    const peer = new RTCPeerConnection();
    const me = (window.me = { peer, socket, members: [], errors: [], candidates: [] });
    const send = (message) => socket.send(JSON.stringify(message));
    const answer = async (message) => {
        await peer.setRemoteDescription(message.sdp);
        await peer.setLocalDescription(await peer.createAnswer());
        send({ type: "webrtc_answer", room_code: me.code, to: message.to, sdp: peer.localDescription });
    };
    const take = async (candidate) => {
        if (peer.remoteDescription) await peer.addIceCandidate(candidate);
        else me.candidates.push(candidate);
    };
    const entered = new Promise((resolve) => {
        socket.onmessage = async ({ data }) => {
            const message = JSON.parse(data);
            if (message.type === "session_init_ack") {
                me.id = message.session_id;
                send(code ? { type: "room_join", room_code: code, preferred_lang: language }
                          : { type: "room_create", client_ts: Date.now(), preferred_lang: language });
            } else if (message.type === "room_members") {
                me.code = message.room_code;
                me.members = message.members.map((one) => one.session_id);
                resolve();
            } else if (message.type === "webrtc_offer") {
                me.other = message.to;
                await answer(message);
                for (const candidate of me.candidates.splice(0)) await peer.addIceCandidate(candidate);
            } else if (message.type === "webrtc_answer") {
                await peer.setRemoteDescription(message.sdp);
                for (const candidate of me.candidates.splice(0)) await peer.addIceCandidate(candidate);
            } else if (message.type === "webrtc_ice") {
                await take(message.candidate);
            } else if (message.type === "room_error") {
                me.errors.push(message.code);
            }
        };
    });
    peer.onicecandidate = ({ candidate }) => {
        if (candidate) send({ type: "webrtc_ice", room_code: me.code, to: me.other, candidate });
    };
    peer.ontrack = ({ streams }) => {
        const audio = new Audio();
        audio.srcObject = streams[0];
        audio.play();
    };
    me.call = async (other) => {
        me.other = other;
        const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
        for (const track of stream.getTracks()) peer.addTrack(track, stream);
        await peer.setLocalDescription(await peer.createOffer());
        send({ type: "webrtc_offer", room_code: me.code, to: other, sdp: peer.localDescription });
    };
    me.decline = (other) => send({
        type: "room_raw_voice_preference", room_code: me.code, target_session_id: other, receive_raw_voice: false,
    });
    await new Promise((resolve) => (socket.onopen = resolve));
    send({ type: "session_init", client_version: "test", platform: "web", src_lang: language, tgt_lang: "pt" });
    await entered;
    return { id: me.id, code: me.code };
}"""
_ENERGY = """async () => {
    const stats = [...(await me.peer.getStats()).values()];
    return stats.find((one) => one.type === "inbound-rtp" && one.kind === "audio")?.totalAudioEnergy > 0.0001;
}"""


async def enter(page: Page, language: str, code: str = "") -> dict[str, Any]:
    return await page.evaluate(_ENTER, {"language": language, "code": code})


async def until(page: Page, condition: str, description: str) -> None:
    """The page's security policy forbids what `wait_for_function` does."""

    async def holds() -> bool:
        return bool(await page.evaluate(condition))

    await wait_until(holds, description, 30)


async def test_a_voice_reaches_the_other_member_through_two_instances(microphone: Callable[[Path], Path]):
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(EmbeddedRedis.start())
        config = Config(server=ServerConfig(port=0))
        urls = [(await stack.enter_async_context(Scheduler.start(config, redis.url))).url for _ in range(2)]
        browser = await stack.enter_async_context(chromium(microphone(COMMANDS.path)))
        here, there = [await stack.enter_async_context(open_page(browser, f"{url}/?mic=raw")) for url in urls]
        ana = await enter(here, "en")
        bea = await enter(there, "es", ana["code"])
        await until(here, "me.members.length === 2", "both to be members")

        await here.evaluate("(other) => me.call(other)", bea["id"])
        await until(there, 'me.peer.connectionState === "connected"', "the two browsers to be connected")
        assert await there.evaluate("me.other") == ana["id"], "the offer names its sender"
        await until(there, _ENERGY, "sound to arrive")

        await there.evaluate("(other) => me.decline(other)", ana["id"])
        await here.evaluate("(other) => me.call(other)", bea["id"])
        await until(here, 'me.errors.includes("UNAUTHORIZED")', "the declined call to be refused")
