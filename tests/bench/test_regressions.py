"""What a frame costs may not grow beyond a bound in ratio to the floor, measured in the same run on the same core.

Processor time of the server's process, not the clock on the wall: what else runs on the machine makes both dearer.
That an utterance costs Redis two round trips is counted exactly elsewhere: `tests/scheduler/test_round_trips.py`, and
for sessions that can be resumed `test_resume_elsewhere.py`.
"""

import pytest

from lingua_scheduler.bench import sessions
from lingua_scheduler.bench.plan import FrameKind
from lingua_scheduler.bench.settings import Settings
from lingua_scheduler.bench.stand import Stand

BOUNDS: dict[FrameKind, float] = {"json": 1.45, "opus": 1.55}
"""An eighth above the medians measured, 1.26 and 1.33, and above all single rounds; the targets are 2.0 and 2.5."""


@pytest.mark.parametrize("kind", ["json", "opus"])
async def test_a_frame_stays_within_its_ratio_to_the_floor(kind: FrameKind, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sessions, "FRAMES_S", 1.0)
    settings = Settings(sessions=150, frames=kind, rounds=2, warm_s=0.3)
    async with Stand.open() as stand, stand.redis() as redis:
        measured = await sessions.frame_rounds(stand, redis, settings, with_all=False)

    ratios = [
        ours.cpu_us_per_frame / floor.cpu_us_per_frame
        for ours, floor in zip(measured["scheduler"], measured["floor"], strict=True)
    ]
    assert all(one.outcome.frames == 1500 for rounds in measured.values() for one in rounds)
    # The better round: what disturbs one is not the code's, and what the code costs is in both.
    assert min(ratios) <= BOUNDS[kind], ratios
