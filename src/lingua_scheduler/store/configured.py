"""From the configuration to the server that holds the fleet's keys, and to their names."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from lingua_scheduler.runtime.config import ConfigError, RedisConfig
from lingua_scheduler.store.cluster import Cluster
from lingua_scheduler.store.keys import Keys
from lingua_scheduler.store.sentinel import Sentinels
from lingua_scheduler.store.servers import Finder, OneServer

T = TypeVar("T")


def finder_of(redis: RedisConfig) -> Finder:
    """Raises ConfigError with the key that is wrong."""
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


def _checked(key: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except ValueError as error:
        raise ConfigError(f"configuration: scheduler.phase2.redis.{key}: {error}") from None
