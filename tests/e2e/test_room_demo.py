"""A room by the command people type: real engines, real speech, each listener in its own language."""

import json

from tests.support import Processes


async def test_everybody_in_the_room_hears_all_of_it_in_their_own_language(processes: Processes):
    demo = processes.lingua("demo", "--room", "--json", "--speed", "2")

    assert await demo.wait_exit(100) == 0, demo.story()

    summary = json.loads(demo.stdout.splitlines()[-1])
    utterances = summary["utterances"]
    counts = {name: summary[name] for name in ("failed", "lost", "duplicated", "strays")}
    assert counts == {"failed": 0, "lost": 0, "duplicated": 0, "strays": 0}
    assert utterances == 5
    assert summary["wer"] < 0.15
    speaker, *listeners, without = summary["members"]
    assert speaker["speaks"]
    assert len({one["language"] for one in listeners}) == 2
    for one in listeners:
        assert (one["translated"], one["sounds"]) == (utterances, utterances)
    assert (without["language"], without["lines"]) == (None, 0)
    assert summary["runs_saved"]["asr"] == utterances, "recognised once for both languages"
    assert "Traceback" not in demo.stderr
