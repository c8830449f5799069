"""A worker node that knows nothing of Lingua's code: the protocol over a WebSocket, and a stage of your own.

    python examples/node.py [ws://127.0.0.1:5010/ws/node]

It "translates" English into Portuguese by telling how long somebody spoke. LINGUA_TOKEN is shown at registration.
"""

import asyncio
import base64
import os
import sys
import time
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse

REGISTRATION: dict[str, Any] = {
    "type": "node_register", "protocol_version": "2", "version": "1", "platform": "example", "capacity": 4,
    "hardware": {"cpu_cores": os.cpu_count() or 1, "memory_gb": 1}, "installed_models": [], "features_supported": {},
    "capability_by_type": [{"type": stage, "ready": True} for stage in ("asr", "nmt", "tts")],
    "language_capabilities": {"asr_languages": ["en"], "semantic_languages": ["en"], "tts_languages": ["pt"]},
    "accept_public_jobs": True, "token": os.environ.get("LINGUA_TOKEN"),
}  # fmt: skip


def work(audio: bytes, sample_rate: int) -> dict[str, str]:
    """Your models go here; it runs in a thread of its own, so it may take its time."""
    seconds = len(audio) / 2 / sample_rate
    return {"text_asr": f"{seconds:.1f} seconds of speech", "text_translated": f"{seconds:.1f} segundos de fala"}


async def answer(ws: ClientWebSocketResponse, node_id: str, job: dict[str, Any]) -> None:
    told = {key: job[key] for key in ("job_id", "attempt_id", "session_id", "trace_id")} | {"node_id": node_id}
    await ws.send_json({"type": "job_ack", **told})
    await ws.send_json({"type": "job_started", **told})
    if job["audio_format"] == "pcm16":
        texts = await asyncio.to_thread(work, base64.b64decode(job["audio"]), job["sample_rate"])
        outcome: dict[str, Any] = {"success": True, **texts, "tts_audio": "", "tts_format": "pcm16"}
    else:
        outcome = {"success": False, "error": {"code": "UNSUPPORTED_FEATURE", "message": "PCM16 alone"}}
    await ws.send_json({"type": "job_result", **told, "utterance_index": job["utterance_index"], **outcome})


async def beat(ws: ClientWebSocketResponse, node_id: str) -> None:
    while True:
        told: dict[str, Any] = {"node_id": node_id, "timestamp": int(time.time() * 1000), "resource_usage": {}}
        await ws.send_json({"type": "node_heartbeat", **told})
        await asyncio.sleep(15)


async def main(url: str = "ws://127.0.0.1:5010/ws/node") -> None:
    async with ClientSession() as http, http.ws_connect(url, max_msg_size=32 << 20) as ws, asyncio.TaskGroup() as group:
        node_id = ""
        await ws.send_json(REGISTRATION)
        async for frame in ws:
            match (message := frame.json())["type"]:
                case "node_register_ack":
                    node_id = message["node_id"]
                    print("registered as", node_id, flush=True)
                    group.create_task(beat(ws, node_id))
                case "job_assign":
                    group.create_task(answer(ws, node_id, message))
                case other:
                    print(other, message, flush=True)
        sys.exit(f"the scheduler hung up ({ws.close_code})")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
