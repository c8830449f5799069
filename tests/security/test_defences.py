"""Every threat of SECURITY.md has a defence that can be taken away, and tests that are to notice (`defences.py`)."""

import re

import pytest

from tests.security.defences import DEFENCES, PACKAGE, ROOT, WITHOUT, Defence


def threats() -> list[str]:
    table = (ROOT / "SECURITY.md").read_text("utf-8").partition("| threat |")[2].partition("\n\n")[0]
    return [line.split("|")[1].strip() for line in table.splitlines()[2:]]


def test_every_threat_is_there():
    named = [*{one.threat for one in DEFENCES}, *WITHOUT]
    for threat in threats():
        assert [one for one in named if threat.startswith(one)], threat
    for one in named:
        assert [threat for threat in threats() if threat.startswith(one)], f"{one} is no threat any more"


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda one: f"{one.where}: {one.old.strip()}")
def test_a_defence_is_where_it_was_and_its_tests_are(defence: Defence):
    assert (ROOT / PACKAGE / defence.where).read_text("utf-8").count(defence.old) == 1
    file, _, picked = defence.tests.partition("::")
    names = re.findall(r"^(?:async )?def (test_\w+)", (ROOT / "tests" / file).read_text("utf-8"), re.MULTILINE)
    for word in picked.split(" or "):
        assert [name for name in names if word in name], f"no test of {file} is named like {word}"
