"""The load balancers of `deploy/`, each with its own file, before the instances of a test."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession

from tests.deploy.conftest import DEPLOY, program
from tests.support import Child, Processes, free_port, wait_until

KINDS = ("haproxy", "nginx")
PLACES = ("scheduler-a:5010", "scheduler-b:5010")


@dataclass(slots=True)
class Front:
    """A proxy that runs."""

    child: Child
    url: str


async def wait_served(front: Front, ca_file: Path) -> None:
    """Until an instance behind it is ready."""
    trust = ssl.create_default_context(cafile=str(ca_file))
    async with ClientSession() as http:

        async def is_so() -> bool:
            try:
                async with http.get(f"{front.url}/ready", ssl=trust) as answer:
                    return answer.status == 200
            except OSError:
                return False

        await wait_until(is_so, f"an instance behind the proxy\n{front.child.story()}")


def start_front(kind: str, processes: Processes, instances: list[str], certificate: tuple[Path, Path]) -> Front:
    """`instances`: host:port of the two that the file knows as `scheduler-a` and `scheduler-b`."""
    folder = processes.folder / kind
    folder.mkdir()
    port = free_port()
    changes: dict[str, str] = dict(zip(PLACES, instances, strict=True))
    run = _haproxy if kind == "haproxy" else _nginx
    child = run(processes, folder, changes, certificate, port)
    return Front(child, f"https://localhost:{port}")


def changed(text: str, changes: Mapping[str, str]) -> str:
    """Each key must be there: a test of a file that no longer has it would test nothing."""
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in the file"
        text = text.replace(old, new)
    return text


def _haproxy(
    processes: Processes, folder: Path, changes: Mapping[str, str], certificate: tuple[Path, Path], port: int
) -> Child:
    pem, file = folder / "lingua.pem", folder / "haproxy.cfg"
    pem.write_bytes(b"".join(one.read_bytes() for one in certificate))
    here = {
        "maxconn 9000": "maxconn 400",
        "bind :443": f"bind 127.0.0.1:{port}",
        "bind :80": f"bind 127.0.0.1:{free_port()}",
        "/etc/haproxy/lingua.pem": str(pem),
    }
    file.write_text(changed((DEPLOY / "haproxy/haproxy.cfg").read_text("utf-8"), {**changes, **here}), "utf-8")
    return processes.start(program("haproxy"), "-W", "-f", str(file))


def _nginx(
    processes: Processes, folder: Path, changes: Mapping[str, str], certificate: tuple[Path, Path], port: int
) -> Child:
    cert, key = certificate
    here = {
        "listen 443": f"listen 127.0.0.1:{port}",
        "listen 80": f"listen 127.0.0.1:{free_port()}",
        "/etc/nginx/lingua.pem": str(cert),
        "/etc/nginx/lingua.key": str(key),
    }
    site = changed((DEPLOY / "nginx/lingua.conf").read_text("utf-8"), {**changes, **here})
    temporary = "".join(f"{one}_temp_path {folder};\n" for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;\n" if _is_root() else ""
    around = f"{user}daemon off;\npid {folder}/pid;\nerror_log stderr;\nworker_processes 1;\nevents {{}}\n"
    (folder / "nginx.conf").write_text(f"{around}http {{\naccess_log off;\n{temporary}{site}}}\n", "utf-8")
    return processes.start(program("nginx"), "-c", str(folder / "nginx.conf"), "-p", str(folder))


def _is_root() -> bool:
    return re.search(r"^Uid:\s+0\s", Path("/proc/self/status").read_text("utf-8"), re.MULTILINE) is not None
