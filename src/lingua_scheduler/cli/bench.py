"""`lingua bench`: the real scheduler under paced load, beside the floors that it cannot go below."""

import argparse
import asyncio
import sys
from pathlib import Path

from lingua_scheduler.cli import arguments
from lingua_scheduler.cli.arguments import UsageError
from lingua_scheduler.cli.console import Console

_EXAMPLES = """\
  lingua bench sessions                       # 1,000 speakers: what a frame costs, and how long dispatch takes
  lingua bench sessions --sessions 3000 --frames opus --rounds 0 --picture sessions.svg
  lingua bench sessions --find --duty 0.4     # the most speakers that take turns, with dispatch in time
  lingua bench dispatch --rate 100 --nodes 1000 --json
  lingua bench failover --trials 200"""
NAMES = ("sessions", "dispatch", "failover", "resume", "rooms", "placement", "memory")


def add_parser(commands: arguments.Commands) -> None:
    parser = arguments.add_command(commands, "bench", "measure a scheduler on this machine", _EXAMPLES)
    parser.add_argument("scenario", choices=NAMES, metavar="SCENARIO", help=", ".join(NAMES))
    parser.add_argument(
        "--sessions", type=arguments.positive, default=1000, metavar="N", help="speakers at once (default 1000)"
    )
    parser.add_argument(
        "--frames", choices=("json", "binary", "opus"), default="json", help="how speech comes (default json, PCM16)"
    )
    parser.add_argument("--sentence-s", type=_seconds, default=5.0, metavar="S", help="of speech (default 5)")
    parser.add_argument("--duty", type=_share, default=1.0, metavar="X", help="share of speech (default 1)")
    parser.add_argument("--find", action="store_true", help="sessions: the most that are served in time")
    parser.add_argument(
        "--seconds", type=_seconds_long, default=10.0, metavar="S", help="measured (default 10; 0: frames alone)"
    )
    parser.add_argument(
        "--rounds", type=arguments.natural, default=5, metavar="N", help="in turns with the floor (default 5)"
    )
    parser.add_argument("--nodes", type=arguments.positive, default=4, metavar="N", help="worker nodes (default 4)")
    parser.add_argument(
        "--service-ms", type=arguments.positive, default=300, metavar="MS", help="a node's time (default 300)"
    )
    parser.add_argument("--workers", type=arguments.positive, default=1, metavar="N", help="instances (default 1)")
    parser.add_argument("--rate", type=_rate, default=100.0, metavar="X", help="sentences a second (default 100)")
    parser.add_argument(
        "--trials", type=_trials, default=50, metavar="N", help="nodes that die, of each kind (default 50, at most 300)"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw what was measured as SVG")
    arguments.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Run the scenario; 1 where something was lost or a target missed."""
    from lingua_scheduler.bench.picture import draw
    from lingua_scheduler.bench.scenarios import SCENARIOS
    from lingua_scheduler.bench.settings import Settings

    if sys.platform != "linux":
        raise UsageError("bench needs Linux: it pins processes to cores and reads their clocks")
    settings = Settings(
        sessions=args.sessions, frames=args.frames, sentence_s=args.sentence_s, duty=args.duty, find=args.find,
        rounds=args.rounds, seconds=args.seconds, nodes=args.nodes, service_ms=args.service_ms, workers=args.workers,
        rate=args.rate, trials=args.trials,
    )  # fmt: skip
    if args.picture is not None:
        arguments.made_folder(args.picture.parent)
    console.status(f"{args.scenario} …")
    report = asyncio.run(SCENARIOS[args.scenario](settings))
    console.status("")
    for line in report.lines():
        console.line(line)
    if args.picture is not None:
        args.picture.write_text(draw(report), encoding="utf-8")
    if console.is_json:
        console.json(report)
    return 0 if report.is_met else 1


def _number(text: str, lowest: float, highest: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not lowest <= value <= highest:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {lowest:g} to {highest:g}")
    return value


def _seconds(text: str) -> float:
    return _number(text, 0.1, 9.5)


def _seconds_long(text: str) -> float:
    return _number(text, 0, 3600)


def _share(text: str) -> float:
    return _number(text, 0.01, 1)


def _rate(text: str) -> float:
    return _number(text, 0.1, 10_000)


def _trials(text: str) -> int:
    return int(_number(text, 1, 300))
