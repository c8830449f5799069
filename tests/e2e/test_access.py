"""The way in as people take it: keys, an instance beyond loopback, and commands that bring their tokens or do not."""

from pathlib import Path

from lingua_scheduler.data import COMMANDS
from tests.support import Processes
from tests.support.tokens import KeyFile


async def test_with_keys_only_who_has_a_token_is_served(processes: Processes, tmp_path: Path):
    keys = KeyFile.made(tmp_path / "keys.toml")
    serve = ("serve", "--embedded-redis", "--port", "0", "--host", "0.0.0.0")
    closed = processes.lingua(*serve)
    assert await closed.wait_exit() == 1
    assert "beyond loopback, and no keys are configured" in closed.stderr

    scheduler = processes.lingua(*serve, "--keys", str(keys.path))
    port = (await scheduler.wait_output("listening on")).split()[-1].rpartition(":")[2]
    url = f"ws://127.0.0.1:{port}"
    work = ("node", "--url", f"{url}/ws/node", "--engines", "scripted?text=hello")
    stranger = processes.lingua(*work)
    assert await stranger.wait_exit(60) == 1
    assert "UNAUTHORIZED: a token is needed" in stranger.stderr
    node = processes.lingua(*work, env={"LINGUA_TOKEN": keys.node("gpu-1")})
    assert "as gpu-1" in await node.wait_output("registered at", 60)

    speak = ("translate", str(COMMANDS.path), "--from", "en", "--to", "pt", "--url", url, "--speed", "0")
    refused = processes.lingua(*speak, "--token", keys.node("gpu-1"))
    assert await refused.wait_exit(60) == 1
    assert "kind is node, not client" in refused.stderr
    heard = processes.lingua(*speak, env={"LINGUA_TOKEN": keys.client()})
    assert await heard.wait_exit(60) == 0, heard.story()
    assert "[pt] hello" in heard.stdout

    leave = ("drain", f"http://127.0.0.1:{port}")
    assert await processes.lingua(*leave).wait_exit(60) == 1
    assert scheduler.running
    assert await processes.lingua(*leave, env={"LINGUA_TOKEN": keys.admin()}).wait_exit(60) == 0
    assert await scheduler.wait_exit(60) == 0
    said = scheduler.stdout + scheduler.stderr
    assert "eyJ" not in said, "no token is ever logged"
