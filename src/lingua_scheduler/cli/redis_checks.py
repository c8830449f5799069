"""Whether a Redis is fit to hold a fleet: its version, its settings, its role, its clock, how fast it answers."""

import re
from collections.abc import Iterator, Mapping

from lingua_scheduler.cli.findings import Finding, failure, ok, warning
from lingua_scheduler.core.access import LEEWAY_S
from lingua_scheduler.runtime.clock import Clock, stopwatch_s
from lingua_scheduler.runtime.config import ConfigError, RedisConfig
from lingua_scheduler.store.configured import finder_of
from lingua_scheduler.store.connection import RedisConnection, Reply, open_connection
from lingua_scheduler.store.errors import StoreError

OLDEST = (7, 0)
PINGS = 9
SLOW_MS = 5.0
"""A placement takes one round trip and a result another: at 5 ms a speaker begins to notice."""
FULL = 0.8
_MB = 1 << 20
_CONFIGURE = "in its configuration and with `CONFIG SET`"


async def check_redis(redis: RedisConfig) -> list[Finding]:
    """All that can be told about the configured server."""
    try:
        finder = finder_of(redis)
    except ConfigError as error:
        return [failure("redis", str(error), "mend [scheduler.phase2.redis] in the configuration")]
    try:
        endpoint = await finder.find()
        connection = await open_connection(endpoint.address, redis.command_timeout_ms, endpoint.greeting)
    except StoreError as error:
        remedy = "start it, or name another with --redis; `lingua serve --embedded-redis` brings its own"
        return [failure("redis", f"no Redis answers at {finder}: {error}", remedy)]
    try:
        told = await connection.send("INFO")
        if isinstance(told, Exception) and "NOAUTH" in str(told):
            remedy = "put it into a file and name that in scheduler.phase2.redis.password_file"
            return [failure("redis", f"{finder} wants a password", remedy)]
        if not (info := parse_info(told)):
            return [failure("redis", f"{finder} lets this user ask for nothing", "allow it +@all on the fleet's keys")]
        found = [ok("redis", f"{finder} answers"), *settings(info, redis)]
        return [*found, await _scripts(connection), await _clock(connection), await _speed(connection)]
    except StoreError as error:
        return [failure("redis", f"{finder} stopped answering: {error}", "look at its log and at its load")]
    finally:
        connection.close()


def settings(info: Mapping[str, str], redis: RedisConfig) -> Iterator[Finding]:
    """What `INFO` tells; it is allowed where `CONFIG GET` is not."""
    yield _version(info)
    yield _role(info)
    yield _mode(info, redis)
    yield from _memory(info)
    yield _persistence(info)
    yield _clients(info)


def parse_info(reply: Reply) -> dict[str, str]:
    """Its fields; none where the reply is an error."""
    lines = reply.splitlines() if isinstance(reply, str) else []
    pairs = (line.partition(":") for line in lines if ":" in line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def _version(info: Mapping[str, str]) -> Finding:
    product = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "0")
    speaks = tuple(int(part) for part in re.findall(r"\d+", info.get("redis_version", "0"))[:2])
    if speaks < OLDEST:
        return failure("redis version", f"{product} {version} is too old", "install Redis 7.0 or newer, or Valkey")
    return ok("redis version", f"{product} {version}")


def _role(info: Mapping[str, str]) -> Finding:
    if info.get("role", "master") != "master":
        return failure(
            "redis role", "it is a replica: nothing can be written there", "name its master, or use sentinel"
        )
    return ok("redis role", "master")


def _mode(info: Mapping[str, str], redis: RedisConfig) -> Finding:
    is_cluster = info.get("cluster_enabled") == "1"
    if is_cluster and redis.mode != "cluster":
        return failure("redis mode", "it is part of a cluster", 'set scheduler.phase2.redis.mode = "cluster"')
    if redis.mode == "cluster" and not is_cluster:
        return failure("redis mode", "it is no cluster", 'set scheduler.phase2.redis.mode = "single"')
    return ok("redis mode", redis.mode)


def _memory(info: Mapping[str, str]) -> Iterator[Finding]:
    policy, limit = info.get("maxmemory_policy", "noeviction"), int(info.get("maxmemory", "0"))
    used = int(info.get("used_memory", "0"))
    if policy != "noeviction":
        remedy = f"set maxmemory-policy noeviction {_CONFIGURE}"
        yield failure("redis eviction", f"maxmemory-policy {policy}: sessions and jobs would be thrown away", remedy)
    else:
        yield ok("redis eviction", "noeviction")
    told = f"{used // _MB} MB in use" + (f" of {limit // _MB} MB" if limit else ", no limit")
    if limit and used > limit * FULL:
        yield warning("redis memory", told, "raise maxmemory: at the limit nothing more is accepted")
    elif not limit:
        yield warning("redis memory", told, "set maxmemory below the machine's: a Redis that the kernel ends is worse")
    else:
        yield ok("redis memory", told)


def _persistence(info: Mapping[str, str]) -> Finding:
    if info.get("aof_enabled") == "1":
        return ok("redis persistence", "appendonly yes")
    told = "appendonly no: a restart forgets sessions, and who is disconnected then cannot resume"
    return warning("redis persistence", told, f"set appendonly yes {_CONFIGURE}, or keep a replica")


def _clients(info: Mapping[str, str]) -> Finding:
    connected, most = int(info.get("connected_clients", "0")), int(info.get("maxclients", "10000"))
    told = f"{connected} of {most} connections"
    if connected > most * FULL:
        return warning("redis clients", told, "raise maxclients")
    return ok("redis clients", told)


async def _scripts(connection: RedisConnection) -> Finding:
    reply = await connection.send("EVAL", "return redis.call('TIME')[1]", 0)
    if isinstance(reply, Exception):
        return failure("redis scripts", f"it refuses scripts: {reply}", "allow this user +@scripting")
    return ok("redis scripts", "allowed")


async def _clock(connection: RedisConnection) -> Finding:
    """Leases run on the server's clock; tokens and stamps on ours."""
    clock = Clock()
    asked_ms = clock.wall_ms()
    reply = await connection.send("TIME")
    told_ms = clock.wall_ms()
    if not isinstance(reply, list):
        return warning("clocks", "Redis does not tell its time", "allow this user TIME")
    seconds, micros = (int(str(part)) for part in reply)
    return judge_skew((asked_ms + told_ms) // 2 - (seconds * 1000 + micros // 1000))


def judge_skew(skew_ms: int) -> Finding:
    """`skew_ms`: how far this machine's clock is ahead of the server's."""
    told = f"{abs(skew_ms)} ms {'ahead of' if skew_ms > 0 else 'behind'} Redis"
    if abs(skew_ms) > LEEWAY_S * 1000:
        return failure("clocks", told, "run NTP (chrony or systemd-timesyncd) on both: tokens are refused otherwise")
    if abs(skew_ms) > 1000:
        return warning("clocks", told, "run NTP (chrony or systemd-timesyncd) on both: ages on dashboards are wrong")
    return ok("clocks", told)


async def _speed(connection: RedisConnection) -> Finding:
    took_ms: list[float] = []
    for _ in range(PINGS):
        began_s = stopwatch_s()
        await connection.send("PING")
        took_ms.append((stopwatch_s() - began_s) * 1000)
    median_ms = sorted(took_ms)[PINGS // 2]
    told = f"a question takes {median_ms:.1f} ms"
    if median_ms > SLOW_MS:
        return warning("redis latency", told, "put instances and Redis into one zone; look at SLOWLOG and at its load")
    return ok("redis latency", told)
