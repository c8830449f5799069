"""Scripts keep their form: a header that is true, few lines, keys of the table, nothing that scans."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lingua_scheduler.core.node.events import NodeLoad
from lingua_scheduler.core.placement import Queued, Selected
from lingua_scheduler.core.rooms.room import Member
from lingua_scheduler.protocol.ids import JobId, NodeId, RoomId, SessionId, TenantId
from lingua_scheduler.store import client
from lingua_scheduler.store.client import Script
from lingua_scheduler.store.keys import KEY_TABLE, Keys
from lingua_scheduler.store.records import Presence, Word
from lingua_scheduler.store.rooms import Guesser
from lingua_scheduler.store.sessions import Ownership, SessionChange
from lingua_scheduler.store.shares import Bill
from lingua_scheduler.store.store import Store
from tests.store.samples import HERE, SERVICES, join, registration, request
from tests.tidy import sources

FOLDER = sources.ROOT / "src/lingua_scheduler/store/scripts"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.lua"))
FILES = sorted(FOLDER.rglob("*.lua"))
PLACEMENT_WORDS = {"SELECTED", "QUEUED", "NO_NODE", "AGAIN", "DONE", "STALE_ATTEMPT", "STALE_EPOCH"}
AREAS = ["v1", "session_area", "presence_area"]
FORBIDDEN = {"keys", "scan", "sscan", "hscan", "zscan", "flushall", "flushdb", "randomkey"}


def header(name: str) -> dict[str, str]:
    """The head's fields, each with its continuation lines joined."""
    fields: dict[str, str] = {}
    current = ""
    for line in (FOLDER / f"{name}.lua").read_text().splitlines():
        if not line.startswith("--"):
            break
        if found := re.match(r"-- ([\w ]+): (.*)", line):
            current = found[1]
            fields[current] = f"{fields.get(current, '')} {found[2]}".strip()
        elif line.startswith("--   "):
            fields[current] += " " + line[5:]
    return fields


def body(name: str) -> str:
    return (FOLDER / f"{name}.lua").read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scripts_are_short(path: Path):
    assert len(path.read_text().splitlines()) <= 80


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_header_tells_the_script(name: str):
    fields = header(name)
    assert next(iter(fields)) == name
    assert {"KEYS", "ARGV", "Reply"} <= set(fields)
    assert "Repeated: " in body(name), "says what a second call does"
    assert re.search(r"^-- Writes ", body(name), re.MULTILINE), "says what it writes, and when nothing"


