"""`lingua translate FILE`: streams a sound file to a scheduler and prints what comes back."""

import argparse
from pathlib import Path
from typing import Any

from lingua_scheduler.cli import arguments
from lingua_scheduler.cli.console import Console

_EXAMPLES = """\
  lingua translate interview.wav --from en --to es
  lingua translate talk.mp3 --from en --to pt --url ws://scheduler.example:5010 --out speech/
  lingua translate talk.ogg --from en --to pt --json | jq -r '.translation // empty'"""
_URL = "ws://127.0.0.1:5010"


def add_parser(commands: arguments.Commands) -> None:
    parser = arguments.add_command(
        commands, "translate", "translate a sound file through a running scheduler", _EXAMPLES
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="speech in any format: WAV, MP3, FLAC, Ogg, MP4 …")
    parser.add_argument(
        "--from", dest="src", type=arguments.language_code, required=True, metavar="LANG", help="what is spoken"
    )
    parser.add_argument(
        "--to", dest="tgt", type=arguments.language_code, required=True, metavar="LANG", help="what it becomes"
    )
    parser.add_argument(
        "--url", default=_URL, help=f"the scheduler (default {_URL}); several of a fleet with commas between them"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the spoken translation there, a WAV a sentence")
    parser.add_argument("--opus", action="store_true", help="send Opus, a tenth of the bytes, instead of PCM16")
    arguments.add_json(parser, "a JSON object a line: each sentence, on the last line a summary")
    arguments.add_token(parser)
    arguments.add_pace(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    from lingua_scheduler.runtime import loop

    return loop.run(_translate(args, console))


async def _translate(args: argparse.Namespace, console: Console) -> int:
    from lingua_scheduler.cli.conversation import Conversation, Order, latencies
    from lingua_scheduler.client import SessionOptions
    from lingua_scheduler.client.log import Utterance
    from lingua_scheduler.client.sound import read_sound_file

    order = Order(
        url=[one.strip() for one in args.url.split(",")],
        src=args.src,
        tgt=args.tgt,
        duration_ms=arguments.check_sound_file(args.file),
        frames=read_sound_file(args.file),
        pace=arguments.pace(args),
        options=SessionOptions(
            audio_format="opus" if args.opus else "pcm16", platform="cli", token=arguments.token(args)
        ),
        out=arguments.made_folder(args.out),
    )

    def answered(utterance: Utterance) -> None:
        if console.is_json:
            console.json({"type": "utterance", **conversation.row(utterance)})

    conversation = Conversation(order, console, answered)
    tally = (await conversation.run()).tally()
    latency_ms = latencies(conversation.log)
    if console.is_json:
        console.json(_summary(tally, latency_ms))
    _tell(console, tally, latency_ms)
    return 1 if tally.failed or tally.lost else 0


def _summary(tally: Any, latency_ms: dict[str, int | None]) -> dict[str, Any]:
    return {
        "type": "summary",
        "utterances": tally.utterances,
        "translated": tally.translated,
        "without_speech": tally.without_speech,
        "failed": tally.failed,
        "lost": tally.lost,
        "duplicated": tally.duplicated,
        "latency_ms": latency_ms,
    }


def _tell(console: Console, tally: Any, latency_ms: dict[str, int | None]) -> None:
    median = latency_ms["text_p50"]
    late = "" if median is None else f"; {median / 1000:.2f} s from the end of speech to text (median)"
    console.line(
        console.paint(
            f"{tally.translated} translated, {tally.without_speech} without speech, {tally.failed} failed, "
            f"{tally.lost} lost{late}",
            "dim",
        )
    )
