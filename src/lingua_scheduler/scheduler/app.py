"""One scheduler instance, put together: what exists, in which order it starts and stops."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import msgspec
from aiohttp import web

from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.config import Config, ConfigError, Phase2Config
from lingua_scheduler.runtime.doorman import Lodge
from lingua_scheduler.runtime.ids import new_instance_id
from lingua_scheduler.runtime.lag import watch_lag
from lingua_scheduler.runtime.logs import get_logger, library_logger
from lingua_scheduler.runtime.metrics import Metrics
from lingua_scheduler.runtime.scope import Scope
from lingua_scheduler.runtime.timers import Timers
from lingua_scheduler.runtime.traces import open_traces
from lingua_scheduler.scheduler.auth.guard import OPEN_DOOR, Guard
from lingua_scheduler.scheduler.bus import Bus
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.control import Control
from lingua_scheduler.scheduler.crowd import for_guests
from lingua_scheduler.scheduler.desk import Desk
from lingua_scheduler.scheduler.dispatch import Dispatch
from lingua_scheduler.scheduler.door import Door, Newcomers, Reception, Visitors
from lingua_scheduler.scheduler.http import HEADER_BYTES_MAX, build_app, websocket_routes
from lingua_scheduler.scheduler.limits import Limits
from lingua_scheduler.scheduler.nodes import Nodes
from lingua_scheduler.scheduler.pages import HEADERS
from lingua_scheduler.scheduler.previews import Previews
from lingua_scheduler.scheduler.proxies import networks
from lingua_scheduler.scheduler.resume import Resumes
from lingua_scheduler.scheduler.rooms import Rooms
from lingua_scheduler.scheduler.routes import Routes
from lingua_scheduler.scheduler.sessions import Sessions
from lingua_scheduler.scheduler.snapshots import Snapshots
from lingua_scheduler.scheduler.store_health import StoreHealth
from lingua_scheduler.scheduler.upkeep import Fleet, Upkeep
from lingua_scheduler.store.configured import finder_of, keys_of
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.servers import Finder
from lingua_scheduler.store.store import Store
from lingua_scheduler.store.streams import Inbox, InboxConfig

_log = get_logger("scheduler")

SHUTDOWN_S = 5.0
KEEPALIVE_S = 30.0
"""Between two requests of a connection, to the end of the second one's header."""


class Scheduler:
    """A running instance: `async with Scheduler.start(config) as scheduler: await scheduler.wait_stopped()`."""

    def __init__(self, context: Context, sessions: Sessions, nodes: Nodes, desk: Desk, upkeep: Upkeep) -> None:
        self.context = context
        self.sessions = sessions
        self.nodes = nodes
        self.desk = desk
        self.upkeep = upkeep
        self.url = ""
        """`http://host:port`, once it listens."""
        self._stopped = asyncio.Event()

    @staticmethod
    @contextlib.asynccontextmanager
    async def start(config: Config, redis_url: str | None = None) -> "AsyncGenerator[Scheduler]":
        """Listen and serve until the block ends. `redis_url` names one server, whatever the configuration says.

        Raises ConfigError where the port cannot be had or would be open to strangers, or Redis does not answer at the
        start (later it may go and come back).
        """
        phase2 = config.scheduler.phase2
        redis = phase2.redis
        if redis_url is not None:
            redis = msgspec.structs.replace(redis, mode="single", url=redis_url)
        finder, keys = finder_of(redis), keys_of(redis)
        me = _instance_id(config)
        clock = Clock()
        guard = Guard(config, clock)
        async with (
            Store.open(finder, keys, timeout_ms=redis.command_timeout_ms) as store,
            Inbox.open(finder, keys, store.client, me, _inbox_config(phase2)) as inbox,
            open_traces(config.observability, clock, "lingua-scheduler", me) as traces,
        ):
            metrics = Metrics()
            store.client.observe = metrics.redis_seconds.observe
            await _check_redis(store, finder)
            health = StoreHealth(clock)
            store.client.broken = health.failed
            context = Context(
                config=config,
                instance_id=me,
                store=store,
                health=health,
                clock=clock,
                timers=Timers(clock),
                metrics=metrics,
                scope=Scope(_task_failed),
                guard=guard,
                limits=Limits(config.limits, clock),
                traces=traces,
            )
            scheduler = assemble(context, Bus(context, inbox))
            try:
                async with _listening(scheduler):
                    yield scheduler
            finally:
                await context.scope.close()
                context.timers.close()

    def stop(self) -> None:
        """Let `wait_stopped` return."""
        self._stopped.set()

    async def wait_stopped(self) -> None:
        await self._stopped.wait()


