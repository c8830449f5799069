"""Configuration: `config.toml`, then the environment (`LINGUA_SERVER__PORT`), then flags; defaults below all.

Every key is optional. An unknown key, a wrong type or contradictory values refuse the start and name the key. Fields
carry their unit in the name.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

ENV_PREFIX = "LINGUA_"
ENV_SEPARATOR = "__"


class ConfigError(Exception):
    """The configuration cannot be used; the message is one line that names the key and its source."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections."""


class ServerConfig(Section, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = 5010
    workers: int = 1
    websocket: Literal["own", "aiohttp"] = "own"
    """Who serves WebSockets: our own endpoint or the library; docs/decisions/018."""
    trusted_proxies: list[str] = []
    """Addresses or networks whose `X-Forwarded-For` is believed: `10.0.0.0/8`."""
    tls_cert_file: str = ""
    """PEM, with its chain: the port then speaks TLS alone."""
    tls_key_file: str = ""
    tls_nodes_ca_file: str = ""
    """PEM: a node must show a certificate of this authority whose common name is its node id."""
    nodes_show: Literal["token", "certificate"] = "token"
    """Where there are keys. `certificate`: its certificate is enough, a token is checked where it shows one too."""


class RedisConfig(Section, frozen=True, kw_only=True):
    mode: Literal["single", "sentinel", "cluster"] = "single"
    url: str = "redis://localhost:6379"
    """With `sentinel`: only its user, password, database and scheme count, for the server that the sentinels name."""
    cluster_urls: list[str] = []
    """Any nodes of the cluster; the others are learnt from them."""
    sentinel_urls: list[str] = []
    sentinel_master: str = "mymaster"
    """What the sentinels call it."""
    key_prefix: str = "lingua"
    """Fleets with different prefixes on one Redis never meet; in a cluster it decides which master has the fleet."""
    command_timeout_ms: int = 2000
    password_file: str = ""
    """Its first line is the password, where the URLs name none; users stand in the URLs."""


class Phase2Config(Section, frozen=True, kw_only=True):
    enabled: bool = True
    instance_id: str = "auto"
    owner_ttl_seconds: int = 45
    stream_block_ms: int = 1000
    stream_count: int = 64
    stream_group: str = "scheduler"
    stream_maxlen: int = 10_000
    dlq_enabled: bool = True
    dlq_maxlen: int = 10_000
    dlq_max_deliveries: int = 10
    dlq_min_idle_ms: int = 60_000
    redis: RedisConfig = RedisConfig()


class SegmentationConfig(Section, frozen=True, kw_only=True):
    """When an utterance ends."""

    pause_ms: int = 3000
    max_duration_ms: int = 10_000
    hangover_manual_ms: int = 200
    hangover_auto_ms: int = 150
    padding_manual_ms: int = 280
    padding_auto_ms: int = 220
    max_length_bytes: int = 512_000
    gap_hold_ms: int = 8000
    close_grace_ms: int = 10_000
    session_idle_seconds: int = 300
    resume_window_seconds: int = 60
    resume_flush_ms: int = 1500
    max_session_buffer_bytes: int = 4 << 20


class JobTimeoutConfig(Section, frozen=True, kw_only=True):
    pending_timeout_seconds: int = 10
    failover_max_attempts: int = 3
    """Further attempts after the first."""


class CompatConfig(Section, frozen=True, kw_only=True):
    timeout_as_manual: bool = False
    """Send Timeout jobs to nodes of protocol 1 flagged as manual: some of them lose short ones otherwise."""


class SchedulerConfig(Section, frozen=True, kw_only=True):
    max_concurrent_jobs_per_node: int = 4
    job_timeout_seconds: int = 60
    heartbeat_interval_seconds: int = 15
    affinity_wait_ms: int = 500
    phase2: Phase2Config = Phase2Config()
    web_task_segmentation: SegmentationConfig = SegmentationConfig()
    job_timeout: JobTimeoutConfig = JobTimeoutConfig()
    compat: CompatConfig = CompatConfig()


class NodeHealthConfig(Section, frozen=True, kw_only=True):
    ping_ms: int = 1000
    suspect_ms: int = 3000
    lost_ms: int = 10_000
    heartbeat_ttl_seconds: int = 45


class ModelNotAvailableConfig(Section, frozen=True, kw_only=True):
    unavailable_ttl_seconds: int = 60
    max_marks: int = 30
    window_seconds: int = 10


class RoomsConfig(Section, frozen=True, kw_only=True):
    max_members: int = 32
    expiry_minutes: float = 30
    """After the last speech in it."""


class SecurityConfig(Section, frozen=True, kw_only=True):
    max_frame_bytes: int = 1 << 20
    auth: Literal["auto", "on", "off"] = "auto"
    """auto: on where there are keys, off without them on loopback, no start without them beyond it."""
    keys_file: str = ""
    """TOML, read again when it changes."""
    keys: str = ""
    """`kid:alg:value`, commas between several: for the environment."""
    allowed_origins: list[str] = []
    """Of pages of other hosts that may connect: `https://talk.example`."""


class TenantConfig(Section, frozen=True, kw_only=True):
    """What one tenant may use on all instances together; 0: as much as there is."""

    sessions: int = 0
    """At once."""
    jobs_per_minute: int = 0
    audio_minutes_per_day: int = 0


class LimitsConfig(Section, frozen=True, kw_only=True):
    """What one instance takes from one connection and one address; docs/limits.md says what happens beyond."""

    connections: int = 20_000
    """TCP connections of all kinds."""
    tcp_connections_per_address: int = 2048
    """The same of one address; of `trusted_proxies` any number."""
    connections_per_address: int = 1024
    """WebSockets of one address."""
    connects_per_minute_per_address: int = 1200
    requests_per_minute_per_address: int = 3000
    loopback_is_limited: bool = False
    """Whether the four above hold for loopback: a proxy is there, or programs of the machine."""
    header_ms: int = 10_000
    """From the connection to the end of the first request's header."""
    silence_ms: int = 60_000
    """For a client's connection that has no session."""
    frames_per_second: int = 1000
    bytes_per_second: int = 4 << 20
    refusals_per_minute: int = 300
    """Of one client's connection."""
    opens_per_minute: int = 60
    """Sessions that one client's connection opens or resumes."""
    room_requests_per_minute: int = 240
    registrations_per_minute: int = 30
    """Of one node's connection."""
    node_frames_per_second: int = 2000
    node_bytes_per_second: int = 64 << 20
    sessions: int = 20_000
    memory_mib: int = 0
    """Of the process, beyond which it takes no new sessions; 0: 85 % of what the machine or its container has."""
    tenant: TenantConfig = TenantConfig()
    """For every tenant that `tenants` does not name."""


class ObservabilityConfig(Section, frozen=True, kw_only=True):
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    otlp_url: str = ""
    """Where traces go, as OTLP over HTTP (`http://127.0.0.1:4318/v1/traces`); needs the extra `otel`."""


class NodeConfig(Section, frozen=True, kw_only=True):
    """A worker node."""

    url: str = "ws://127.0.0.1:5010/ws/node"
    node_id: str = ""
    """Empty: a fresh one."""
    engines: str = "demo"
    capacity: int = 0
    """Jobs at once; 0: measured at start."""
    heartbeat_interval_seconds: int = 15
    zone: str = ""
    token: str = ""
    token_file: str = ""
    """Its first line is the token, where `token` is empty; read for each registration."""
    tls_cert_file: str = ""
    """PEM, with its chain: what the node shows to schedulers that ask for a certificate."""
    tls_key_file: str = ""
    tls_ca_file: str = ""
    """PEM: the authority of the schedulers; empty: those that the machine trusts."""


class Config(Section, frozen=True, kw_only=True):
    server: ServerConfig = ServerConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    node_health: NodeHealthConfig = NodeHealthConfig()
    model_not_available: ModelNotAvailableConfig = ModelNotAvailableConfig()
    rooms: RoomsConfig = RoomsConfig()
    security: SecurityConfig = SecurityConfig()
    limits: LimitsConfig = LimitsConfig()
    tenants: dict[str, TenantConfig] = {}
    """By id, without dots."""
    observability: ObservabilityConfig = ObservabilityConfig()
    node: NodeConfig = NodeConfig()


@dataclass(frozen=True, slots=True)
class Setting:
    """One effective value and where it came from: `default`, the file's path, `environment` or `flag`."""

    key: str
    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class Loaded:
    config: Config
    settings: list[Setting]


def load_config(
    path: Path | None = None, env: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """The effective configuration. `overrides` are flags by dotted key; their None values are skipped."""
    return load_with_sources(path, env, overrides).config


def load_with_sources(
    path: Path | None = None, env: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Loaded:
    """As `load_config`, with the source of each value."""
    layers: list[tuple[str, dict[str, Any]]] = []
    if path is not None:
        layers.append((str(path), _flatten(_read_toml(path))))
    layers.append(("environment", _from_environment(env or {})))
    layers.append(("flag", {key: value for key, value in (overrides or {}).items() if value is not None}))
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, values in layers:
        for key, value in values.items():
            _insert(tree, key, value, source)
            sources[key] = source
    config = _convert(tree, sources)
    _check(config)
    settings = [Setting(k, v, sources.get(k, "default")) for k, v in _flatten(msgspec.to_builtins(config)).items()]
    return Loaded(config, settings)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(cast("dict[str, Any]", value), f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    """`LINGUA_SCHEDULER__PHASE2__REDIS__URL=x` → `scheduler.phase2.redis.url`; what reads as TOML is read as TOML."""
    found: dict[str, Any] = {}
    for name, text in env.items():
        if name.startswith(ENV_PREFIX) and ENV_SEPARATOR in name:
            key = name.removeprefix(ENV_PREFIX).lower().replace(ENV_SEPARATOR, ".")
            found[key] = _toml_value(text)
    return found


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _insert(tree: dict[str, Any], key: str, value: Any, source: str) -> None:
    *sections, name = key.split(".")
    for section in sections:
        nested = tree.setdefault(section, {})
        if not isinstance(nested, dict):
            raise ConfigError(f"{key} ({source}): {section} is a value, not a section")
        tree = cast("dict[str, Any]", nested)
    tree[name] = value


def _convert(tree: dict[str, Any], sources: dict[str, str]) -> Config:
    try:
        return msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"configuration: {_explain(str(error), sources)}") from None


def _explain(message: str, sources: dict[str, str]) -> str:
    """The library's `… - at `$.server.port`` with the key's source behind it."""
    what, _, where = message.partition(" - at `$")
    section = where.rstrip("`").lstrip(".")
    unknown = what.removeprefix("Object contains unknown field `").rstrip("`") if "unknown field" in what else ""
    key = ".".join(part for part in (section, unknown) if part)
    source = next((s for k, s in sources.items() if k == key or k.startswith(f"{key}.")), "")
    reason = "unknown key" if unknown else what[:1].lower() + what[1:]
    return f"{key}: {reason}" + (f" (from {source})" if source else "")


def _check(config: Config) -> None:
    """Relations between values that types cannot say."""
    health, cut, scheduler = config.node_health, config.scheduler.web_task_segmentation, config.scheduler
    rules = (
        ("server.port", 0 <= config.server.port <= 65_535, "must be 0–65535"),
        *_tls_rules(config.server, config.node),
        *(
            (f"limits.{name}", value > 0 or name in {"memory_mib", "loopback_is_limited"}, "must be more than 0")
            for name, value in msgspec.to_builtins(config.limits).items()
            if isinstance(value, int)
        ),
        (
            "observability.otlp_url",
            config.observability.otlp_url.startswith(("http://", "https://")) or not config.observability.otlp_url,
            "must be an http:// or https:// address",
        ),
        ("server.workers", config.server.workers >= 1, "must be at least 1"),
        ("scheduler.phase2.enabled", scheduler.phase2.enabled, "must be true: all shared state lives in Redis"),
        ("scheduler.max_concurrent_jobs_per_node", scheduler.max_concurrent_jobs_per_node >= 1, "must be at least 1"),
        ("scheduler.phase2.redis.key_prefix", scheduler.phase2.redis.key_prefix != "", "must not be empty"),
        (
            "scheduler.phase2.redis.cluster_urls",
            scheduler.phase2.redis.mode != "cluster" or bool(scheduler.phase2.redis.cluster_urls),
            'must name at least one server with mode = "cluster"',
        ),
        (
            "scheduler.phase2.redis.sentinel_urls",
            scheduler.phase2.redis.mode != "sentinel" or bool(scheduler.phase2.redis.sentinel_urls),
            'must name at least one sentinel with mode = "sentinel"',
        ),
        ("node_health.suspect_ms", health.ping_ms < health.suspect_ms, "must be more than node_health.ping_ms"),
        ("node_health.lost_ms", health.suspect_ms < health.lost_ms, "must be more than node_health.suspect_ms"),
        (
            "node_health.heartbeat_ttl_seconds",
            health.heartbeat_ttl_seconds > scheduler.heartbeat_interval_seconds,
            "must be more than scheduler.heartbeat_interval_seconds",
        ),
        ("scheduler.web_task_segmentation.pause_ms", cut.pause_ms > cut.hangover_manual_ms, "must exceed the hangover"),
        ("scheduler.web_task_segmentation.max_duration_ms", cut.max_duration_ms >= 1000, "must be at least 1000"),
        (
            "scheduler.web_task_segmentation.max_session_buffer_bytes",
            cut.max_session_buffer_bytes >= cut.max_length_bytes + 2 * config.security.max_frame_bytes,
            "must be at least max_length_bytes + 2 × security.max_frame_bytes: one utterance may take so much",
        ),
    )
    for key, holds, why in rules:
        if not holds:
            raise ConfigError(f"configuration: {key} {why}")


def _tls_rules(server: ServerConfig, node: NodeConfig) -> tuple[tuple[str, bool, str], ...]:
    return (
        (
            "server.tls_key_file",
            bool(server.tls_cert_file) == bool(server.tls_key_file),
            "is needed with server.tls_cert_file, and only then",
        ),
        (
            "server.tls_nodes_ca_file",
            bool(server.tls_cert_file) or not server.tls_nodes_ca_file,
            "needs server.tls_cert_file",
        ),
        (
            "server.nodes_show",
            server.nodes_show == "token" or bool(server.tls_nodes_ca_file),
            'needs server.tls_nodes_ca_file with "certificate"',
        ),
        (
            "node.tls_key_file",
            bool(node.tls_cert_file) == bool(node.tls_key_file),
            "is needed with node.tls_cert_file, and only then",
        ),
    )
