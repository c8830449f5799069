"""`/ws/node`: the connections of worker nodes, and which of them is which node now.

A connection's state is its `NodeMachine`; this file performs what the machine wants. What a node reports of a job goes
to the session that owns the job, with the name of the node whose connection brought it.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal, Protocol, assert_never

import msgspec

from lingua_scheduler.core.access import AccessError, Grant
from lingua_scheduler.core.node import events as node
from lingua_scheduler.core.node.machine import NodeMachine
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol.errors import ErrorCode, PeerError
from lingua_scheduler.protocol.handshake import Denial
from lingua_scheduler.protocol.ids import JobId, NodeId, valid_id
from lingua_scheduler.protocol.messages import ErrorMessage
from lingua_scheduler.protocol.node import JobAssign, JobResult, NodeMessage, NodeRegister, SchedulerMessage
from lingua_scheduler.runtime import ids, sockets
from lingua_scheduler.runtime.driver import Driver
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.scheduler.auth.guard import unauthorized
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.door import certificate_of
from lingua_scheduler.scheduler.limits import Reading, crowded, of_whom, per_minute, rate_limited
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.records import HeldJob, NodeReply, Offer

_log = get_logger("scheduler.nodes")

StoreEffect = node.RegisterNode | node.HeartbeatNode | node.SetStatus | node.MarkOffline
FRAME_BYTES_MAX = 16 << 20
"""Speech of a minute at 48 kHz in base64 is 8 MiB: what a node may answer is more than what a client may say."""


TEXT_BYTES_MAX = 256 << 10
"""Of a message that brings no result: registrations are kept, and shown to whoever looks at the fleet."""


class JobOwner(Protocol):
    """Whoever owns jobs that may be with a node: a session here, or another instance."""

    def report(self, node_id: NodeId, report: node.JobReport) -> None: ...

    def node_lost(self, node_id: NodeId, epoch: int | None, cause: node.LostCause) -> None: ...

    def jobs_on(self, node_id: NodeId, since_epoch: int) -> list[tuple[JobId, int]]:
        """Those that have a slot of the node, with their attempts, placed under `since_epoch` or a later one."""
        ...


class Owners(Protocol):
    """Finds the owner of a job, and tells those of this instance and others of freed slots and lost jobs."""

    def owner_of(self, job_id: JobId) -> JobOwner | None: ...

    def unowned(self, node_id: NodeId, report: node.JobReport) -> None: ...

    def offered(self, offers: tuple[Offer, ...]) -> None: ...

    def held_jobs_lost(self, jobs: tuple[HeldJob, ...]) -> None: ...


@dataclass(frozen=True, slots=True)
class Registered:
    """The connection that is a node at present."""

    registration: node.Registration
    epoch: int
    connection: "NodeConnection"


class Nodes:
    """The nodes connected to this instance."""

    def __init__(self, context: Context) -> None:
        self.owners: Owners
        self._context = context
        self._by_id: dict[NodeId, Registered] = {}
        self._connections: dict[NodeConnection, None] = {}
        self._changed = asyncio.Event()
        self.is_draining = False
        """No node may connect any more."""
        self._questions = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        # Whose audio may be on which node, so that a lost node is told to those whom it concerns and nobody else.
        self._users: defaultdict[NodeId, dict[JobOwner, None]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._by_id)

    async def wait_changed(self) -> None:
        """Until a node has registered since the last wait."""
        await self._changed.wait()
        self._changed.clear()

    def get(self, node_id: NodeId) -> Registered | None:
        return self._by_id.get(node_id)

    def all(self) -> list[Registered]:
        return list(self._by_id.values())

    def connections(self) -> "list[NodeConnection]":
        return list(self._connections)

    def connected(self, connection: "NodeConnection") -> None:
        self._connections[connection] = None
        self._quiet.clear()

    def disconnected(self, connection: "NodeConnection") -> None:
        self._connections.pop(connection, None)
        self._note_quiet()

    def asked_store(self) -> None:
        """A question to the store is on its way; `heard_store` follows."""
        self._questions += 1
        self._quiet.clear()

    def heard_store(self) -> None:
        self._questions -= 1
        self._note_quiet()

    def assign(self, node_id: NodeId, owner: JobOwner, assign: JobAssign, audio: bytes) -> bool:
        """Send one attempt to a node connected here. False where it is not (any more), or does not read."""
        if (registered := self._by_id.get(node_id)) is None:
            return False
        self.used_by(node_id, owner)
        frame = codec.encode_assign(assign, audio, binary=registered.registration.binary_audio)
        return registered.connection.send_frame(frame)

    def used_by(self, node_id: NodeId, owner: JobOwner) -> None:
        """`owner` may have audio on the node from now on, wherever it is connected."""
        self._users[node_id][owner] = None

    def users_of(self, node_id: NodeId) -> list[JobOwner]:
        """Those who may have audio on the node, as far as this instance knows."""
        return list(self._users.get(node_id, ()))

    def jobs_on(self, node_id: NodeId, since_epoch: int) -> list[tuple[JobId, int]]:
        """What a connection works on that has been the node since then, as far as this instance knows."""
        return [job for owner in self._users.get(node_id, ()) for job in owner.jobs_on(node_id, since_epoch)]

    def send(self, node_id: NodeId, message: SchedulerMessage) -> bool:
        registered = self._by_id.get(node_id)
        return registered is not None and registered.connection.send_frame(codec.encode(message).decode())

    def refuse_report(self, node_id: NodeId, report: node.JobReport) -> None:
        """No session has, or has any more, the job that a node speaks of."""
        self._context.metrics.refused.labels("unknown_job").inc()
        _log.info("report refused", job=report.job_id, node=node_id, cause="unknown_job")

    def count_outcome(self, node_id: NodeId, is_good: bool) -> None:
        if (registered := self._by_id.get(node_id)) is not None:
            registered.connection.driver.post(node.JobOutcomeCounted(is_good))

    def forget_owner(self, owner: JobOwner) -> None:
        """A session has ended: no node is used by it any more."""
        for users in self._users.values():
            users.pop(owner, None)

    def registered(self, entry: Registered) -> None:
        """The newer connection is the node from now on; the older is told before anything else happens."""
        node_id = entry.registration.node_id
        other = self._by_id.get(node_id)
        if other is not None and other.connection is not entry.connection:
            if other.epoch > entry.epoch:  # the store's answers came out of order
                entry.connection.driver.post(node.Superseded())
                return
            other.connection.driver.post(node.Superseded())
        self._by_id[node_id] = entry
        self._context.metrics.nodes_connected.set(len(self._by_id))
        self._changed.set()
        _log.info("node registered", node=node_id, epoch=entry.epoch, capacity=entry.registration.capacity)

    def lost(self, connection: "NodeConnection", node_id: NodeId, epoch: int, cause: node.LostCause) -> None:
        """Tell every session with audio on the node; forget the node unless it is only suspected."""
        current = self._by_id.get(node_id)
        if cause != "suspect" and current is not None and current.connection is connection:
            del self._by_id[node_id]
            self._context.metrics.nodes_connected.set(len(self._by_id))
        self._context.metrics.nodes_lost.labels(cause).inc()
        _log.warning("node lost", node=node_id, cause=cause)
        self.tell_lost(node_id, epoch, cause)

    def tell_lost(self, node_id: NodeId, epoch: int | None, cause: node.LostCause) -> None:
        """Tell every owner with audio on the node, also on one that is connected elsewhere."""
        users = self._users.get(node_id, {}) if cause == "suspect" else self._users.pop(node_id, {})
        for owner in list(users):
            owner.node_lost(node_id, epoch, cause)
            if epoch is not None and owner.jobs_on(node_id, epoch + 1):
                self.used_by(node_id, owner)  # on a newer connection, whose loss concerns it too

    def drain(self, reason: str) -> None:
        """No new jobs, no new nodes; what runs goes on."""
        self.is_draining = True
        for connection in self.connections():
            connection.driver.post(node.DrainRequested(reason))

    def close(self, reason: str) -> None:
        for connection in self._connections:
            connection.close_nowait(sockets.GOING_AWAY, reason)

    async def wait_closed(self) -> None:
        """Until no connection is left and the store has been told so, or was asked in vain."""
        await self._quiet.wait()

    def _note_quiet(self) -> None:
        if not self._connections and not self._questions:
            self._quiet.set()


class NodeConnection:
    """One socket of a node and its machine."""

    def __init__(
        self, context: Context, nodes: Nodes, socket: sockets.Socket, certificate: Grant | None = None
    ) -> None:
        """`certificate`: what the one that the node had to show allows."""
        self._context = context
        self._certificate = certificate
        self._nodes = nodes
        self._socket = socket
        self._is_barred = False
        """Its token was refused or taken back: nothing that it still sends counts."""
        config = context.config
        limits, now_ms = config.limits, context.clock.now_ms()
        self._reading = Reading(limits.node_frames_per_second, limits.node_bytes_per_second, now_ms)
        self._refusals = per_minute(limits.refusals_per_minute, now_ms)
        self._registrations = per_minute(config.limits.registrations_per_minute, context.clock.now_ms())
        self._machine = NodeMachine(
            health=config.node_health,
            default_capacity=config.scheduler.max_concurrent_jobs_per_node,
            fresh_node_id=ids.new_node_id(),
            now_ms=context.clock.now_ms(),
        )
        self.driver = Driver[node.NodeEvent, node.NodeEffect](
            self._machine, self._perform, node.TimeReached(), context.timers, context.clock, self._crashed
        )

    @property
    def status(self) -> node.StoredStatus:
        return self._machine.status

    @property
    def queued_bytes(self) -> int:
        """What the node has not read yet."""
        return self._socket.queued_bytes

    async def run(self) -> None:
        """Handle frames until the socket is closed."""
        self._nodes.connected(self)
        try:
            await self._socket.serve(self._take)
        finally:
            self._context.guard.let_go(self)
            self.driver.post(node.SocketClosed())
            self._nodes.disconnected(self)
            await self._socket.wait_closed()

    def send_frame(self, frame: str | bytes) -> bool:
        """Text or binary. False where the node does not take it."""
        if isinstance(frame, str):
            return self._socket.send_text_nowait(frame.encode())
        return self._socket.send_binary_nowait(frame)

    def close_nowait(self, code: int, reason: str) -> None:
        self._socket.close_nowait(code, reason)

    def _take(self, frame: sockets.Frame) -> sockets.Work | None:
        if isinstance(frame, sockets.Extra):
            return self._reading.silent(frame, self._context.clock.now_ms())
        size = 0 if isinstance(frame, sockets.Pong) else len(frame)
        if wait_ms := self._reading.frame(size, self._context.clock.now_ms()):
            return self._take_later(frame, wait_ms)
        self._on_frame(frame)
        return None

    async def _take_later(self, frame: str | bytes | sockets.Pong, wait_ms: int) -> None:
        await asyncio.sleep(wait_ms / 1000)
        self._on_frame(frame)

    def _on_frame(self, frame: str | bytes | sockets.Pong) -> None:
        if self._is_barred:
            return
        if isinstance(frame, sockets.Pong):
            self.driver.post(node.PongArrived())
            return
        try:
            message = decode(frame)
        except PeerError as error:
            is_registration = isinstance(frame, str) and '"node_register"' in frame[:4096]
            self.driver.post(node.FrameRefused(error.message, is_registration))
            return
        if isinstance(message, NodeRegister):
            if wait_ms := self._registrations.take_if(1, self._context.clock.now_ms()):
                self._turn_away("registers too often", wait_ms)
                return
            try:
                message = self._admit(message)
            except PeerError as error:
                self._bar(error.message)
                return
        self.driver.post(node.MessageArrived(message))

    def _admit(self, message: NodeRegister) -> NodeRegister:
        """The registration as token and certificate allow it. PeerError UNAUTHORIZED where they do not."""
        grants = self._context.guard.node(message.token, self._certificate)
        for grant in reversed(grants):  # a certificate has one id, a token may have many
            message = _allowed(message, grant)
        self._context.guard.hold(self, grants, self._token_taken_back)
        return msgspec.structs.replace(message, token=None)

    def _turn_away(self, why: str, wait_ms: int) -> None:
        """It does something all the time that it should not."""
        self._is_barred = True
        self._context.metrics.denied.labels("flood").inc()
        error = rate_limited(wait_ms)
        told = ErrorMessage(code=error.code, message=error.message, details=error.details)
        self._socket.send_text_nowait(codec.encode(told))
        self._socket.close_nowait(sockets.TRY_AGAIN_LATER, why)
        self.driver.post(node.SocketClosed())

    def _token_taken_back(self) -> None:
        self._bar("its token or certificate was revoked")

    def _bar(self, why: str) -> None:
        """Told, and shown out; its jobs go elsewhere at once."""
        self._is_barred = True
        self._context.metrics.denied.labels("node").inc()
        _log.warning("node not allowed", cause=why)
        self._socket.send_text_nowait(codec.encode(ErrorMessage(code=ErrorCode.UNAUTHORIZED, message=why)))
        self._socket.close_nowait(sockets.NOT_ALLOWED, "not allowed")
        self.driver.post(node.SocketClosed())

    def _perform(self, effect: node.NodeEffect) -> None:
        match effect:
            case node.ForwardReport(node_id, _, report):
                self._forward(node_id, report)
            case node.SendPing():
                self._socket.ping_nowait()
            case node.Send(message):
                self._socket.send_text_nowait(codec.encode(message))
            case node.AnnounceRegistered(registration, epoch):
                self._nodes.registered(Registered(registration, epoch, self))
            case node.AnnounceLost(node_id, epoch, cause):
                self._nodes.lost(self, node_id, epoch, cause)
            case node.Close(code, reason):
                self._socket.close_nowait(code, reason)
            case node.RecordNodeError(node_id, error):
                _log.warning("node reports a fault", node=node_id, code=error.code)
            case node.RefuseMessage(why):
                self._context.metrics.refused.labels(why).inc()
                wait_ms = 0 if self._is_barred else self._refusals.take_if(1, self._context.clock.now_ms())
                if wait_ms:
                    self._turn_away("refused too often", wait_ms)
            case node.RegisterNode() | node.HeartbeatNode() | node.SetStatus() | node.MarkOffline():
                self._nodes.asked_store()
                self._context.scope.start(self._ask_store(effect), type(effect).__name__)
            case _:
                assert_never(effect)

    def _forward(self, node_id: NodeId, report: node.JobReport) -> None:
        owner = self._nodes.owners.owner_of(JobId(report.job_id))
        if owner is None:
            self._nodes.owners.unowned(node_id, report)
            return
        owner.report(node_id, report)

    async def _ask_store(self, effect: StoreEffect) -> None:
        try:
            event = await self._answer(effect)
        except StoreError as error:
            self._context.metrics.store_failures.inc()
            _log.warning("store failed", operation=type(effect).__name__, cause=str(error))
            event = node.StoreFailed(_operation(effect))
        finally:
            self._nodes.heard_store()
        if event is not None:
            self.driver.post(event)

    async def _answer(self, effect: StoreEffect) -> node.NodeEvent | None:
        store = self._context.store.nodes
        match effect:
            case node.RegisterNode(registration, is_again):
                at_work = self._at_work(registration.node_id) if is_again else None
                reply = await store.register(registration, self._context.instance_id, at_work)
                event = node.RegisterReplied(reply.word, reply.epoch)
            case node.HeartbeatNode(node_id, epoch, status, load, services, languages, _, is_again):
                at_work = self._at_work(node_id) if is_again else ()
                reply = await store.heartbeat(node_id, epoch, status, load, services, languages, at_work=at_work)
                event = node.HeartbeatReplied(reply.word)
            case node.SetStatus(node_id, epoch, status):
                reply = await store.set_status(node_id, epoch, status)
                event = None
            case node.MarkOffline(node_id, epoch):
                reply = await store.offline(node_id, epoch)
                event = node.OfflineReplied(reply.word)
        self._spread(reply)
        return event

    def _at_work(self, node_id: NodeId) -> list[tuple[JobId, int]]:
        """A session here may not know yet that the node was lost elsewhere: what it had there is not with this one."""
        return self._nodes.jobs_on(node_id, self._machine.first_epoch)

    def _spread(self, reply: NodeReply) -> None:
        if reply.jobs:
            self._nodes.owners.held_jobs_lost(reply.jobs)
        if reply.offers:
            self._nodes.owners.offered(reply.offers)

    def _crashed(self, error: Exception, story: list[str]) -> None:
        """A bug: this connection ends, loudly; the node registers again on a new one."""
        self._context.metrics.crashes.inc()
        _log.error("node machine failed", cause=repr(error), story=story)
        self._socket.close_nowait(sockets.INTERNAL_ERROR, "internal error")


def decode(frame: str | bytes) -> NodeMessage:
    """What a node says. PeerError INVALID_MESSAGE, also where it says more than anybody needs to."""
    message = codec.decode_node(frame)
    if not isinstance(message, JobResult) and len(frame) > TEXT_BYTES_MAX:
        raise PeerError(ErrorCode.INVALID_MESSAGE, f"more than {TEXT_BYTES_MAX} bytes without a result")
    job_id = getattr(message, "job_id", None)
    if job_id is not None and not valid_id(job_id):
        raise PeerError(ErrorCode.INVALID_MESSAGE, "job_id: not an id of ours")
    return message


def _allowed(message: NodeRegister, grant: Grant) -> NodeRegister:
    """Under an id and for tenants of the grant. PeerError UNAUTHORIZED where it wants another id."""
    if not message.node_id:
        message = msgspec.structs.replace(message, node_id=grant.node_id(ids.new_node_id()))
    if not grant.may_be(message.node_id or ""):
        raise unauthorized(AccessError(f"the {'token' if grant.kid else 'certificate'} is of another node"))
    if not grant.claims.tenants:
        return message
    return msgspec.structs.replace(message, accept_public_jobs=False, tenants=grant.tenants_of(message.tenants))


def _operation(effect: StoreEffect) -> Literal["register", "heartbeat", "status", "offline"]:
    match effect:
        case node.RegisterNode():
            return "register"
        case node.HeartbeatNode():
            return "heartbeat"
        case node.SetStatus():
            return "status"
        case node.MarkOffline():
            return "offline"


async def serve_node(context: Context, nodes: Nodes, caller: sockets.Caller) -> Denial | None:
    """Serves `/ws/node`, or says why not."""
    if nodes.is_draining:
        return Denial(503, "this instance is leaving; connect again for another\n")
    if not context.guard.is_own_page(caller):
        return Denial(403, "pages of other hosts may not connect (security.allowed_origins)\n")
    certificate = None
    if context.config.server.tls_nodes_ca_file and (certificate := certificate_of(caller.transport)) is None:
        context.metrics.denied.labels("node").inc()
        return Denial(403, "nodes must show a certificate (server.tls_nodes_ca_file)\n")
    address = of_whom(caller.remote)
    if wait_ms := context.limits.connect(address):
        return crowded(context.metrics, wait_ms)
    try:
        socket = await caller.accept(frame_bytes_max=FRAME_BYTES_MAX)
        await NodeConnection(context, nodes, socket, certificate).run()
    finally:
        context.limits.leave(address)
    return None
