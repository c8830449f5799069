"""A worker node as a whole: loads its engines, registers with a scheduler, works, and leaves in order.

```python
await NodeApp(NodeConfig(url="ws://127.0.0.1:5010/ws/node"), report=console.line).run()
```

Cancelling `run` (SIGTERM, Ctrl-C) is how a node is told to leave: it takes no more jobs, finishes what it runs within
`DRAIN_S`, delivers what it has said, and only then lets the cancellation pass. A second cancellation ends it at once.
"""

import asyncio
import platform
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from lingua_scheduler.core.access import node_id_of
from lingua_scheduler.node import capabilities
from lingua_scheduler.node.aggregation.utterances import UtteranceAggregator
from lingua_scheduler.node.credentials import Credentials
from lingua_scheduler.node.engines.base import EngineError, Stage
from lingua_scheduler.node.engines.plan import EnginePlan, make_plan
from lingua_scheduler.node.jobs import Jobs
from lingua_scheduler.node.keeper import EngineKeeper
from lingua_scheduler.node.link import Link, LinkRefused, LinkSettings, addresses
from lingua_scheduler.node.machine_load import MachineLoad
from lingua_scheduler.node.meter import Meter
from lingua_scheduler.node.pipeline import Pipeline
from lingua_scheduler.node.previews import Previews
from lingua_scheduler.node.tls import NodeTls, certified_id
from lingua_scheduler.node.workers.calibrate import CAPACITY_MAX, Calibration, calibrate
from lingua_scheduler.node.workers.host import EngineHost
from lingua_scheduler.node.workshop import Workshop
from lingua_scheduler.protocol.ids import JobId, NodeId, SessionId, valid_id
from lingua_scheduler.protocol.node import (
    ActiveJob,
    JobAssign,
    JobCancel,
    JobPreview,
    NodeControl,
    NodeDrain,
    NodeError,
    NodeHeartbeat,
    NodeRegister,
    ResourceUsage,
)
from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.config import ConfigError, NodeConfig
from lingua_scheduler.runtime.ids import new_node_id
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.runtime.scope import Scope
from lingua_scheduler.runtime.supervisor import tell_ready
from lingua_scheduler.runtime.timers import Timers
from lingua_scheduler.runtime.traces import Traces

DRAIN_S = 30.0
LOOK_S = 5.0
"""How often idle sessions are looked for, GPUs are asked, and engines compared with what the scheduler was told."""
CAPACITY_MIN = 2
"""Of a measured capacity."""
QUEUE_PER_JOB = 4
"""Calls that one job may have waiting before one engine, with room to spare."""

_log = get_logger("node")


class NodeFailed(Exception):  # noqa: N818 - what ends a command, told to people
    """The node cannot start or go on. The message is one line that says what is wrong and how to mend it."""


