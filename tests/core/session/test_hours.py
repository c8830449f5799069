"""A thousand hours of conversation, each with its own accidents, keep every promise."""

from typing import get_args

import pytest

from lingua_scheduler.protocol.messages import MissingReason
from tests.core.session.simulation import Hour

SEEDS = 1000
SHARDS = 10


@pytest.mark.timeout(600)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_an_hour_of_speech_keeps_every_promise(shard: int):
    answers = sessions = 0
    heard: set[str] = set()
    for seed in range(shard, SEEDS, SHARDS):
        try:
            hour = Hour(seed).run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        answers += hour.answers
        sessions += hour.sessions
        heard |= hour.world.heard
    assert answers > 100 * SEEDS / SHARDS, "they did talk"
    assert heard >= {*get_args(MissingReason), "PAUSE", "SLOW_DOWN"}, "every kind of accident happened"
    assert sessions > SEEDS / SHARDS, "sessions ended and began anew"
