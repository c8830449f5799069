"""A small service of the OpenAI shape on a free port: real recognition and speech, chat answers by rule."""

import json
import wave
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from aiohttp import web

from lingua_scheduler.node.audio import encode_speech
from lingua_scheduler.node.engines.base import AsrRequest, TtsRequest
from lingua_scheduler.node.engines.pico import Pico
from lingua_scheduler.node.engines.whisper import Whisper
from lingua_scheduler.protocol.ids import Language

EN = Language("en")


def _ignore(_text: str) -> None:
    return


@dataclass
class OpenAiShape:
    """`answers` are what the chat says, in turn; `fail` makes every call answer with that status."""

    recogniser: Whisper | None = None
    speaker: Pico | None = None
    answers: list[str] = field(default_factory=list[str])
    fail: int = 0
    garbage: bool = False
    key: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @asynccontextmanager
    async def serve(self) -> AsyncGenerator[str]:
        """The base address while the service runs."""
        app = web.Application(middlewares=[self._gate], client_max_size=32 << 20)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/audio/transcriptions", self._transcribe)
        app.router.add_post("/v1/audio/translations", self._transcribe)
        app.router.add_post("/v1/audio/speech", self._speech)
        app.router.add_post("/v1/chat/completions", self._chat)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            port = runner.addresses[0][1]
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            await runner.cleanup()

    @web.middleware
    async def _gate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": "wrong key"}}, status=401)
        if self.fail and request.method == "POST":
            return web.json_response({"error": {"message": "scripted"}}, status=self.fail)
        if self.garbage and request.method == "POST":
            return web.Response(body=b"<html>not what you asked for</html>")
        return await handler(request)

    async def _models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "tiny", "object": "model"}]})

    async def _transcribe(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.asked.append({"path": request.path, **{key: form[key] for key in form if key != "file"}})
        upload = form["file"]
        assert isinstance(upload, web.FileField)
        with wave.open(BytesIO(upload.file.read())) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert self.recogniser is not None
        heard = self.recogniser.run(AsrRequest((pcm / 32768).astype(np.float32), EN), _ignore)
        segment = {"id": 0, "text": heard.text, "start": 0.0, "end": len(pcm) / 16_000, "avg_logprob": -0.2}
        return web.json_response(
            {
                "task": "transcribe",
                "language": "english",
                "duration": len(pcm) / 16_000,
                "text": heard.text,
                "segments": [{**segment, "no_speech_prob": 0.9 if heard.no_speech else 0.02}],
            }
        )

    async def _speech(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        assert self.speaker is not None
        speech = self.speaker.run(TtsRequest(body["input"], EN, rate=body["speed"]), _ignore)
        if body["response_format"] == "pcm":
            return web.Response(body=encode_speech(speech, "pcm16", 24_000).data)
        return web.Response(body=encode_speech(speech, "wav", 16_000).data, content_type="audio/wav")

    async def _chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        message = {"role": "assistant", "content": self.answers.pop(0)}
        return web.Response(
            text=json.dumps({"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}),
            content_type="application/json",
        )
