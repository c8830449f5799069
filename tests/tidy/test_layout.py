"""Every package has tests, every script and page a head, every requirement a pin."""

import re
import tomllib

from tests.tidy import sources

SOURCE = sources.ROOT / "src/lingua_scheduler"
# Packages whose tests are those of the whole: real processes, a real browser.
TESTED_AS_A_WHOLE = {"cli": "e2e", "client": "e2e", "web": "browser"}
COMMENT = {".lua": "--", ".js": ("//", "/*"), ".css": "/*"}


def _normal(requirement: str) -> str:
    """The project's name in a requirement or a constraint, as indexes compare it."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[._-]+", "-", found[0]).lower()


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
    pins = {_normal(line) for line in lines if "==" in line}

    assert not {_normal(one) for one in wanted} - pins - {"lingua-scheduler"}
    assert not [line for line in lines if "://" in line or line.startswith("-")], "no addresses, no options"
