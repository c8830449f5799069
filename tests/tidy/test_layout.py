"""Every package has tests, every script and page a head, every requirement a pin."""

import contextlib
import tomllib
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.tidy import sources

SOURCE = sources.ROOT / "src/lingua_scheduler"
# Packages whose tests are those of the whole: real processes, a real browser.
TESTED_AS_A_WHOLE = {"cli": "e2e", "client": "e2e", "web": "browser"}
COMMENT = {".lua": "--", ".js": ("//", "/*"), ".css": "/*"}


def _needed(requirements: list[str]) -> set[str]:
    """Names of these requirements and of all that they need on this machine, as far as it is installed."""
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(one), "") for one in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                with contextlib.suppress(metadata.PackageNotFoundError):
                    waiting += [(Requirement(one), wanted) for one in metadata.requires(name) or []]
    return {name for name, _ in seen}


def test_every_package_has_tests():
    packages = [folder for folder in SOURCE.iterdir() if folder.is_dir() and folder.name != "__pycache__"]
    without = [
        folder.name
        for folder in packages
        if not any((sources.ROOT / "tests" / folder.name).rglob("test_*.py"))
        and not any((sources.ROOT / "tests" / TESTED_AS_A_WHOLE.get(folder.name, "none")).rglob("test_*.py"))
    ]
    assert packages
    assert not without


def test_scripts_and_pages_begin_with_their_purpose():
    bare = [
        sources.name(path)
        for path in sources.files(*COMMENT)
        if not sources.text(path).startswith(COMMENT[path.suffix])
    ]
    assert not bare


def test_every_requirement_is_pinned():
    project = tomllib.loads((sources.ROOT / "pyproject.toml").read_text())
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    wanted += [one for extra in project["project"]["optional-dependencies"].values() for one in extra]
    wanted += project["dependency-groups"]["dev"]
    lines = (sources.ROOT / "constraints.txt").read_text().splitlines()
    pins = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}

    assert not _needed(wanted) - pins - {"lingua-scheduler"}
    assert not [line for line in lines if "://" in line or line.startswith("-")], "no addresses, no options"


def test_what_a_requirement_needs_is_followed():
    assert {"pytest", "pluggy"} <= _needed(["pytest"])
    assert "hiredis" in _needed(["redis[hiredis]"])
    assert _needed(["pytest; python_version < '3'"]) == set()
