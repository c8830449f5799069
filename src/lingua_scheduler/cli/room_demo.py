"""`lingua demo --room`: one speaker, listeners in two languages and one without, in a room; who got what.

The room is the real one: members are clients of the scheduler as any other, the engines are those of `lingua demo`.
"""

import argparse
import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lingua_scheduler.cli import arguments
from lingua_scheduler.cli.console import Console
from lingua_scheduler.cli.conversation import source_text
from lingua_scheduler.client import ClientError, Session, SessionEvent, SessionOptions, connect
from lingua_scheduler.client.log import SessionLog, Utterance
from lingua_scheduler.client.scoring import word_errors
from lingua_scheduler.client.sound import read_sound_file
from lingua_scheduler.client.speaking import Speaker
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language
from lingua_scheduler.protocol.messages import RoomCreateAck, RoomError, RoomMembers, TranslationResult
from lingua_scheduler.runtime.clock import Clock

if TYPE_CHECKING:
    from lingua_scheduler.scheduler.app import Scheduler

T = TypeVar("T")
LISTENED_TO = ("pt", "es", "en")
"""What the offline engines may speak; the first two that they do, with `--to` before them, are listened to."""
PATIENCE_S = 30.0
STAGES = ("asr", "mt", "tts")


@dataclass(slots=True)
class _Member:
    """One person: what they should hear, and what they did. `log` is of the speaker's utterances."""

    name: str
    language: str | None
    log: SessionLog = field(default_factory=lambda: SessionLog(""))
    sounds: int = 0
    strays: int = 0
    """Results that were not meant for this member."""
    code: str = ""
    members: int = 0

    def row(self, expected: int) -> dict[str, Any]:
        tally = self.log.tally()
        lost = 0 if self.language is None else expected - len(self.log.utterances)
        return {
            "name": self.name,
            "language": self.language,
            "lines": len(self.log.utterances),
            "translated": tally.translated,
            "without_speech": tally.without_speech,
            "failed": tally.failed,
            "sounds": self.sounds,
            "lost": lost,
            "duplicated": tally.duplicated,
            "strays": self.strays,
            "translations": [_text(utterance) for utterance in self.log.utterances],
        }


