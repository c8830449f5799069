"""The HTTP side answers as its document says, whatever it is asked and by whom: schemathesis makes the questions up."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.embedded import EmbeddedRedis
from tests.scheduler.conftest import QUICK
from tests.support.tokens import KeyFile
from tests.tidy import sources

UNASKED = r"/api/v1/(drain|feed)$|^/ws/"
"""An administrator's request would end the instance, a feed does not end, and WebSockets are another document's."""


@pytest.mark.parametrize("who", ["administrator", "client"])
async def test_the_document_holds(tmp_path: Path, redis: EmbeddedRedis, who: str):
    keys = KeyFile.made(tmp_path / "keys.toml")
    token = keys.admin() if who == "administrator" else keys.client()
    async with Scheduler.start(keys.config(QUICK), redis.url) as scheduler:
        run = await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "schemathesis", "run", sources.ROOT / "docs/openapi.json",
            "--url", scheduler.url, "-H", f"Authorization: Bearer {token}", "--exclude-path-regex", UNASKED,
            "--max-examples", "20", "--phases", "examples,coverage,fuzzing", "--seed", "1", "--no-color",
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said = (await run.communicate())[0].decode()
        assert run.returncode == 0, said
        passed = re.search(r"(\d+) generated, (\d+) passed", said)
        assert passed, said
        assert passed[1] == passed[2]
        assert int(passed[1]) > 100, said
