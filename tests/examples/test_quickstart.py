"""The quick start, command by command as it stands: only the ports are others, and the engines are scripted."""

import asyncio
import itertools
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from lingua_scheduler.client.sound import SAMPLE_RATE, read_sound_file, write_wav
from lingua_scheduler.data import COMMANDS
from tests.support import Processes, free_port

PAGE = Path(__file__).parents[2] / "docs/quickstart.md"
STAYS = {"lingua serve": "listening on", "lingua node": "registered at", "redis-server": "Ready to accept connections"}
"""What goes on running, and the line that says it does."""
FRAMES = 120
"""2.4 s of speech: enough for a sentence."""
ELSEWHERE = {"python3 dev.py demo", ". .venv/bin/activate"}
"""The environment is there. The demo is tested by tests/e2e/test_demo.py."""
RECORDING = "src/lingua_scheduler/data/commands.flac"


def commands() -> Iterator[list[str]]:
    ports = {port: str(free_port()) for port in ("5010", "5011", "5012", "6380")}
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line not in ELSEWHERE:
                here = re.sub("|".join(ports), lambda found: ports[found[0]], line)
                yield shlex.split(here.replace("--engines demo", "--engines 'scripted?text=hello there'"))


async def test_the_quick_start_works(processes: Processes, tmp_path: Path):
    frames = itertools.islice(read_sound_file(COMMANDS.path), FRAMES)
    (tmp_path / RECORDING).parent.mkdir(parents=True)
    await asyncio.to_thread(write_wav, tmp_path / RECORDING, b"".join(frames), SAMPLE_RATE)  # readers go by content
    done: list[str] = []
    for program, *arguments in commands():
        found = str(Path(sys.executable).with_name("lingua")) if program == "lingua" else shutil.which(program)
        assert found, f"{program} is not installed"
        name = f"{program} {arguments[0]}" if program == "lingua" else program
        command = ["env", "-C", str(tmp_path), found, *arguments]
        child = processes.start(*command)
        if name in STAYS:
            await child.wait_output(STAYS[name])
        else:
            assert await child.wait_exit() == 0, child.story()
            done.append(name)

    assert done.count("lingua translate") == 3
    assert list((tmp_path / "speech").glob("*.wav"))