class RoomDemo:
    """What is spoken in the room, and what is told of it."""

    def __init__(self, args: argparse.Namespace, console: Console, path: Path, transcript: str | None) -> None:
        self._args = args
        self._console = console
        self._path = path
        self._transcript = transcript
        self._clock = Clock()
        self._changed = asyncio.Condition()

    async def run(self, scheduler: "Scheduler") -> int:
        """The exit code: 0 where every listener got every sentence once and nobody else got any."""
        languages = await self._languages(scheduler)
        speaker = _Member("Ana", self._args.src)
        names = zip(("Bruno", "Carmen"), languages, strict=False)
        others = [*(_Member(name, language) for name, language in names), _Member("Dan", None)]
        expected = await self._talk(scheduler.url, speaker, others)
        summary = self._summary(scheduler, speaker, others, expected)
        self._tell(summary)
        if self._console.is_json:
            self._console.json(summary)
        is_whole = not (summary["lost"] or summary["duplicated"] or summary["failed"] or summary["strays"])
        return 0 if summary["translated"] and is_whole else 1

    async def _languages(self, scheduler: "Scheduler") -> list[str]:
        """Two that the engines speak. UsageError where there are not so many."""
        src, nodes = Language(self._args.src), scheduler.context.store.nodes
        wanted = dict.fromkeys((self._args.tgt, *LISTENED_TO))
        served = [one for one in wanted if await nodes.count_serving(((src, Language(one)),))]
        if len(served) < 2:
            raise arguments.UsageError(
                f"a room needs two languages to listen in; the engines serve {', '.join(served)}"
            )
        return served[:2]

    # ------------------------------------------------------------------------------- the call

    async def _talk(self, url: str, speaker: _Member, others: list[_Member]) -> int:
        """Speak the recording to everybody. How many utterances it had."""
        tasks: list[asyncio.Task[None]] = []
        async with asyncio.TaskGroup() as group, contextlib.AsyncExitStack() as stack:
            stack.callback(lambda: [task.cancel() for task in tasks])
            host = await self._enter(stack, url, self._args.tgt)
            tasks.append(group.create_task(self._listen(host, speaker, host.ack.session_id)))
            host.create_room(display_name=speaker.name, preferred_lang=speaker.language)
            code = await self._wait(lambda: speaker.code, "the room to be made")
            self._console.line(f"  room       {code}")
            for member in others:
                guest = await self._enter(stack, url, member.language or self._args.tgt)
                member.log = SessionLog(host.ack.session_id)
                tasks.append(group.create_task(self._listen(guest, member, host.ack.session_id)))
                guest.join_room(code, display_name=member.name, preferred_lang=member.language)
            everybody = [speaker, *others]
            await self._wait(
                lambda: all(one.members == len(everybody) for one in everybody), "everybody to be in the room"
            )
            self._console.line()
            await self._speak(host, speaker)
            expected = speaker.log.tally().utterances
            listeners = [one for one in others if one.language is not None]
            with contextlib.suppress(ClientError):
                await self._wait(
                    lambda: all(len(one.log.utterances) >= expected for one in listeners), "the last translations"
                )
            return expected

    async def _enter(self, stack: contextlib.AsyncExitStack, url: str, tgt: str) -> Session:
        options = SessionOptions(platform="demo")
        return await stack.enter_async_context(connect(url, src=self._args.src, tgt=tgt, options=options))

    async def _speak(self, host: Session, member: _Member) -> None:
        """Until the scheduler has concluded all of it."""
        pace = arguments.pace(self._args)
        total_s = (arguments.check_sound_file(self._path) or 0) / 1000

        def progress(spoken_ms: int, _is_speaking: bool) -> None:
            self._console.progress(spoken_ms / 1000, total_s, f"{spoken_ms / 1000:.1f} of {total_s:.0f} s spoken")

        await Speaker(host, member.log, pace, self._clock).speak(read_sound_file(self._path), progress)
        self._console.status("")
        host.finish()
        await self._wait(lambda: member.code == "", "the speaker's session to end")

    async def _listen(self, session: Session, member: _Member, speaker_id: str) -> None:
        if session.ack.session_id == speaker_id:
            member.log = SessionLog(speaker_id)
        async for event in session.events():
            self._on_event(event, member, is_speaker=session.ack.session_id == speaker_id)
            async with self._changed:
                self._changed.notify_all()
        member.code = ""
        async with self._changed:
            self._changed.notify_all()

    def _on_event(self, event: SessionEvent, member: _Member, *, is_speaker: bool) -> None:
        match event:
            case RoomCreateAck():
                member.code = event.room_code
            case RoomMembers():
                member.members = len(event.members)
            case RoomError():
                raise ClientError(event.code, event.message)
            case TranslationResult() if is_speaker or member.language is None:
                member.strays += 1
            case _:
                utterance = member.log.received(event, self._clock.now_ms())
                if utterance is not None and not is_speaker:
                    self._show(member, utterance)

    def _show(self, member: _Member, utterance: Utterance) -> None:
        if isinstance(utterance.outcome, TranslationResult) and utterance.outcome.tts_audio:
            member.sounds += 1
        head = f"{utterance.index:>3} {member.name:<7} {member.language or '':<5} "
        self._console.wrapped(head, _text(utterance), "cyan")

    async def _wait(self, condition: Callable[[], T], what: str) -> T:
        try:
            async with asyncio.timeout(PATIENCE_S), self._changed:
                return await self._changed.wait_for(condition)
        except TimeoutError:
            raise ClientError(ErrorCode.JOB_TIMEOUT, f"waited {PATIENCE_S:.0f} s for {what}") from None

    # ------------------------------------------------------------------------------- what is told

    def _summary(
        self, scheduler: "Scheduler", speaker: _Member, others: list[_Member], expected: int
    ) -> dict[str, Any]:
        rows = [member.row(expected) for member in others]
        registry = scheduler.context.metrics.registry
        saved = {one: registry.get_sample_value("lingua_room_runs_saved_total", {"stage": one}) for one in STAGES}
        heard = [member.log for member in others if member.language is not None]
        errors = None if self._transcript is None else word_errors(self._transcript, source_text(heard[0]))
        return {
            "utterances": expected,
            "languages": [member.language for member in others if member.language is not None],
            **{name: sum(row[name] for row in rows) for name in ("translated", "failed", "lost", "duplicated")},
            "strays": speaker.strays + sum(row["strays"] for row in rows),
            "wer": None if errors is None else round(errors.rate, 4),
            "runs_saved": {stage: int(count or 0) for stage, count in saved.items()},
            "from": self._args.src,
            "recording": self._path.name,
            "members": [{"name": speaker.name, "language": speaker.language, "speaks": True}, *rows],
        }

    def _tell(self, summary: dict[str, Any]) -> None:
        console = self._console
        console.line()
        for row in summary["members"][1:]:
            got = f"{row['translated']} translated, {row['sounds']} spoken, lost {row['lost']}"
            got = f"{got}, duplicated {row['duplicated']}"
            console.line(f"  {row['name']:<10} {row['language'] or 'none':<5} {got}")
        saved = ", ".join(f"{count} of {stage}" for stage, count in summary["runs_saved"].items())
        console.line(f"  {'saved':<10} runs that sharing spared: {saved}")


def _text(utterance: Utterance) -> str:
    outcome = utterance.outcome
    return outcome.text_translated if isinstance(outcome, TranslationResult) else f"({outcome.reason})"
