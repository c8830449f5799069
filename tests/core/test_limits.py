"""Rates that may be exceeded for a moment."""

from lingua_scheduler.core.limits import Bucket, Buckets


def test_a_bucket_allows_a_burst_and_then_its_rate():
    bucket = Bucket(10, 3, 0)
    assert [bucket.take_if(1, 0) for _ in range(4)] == [0, 0, 0, 101]
    assert bucket.take_if(1, 99) > 0
    assert bucket.take_if(1, 101) == 0
    assert bucket.take(5, 101) >= 400, "a debt is waited out"
    assert bucket.take_if(1, 100_000) == 0
    assert bucket.take_if(3, 100_000) > 0, "no more than the burst is saved up"


def test_buckets_of_keys_are_bounded_and_of_their_own():
    buckets = Buckets[str](1, 1, 2)
    assert [buckets.of(key, 0).take_if(1, 0) > 0 for key in ("a", "b", "a", "c", "a")] == [
        False,
        False,
        True,
        False,
        True,
    ]
    assert len(buckets) == 2
    assert buckets.of("b", 0).take_if(1, 0) == 0, "who was forgotten begins anew"
