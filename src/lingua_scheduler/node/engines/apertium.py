"""Rule-based translation by the system's Apertium, kept alive: 1 to 3 ms a sentence.

Each direction is a chain of Apertium's programs, built from its mode file with `-z` at each stage: a null byte ends a
text and flushes it through all of them. (`apertium -z`, the wrapper, hangs.) Two things make the chain safe to keep:

- characters with a meaning in Apertium's stream format are escaped, else they swallow what follows;
- an empty blank `[]` ends each text: the generator holds back a text that ends in the middle of a word.

A chain that ends is started anew, once for a text. What hangs is the host's to notice: it kills this process, and the
kernel kills the chain with it.
"""

import ctypes
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Final

from lingua_scheduler.node.engines.base import (
    Emit,
    EngineCard,
    EngineError,
    Limits,
    MtEngine,
    MtRequest,
    MtResult,
    Stage,
    primary,
)
from lingua_scheduler.node.engines.codes import from_three_letters
from lingua_scheduler.node.engines.kind import EngineKind
from lingua_scheduler.node.engines.spec import EngineSpec
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language, language

Pair = tuple[Language, Language]

_MODES: Final = "/usr/share/apertium/modes"
_PROGRAM: Final = "lt-proc"
_REMEDY: Final = "install it with the system's package manager (Debian: apt-get install apertium apertium-es-pt)"
_SPECIAL = re.compile(r"[\[\]{}^$@\\/<>]")
_ESCAPED = re.compile(r"\\(.)")
_END: Final = "[]"
_GENERATE_UNMARKED: Final = "-n"
"""Unknown words come out as they went in, without Apertium's asterisk."""
_PR_SET_PDEATHSIG: Final = 1


class Apertium:
    """`apertium:pt-es` serves that mode alone, `apertium` all modes between languages. Option `modes`: their folder."""

    def __init__(self, spec: EngineSpec) -> None:
        spec.only("modes")
        self._spec = spec
        self._files: dict[Pair, Path] = {}
        self._chains: dict[Pair, _Chain] = {}

    def load(self) -> EngineCard:
        problem = _missing(self._spec)
        if problem is not None:
            raise EngineError(ErrorCode.MODEL_NOT_AVAILABLE, problem, retryable=False)
        self._files = _modes(self._spec)
        if self._spec.argument:
            for pair in self._files:
                self._chain(pair).translate("ok")
        return EngineCard("apertium", Stage.MT, pairs=tuple(self._files), limits=Limits(max_chars=400, timeout_s=5.0))

    def run(self, request: MtRequest, emit: Emit) -> MtResult:
        del emit
        if not request.text.strip():
            return MtResult("")
        pair = self._pair(request)
        try:
            return MtResult(self._chain(pair).translate(request.text))
        except OSError:
            self._chains.pop(pair).close()
        try:
            return MtResult(self._chain(pair).translate(request.text))
        except OSError as error:
            message = f"apertium {pair[0]}-{pair[1]} ended twice over one text: {error}"
            raise EngineError(ErrorCode.PROCESSING_ERROR, message, retryable=False) from error

    def _pair(self, request: MtRequest) -> Pair:
        """The mode for exactly these variants, else for the languages."""
        source, target = primary(request.source), request.target
        for pair in ((source, target), (source, primary(target))):
            if pair in self._files:
                return pair
        for a, b in self._files:
            if a == source and primary(b) == primary(target):
                return a, b
        message = f"apertium has no mode {request.source}-{request.target}"
        raise EngineError(ErrorCode.MODEL_NOT_AVAILABLE, message, retryable=False)

    def _chain(self, pair: Pair) -> "_Chain":
        chain = self._chains.get(pair)
        if chain is None:
            chain = self._chains[pair] = _Chain(self._files[pair])
        return chain


class _Chain:
    """The running programs of one mode, each feeding the next."""

    def __init__(self, mode: Path) -> None:
        self._programs: list[subprocess.Popen[bytes]] = []
        feed: int | None = subprocess.PIPE
        for command in _commands(mode):
            program = subprocess.Popen(
                command,
                stdin=feed,
                stdout=subprocess.PIPE,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - a worker process has one thread
            )
            if self._programs:
                _stdout(self._programs[-1]).close()
            self._programs.append(program)
            feed = _stdout(program).fileno()

    def translate(self, text: str) -> str:
        """OSError where a program of the chain has ended."""
        escaped = _SPECIAL.sub(r"\\\g<0>", " ".join(text.replace("\0", " ").split()))
        first = self._programs[0].stdin
        assert first is not None
        first.write(f"{escaped}{_END}\0".encode())
        first.flush()
        out, translated = _stdout(self._programs[-1]).fileno(), bytearray()
        while not translated.endswith(b"\0"):
            part = os.read(out, 4096)
            if not part:
                raise BrokenPipeError("a program of the chain ended")
            translated += part
        whole = translated[:-1].decode("utf-8", "replace")
        if not whole.endswith(_END):  # one ended, and the ones after it flushed what little they had
            raise BrokenPipeError("a program of the chain ended")
        return _ESCAPED.sub(r"\1", whole.removesuffix(_END)).strip()

    def close(self) -> None:
        for program in self._programs:
            program.kill()
            program.wait()
        for pipe in (self._programs[0].stdin, self._programs[-1].stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # what could not be flushed to the dead


def _stdout(program: subprocess.Popen[bytes]) -> IO[bytes]:
    assert program.stdout is not None
    return program.stdout


def _commands(mode: Path) -> list[list[str]]:
    """The chain of a mode file (`a x | b $1 y`) as argument lists. EngineError MODEL_CORRUPTED where it is none."""
    commands: list[list[str]] = []
    for stage in mode.read_text("utf-8").strip().split("|"):
        words = [_GENERATE_UNMARKED if word == "$1" else word for word in shlex.split(stage) if word != "$2"]
        if not words:
            raise EngineError(ErrorCode.MODEL_CORRUPTED, f"{mode} is not an Apertium mode", retryable=False)
        commands.append([words[0], "-z", *words[1:]])
    return commands


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _modes(spec: EngineSpec) -> dict[Pair, Path]:
    """The mode files that are named by two languages (others, such as `es-tagger`, are for linguists)."""
    found: dict[Pair, Path] = {}
    for path in sorted(Path(spec.text("modes", _MODES)).glob("*.mode")):
        codes = [_code(part) for part in path.stem.split("-")]
        if len(codes) == 2 and codes[0] and codes[1] and spec.argument in {"", path.stem}:
            found[codes[0], codes[1]] = path
    return found


def _code(part: str) -> Language | None:
    """`pt_BR` or `por`, of which newer packages name their modes."""
    head, _, region = part.partition("_")
    code = from_three_letters(head)
    return language(f"{code}-{region}") if code and region else code


def _missing(spec: EngineSpec) -> str | None:
    if shutil.which(_PROGRAM) is None:
        return f"apertium is missing ({_PROGRAM} is not on PATH): {_REMEDY}"
    if not _modes(spec):
        what = f"mode {spec.argument}" if spec.argument else "language pair"
        return f"apertium has no {what} in {spec.text('modes', _MODES)}: {_REMEDY}"
    return None


def _make(spec: EngineSpec) -> MtEngine:
    return Apertium(spec)


KIND = EngineKind(
    name="apertium",
    stage=Stage.MT,
    about="rule-based, by the system's Apertium: all installed modes, or apertium:pt-es",
    make=_make,
    missing=_missing,
)