@pytest.mark.parametrize("name", SCRIPTS)
def test_arguments_are_bound_in_the_order_of_the_header(name: str):
    bound = re.search(r"^local ([\w,\s]+?)\s*= unpack\(ARGV(?:, 1, \d)?\)$", body(name), re.MULTILINE)
    assert bound, "the first lines bind ARGV to names"
    names = [one.strip() for one in bound[1].split(",")]
    told = [one for one in Script(name).argument_names if one != "..."]
    assert told[0] == "stated"
    assert names[1:] == told[1:]
    assert names[0] in {"stated", "_"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_keys_are_the_areas_or_named_one_by_one(name: str):
    keys = header(name)["KEYS"].split()
    assert keys in (AREAS, ["owner"], ["inbox", "dlq"])
    used = {int(number) for number in re.findall(r"KEYS\[(\d)\]", Script(name).text)}
    assert max(used, default=1) <= len(keys)
    if keys == AREAS:
        bound = re.search(r"^local ([\w, ]+) = (KEYS[^\n]+)$", body(name), re.MULTILINE)
        assert bound
        names = bound[1].split(", ")
        numbers = [int(one) for one in re.findall(r"\[(\d)\]", bound[2])]
        assert names == [AREAS[number - 1] for number in numbers]


@pytest.mark.parametrize("name", SCRIPTS)
def test_reply_words_are_told_and_known(name: str):
    told = set(re.findall(r"\b[A-Z][A-Z_]{1,}\b", header(name)["Reply"]))
    written = set(re.findall(r"return \{ (?:\w+ and )?'([A-Z_]{2,})'", Script(name).text))
    written |= set(re.findall(r"\band '([A-Z_]{2,})' or", Script(name).text))
    written |= set(re.findall(r"\bor '([A-Z_]{2,})'", Script(name).text))
    written |= set(re.findall(r"known, \{ '([A-Z_]{2,})'", Script(name).text))
    assert written == told
    known = PLACEMENT_WORDS if name == "select_node" else {str(word) for word in Word}
    assert told <= known


def spelled() -> Iterator[tuple[str, str]]:
    """Every piece of a key's name that stands in a script, with the file."""
    for path in FILES:
        for piece in re.findall(r"(?:v1|session_area|presence_area|key|base|queue) \.\. '([^']+)'", path.read_text()):
            yield path.stem, piece


def test_names_spelled_in_scripts_are_those_of_the_key_table():
    patterns = [re.sub(r"<\w+>", "", key.pattern) for key in KEY_TABLE]
    unknown = [(file, piece) for file, piece in spelled() if not any(piece in pattern for pattern in patterns)]
    assert not unknown
    assert {piece for _, piece in spelled()} >= {"node:", "job:", "queue:", "lane:", "pool:", "deadlines", ":jobs"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scripts_scan_nothing(path: Path):
    commands = {command.lower() for command in re.findall(r"redis\.call\('(\w+)'", path.read_text())}
    assert not commands & FORBIDDEN


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_redis_is_given_is_clean_lua(name: str):
    """A script is linted with all that it uses before it, for so Redis gets it."""
    assert shutil.which("luacheck"), "luacheck is not installed: dev.py test installs it"
    command = ["luacheck", "--no-cache", "--codes", "--no-color", "--config", str(sources.ROOT / ".luacheckrc"), "-"]
    got = subprocess.run(command, input=Script(name).text, text=True, capture_output=True, check=False)
    assert got.returncode == 0, got.stdout


def test_every_library_is_used():
    used = {
        name for script in SCRIPTS for name in re.findall(r"^local function (\w+)", Script(script).text, re.MULTILINE)
    }
    assert {path.stem for path in (FOLDER / "lib").glob("*.lua")} <= used


def test_every_script_has_its_function():
    source = "".join(sources.text(path) for path in sources.files(".py") if "lingua_scheduler/store/" in str(path))
    assert set(re.findall(r'Script\("(\w+)"\)', source)) == set(SCRIPTS)


async def test_a_wrong_number_of_arguments_is_a_bug(store: Store):
    run = client.ScriptRunner(store.client, Keys())
    with pytest.raises(AssertionError, match="leave_queue takes"):
        await run(Script("leave_queue"), "j", "too", "many")


async def test_a_whole_life_costs_one_script_per_call_and_no_scan(stores: Store):
    """What Redis counted: EVALSHA per call, the texts loaded once, and nothing that walks the key space."""
    registered = await stores.nodes.register(registration("m"), HERE)
    await stores.nodes.heartbeat(NodeId("m"), registered.epoch, "ready", NodeLoad(), SERVICES)
    epoch = (await join(stores, "n", "zh,en>en,zh", capacity=1)).epoch
    await stores.instances.announce(Presence(HERE, 1, "host", 1, "1", "address"))
    for number in range(4):
        reply = await stores.jobs.select(request(f"j{number}", affinity_node=NodeId("n"), affinity_wait_ms=10))
        assert isinstance(reply, Selected | Queued)
    await stores.jobs.renew_lease(JobId("j0"), 1, NodeId("n"), 1000)
    await stores.jobs.requeue(JobId("j0"), 1, "x")
    await stores.jobs.leave_queue(JobId("j3"))
    await stores.nodes.mark_unavailable(NodeId("n"), "tts")
    await stores.nodes.set_status(NodeId("n"), epoch, "degraded")
    owner = Ownership(SessionId("s"), HERE, 1)
    await stores.sessions.write(owner, SessionChange({"opening": "o", "token": "t"}))
    await stores.sessions.claim(SessionId("s"), HERE, "t", "u")
    await stores.sessions.adopt(owner, [JobId("j0")])
    await stores.sessions.drop(SessionId("s"), 1)
    claimed = await stores.instances.claim_owner("nodes", "n", HERE)
    await stores.instances.renew_owner("nodes", "n", HERE, claimed.epoch)
    await stores.instances.release_owner("nodes", "n", HERE, claimed.epoch)
    await whole_call(stores)
    await stores.shares.settle(Bill(TenantId("t"), HERE, 1, 0, asks=True, sessions_max=1))
    await stores.allowances.spend("token", HERE, 1, 1000, 60_000)
    await stores.instances.reap()
    await stores.nodes.pools(await stores.nodes.snapshot())
    await stores.instances.list()
    await stores.nodes.offline(NodeId("n"), epoch)
    calls = await commandstats(stores)
    assert calls.keys().isdisjoint(FORBIDDEN)
    assert calls["evalsha"] >= len(SCRIPTS)


async def whole_call(stores: Store) -> None:
    """The life of a room."""
    room, one = RoomId("r"), Member(SessionId("s"), HERE, 1)
    await stores.rooms.create(room, ["123456"], one, expiry_ms=60_000)
    await stores.rooms.join("123456", one, Guesser(SessionId("s"), "address"), members_max=2, expiry_ms=60_000)
    await stores.rooms.change(room, one)
    await stores.rooms.spoke(room, None, expiry_ms=60_000)
    await stores.rooms.look(room, expiry_ms=60_000)
    await stores.rooms.leave(room, SessionId("s"))


async def commandstats(store: Store) -> dict[str, int]:
    stats = str(await store.client.call("INFO", "commandstats"))
    return {name.lower(): int(calls) for name, calls in re.findall(r"cmdstat_([\w|]+):calls=(\d+)", stats)}


async def test_an_utterance_costs_two_round_trips(stores: Store):
    await join(stores, "n", capacity=9)
    for name in ("select_node", "finish_job"):
        await stores.client.call("SCRIPT", "LOAD", Script(name).text)
    await stores.client.call("CONFIG", "RESETSTAT")
    for number in range(9):
        reply = await stores.jobs.select(request(f"j{number}"))
        assert isinstance(reply, Selected)
        await stores.jobs.finish(JobId(f"j{number}"), 1, reply.node_id, "completed")
    asked = str(await stores.client.call("INFO", "commandstats"))
    assert "cmdstat_evalsha:calls=18," in asked
