"""Durations counted in buckets that grow with them: any number of values, each known to within one percent.

A value below 128 µs has a bucket of its own; above that every power of two is divided into 64. Counts of several
processes can be added. A percentile is the upper end of the bucket in which it falls, so never too small; the greatest
value is kept as it was.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

_EXACT = 128
_SHARE = 6
"""log2 of the buckets of one power of two."""
SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


class Histogram:
    """Durations in whole microseconds."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        """By bucket."""
        self.greatest_us = 0
        self.count = 0

    def add_s(self, seconds: float) -> None:
        """A negative one counts as nothing: clocks of one machine agree to a microsecond, not better."""
        us = max(0, round(seconds * 1e6))
        self.counts[_bucket(us)] += 1
        self.count += 1
        self.greatest_us = max(self.greatest_us, us)

    def add(self, other: "Histogram") -> None:
        self.counts.update(other.counts)
        self.count += other.count
        self.greatest_us = max(self.greatest_us, other.greatest_us)

    def percentile_us(self, share: float) -> int:
        """What `share` (0–1) of the values did not exceed; 0 where there are none."""
        wanted, below = share * self.count, 0
        for bucket in sorted(self.counts):
            below += self.counts[bucket]
            if below >= wanted:
                return min(_upper_us(bucket), self.greatest_us)
        return 0

    def summary_ms(self) -> dict[str, float]:
        """The usual percentiles, the greatest value and how many there were."""
        told: dict[str, float] = {name: self.percentile_us(share) / 1000 for name, share in SHARES.items()}
        return told | {"max": self.greatest_us / 1000, "count": self.count}

    def dump(self) -> dict[str, int]:
        """For another process."""
        return {"greatest_us": self.greatest_us} | {str(bucket): count for bucket, count in self.counts.items()}

    @staticmethod
    def load(dumped: Mapping[str, int]) -> "Histogram":
        made = Histogram()
        made.greatest_us = dumped["greatest_us"]
        made.counts.update({int(name): count for name, count in dumped.items() if name != "greatest_us"})
        made.count = made.counts.total()
        return made


def merged(parts: Iterable[Histogram]) -> Histogram:
    """The counts of all of them."""
    whole = Histogram()
    for part in parts:
        whole.add(part)
    return whole


def _bucket(us: int) -> int:
    """Order is kept: a longer duration never has a lower bucket."""
    if us < _EXACT:
        return us
    power = us.bit_length() - _SHARE - 1
    return (power << _SHARE) + (us >> power)


def _upper_us(bucket: int) -> int:
    """The longest duration in it."""
    if bucket < _EXACT:
        return bucket
    power = (bucket >> _SHARE) - 1
    return (((bucket & (1 << _SHARE) - 1) | 1 << _SHARE) + 1 << power) - 1
