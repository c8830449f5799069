"""What one instance takes from one connection, from one address, and in all (docs/limits.md).

Where waiting is enough the instance waits: it reads a connection that says too much no faster than it may speak, and
TCP holds up the sender. Where it is not, the peer is told RATE_LIMITED and when to come again.
"""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable

from lingua_scheduler.core.limits import Bucket, Buckets
from lingua_scheduler.protocol.errors import HINTS, ErrorCode, PeerError
from lingua_scheduler.protocol.handshake import Denial
from lingua_scheduler.runtime import memory
from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.config import LimitsConfig
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.runtime.metrics import Metrics
from lingua_scheduler.runtime.sockets import Extra, Pong, Work
from lingua_scheduler.scheduler.auth.guard import is_loopback

_log = get_logger("scheduler.limits")

ADDRESSES_MAX = 65_536
"""Addresses whose rate is remembered."""
MEMORY_SHARE = 0.85
DIRE = 1.1
"""Of `memory_bytes`: from here on it is not enough to take no new sessions."""
FULL_RETRY_MS = 5000
"""Nobody knows when a session ends or memory is freed."""
BURST_S = 2.0
"""Of frames and bytes."""


class Limits:
    """Of one instance."""

    def __init__(self, config: LimitsConfig, clock: Clock, used_bytes: Callable[[], int] = memory.used_bytes) -> None:
        self.config = config
        self.used_bytes = used_bytes
        """Of memory, by the process."""
        self._clock = clock
        per_minute = config.connects_per_minute_per_address
        self._connects = Buckets[str](per_minute / 60, per_minute / 2, ADDRESSES_MAX)
        self._connected: Counter[str] = Counter()
        self._arrived: Counter[str] = Counter()
        per_minute = config.requests_per_minute_per_address
        self._requests = Buckets[str](per_minute / 60, per_minute / 2, ADDRESSES_MAX)
        self.memory_bytes = config.memory_mib << 20 or int(memory.available_bytes() * MEMORY_SHARE)
        self.is_out_of_memory = False

    def arrive(self, address: str) -> bool:
        """A TCP connection of an address, which `depart` ends; or False: it has as many as it may."""
        if not self._is_free(address) and self._arrived[address] >= self.config.tcp_connections_per_address:
            return False
        self._arrived[address] += 1
        return True

    def depart(self, address: str) -> None:
        _count_down(self._arrived, address)

    def connect(self, address: str) -> int:
        """A WebSocket of an address, which `leave` ends; or the milliseconds until it may try again."""
        if self._is_free(address):
            self._connected[address] += 1
            return 0
        wait_ms = self._connects.of(address, self._clock.now_ms()).take_if(1, self._clock.now_ms())
        if not wait_ms and self._connected[address] >= self.config.connections_per_address:
            wait_ms = FULL_RETRY_MS
        if not wait_ms:
            self._connected[address] += 1
        return wait_ms

    def request(self, address: str) -> int:
        """0, or milliseconds until the address may ask for anything again."""
        if self._is_free(address):
            return 0
        return self._requests.of(address, self._clock.now_ms()).take_if(1, self._clock.now_ms())

    def leave(self, address: str) -> None:
        """The end of what `connect` allowed."""
        _count_down(self._connected, address)

    def check_new_session(self, sessions: int) -> None:
        """PeerError RATE_LIMITED where the instance has as many as it may, or no memory for more."""
        if sessions >= self.config.sessions or self.is_out_of_memory:
            raise rate_limited(FULL_RETRY_MS)

    def look_at_memory(self) -> None:
        """Called by the clock."""
        is_out = self.used_bytes() > self.memory_bytes
        if is_out != self.is_out_of_memory:
            self.is_out_of_memory = is_out
            tell = _log.warning if is_out else _log.info
            tell("no memory for new sessions" if is_out else "memory for sessions again", used=self.used_bytes())

    def excess_bytes(self) -> int:
        """What is used beyond `memory_bytes`, where it is so much more that sessions have to go; else 0."""
        used = self.used_bytes()
        return used - self.memory_bytes if used > self.memory_bytes * DIRE else 0

    def _is_free(self, address: str) -> bool:
        return not address or (is_loopback(address) and not self.config.loopback_is_limited)


class Reading:
    """How fast a connection is read."""

    def __init__(self, frames_per_second: int, bytes_per_second: int, now_ms: int) -> None:
        self._frames = Bucket(frames_per_second, BURST_S * frames_per_second, now_ms)
        self._bytes = Bucket(bytes_per_second, BURST_S * bytes_per_second, now_ms)

    def frame(self, size: int, now_ms: int) -> int:
        """Milliseconds to wait before the next frame is read."""
        frames_ms, bytes_ms = self._frames.take(1, now_ms), self._bytes.take(size, now_ms)
        return frames_ms if frames_ms > bytes_ms else bytes_ms  # noqa: FURB136 - taken for each frame

    def silent(self, frame: Pong | Extra, now_ms: int) -> Work | None:
        """What waits before the next frame is read, after frames that say nothing: they are read, too."""
        wait_ms = self._frames.take(1 if isinstance(frame, Pong) else frame.count, now_ms)
        return asyncio.sleep(wait_ms / 1000) if wait_ms else None


class Pace(Reading):
    """How fast one client's connection may speak."""

    def __init__(self, config: LimitsConfig, now_ms: int) -> None:
        super().__init__(config.frames_per_second, config.bytes_per_second, now_ms)
        self._refusals = per_minute(config.refusals_per_minute, now_ms)
        self._rooms = per_minute(config.room_requests_per_minute, now_ms)
        self._opens = per_minute(config.opens_per_minute, now_ms)

    def may_be_refused(self, now_ms: int) -> bool:
        """Whether it has not been refused too often."""
        return not self._refusals.take_if(1, now_ms)

    def open(self, now_ms: int) -> int:
        """0, or milliseconds until it may open or resume a session again."""
        return self._opens.take_if(1, now_ms)

    def room_request(self, now_ms: int) -> int:
        """0, or milliseconds until it may ask again."""
        return self._rooms.take_if(1, now_ms)


def of_whom(address: str) -> str:
    """Whose limits an address counts against: of IPv6 the first half, all of which one customer has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address) or found.is_loopback:
        return address
    return str(found.ipv4_mapped or ipaddress.ip_network((int(found) >> 64 << 64, 64)))


def _count_down(counts: Counter[str], address: str) -> None:
    if counts[address] > 1:
        counts[address] -= 1
    else:
        del counts[address]


def per_minute(count: int, now_ms: int) -> Bucket:
    """Half of it may come at once."""
    return Bucket(count / 60, max(1.0, count / 2), now_ms)


def rate_limited(retry_after_ms: int) -> PeerError:
    return PeerError(ErrorCode.RATE_LIMITED, HINTS[ErrorCode.RATE_LIMITED].en, retry_after_ms=retry_after_ms)


def crowded(metrics: Metrics, wait_ms: int) -> Denial:
    """The answer to an address that connects too often, or has too many connections."""
    metrics.denied.labels("flood").inc()
    return Denial(429, "too much from this address\n", -(-wait_ms // 1000))
