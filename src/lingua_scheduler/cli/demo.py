"""`lingua demo`: the main job on one machine, nothing set up by hand.

Embedded Redis, one scheduler, one real node and one speaker, in this process; Redis and the engines are children that
end with it, whatever ends it. The node and the speaker reach the scheduler over its WebSockets, as from anywhere else.
"""

import argparse
import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingua_scheduler.cli import arguments
from lingua_scheduler.cli.activity import Activity
from lingua_scheduler.cli.console import Console

if TYPE_CHECKING:
    from lingua_scheduler.cli.conversation import Conversation
    from lingua_scheduler.client.log import Utterance
    from lingua_scheduler.scheduler.app import Scheduler

_EXAMPLES = """\
  lingua demo
  lingua demo --from zh --to en
  lingua demo --file interview.wav --from en --to pt
  lingua demo --keep --port 5010
  lingua demo --room
  lingua demo --json | tail -1"""
_SERVED_POLL_S = 0.05


def add_parser(commands: arguments.Commands) -> None:
    parser = arguments.add_command(commands, "demo", "show the main job: real speech through all of it", _EXAMPLES)
    parser.add_argument("--file", type=Path, metavar="FILE", help="speech of your own (default: a shipped recording)")
    parser.add_argument(
        "--from",
        dest="src",
        type=arguments.language_code,
        default="en",
        metavar="LANG",
        help="what is spoken (default en)",
    )
    parser.add_argument(
        "--to",
        dest="tgt",
        type=arguments.language_code,
        default="pt",
        metavar="LANG",
        help="what it becomes (default pt)",
    )
    parser.add_argument("--out", type=Path, default=Path("lingua-demo"), metavar="DIR", help="for the WAV files")
    parser.add_argument("--engines", default="demo", metavar="LIST", help="as for `lingua node`")
    parser.add_argument("--port", type=arguments.port, default=0, help="default: any that is free")
    parser.add_argument("--room", action="store_true", help="speak in a room: each listener in another language")
    parser.add_argument("--keep", action="store_true", help="go on serving afterwards, until Ctrl-C")
    arguments.add_json(parser)
    arguments.add_pace(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    from lingua_scheduler.runtime import loop
    from lingua_scheduler.runtime.logs import configure_logs

    configure_logs("error", "text")
    return loop.run(_room_demo(args, console) if args.room else _demo(args, console))


async def _demo(args: argparse.Namespace, console: Console) -> int:
    demo = _Demo(args, console)
    async with _scheduler(args, console) as scheduler, _node(args, console, scheduler.url):
        await _wait_served(scheduler, args.src, args.tgt)
        await demo.speak(scheduler.url)
        code = demo.summarise(scheduler.url)
        if args.keep:
            console.line(f"still serving {scheduler.url}/ until Ctrl-C")
            await scheduler.wait_stopped()
    return code


async def _room_demo(args: argparse.Namespace, console: Console) -> int:
    from lingua_scheduler.cli.room_demo import RoomDemo

    recording = _recording(args)
    _check_engines(args)
    arguments.check_sound_file(recording.path)
    demo = RoomDemo(args, console, recording.path, recording.transcript)
    async with _scheduler(args, console) as here, _node(args, console, here.url):
        await _wait_served(here, args.src, args.tgt)
        code = await demo.run(here)
        if args.keep:
            console.line(f"still serving {here.url}/ until Ctrl-C")
            await here.wait_stopped()
    return code


@dataclass(frozen=True, slots=True)
class _Recording:
    path: Path
    transcript: str | None = None
    reference: str | None = None
    """What a person would say in the language that it is translated into."""


class _Demo:
    """What is spoken and what is told of it."""

    def __init__(self, args: argparse.Namespace, console: Console) -> None:
        self._args = args
        self._console = console
        self._recording = _recording(args)
        _check_engines(args)
        self._duration_ms = arguments.check_sound_file(self._recording.path)
        self._out = _emptied_folder(args.out)
        self._first_sentence_ms: int | None = None
        self._conversation: Conversation | None = None

    async def speak(self, url: str) -> None:
        from lingua_scheduler.cli.conversation import Conversation, Order
        from lingua_scheduler.client import SessionOptions
        from lingua_scheduler.client.sound import read_sound_file

        order = Order(
            url=url,
            src=self._args.src,
            tgt=self._args.tgt,
            frames=read_sound_file(self._recording.path),
            duration_ms=self._duration_ms,
            pace=arguments.pace(self._args),
            options=SessionOptions(platform="demo"),
            out=self._out,
        )
        length = "" if self._duration_ms is None else f", {self._duration_ms / 1000:.0f} s"
        self._console.line(f"  recording  {self._recording.path.name}{length}")
        self._console.line()
        self._conversation = Conversation(order, self._console, self._answered)
        await self._conversation.run()

    def summarise(self, url: str) -> int:
        """Print the summary; the exit code: 0 where something was translated and nothing was lost or doubled."""
        assert self._conversation is not None
        summary = self._summary(self._conversation, url)
        _tell(self._console, summary)
        if self._console.is_json:
            self._console.json(summary)
        is_good = summary["translated"] and not (summary["lost"] or summary["duplicated"] or summary["failed"])
        return 0 if is_good else 1

    def _answered(self, utterance: "Utterance") -> None:
        from lingua_scheduler.protocol.messages import TranslationResult

        if self._first_sentence_ms is None and isinstance(utterance.outcome, TranslationResult):
            self._first_sentence_ms = _process_age_ms()

    def _summary(self, conversation: "Conversation", url: str) -> dict[str, Any]:
        from lingua_scheduler.cli.conversation import latencies, source_text
        from lingua_scheduler.client.scoring import is_unspaced, word_errors

        log = conversation.log
        tally = log.tally()
        transcript = self._recording.transcript
        errors = None if transcript is None else word_errors(transcript, source_text(log))
        return {
            "utterances": tally.utterances,
            "translated": tally.translated,
            "without_speech": tally.without_speech,
            "failed": tally.failed,
            "lost": tally.lost,
            "duplicated": tally.duplicated,
            "wer": None if errors is None else round(errors.rate, 4),
            "word_errors": None if errors is None else errors.errors,
            "words": None if errors is None else errors.words,
            "words_are": "characters" if transcript is not None and is_unspaced(transcript) else "words",
            "reference": self._recording.reference,
            "latency_ms": latencies(log),
            "first_sentence_ms": self._first_sentence_ms,
            "from": self._args.src,
            "to": self._args.tgt,
            "recording": self._recording.path.name,
            "out": str(self._out),
            "web_page": f"{url}/?from={self._args.src}&to={self._args.tgt}",
            "results": [conversation.row(utterance) for utterance in log.utterances],
        }


@contextlib.asynccontextmanager
async def _scheduler(args: argparse.Namespace, console: Console) -> AsyncGenerator["Scheduler"]:
    from lingua_scheduler import __version__
    from lingua_scheduler.runtime.config import load_config
    from lingua_scheduler.scheduler.app import Scheduler
    from lingua_scheduler.store.embedded import EmbeddedRedis

    # A demo is the same wherever it runs: neither a configuration file nor the environment has a say.
    config = load_config(None, {}, {"server.port": args.port})
    console.line(f"{console.paint(f'Lingua Scheduler {__version__}', 'bold')}  {args.src} → {args.tgt}")
    async with EmbeddedRedis.start() as redis, Scheduler.start(config, redis_url=redis.url) as scheduler:
        console.line(f"  redis      {redis.description}")
        console.line(f"  scheduler  {scheduler.url}/")
        yield scheduler


@contextlib.asynccontextmanager
async def _node(args: argparse.Namespace, console: Console, url: str) -> AsyncGenerator[None]:
    """A node that works during the block; its failure ends the block."""
    from lingua_scheduler.node.app import NodeApp
    from lingua_scheduler.runtime.config import NodeConfig

    config = NodeConfig(url=f"{url.replace('http://', 'ws://')}/ws/node", engines=_engines(args))
    activity = Activity(console, "  node       ")
    node = NodeApp(config, activity.report, drain_s=2)
    with contextlib.closing(activity):
        async with asyncio.TaskGroup() as group:
            working = group.create_task(node.run())
            yield
            working.cancel()


async def _wait_served(scheduler: "Scheduler", src: str, tgt: str) -> None:
    """Until the node is selectable. UsageError where it serves other languages."""
    from lingua_scheduler.protocol.ids import Language

    nodes = scheduler.context.store.nodes
    while not await nodes.count_serving(((Language(src), Language(tgt)),)):
        pairs = {pair for node in await nodes.snapshot() for pair in node.pairs}
        told = {pair for pair in pairs if pair[0] == src} or pairs
        # The node may have become selectable between the two questions.
        if (src, tgt) not in pairs and (served := sorted(f"{a}→{b}" for a, b in told)):
            raise arguments.UsageError(
                f"the engines of this machine do not serve {src}→{tgt}; they serve {', '.join(served)}"
            )
        await asyncio.sleep(_SERVED_POLL_S)


def _recording(args: argparse.Namespace) -> _Recording:
    from lingua_scheduler.data import DEMO, recording_in

    if args.file is not None:
        return _Recording(args.file)
    shipped = recording_in(args.src)
    if shipped is None:
        languages = " and ".join(one.language for one in DEMO)
        raise arguments.UsageError(f"the shipped recordings are in {languages}; name your own with --file")
    return _Recording(shipped.path, shipped.transcript, shipped.translation(args.tgt))


def _engines(args: argparse.Namespace) -> str:
    return f"demo:{args.src}" if args.engines == "demo" else args.engines


def _check_engines(args: argparse.Namespace) -> None:
    """UsageError for what the node would refuse, before anything is started."""
    from lingua_scheduler.node.engines.base import EngineError
    from lingua_scheduler.node.engines.plan import make_plan

    try:
        make_plan(_engines(args))
    except EngineError as error:
        raise arguments.UsageError(error.message) from error


def _emptied_folder(path: Path) -> Path:
    """The folder for the WAV files, without those of an earlier run."""
    arguments.made_folder(path)
    for old in path.glob("utterance-*.wav"):
        old.unlink()
    return path


def _tell(console: Console, summary: dict[str, Any]) -> None:
    late = summary["latency_ms"]
    wer = "unknown: no transcript"
    if summary["wer"] is not None:
        wer = f"{summary['wer']:.1%} ({summary['word_errors']} of {summary['words']} {summary['words_are']})"
    counts = (
        f"{summary['translated']} translated, {summary['without_speech']} without speech, {summary['failed']} failed"
    )
    text = f"text p50 {_s(late['text_p50'])}, p95 {_s(late['text_p95'])}"
    sound = f"sound p50 {_s(late['audio_p50'])}, p95 {_s(late['audio_p95'])}"
    rows = {
        "utterances": f"{counts}, lost {summary['lost']}, duplicated {summary['duplicated']}",
        "char errors" if summary["words_are"] == "characters" else "word errors": wer,
        "latency": f"from the end of speech to {text}; to {sound}",
        "start": f"{_s(summary['first_sentence_ms'])} from the start of this command to the first translated sentence",
        "speech": f"{summary['out']}/utterance-*.wav",
        "web page": summary["web_page"],
    }
    console.line()
    for name, row in rows.items():
        console.line(f"  {name:<12} {row}")
    for number, sentence in enumerate((summary["reference"] or "").splitlines()):
        console.wrapped(f"  {'' if number else 'by a person':<12} ", sentence, "dim")


def _s(ms: int | None) -> str:
    return "unknown" if ms is None else f"{ms / 1000:.2f} s"


def _process_age_ms() -> int | None:
    """How long this process has existed, to a hundredth of a second; None where the system does not say (not Linux)."""
    try:
        # The command's name, in brackets, may hold blanks: fields are counted behind it. The 20th is the start.
        started_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return int(uptime_s * 1000 - started_ticks * 1000 / os.sysconf("SC_CLK_TCK"))