class NodeApp:
    """One node. `report` takes lines for the console; `drain_s` is how long leaving may take.

    NodeFailed, from the constructor or `run`, where it cannot start or the scheduler will not have it.
    """

    def __init__(
        self,
        config: NodeConfig,
        report: Callable[[str], None] = lambda _line: None,
        *,
        drain_s: float = DRAIN_S,
        traces: Traces | None = None,
    ) -> None:
        self._config = config
        self._report = report
        self._drain_s = drain_s
        self._traces = traces
        self._clock = Clock()
        self._meter = Meter()
        self._machine = MachineLoad()
        self._timers = Timers(self._clock)
        self._scope = Scope(self._task_failed)
        try:
            self._plan = _plan(config)
            self._credentials = Credentials(config)
            self._link = Link(_settings(config, self._credentials.token()), self, report)
        except (ConfigError, EngineError) as error:
            _give_up(error)
        self._engines = EngineKeeper(self._plan, self._task_failed)
        workshop = self._workshop()
        self._jobs = Jobs(workshop, config.capacity)
        self._previews = Previews(workshop)
        self._is_leaving = False
        self._told_ready: list[tuple[str, bool]] = []

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            await self._load()
            await self._work()
        except (EngineError, LinkRefused) as error:
            _give_up(error)
        finally:
            self._timers.close()
            await self._scope.close()
            await self._engines.close()

    async def _load(self) -> None:
        for note in self._plan.notes:
            self._report(f"note: {note}")
        self._report("loading engines …")
        looking = self._scope.start(self._machine.look_at_gpus(), "node-gpus")
        await self._engines.load()
        await looking
        for line in capabilities.console_lines(self._engines.host):
            self._report(line)
        pairs = capabilities.language_capabilities(self._engines.host).supported_language_pairs
        if not pairs:
            _give_up("no language goes all the way: the engines recognise, translate and speak none in common")
        self._jobs.capacity = self._config.capacity or await self._measure_capacity()
        self._report(f"capacity: {self._jobs.capacity} jobs at once")

    async def _measure_capacity(self) -> int:
        """What the engines do together in the time that a speaker will wait; as many as recognise, if that fails.

        At least two: a held job keeps its slot at the scheduler, and its successor must find another.
        """
        host = self._engines.host
        measured: Calibration | None = None
        self._report("measuring capacity …")
        try:
            measured = await calibrate(host)
        except* EngineError as errors:
            self._report(f"note: capacity could not be measured: {_line(errors.exceptions[0])}")
        if measured is None:
            return max(CAPACITY_MIN, sum(lane.slots for lane in host.status() if lane.stage is Stage.ASR))
        stages = f"{measured.asr_ms:.0f} + {measured.nmt_ms:.0f} + {measured.tts_ms:.0f} ms"
        self._report(
            f"measured: {measured.audio_ms / 1000:.1f} s of speech take {stages} (recognise, translate, speak); "
            f"{measured.jobs_per_s:.1f} such jobs a second"
        )
        return max(CAPACITY_MIN, measured.capacity)

    async def _work(self) -> None:
        tell_ready()  # a scheduler that is away is waited for, and no reason to start this anew
        self._scope.start(self._look(), "node-look")
        linked = self._scope.start(self._link.run(), "node-link")
        try:
            await asyncio.shield(linked)
        except asyncio.CancelledError:
            if linked.done():
                raise
            await self._leave()
            raise

    async def _leave(self) -> None:
        """Finish and deliver what is in hand, as far as `drain_s` allows."""
        self._is_leaving = True
        self._jobs.drain()
        self._tell_leaving()
        self._link.heartbeat_now()
        if self._jobs.active():
            self._report(f"leaving: finishing {len(self._jobs.active())} jobs, at most {self._drain_s:g} s")
        try:
            async with asyncio.timeout(self._drain_s):
                await self._jobs.wait_idle()
                await self._link.wait_delivered()
        except TimeoutError:
            unfinished, undelivered = len(self._jobs.active()), len(self._link.outbox)
            self._report(f"left with {unfinished} jobs unfinished and {undelivered} results undelivered")

    def _tell_leaving(self) -> None:
        self._link.send(NodeDrain(node_id=self._link.node_id, reason="the node was told to leave"))

    # ------------------------------------------------------------------------------------- what the link asks

    def registration(self) -> NodeRegister:
        host = self._engines.host
        self._told_ready = _readiness(host)
        return NodeRegister(
            version=capabilities.software_version(),
            platform=f"{platform.system().lower()}-{platform.machine()}",
            hardware=self._machine.hardware(),
            installed_models=capabilities.models(host),
            capability_by_type=capabilities.capabilities(host),
            features_supported={},
            accept_public_jobs=True,
            language_capabilities=capabilities.language_capabilities(host),
            capability_schema_version="2.0",
            advanced_features=capabilities.advanced_features(host),
            installed_services=capabilities.services(host),
            protocol_version="2",
            capacity=self._jobs.capacity,
            zone=self._config.zone or None,
            token=self._credentials.token() or None,
        )

    def heartbeat(self) -> NodeHeartbeat:
        host = self._engines.host
        self._told_ready = _readiness(host)
        return NodeHeartbeat(
            node_id=self._link.node_id,
            timestamp=self._clock.wall_ms(),
            resource_usage=ResourceUsage(
                cpu_percent=self._machine.cpu_percent(),
                gpu_percent=self._machine.gpu_percent(),
                gpu_mem_percent=self._machine.gpu_mem_percent(),
                mem_percent=self._machine.mem_percent(),
                running_jobs=self._jobs.running,
                gpu_queue_length=sum(lane.waiting for lane in host.status()),
            ),
            installed_services=capabilities.services(host),
            capability_by_type=capabilities.capabilities(host),
            processing_metrics={
                **self._meter.snapshot(),
                "held": self._jobs.held,
                "sessions": self._jobs.sessions,
                "previews": self._previews.decodes,
                "workers_replaced": sum(lane.replaced for lane in host.status()),
            },
        )

    def active_jobs(self) -> list[ActiveJob]:
        return self._jobs.active()

    def registered(self) -> None:
        """Draining for an operator ends with the connection: the scheduler says it again where it still holds."""
        if self._is_leaving:
            self._tell_leaving()
        else:
            self._jobs.resume()

    def receive(self, message: JobAssign | JobPreview | JobCancel | NodeControl, audio: bytes) -> None:
        match message:
            case JobAssign():
                self._previews.assigned(SessionId(message.session_id), message.utterance_index)
                self._jobs.assign(message, audio, self._engines.host)
            case JobPreview():
                if not self._jobs.is_draining:
                    self._previews.show(message, audio, self._engines.host)
            case JobCancel():
                self._previews.cancel(message.job_id)
                self._jobs.cancel(JobId(message.job_id))
            case NodeControl():
                self._on_control(message)

    def _on_control(self, control: NodeControl) -> None:
        self._report(f"the scheduler asks to {control.command}: {control.reason}")
        match control.command:
            case "drain":
                self._jobs.drain()
                self._link.heartbeat_now()
            case "resume":
                if not self._is_leaving:
                    self._jobs.resume()
                self._link.heartbeat_now()
            case "reload":
                self._scope.start(self._reload(), "node-reload")

    async def _reload(self) -> None:
        """Load the engines anew and tell the scheduler what they can; the old ones serve until then, or on failure."""
        try:
            await self._engines.load()
        except EngineError as error:
            self._report(f"engines not reloaded, the old ones go on: {_line(error)}")
            self._link.send(NodeError(node_id=self._link.node_id, code=error.code, message=_line(error)))
            return
        self._report("engines reloaded")
        self._link.register_again()

    # ------------------------------------------------------------------------------------- background

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self._jobs.sweep()
            self._previews.sweep()
            if self._machine.gpus:
                await self._machine.look_at_gpus()
            if self._told_ready != _readiness(self._engines.host):
                self._link.heartbeat_now()

    def _workshop(self) -> Workshop:
        return Workshop(
            pipeline=Pipeline(self._engines),
            out=self._link,
            texts=UtteranceAggregator(),
            meter=self._meter,
            clock=self._clock,
            timers=self._timers,
            scope=self._scope,
            traces=self._traces,
        )

    def _task_failed(self, name: str, error: BaseException) -> None:
        if not isinstance(error, LinkRefused):  # that one is awaited and told
            _log.error("a task of the node failed", task=name, cause=repr(error))


