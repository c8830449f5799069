#!/usr/bin/env python3
"""Sets the project up on a machine that has Python 3.11 or newer and pip, then runs one of its commands.

    python3 dev.py demo [...]     the main job: real speech through a scheduler and a node (`lingua demo --help`);
                                  speech in another language than English (--from zh) installs 140 MB more
    python3 dev.py test           every check and every test; with arguments: pytest alone, with those
    python3 dev.py check          format, lint, types, import contracts, Lua, house rules
    python3 dev.py lingua ...     any other `lingua` command
    python3 dev.py docs           the documentation as a site in `site/`, with every link checked

The environment is `.venv` beside this file, with the versions of `constraints.txt`; it is made once, and again when
`pyproject.toml` or `constraints.txt` has changed. uv does it where it is installed or can be; pip does it otherwise.
Debian packages that only tests need are installed where this runs as root, and named with the remedy where it does not.
Standard library only: this file runs before anything is installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
STAMP = VENV / "dev.stamp"
TOOLS = ROOT / ".tools"
CONSTRAINTS = ROOT / "constraints.txt"
STARTED = time.monotonic()
APT_QUICK_S = 60
OUT_OF_TIME, NOT_FOUND = 124, 127  # a shell's codes for the same
KINDS = ("demo", "demo-zh", "dev")  # of environment; each has all that those before it have


class Program(NamedTuple):
    """Something that pip cannot install: where its presence shows, and the Debian packages that bring it."""

    sign: str
    packages: tuple[str, ...]
    use: str


APERTIUM = Program(
    "/usr/share/apertium/modes/pt-es.mode", ("apertium", "apertium-es-pt"), "English to Spanish in the demo"
)
TEST_PROGRAMS = (
    APERTIUM,
    Program("chromium", ("chromium",), "browser tests"),
    Program("luacheck", ("lua-check",), "checks of the Lua scripts"),
    Program("redis-server", ("redis-server",), "tests on a second Redis beside the embedded one"),
    Program("/usr/bin/promtool", ("prometheus",), "tests of the alert rules and the dashboard"),
    Program("/usr/sbin/haproxy", ("haproxy",), "tests of the load balancer's example"),
    Program("/usr/sbin/nginx", ("nginx-light",), "tests of the load balancer's example"),
)


# --- telling ---


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", file=sys.stderr, flush=True)


def fail(text: str) -> NoReturn:
    say(f"error: {text}")
    raise SystemExit(1)


class Finished(NamedTuple):
    """How a command ended: its exit code and all that it printed."""

    code: int
    output: str

    def tail(self, lines: int = 25) -> str:
        return "\n".join(self.output.rstrip().splitlines()[-lines:])


def run(title: str, argv: Sequence[str | Path], *, limit_s: float | None = None) -> Finished:
    """Run a command silently under a title; every 20 s a line shows that it is still at work."""
    say(title)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        try:
            process = subprocess.Popen(
                [str(word) for word in argv], cwd=ROOT, env=_environment(), text=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except OSError as reason:
            return Finished(NOT_FOUND, f"{argv[0]}: {reason}")
        try:
            code = _watch(process, title, limit_s)
        finally:
            if process.poll() is None:
                process.terminate()  # out of time, or we are interrupted
                process.wait()
        output.seek(0)
        return Finished(code, output.read())


def _watch(process: subprocess.Popen[str], title: str, limit_s: float | None) -> int:
    began = told = time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=0.5)
        now = time.monotonic()
        if limit_s is not None and now - began > limit_s:
            return OUT_OF_TIME
        if now - told >= 20:
            told = now
            say(f"  … {title}")


def _environment() -> dict[str, str]:
    """Ours, less the settings that would send packages somewhere else than into `.venv`."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PIP_TARGET", "PIP_PREFIX", "PYTHONPATH"}}
    kept |= {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    # Machines behind a certificate of their own told the system about it, and uv asks the system only when told to.
    kept.setdefault("UV_SYSTEM_CERTS", "1")
    return kept


# --- the environment ---


def prepare(kind: str) -> None:
    """Make `.venv` fit for `kind`: "demo" is the package with its offline engines, "dev" has the tests' tools too.

    "demo-zh" adds the model that hears other languages than English.
    """
    with _alone():
        if _stamped(kind):
            return
        say("preparing .venv (first run, or its definition has changed)")
        uv = _find_uv()
        _make_venv(uv)
        _install(uv, _requirements(kind))
        STAMP.write_text(f"{kind} {_fingerprint()}\n", encoding="utf-8")
        say("environment ready")


@contextlib.contextmanager
def _alone() -> Generator[None]:
    """Two of these started together prepare one after the other."""
    with Path(__file__).open(encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fingerprint() -> str:
    """Changes when the environment must be made anew: other requirements, other Python, or the folder was moved."""
    digest = hashlib.sha256(str(ROOT).encode())
    for path in (ROOT / "pyproject.toml", CONSTRAINTS, VENV / "pyvenv.cfg"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _stamped(kind: str) -> bool:
    if not (STAMP.exists() and (BIN / "python").exists()):
        return False
    made, _, fingerprint = STAMP.read_text(encoding="utf-8").strip().partition(" ")
    return fingerprint == _fingerprint() and kind in KINDS[: KINDS.index(made) + 1]


def _find_uv() -> str | None:
    """The uv of this machine, else our own under `.tools`, else None."""
    own = TOOLS / "uv" / "bin" / "uv"
    for candidate in (shutil.which("uv"), str(own)):
        if candidate and _works([candidate, "--version"]):
            return candidate
    pinned = re.search(r"^uv==\S+", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned, "constraints.txt pins uv"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", TOOLS / "uv", "--upgrade", pinned[0]]
    got = run("getting uv, which installs packages fast", command)
    if got.code == 0 and _works([str(own), "--version"]):
        return str(own)
    say(f"uv is not to be had; pip does its work, slower ({got.tail(1)})")
    return None


def _works(argv: Sequence[str]) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, check=False, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _make_venv(uv: str | None) -> None:
    python = str(BIN / "python")
    if _works([python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]):
        return
    ways: list[list[str]] = [[sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV)]]
    if uv:
        ways.insert(0, [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV)])
    made = Finished(1, "")
    for way in ways:
        made = run("making .venv", way)
        if made.code == 0:
            return
    fail(f"could not make {VENV}. On Debian: apt-get install python3-venv\n{made.tail()}")


def _requirements(kind: str) -> list[str]:
    """What to ask the installer for. pip before 25.1 knows no dependency groups, so the group is read here.

    With pip, for `lingua` names extras by the command that brings them: it is to land in `.venv`.
    """
    import tomllib  # noqa: PLC0415 - an older Python must get as far as being told so

    if kind != "dev":
        return ["pip", "-e", ".[demo]" if kind == "demo" else ".[demo,demo-zh]"]
    with (ROOT / "pyproject.toml").open("rb") as file:
        return ["pip", "-e", ".[demo,demo-zh]", *tomllib.load(file)["dependency-groups"]["dev"]]


def _install(uv: str | None, requirements: list[str]) -> None:
    python = str(BIN / "python")
    ways: list[list[str]] = [[sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]]
    if uv:
        ways.insert(0, [uv, "pip", "install", "--quiet", "--python", python, "--build-constraints", str(CONSTRAINTS)])
    tails: list[str] = []
    for way in ways:
        got = run(f"installing packages with {Path(way[0]).name if way[0] == uv else 'pip'}", [
            *way, "--constraint", CONSTRAINTS, *requirements,
        ])  # fmt: skip
        if got.code == 0:
            return
        tails.append(got.tail())
    fail("could not install the packages; is a package index reachable?\n" + "\n".join(tails))


# --- Debian packages ---


def add_programs(wanted: Sequence[Program], *, quick: bool = False) -> list[Program]:
    """Install what is missing, where this machine lets us; returns what is still missing.

    `quick` gives up when the download takes over a minute. Only the download is ever cut short: an interrupted
    installation would leave the machine's package database to be repaired.
    """
    missing = _missing(wanted)
    if not missing or os.geteuid() != 0 or not shutil.which("apt-get"):
        return missing
    names = [name for program in missing for name in program.packages]
    limit_s = APT_QUICK_S if quick else None
    # Runlevel 1 keeps a freshly installed redis-server from starting as a service of the machine.
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    install = [*apt, "install", "--yes", "--no-install-recommends"]
    run("updating Debian's package lists", [*apt, "update"], limit_s=limit_s)
    got = run(f"downloading {' '.join(names)}", [*install, "--download-only", *names], limit_s=limit_s)
    if got.code == 0:
        got = run(f"installing {' '.join(names)}", [*install, *names])
    if got.code != 0:
        say(f"apt-get failed: {got.tail(2) or 'out of time'}")
    return _missing(wanted)


def _missing(wanted: Sequence[Program]) -> list[Program]:
    return [one for one in wanted if not (Path(one.sign).exists() if "/" in one.sign else shutil.which(one.sign))]


def name_missing(missing: Sequence[Program]) -> None:
    for program in missing:
        names = " ".join(program.packages)
        say(f"not installed: {names} (for {program.use}). As root: apt-get install {names}")


# --- commands ---

# One more than the smallest machine has cores: half of the time a test waits for other processes.
PYTEST_FULL = ("--numprocesses=3", "--dist=worksteal")


def checks() -> dict[str, list[str | Path]]:
    """Every check that is not a test, by name."""
    return {
        "format": [BIN / "ruff", "format", "--check", "--quiet", "."],
        "lint": [BIN / "ruff", "check", "--quiet", "."],
        "types": [BIN / "basedpyright"],
        "imports": [BIN / "lint-imports", "--no-logo"],
        "lua": ["luacheck", "--quiet", "--no-color", "--codes", "src"],
    }


def run_checks() -> list[str]:
    """Run them all, print what the failing ones say, and return the names of those."""
    failed: list[str] = []
    for name, command in checks().items():
        got = run(f"check: {name}", command)
        if got.code == NOT_FOUND and not os.environ.get("CI"):
            say(f"check not done: {name}")
        elif got.code != 0:
            failed.append(name)
            print(got.output.rstrip(), flush=True)
            say(f"check failed: {name}")
    return failed


def demo_kind(arguments: list[str]) -> str:
    """The environment for a demo's language; what is wrong with the arguments is for `lingua` to say."""
    told = re.search(r"(?:^|\0)--fr(?:om?)?[=\0](\w+)", "\0".join(arguments))
    return "demo-zh" if told and told[1].lower() != "en" else "demo"


def demo(arguments: list[str]) -> NoReturn:
    prepare(demo_kind(arguments))
    tried = VENV / "apertium.tried"
    if not tried.exists():
        tried.touch()  # once: a demo that starts at once is worth more than a second language
        name_missing(add_programs([APERTIUM], quick=True))
    become("lingua", ["demo", *arguments])


def lingua(arguments: list[str]) -> NoReturn:
    prepare("demo")
    become("lingua", arguments)


def check(arguments: list[str]) -> int:
    if arguments:
        fail("check takes no arguments")
    prepare("dev")
    name_missing(add_programs(TEST_PROGRAMS))
    failed = run_checks()
    tidy = subprocess.run([BIN / "pytest", "-q", "tests/tidy"], cwd=ROOT, check=False).returncode
    return 1 if failed else tidy


def test(arguments: list[str]) -> int:
    """With arguments pytest alone, otherwise everything; pytest's summary, printed last, names failed checks too."""
    prepare("dev")
    name_missing(add_programs(TEST_PROGRAMS))
    if arguments:
        become("pytest", arguments)
    failed = run_checks()
    say("tests")
    told = {**os.environ, "LINGUA_FAILED_CHECKS": " ".join(failed)}
    code = subprocess.run([BIN / "pytest", *PYTEST_FULL], cwd=ROOT, env=told, check=False).returncode
    return code or bool(failed)


def docs(arguments: list[str]) -> int:
    """Build the site; with arguments pass those on to MkDocs (`docs serve`)."""
    prepare("dev")
    # The notice is about MkDocs' next generation: docs/decisions/020-documents-from-structs.md.
    os.environ["NO_MKDOCS_2_WARNING"] = "1"
    if arguments:
        become("mkdocs", arguments)
    code = subprocess.run([BIN / "mkdocs", "build", "--strict", "--quiet"], cwd=ROOT, check=False).returncode
    if code == 0:
        say(f"open {ROOT / 'site/index.html'}")
    return code


def become(program: str, arguments: Sequence[str]) -> NoReturn:
    """Hand this process, its terminal and its signals over to a program of the environment."""
    sys.stderr.flush()
    os.execv(BIN / program, [str(BIN / program), *arguments])


def use_newer_python() -> NoReturn:
    """This Python is too old: continue under a newer one of this machine, if there is one."""
    for name in ("python3.14", "python3.13", "python3.12", "python3.11"):
        newer = shutil.which(name)
        if newer and _works([newer, "--version"]):
            os.execv(newer, [newer, *sys.argv])
    fail("Python 3.11 or newer is needed; this is " + sys.version.split()[0])


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "demo": demo,
    "test": test,
    "check": check,
    "docs": docs,
    "lingua": lingua,
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__)
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    if sys.version_info < (3, 11):  # noqa: UP036 - the user's Python is what is being asked about
        use_newer_python()
    return COMMANDS[arguments[0]](arguments[1:])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
