"""Speaks a WAV file to a scheduler and prints each sentence in another language.

    python examples/client.py speech.wav en pt [ws://127.0.0.1:5010]

The file is 16 kHz, mono, 16 bit. LINGUA_TOKEN is shown where the scheduler asks for a token.
"""

import asyncio
import os
import sys
import wave

from lingua_scheduler.client import ClientError, Session, SessionOptions, connect
from lingua_scheduler.protocol.messages import MissingResult, TranslationResult

FRAME_MS = 20


async def speak(session: Session, path: str) -> None:
    """At the pace at which a microphone would."""
    with wave.open(path) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2), "16 kHz, mono, 16 bit"
        while pcm := file.readframes(16 * FRAME_MS):
            await session.send_audio(pcm)
            await asyncio.sleep(FRAME_MS / 1000)
    await session.send_final()  # the sentence ends here, whatever the scheduler would have thought
    session.finish()  # nothing more to say: `events` ends when everything has been answered


async def main(path: str, src: str, tgt: str, url: str = "ws://127.0.0.1:5010") -> None:
    options = SessionOptions(token=os.environ.get("LINGUA_TOKEN"), platform="example")
    async with connect(url, src=src, tgt=tgt, options=options) as session, asyncio.TaskGroup() as group:
        group.create_task(speak(session, path))
        async for event in session.events():
            match event:
                case TranslationResult():
                    print(f"{event.text_asr}\n  → {event.text_translated}", flush=True)
                case MissingResult():
                    print(f"({event.reason})", flush=True)
                case _:
                    pass  # partial texts, lost and regained connections: see docs/client.md


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except* ClientError as refused:
        sys.exit(str(refused.exceptions[0]))
