"""From the configuration to the server that holds the fleet's keys, and to their names."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec

from lingua_scheduler.runtime.config import ConfigError, RedisConfig
from lingua_scheduler.store.cluster import Cluster
from lingua_scheduler.store.keys import Keys
from lingua_scheduler.store.sentinel import Sentinels
from lingua_scheduler.store.servers import Finder, OneServer

T = TypeVar("T")


def finder_of(redis: RedisConfig) -> Finder:
    """Raises ConfigError with the key that is wrong."""
    if redis.password_file:
        redis = _with_password(redis, _first_line(redis.password_file))
    match redis.mode:
        case "single":
            return _checked("url (--redis)", lambda: OneServer(redis.url))
        case "cluster":
            return _checked("cluster_urls", lambda: Cluster(redis.cluster_urls, redis.key_prefix))
        case "sentinel":
            make = partial(Sentinels, redis.sentinel_urls, redis.sentinel_master, redis.url)
            return _checked("sentinel_urls, or url", make)


def keys_of(redis: RedisConfig) -> Keys:
    """Raises ConfigError for a prefix that cannot be one."""
    return _checked("key_prefix", lambda: Keys(redis.key_prefix, is_cluster=redis.mode == "cluster"))


def _first_line(path: str) -> str:
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not text"
        raise ConfigError(f"configuration: scheduler.phase2.redis.password_file: {path}: {why}") from None
    if not lines or not lines[0]:
        raise ConfigError(f"configuration: scheduler.phase2.redis.password_file: {path} is empty")
    return lines[0]


def _with_password(redis: RedisConfig, password: str) -> RedisConfig:
    def add(url: str) -> str:
        scheme, has_scheme, rest = url.partition("://")
        user, has_user, place = rest.rpartition("@")
        if not has_scheme or ":" in user:
            return url
        return f"{scheme}://{user}:{quote(password, safe='')}@{place if has_user else rest}"

    urls = {name: [add(url) for url in getattr(redis, name)] for name in ("cluster_urls", "sentinel_urls")}
    return msgspec.structs.replace(redis, url=add(redis.url), **urls)


def _checked(key: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except ValueError as error:
        raise ConfigError(f"configuration: scheduler.phase2.redis.{key}: {error}") from None
