"""What becomes of each threat in SECURITY.md without its defence: `python -m tests.security.defences [word]`.

Each entry takes one defence out of a copy of the sources and runs the tests that are to notice. A defence whose tests
pass without it has *survived*, and the command ends with 1. `word` picks those in whose threat, place or tests it is.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = Path("src/lingua_scheduler")
LIMIT_S = 110


@dataclass(frozen=True, slots=True)
class Defence:
    threat: str
    """The beginning of its row."""
    where: str
    old: str
    new: str
    tests: str
    """A file under `tests`, and what to pick in it (`-k`)."""


AUTH, FLOODS = "scheduler/test_auth.py", "security/test_floods.py"
ISOLATION, SECRETS, INJECTION = "security/test_isolation.py", "security/test_secrets.py", "security/test_injection.py"
TENANTS, CERTIFICATES = "security/test_tenants.py", "security/test_certificates.py"
GUARD, CLIENTS = "scheduler/auth/guard.py", "scheduler/clients.py"

DEFENCES = (
    Defence("a stranger speaks", GUARD, 'if has_keys and mode != "off":', "if False:", f"{AUTH}::without_a_good_token"),
    Defence("a stranger speaks", GUARD, "    if is_loopback(host):\n", "    if True:\n", f"{AUTH}::open_door"),
    Defence(
        "forged tokens",
        "scheduler/auth/keys.py",
        "algorithms=[key.alg])",
        'algorithms=[key.alg], options={"verify_signature": False})',
        f"{AUTH}::no_forged_token",
    ),
    Defence("a token of another kind", GUARD, "grant.claims.kind != kind", "False", f"{AUTH}::without_a_good_token"),
    Defence(
        "a token of another kind",
        "core/access.py",
        "if claims.exp <= now_s - LEEWAY_S and not may_be_expired:",
        "if False:",
        f"{AUTH}::without_a_good_token",
    ),
    Defence(
        "a client names another's tenant",
        "scheduler/opening.py",
        "_tenant(init) if tenant_id is None else tenant_id",
        "_tenant(init)",
        f"{AUTH}::tenant_is_the_tokens",
    ),
    Defence(
        "somebody speaks in or closes",
        CLIENTS,
        "if self._actor is not None and session_id == self._actor.session_id:",
        "if self._actor is not None:",
        f"{INJECTION}::anothers_session",
    ),
    Defence(
        "a session is resumed with a stolen",
        CLIENTS,
        '        holder = grant.tenant_id if grant is not None else ""\n',
        '        holder = "acme"\n',
        f"{AUTH}::another_tenants_token",
    ),
    Defence(
        "a session is resumed with a stolen",
        "store/scripts/claim_session.lua",
        "if shown ~= token and shown ~= used then return { 'REFUSED' } end",
        "",
        f"{INJECTION}::used_resume_token",
    ),
    Defence(
        "a node takes another node's id",
        "scheduler/nodes.py",
        'if not grant.may_be(message.node_id or ""):',
        "if False:",
        f"{AUTH}::another_nodes_id",
    ),
    Defence(
        "a node takes another node's id",
        "scheduler/nodes.py",
        "for grant in reversed(grants):",
        "for grant in grants[:1] if grants and grants[0].kid else ():",
        f"{SECRETS}::certificate_says",
    ),
    Defence(
        "a node's certificate leaks",
        GUARD,
        "if not all(map(self._ring.is_good, grants)):",
        "if False:",
        f"{CERTIFICATES}::until_it_is_revoked",
    ),
    Defence(
        "a node's certificate leaks",
        GUARD,
        "if not all(map(ring.is_good, grants))]",
        "if not ring.is_good(grants[0])]",
        f"{CERTIFICATES}::asked_for_beside",
    ),
    Defence(
        "a node's certificate leaks",
        "scheduler/nodes.py",
        "accept_public_jobs=False, tenants=grant.tenants_of(message.tenants)",
        "tenants=grant.tenants_of(message.tenants)",
        f"{CERTIFICATES}::names_the_tenants",
    ),
    Defence(
        "a node answers another's job",
        "core/jobs/answers.py",
        "elif job.node is not None and job.node.node_id == node_id and job.phase in SENT:",
        "elif job.node is not None and job.phase in SENT:",
        f"{AUTH}::its_own_node_alone",
    ),
    Defence(
        "a node answers another's job",
        "scheduler/bus.py",
        "if not self._bus.is_with(JobId(report.job_id), node_id):",
        "if False:",
        f"{ISOLATION}::takes_it_from_nobody",
    ),
    Defence(
        "a node answers another's job",
        "scheduler/orphans.py",
        "if story.node_id != node_id:",
        "if False:",
        f"{ISOLATION}::owner_is_gone",
    ),
    Defence(
        "room codes are guessed",
        "core/rooms/room.py",
        'return f"{tenant_id}/{digits}" if tenant_id else digits',
        "return digits",
        f"{ISOLATION}::another_tenants_room",
    ),
    Defence(
        "room codes are guessed",
        "store/scripts/join_room.lua",
        "if has_guessed(session, session_guesses_max) or",
        "if",
        f"{ISOLATION}::guessed",
    ),
    Defence(
        "a tenant is looked at",
        "scheduler/auth/watching.py",
        "if not guard.is_on or not is_watched",
        "if True or not is_watched",
        f"{ISOLATION}::who_may_look",
    ),
    Defence(
        "a tenant takes all capacity",
        "store/shares.py",
        "int(bill.asks)",
        "0",
        f"{TENANTS}::counted_across or many_at_once",
    ),
    Defence(
        "a tenant takes all capacity",
        CLIENTS,
        "await self._check_share()",
        "pass",
        f"{TENANTS}::had_his_jobs or minutes",
    ),
    Defence(
        "a node hears tenants",
        "store/scripts/lib/look.lua",
        "if is_private and",
        "if false and is_private and",
        f"{ISOLATION}::serves_nobody_else or names_the_tenants",
    ),
    Defence(
        "a bearer says more",
        "core/allowances.py",
        "return self._used_ms + told_ms + self._new_ms >= self._max_ms",
        "return False",
        f"{TENANTS}::token_holds",
    ),
    Defence(
        "a bearer says more",
        "store/scripts/spend_allowance.lua",
        "'used_ms', audio_ms)",
        "'used_ms', 0)",
        f"{TENANTS}::token_holds",
    ),
    Defence(
        "a node hears tenants",
        "scheduler/previews.py",
        "if registration.tenants is not None and",
        "if False and",
        f"{ISOLATION}::reads_nobody_else",
    ),
    Defence(
        "floods of connections",
        "scheduler/limits.py",
        "self._connects.of(address, self._clock.now_ms()).take_if(1, self._clock.now_ms())",
        "0",
        f"{FLOODS}::connects_no_more_often",
    ),
    Defence(
        "floods of connections",
        "scheduler/crowd.py",
        "if wait_ms := context.limits.request(of_whom(remote)):",
        "if wait_ms := 0:",
        f"{FLOODS}::asks_no_more_often",
    ),
    Defence(
        "floods of connections",
        "scheduler/limits.py",
        "return str(found.ipv4_mapped or",
        "return address or str(found.ipv4_mapped or",
        f"{FLOODS}::has_a_network",
    ),
    Defence(
        "floods of connections",
        CLIENTS,
        "if wait_ms := self._pace.open(self._context.clock.now_ms()):",
        "if wait_ms := 0:",
        f"{FLOODS}::opened_no_more_often",
    ),
    Defence(
        "floods of connections",
        "scheduler/nodes.py",
        "if wait_ms := self._reading.frame(size, self._context.clock.now_ms()):",
        "if wait_ms := 0:",
        f"{FLOODS}::nodes_frames",
    ),
    Defence(
        "floods of connections",
        "scheduler/nodes.py",
        '                    self._turn_away("refused too often", wait_ms)',
        "                    pass",
        f"{FLOODS}::refused_all_the_time",
    ),
    Defence(
        "floods of connections",
        "scheduler/limits.py",
        "self._arrived[address] >= self.config.tcp_connections_per_address",
        "False",
        f"{FLOODS}::tcp_connections",
    ),
    Defence(
        "floods of connections",
        "scheduler/limits.py",
        "return asyncio.sleep(wait_ms / 1000) if wait_ms else None",
        "return None",
        f"{FLOODS}::say_nothing",
    ),
    Defence("floods of connections", "runtime/endpoint.py", "if parser.parts:", "if False:", f"{FLOODS}::say_nothing"),
    Defence("oversized frames", CLIENTS, "elif size > TEXT_BYTES_MAX:", "elif False:", f"{FLOODS}::without_speech"),
    Defence(
        "oversized frames",
        "scheduler/nodes.py",
        "if not isinstance(message, JobResult) and len(frame) > TEXT_BYTES_MAX:",
        "if False:",
        f"{FLOODS}::anybody_needs",
    ),
    Defence(
        "oversized frames",
        "scheduler/nodes.py",
        "if job_id is not None and not valid_id(job_id):",
        "if False:",
        f"{FLOODS}::anybody_needs",
    ),
    Defence(
        "log lines forged", "runtime/logs.py", "and len(value) > CHARS_MAX", "and False", f"{SECRETS}::fills_no_log"
    ),
    Defence(
        "floods of connections", CLIENTS, "await asyncio.sleep(wait_ms / 1000)", "pass", f"{FLOODS}::flood_of_frames"
    ),
    Defence(
        "floods of connections",
        CLIENTS,
        "if not self._pace.may_be_refused(self._context.clock.now_ms()):",
        "if False:",
        f"{FLOODS}::refused_all_the_time",
    ),
    Defence(
        "floods of connections",
        CLIENTS,
        "self._context.limits.check_new_session(len(self._sessions))",
        "pass",
        f"{FLOODS}::no_more_sessions or without_memory",
    ),
    Defence(
        "floods of connections",
        "scheduler/upkeep.py",
        "            shed(self._sessions, self._context.limits)\n",
        "",
        f"{FLOODS}::before_memory",
    ),
    Defence(
        "oversized frames",
        CLIENTS,
        "frame_bytes_max=context.config.security.max_frame_bytes",
        "frame_bytes_max=1 << 62",
        f"{FLOODS}::refused_at_its_header or fragments or configured",
    ),
    Defence(
        "oversized frames",
        "scheduler/app.py",
        "max_field_size=HEADER_BYTES_MAX",
        "max_field_size=1 << 20",
        f"{FLOODS}::header_that_is_too_large",
    ),
    Defence("slow handshakes", "scheduler/door.py", "one.transport.abort()", "pass", f"{FLOODS}::does_not_end"),
    Defence(
        "slow handshakes",
        CLIENTS,
        "        if self._context.clock.now_ms() >= due_ms:\n",
        "        if False:\n",
        f"{FLOODS}::opens_nothing",
    ),
    Defence(
        "headers that a proxy reads otherwise",
        "protocol/handshake.py",
        " or any(name in fields for name in _BODY)",
        "",
        "protocol/test_handshake.py::with_doubt",
    ),
    Defence(
        "frames without a mask",
        "protocol/websocket.py",
        " or second < MASK or ",
        " or ",
        "protocol/test_websocket.py::as_soon_as_it_shows",
    ),
    Defence(
        "oversized frames",
        "protocol/websocket.py",
        "if self._fragments > FRAGMENTS_MAX:",
        "if False:",
        "protocol/test_websocket.py::understood_or_refused",
    ),
    Defence(
        "a small frame that unfolds",
        "protocol/websocket.py",
        "first not in self._expected or ",
        "",
        "protocol/test_websocket.py::understood_or_refused",
    ),
    Defence(
        "a small frame that unfolds",
        "runtime/library_sockets.py",
        "compress=False",
        "compress=True",
        f"{FLOODS}::compressed",
    ),
    Defence(
        "malformed Opus",
        "protocol/audio.py",
        "    if at != end:\n",
        "    if False:\n",
        "protocol/test_audio.py::not_whole",
    ),
    Defence(
        "Lua and keys through ids", "protocol/ids.py", "_ID.fullmatch", "_ID.match", f"{INJECTION}::hostile or harmless"
    ),
    Defence("log lines forged", "runtime/logs.py", "name}={value!r}", "name}={value}", f"{SECRETS}::lines_of_a_log"),
    Defence(
        "a page elsewhere",
        GUARD,
        "return found is not None and (found[1] == caller.host.lower() or found[0] in self._origins)",
        "return True",
        f"{AUTH}::pages_of_others",
    ),
    Defence(
        "a page elsewhere",
        GUARD,
        "return is_loopback(host) or",
        "return True or",
        f"{ISOLATION}::leads_to_loopback",
    ),
    Defence(
        "somebody drains a fleet",
        "scheduler/control.py",
        'if (why := guard.admin(request.headers.get("Authorization", ""))) is not None:',
        'if (why := "") is None:',
        f"{AUTH}::administrators_token",
    ),
    Defence(
        "somebody drains a fleet",
        "scheduler/auth/audit.py",
        '    _log.info("control action"',
        '    _log.debug("control action"',
        f"{SECRETS}::who_did_what",
    ),
    Defence("a token or key leaks", GUARD, "            end()\n", "            pass\n", f"{AUTH}::revoked_token"),
    Defence("a token or key leaks", GUARD, "        self._ring = ring\n", "", f"{AUTH}::keys_rotate"),
    Defence(
        "the wire is listened to",
        "scheduler/door.py",
        "ssl=self._ssl_context,\n",
        "ssl=None,\n",
        f"{SECRETS}::speaks_tls",
    ),
    Defence(
        "script in the web page",
        "scheduler/pages.py",
        "script-src 'self';",
        "script-src 'self' 'unsafe-inline';",
        "browser/test_page.py::test_the_page_is_small_and_complete",
    ),
)

WITHOUT = {
    "secrets or speech in logs": "the defence is that nothing writes them",
}
"""Threats whose defence is no single place, and why."""


def survives(defence: Defence, copy: Path) -> bool:
    """Whether its tests pass without it."""
    place = copy / PACKAGE / defence.where
    source = place.read_text("utf-8")
    place.write_text(source.replace(defence.old, defence.new), "utf-8")
    file, _, picked = defence.tests.partition("::")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", "--timeout", "60"]
    env = {**os.environ, "PYTHONPATH": str(copy / "src")}
    try:
        run = subprocess.run(
            [*command, f"tests/{file}", "-k", picked],
            cwd=ROOT,
            env=env,
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    finally:
        place.write_text(source, "utf-8")
    assert run.returncode in (0, 1), run.stdout.decode()
    return run.returncode == 0


def main() -> int:
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    left = 0
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / PACKAGE, Path(folder) / PACKAGE)
        for defence in (one for one in DEFENCES if word in f"{one.threat} {one.where} {one.tests}"):
            survived = survives(defence, Path(folder))
            left += survived
            verdict = "SURVIVED" if survived else "noticed "
            sys.stdout.write(f"{verdict} {defence.threat} … without {defence.where}: {defence.old.strip()[:60]}\n")
            sys.stdout.flush()
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