@contextlib.asynccontextmanager
async def _listening(scheduler: Scheduler) -> AsyncGenerator[None]:
    server = scheduler.context.config.server
    routes = websocket_routes(scheduler.context, scheduler.sessions, scheduler.nodes)
    app = build_app(scheduler.context, routes, scheduler.desk)
    Control(scheduler.context, scheduler.nodes, scheduler.upkeep.bus, scheduler.stop).add_to(app)
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=library_logger("http"),
        shutdown_timeout=SHUTDOWN_S,
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
        keepalive_timeout=KEEPALIVE_S,
        handle_signals=False,
    )
    newcomers = Newcomers(scheduler.context.clock)
    app.middlewares.insert(0, newcomers.middleware)
    await runner.setup()
    try:
        config = scheduler.context.config
        guarded = {path: for_guests(scheduler.context, serve) for path, serve in routes.items()}
        trusted = networks(server.trusted_proxies)
        visitors = Visitors(scheduler.context.limits, trusted)
        reception = Reception(runner, trusted, newcomers, visitors)
        lodge = Lodge(guarded, reception, HEADERS, _task_failed) if server.websocket == "own" else None
        door = Door(runner, config, newcomers, visitors, lodge)
        try:
            await door.start()
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {server.host}:{server.port}: {error.strerror}; choose another with --port"
            ) from None
        host, port = runner.addresses[0][:2]
        scheduler.url = f"{'https' if server.tls_cert_file else 'http'}://{host}:{port}"
        sweeping = scheduler.context.scope.start(
            newcomers.sweep(scheduler.context.config.limits.header_ms), "sweep-newcomers"
        )
        watching = scheduler.context.scope.start(
            watch_lag(scheduler.context.metrics.loop_lag_seconds.observe), "watch-lag"
        )
        renewing = scheduler.context.scope.start(door.watch(), "watch-certificate")
        _log.info("listening", url=scheduler.url, instance=scheduler.context.instance_id)
        if not scheduler.context.guard.is_on:
            _log.warning(OPEN_DOOR)
        await scheduler.upkeep.start(scheduler.url)
        try:
            yield
        finally:
            await scheduler.upkeep.drain()
            sweeping.cancel()
            watching.cancel()
            renewing.cancel()
            if lodge is not None:
                await door.stop()
                await lodge.close(SHUTDOWN_S)
    finally:
        await runner.cleanup()


def assemble(context: Context, bus: Bus) -> Scheduler:
    """The parts, each given what it needs; nodes and sessions meet only in `Routes`."""
    nodes = Nodes(context)
    routes = Routes(context, nodes, bus)
    sessions = Sessions(context, Dispatch(context, nodes, routes), Previews(context.metrics, nodes), nodes.forget_owner)
    routes.sessions = sessions
    sessions.rooms = Rooms(context, sessions, bus)
    sessions.resumes = Resumes(context, sessions, nodes, bus)
    nodes.owners = routes
    bus.local = routes
    snapshots = Snapshots(context, sessions, nodes)
    desk = Desk(context, snapshots)
    return Scheduler(context, sessions, nodes, desk, Upkeep(context, sessions, nodes, snapshots, Fleet(bus, routes)))


def _instance_id(config: Config) -> InstanceId:
    named = config.scheduler.phase2.instance_id
    return new_instance_id() if named == "auto" else InstanceId(named)


def _inbox_config(phase2: Phase2Config) -> InboxConfig:
    return InboxConfig(
        group=phase2.stream_group,
        block_ms=phase2.stream_block_ms,
        count=phase2.stream_count,
        maxlen=phase2.stream_maxlen,
        dead_deliveries=phase2.dlq_max_deliveries,
        dead_age_ms=phase2.dlq_min_idle_ms,
        dlq_maxlen=phase2.dlq_maxlen if phase2.dlq_enabled else 0,
    )


async def _check_redis(store: Store, finder: Finder) -> None:
    try:
        await store.ping()
    except StoreError as error:
        raise ConfigError(
            f"Redis does not answer at {finder}: {error}; start it, name another with --redis, or use --embedded-redis"
        ) from None


def _task_failed(name: str, error: BaseException) -> None:
    _log.error("background task failed", task=name, cause=repr(error))