def _plan(config: NodeConfig) -> EnginePlan:
    plan = make_plan(config.engines)
    return replace(plan, queue_max=max(plan.queue_max, QUEUE_PER_JOB * (config.capacity or CAPACITY_MAX)))


def _settings(config: NodeConfig, token: str) -> LinkSettings:
    if config.node_id and not valid_id(config.node_id):
        raise ConfigError(f"node.node_id {config.node_id!r}: letters, digits, dots and dashes, at most 128")
    if config.capacity < 0:
        raise ConfigError(f"node.capacity {config.capacity}: how many jobs at once, or 0 to have it measured")
    heartbeat_ms = max(1, config.heartbeat_interval_seconds) * 1000
    tls = NodeTls(config) if config.tls_ca_file or config.tls_cert_file else None
    return LinkSettings(addresses(config.url), _node_id(config, token), heartbeat_ms, tls=tls)


def _node_id(config: NodeConfig, token: str) -> NodeId:
    """Its own, else its certificate's, else one that its token allows."""
    if config.node_id:
        return NodeId(config.node_id)
    return certified_id(config.tls_cert_file) if config.tls_cert_file else node_id_of(token, new_node_id())


def _readiness(host: EngineHost) -> list[tuple[str, bool]]:
    return [(one.type, one.ready) for one in capabilities.capabilities(host)]


def _line(error: Exception | str) -> str:
    message = error.message if isinstance(error, EngineError) else str(error)
    return " ".join(message.split())


def _give_up(error: Exception | str) -> NoReturn:
    raise NodeFailed(_line(error)) from (error if isinstance(error, Exception) else None)
