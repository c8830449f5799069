"""The walk through a fleet, as one shell does it, with other ports, scripted engines and a short recording."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from lingua_scheduler.data import COMMANDS
from tests.support import Processes, free_port

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/walkthrough.md"
PORTS = ("5011", "5012", "6380", "4318")


def script() -> str:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    ports = {port: str(free_port()) for port in PORTS}
    told = re.sub("|".join(ports), lambda found: ports[found[0]], "".join(blocks))
    return "set -e\n" + told.replace("--engines demo", "--engines 'scripted?text=hello there'") + "wait\n"


async def test_the_walk_goes_as_it_is_told(processes: Processes, tmp_path: Path):
    shutil.copy(COMMANDS.path, tmp_path / "speech.flac")
    shutil.copy(ROOT / "examples/collector.py", tmp_path)
    (tmp_path / "walk.sh").write_text(script(), "utf-8")
    path = f"PATH={Path(sys.executable).parent}:/usr/bin:/bin"

    shell = processes.start("env", "-C", str(tmp_path), path, "bash", "walk.sh")
    assert await shell.wait_exit(100) == 0, shell.story() + (tmp_path / "said.log").read_text("utf-8")

    def lines(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (tmp_path / name).read_text("utf-8").splitlines() if line[0] == "{"]

    said = lines("said.jsonl")
    assert (said[-1]["lost"], said[-1]["duplicated"], said[-1]["failed"]) == (0, 0, 0)
    assert [one["index"] for one in said[:-1]] == list(range(said[-1]["utterances"]))
    assert "connected again" in (tmp_path / "said.log").read_text("utf-8")

    first, second = (one["instance"] for name in "ab" for one in lines(f"{name}.log") if one["message"] == "listening")
    [taken] = [one for one in lines("b.log") if one["message"] == "session taken over"]
    assert taken["previous"] == first
    assert second in {one["of"] for one in lines("spans.jsonl")}
    assert {one["node"] for one in lines("traces.jsonl") if one["span"] == "job"} == {"second"}

    feed = (tmp_path / "feed.txt").read_text("utf-8")
    drawn = [
        one for found in re.findall(r"^event: samples\ndata: (.*)$", feed, re.MULTILINE) for one in json.loads(found)
    ]
    assert {one["sessions"] for one in drawn} >= {0, 1}, "the dashboard sees the speaker come"
    assert any(one["finished"] and one["stages"]["total"] for one in drawn), "and how long a sentence took"

    nodes = json.loads((tmp_path / "nodes.json").read_text("utf-8"))
    assert {one["node_id"]: one["status"] for one in nodes["nodes"]}["first"] == "draining"
    assert json.loads((tmp_path / "story.json").read_text("utf-8"))["job_id"]
    assert "\nlingua_sessions_opened_total 1.0\n" in (tmp_path / "metrics.txt").read_text("utf-8")
