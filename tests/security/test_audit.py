"""What this project stands on: every package pinned, none taken back by its authors, none with a known fault.

The second and third ask the package index that is configured for this machine. Where it cannot be asked they are
skipped and say so: what another service cannot tell is no fault of a change.
"""

import functools
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.tidy import sources

ACCEPTED: dict[str, str] = {}
"""Known faults that do not concern us, by id, and why."""
OURS = "lingua-scheduler"
PINS = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", (sources.ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE))
WAIT_S = 10
_INDEX = """
from pip._internal.commands import create_command
print(create_command("download").parse_args([])[0].index_url)
"""


def installed() -> dict[str, str]:
    found = importlib.metadata.distributions()
    return {re.sub(r"[-_.]+", "-", one.name).lower(): one.version for one in found}


def test_every_package_is_pinned():
    loose = {name for name, version in installed().items() if PINS.get(name) != version}
    assert loose <= {OURS}, "pin it in constraints.txt; what nobody needs any more goes with .venv"


def test_no_release_was_taken_back():
    """The installer says so of what it would install."""
    uv = shutil.which("uv") or shutil.which("uv", path=str(sources.ROOT / ".tools/uv/bin"))
    if uv is None:
        pytest.skip("uv is not installed here, and pip tells only of what it downloads")
    pins = "\n".join(f"{name}=={version}" for name, version in installed().items() if name != OURS)
    command = [uv, "pip", "compile", "--no-deps", "--python", sys.executable, "-"]
    run = subprocess.run(command, input=pins, capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.skip(f"the package index could not be asked: {run.stderr[-200:]}")
    assert set(pins.splitlines()) <= set(run.stdout.splitlines())
    assert "yanked" not in run.stderr


def test_no_package_has_a_known_fault():
    first, *others = [(name, version) for name, version in installed().items() if name != OURS]
    try:
        ask = functools.partial(faults, index_address())
        found = [ask(first)]
        with ThreadPoolExecutor(4) as pool:
            found += pool.map(ask, others)
    except (OSError, ValueError) as error:  # one that cannot be asked for the first is not asked for the others
        pytest.skip(f"the package index tells of no known faults ({error}): none of {len(PINS)} pins was checked")
    known = {fault: name for name, ids in found for fault in ids if fault not in ACCEPTED}
    assert not known, "raise the pin in constraints.txt, or say in ACCEPTED why it does not concern us"


def index_address() -> str:
    """Of the index that pip would ask. OSError where there is no pip."""
    base = getattr(sys, "_base_executable", sys.executable)
    run = subprocess.run([base, "-c", _INDEX], capture_output=True, text=True, check=False)
    if run.returncode:
        raise OSError("no pip says which index")
    return run.stdout.strip().rstrip("/").removesuffix("/simple")


def faults(index: str, release: tuple[str, str]) -> tuple[str, list[str]]:
    """The ids of faults that the index knows of a release. OSError, ValueError where it tells nothing."""
    name, version = release
    try:
        with urllib.request.urlopen(f"{index}/pypi/{name}/{version}/json", timeout=WAIT_S) as answer:
            told: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        error.close()
        raise OSError(f"{name}: HTTP {error.code}") from None
    return name, [one["id"] for one in told["vulnerabilities"] if not one.get("withdrawn")]
