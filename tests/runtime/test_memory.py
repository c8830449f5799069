"""A serving process looks for garbage seldom, and never among what it was loaded with."""

import gc

from lingua_scheduler.runtime import memory


def test_what_is_loaded_is_left_alone_and_the_rest_is_looked_at_seldom():
    before = gc.get_threshold()
    try:
        memory.keep_still()
        assert gc.get_freeze_count() > 10_000
        assert all(now > then for now, then in zip(gc.get_threshold(), before, strict=True))
        assert gc.isenabled(), "sessions that have ended leave cycles"
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
