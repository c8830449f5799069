"""The node machine: one node's connection, from accept to the last word to the store.

Theory of operation
-------------------
    connected → registering → registered → serving → leaving → gone           (`phases.TRANSITIONS`)

A node registers, is confirmed by the store under a new *epoch*, and gets jobs from its first heartbeat. Its *status* is
derived: `suspect` while it is silent, else what `Standing` says. Each change is written to the store.

Liveness. Any traffic counts: a node that answers anything is not dead for a missing pong. Silence makes it suspect
(its jobs get a new attempt elsewhere), longer silence lost (the connection is closed; it must register again). Silence
only counts while pings went unanswered, one per interval: a pause of our own process sends one ping, not ten, and makes
nobody suspect.

Who wins. The newer connection of a node, by epoch. The older one hears `Superseded`, or `STALE_EPOCH` from the store,
closes with 4002, and says nothing more to the store: whatever it still had is fenced by its epoch.

The store. One registration and one heartbeat are in flight at most; of heartbeats that come meanwhile the last counts.
What failed is repeated. A node that the store does not know (its key expired) is told so and closed with 4001, unless
it was the store that was away: then the node is registered again from memory and does not notice.

Bounds. Reports before the confirmation: `REPORTS_KEPT`. Everything else is one value of each kind.

The machine does not know of jobs (it forwards what is said of them), sessions, sockets, Redis or clocks. Closing codes:
4001 register again, 4002 a newer connection took over, 4003 the node id is another's.
"""

from typing import assert_never

from lingua_scheduler.core.node import events as ev
from lingua_scheduler.core.node.config import REGISTER_MS, REPORTS_KEPT, STORE_RETRY_MS, HealthSettings
from lingua_scheduler.core.node.events import LostCause, NodeEffect, NodeEvent, Registration, StoredStatus
from lingua_scheduler.core.node.liveness import Liveness
from lingua_scheduler.core.node.phases import KNOWN, OPEN, TRANSITIONS, Phase
from lingua_scheduler.core.node.registration import (
    Identity,
    SchemaError,
    read_languages,
    read_load,
    read_registration,
    read_services,
)
from lingua_scheduler.core.node.standing import Standing
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import NodeId
from lingua_scheduler.protocol.messages import ErrorMessage
from lingua_scheduler.protocol.node import (
    JobAck,
    JobHeld,
    JobReject,
    JobResult,
    JobStarted,
    NodeAsrPartial,
    NodeControl,
    NodeDrain,
    NodeError,
    NodeHeartbeat,
    NodeRegister,
    NodeRegisterAck,
)

REGISTER_AGAIN, TAKEN_OVER, NOT_ALLOWED = 4001, 4002, 4003


class NodeMachine:
    """One connection. `fresh_node_id` is the node's name if it brings none; `default_capacity` its slots likewise."""

    def __init__(self, *, health: HealthSettings, default_capacity: int, fresh_node_id: NodeId, now_ms: int) -> None:
        self._default = Identity(fresh_node_id, default_capacity)
        self._ttl_ms = health.heartbeat_ttl_seconds * 1000
        self._out: list[NodeEffect] = []
        self._now = now_ms
        self._phase = Phase.CONNECTED
        self._liveness = Liveness(health, now_ms)
        self._register_by_ms = now_ms + REGISTER_MS
        self._left_at_ms = 0
        # What the node is, once it is confirmed; `epoch` 0 before.
        self._registration: Registration | None = None
        self._languages: ev.Languages | None = None
        self._standing = Standing()
        self._epoch = 0
        self._reports: list[ev.JobReport] = []
        # Towards the store.
        self._registering: Registration | None = None
        self._register_next: Registration | None = None
        self._owes_ack = False
        self._is_asking = False
        self._languages_sent: ev.Languages | None = None
        self._heartbeat: NodeHeartbeat | None = None
        self._heartbeat_due = False
        self._heartbeat_in_flight = False
        self._status_told: StoredStatus = "registering"
        self._store_was_away = False
        self._retry_at_ms: int | None = None

    # --------------------------------------------------------------------------------------- the machine

    def handle(self, event: NodeEvent, now_ms: int) -> list[NodeEffect]:
        """What is to be done about `event`, in order. Times are loop time and never go back."""
        self._now = now_ms
        if self._phase is not Phase.GONE:
            self._dispatch(event)
        self._tell_status()
        effects, self._out = self._out, []
        return effects

    def next_deadline_ms(self) -> int | None:
        """When to hand in `TimeReached`; None once the connection is gone."""
        candidates = [self._retry_at_ms]
        if self._phase in OPEN:
            candidates.append(self._liveness.next_deadline_ms(is_watched=self._phase in KNOWN))
            candidates.append(self._standing.forget_failures_at_ms)
        if self._phase is Phase.CONNECTED:
            candidates.append(self._register_by_ms)
        return min((at for at in candidates if at is not None), default=None)

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def epoch(self) -> int:
        """0 before the store has confirmed the node."""
        return self._epoch

    @property
    def is_over(self) -> bool:
        return self._phase is Phase.GONE

    @property
    def status(self) -> StoredStatus:
        """The node's status as everybody sees it."""
        if self._phase not in OPEN:
            return "offline"
        if self._phase is not Phase.SERVING:
            return "registering"
        return "suspect" if self._liveness.is_suspect else self._standing.status

    def _dispatch(self, event: NodeEvent) -> None:  # noqa: C901, PLR0912 - one line for each event
        match event:
            case ev.MessageArrived():
                self._on_message(event)
            case ev.FrameRefused():
                self._on_frame_refused(event)
            case ev.PongArrived():
                self._heard()
            case ev.RegisterReplied():
                self._on_register_replied(event)
            case ev.HeartbeatReplied():
                self._on_heartbeat_replied(event)
            case ev.OfflineReplied():
                if self._phase is Phase.LEAVING:
                    self._move(Phase.GONE)
            case ev.StoreFailed():
                self._on_store_failed(event)
            case ev.StoreReturned():
                self._on_store_returned()
            case ev.Superseded():
                self._on_superseded()
            case ev.JobOutcomeCounted():
                self._standing.count(event.is_good, self._now)
            case ev.DrainRequested():
                self._control(event.reason, drains=True)
            case ev.ResumeRequested():
                self._control(event.reason, drains=False)
            case ev.SocketClosed():
                if self._phase in OPEN:
                    self._leave("closed")
            case ev.TimeReached():
                self._on_time_reached()
            case _:
                assert_never(event)

    def _move(self, phase: Phase) -> None:
        assert (self._phase, phase) in TRANSITIONS, f"{self._phase} → {phase}"
        self._phase = phase
        if phase is Phase.GONE:
            self._retry_at_ms = None

    # --------------------------------------------------------------------------------------- what the node says

    def _heard(self) -> None:
        if self._phase in OPEN:
            self._liveness.heard(self._now)

    def _on_message(self, event: ev.MessageArrived) -> None:
        if self._phase not in OPEN:
            return
        self._heard()
        match event.message:
            case NodeRegister():
                self._on_register(event.message)
            case NodeHeartbeat():
                self._on_heartbeat(event.message)
            case JobAck() | JobStarted() | NodeAsrPartial() | JobResult() | JobHeld() | JobReject():
                self._on_report(event.message)
            case NodeError():
                if self._is_own(event.message.node_id) and self._registration is not None:
                    self._out.append(ev.RecordNodeError(self._registration.node_id, event.message))
            case NodeDrain():
                if self._is_own(event.message.node_id):
                    self._standing.node_drains = True
            case _:
                assert_never(event.message)

    def _on_frame_refused(self, event: ev.FrameRefused) -> None:
        if self._phase not in OPEN:
            return
        self._heard()
        if event.is_registration:
            self._out.append(ev.RefuseMessage("registration"))
            self._answer_error(ErrorCode.INVALID_CAPABILITY_SCHEMA, event.detail)
        else:
            self._out.append(ev.RefuseMessage("malformed"))
            self._answer_error(ErrorCode.INVALID_MESSAGE, event.detail)

    def _on_register(self, message: NodeRegister) -> None:
        default = self._default
        known = self._registration or self._registering
        if known is not None:
            default = Identity(known.node_id, default.capacity)
        try:
            registration = read_registration(message, default)
        except SchemaError as error:
            self._out.append(ev.RefuseMessage("registration"))
            self._answer_error(ErrorCode.INVALID_CAPABILITY_SCHEMA, str(error), field=error.field)
            return
        if known is not None and registration.node_id != known.node_id:
            self._out.append(ev.RefuseMessage("foreign_node_id"))
            self._answer_error(ErrorCode.NODE_ID_CONFLICT, f"this connection is {known.node_id}", field="node_id")
            return
        self._owes_ack = True
        self._standing.node_drains = False
        self._register(registration)

    def _on_heartbeat(self, message: NodeHeartbeat) -> None:
        known = self._registration or self._registering
        if known is None or message.node_id != known.node_id:
            self._answer_error(ErrorCode.NODE_NOT_REGISTERED, "register before the heartbeat")
            self._leave("closed", REGISTER_AGAIN, "heartbeat of an unknown node")
            return
        self._heartbeat = message
        self._heartbeat_due = True
        if self._registration is not None:
            self._take_capabilities(message)
            self._send_heartbeat()

    def _take_capabilities(self, message: NodeHeartbeat) -> None:
        """Tolerant: languages that cannot be right leave those of before in force."""
        if message.capability_by_type:
            self._standing.services = read_services(message.capability_by_type, message.language_capabilities)
        if message.language_capabilities is None:
            return
        try:
            self._languages = read_languages(message.language_capabilities)
        except SchemaError:
            self._out.append(ev.RefuseMessage("malformed"))

    def _on_report(self, report: ev.JobReport) -> None:
        if not self._is_own(getattr(report, "node_id", None)):
            return
        if self._registration is not None:
            self._out.append(ev.ForwardReport(self._registration.node_id, self._epoch, report))
        elif len(self._reports) < REPORTS_KEPT:
            self._reports.append(report)
        else:
            self._out.append(ev.RefuseMessage("overflow"))

    def _is_own(self, node_id: str | None) -> bool:
        """Whether the node may speak, and speaks in its own name (or in none)."""
        known = self._registration or self._registering
        if known is None:
            self._out.append(ev.RefuseMessage("not_registered"))
            self._answer_error(ErrorCode.NODE_NOT_REGISTERED, "register first")
            self._leave("closed", REGISTER_AGAIN, "not registered")
            return False
        if node_id is not None and node_id != known.node_id:
            self._out.append(ev.RefuseMessage("foreign_node_id"))
            return False
        return True

    def _answer_error(self, code: ErrorCode, message: str, *, field: str | None = None) -> None:
        details = {"field": field} if field else None
        self._out.append(ev.Send(ErrorMessage(code=code, message=message, details=details)))

    # --------------------------------------------------------------------------------------- the store

    def _register(self, registration: Registration) -> None:
        """Ask the store to confirm; one question at a time, the last wins. Heartbeats carry one epoch at a time too."""
        if self._is_asking or self._heartbeat_in_flight:
            self._register_next = registration
            return
        if self._phase is Phase.CONNECTED:
            self._move(Phase.REGISTERING)
        self._registering = registration
        self._is_asking = True
        self._retry_at_ms = None
        self._out.append(ev.RegisterNode(registration))

    def _on_register_replied(self, event: ev.RegisterReplied) -> None:
        registration, self._registering = self._registering, None
        self._is_asking = False
        if registration is None:
            return
        if event.word != "OK":
            self._on_register_refused(event.word)
            return
        self._epoch = event.epoch
        if self._phase is Phase.LEAVING:
            self._registration = registration
            self._mark_offline()
            return
        self._take_registration(registration)
        self._go_on()

    def _on_register_refused(self, word: str) -> None:
        if self._phase is Phase.LEAVING:
            self._move(Phase.GONE)
            return
        self._owes_ack = False
        self._register_next = None
        if word == "NODE_ID_CONFLICT":
            self._answer_error(ErrorCode.NODE_ID_CONFLICT, "another node uses this id", field="node_id")
            self._leave("closed", NOT_ALLOWED, "node id of another node")
            return
        self._answer_error(ErrorCode.INVALID_CAPABILITY_SCHEMA, word, field="language_capabilities")
        if self._phase is Phase.REGISTERING:
            self._move(Phase.CONNECTED)
            self._register_by_ms = self._now + REGISTER_MS

    def _take_registration(self, registration: Registration) -> None:
        self._registration = registration
        self._languages = self._languages_sent = registration.languages
        self._standing.services = registration.services
        self._status_told = "registering"
        if self._phase is Phase.REGISTERING:
            self._move(Phase.REGISTERED)
        self._out.append(ev.AnnounceRegistered(registration, self._epoch))
        if self._owes_ack:
            self._owes_ack = False
            ack = NodeRegisterAck(node_id=registration.node_id, message="registered", status="registering")
            self._out.append(ev.Send(ack))
            if self._standing.operator_drains is not None:
                self._out.append(ev.Send(NodeControl(command="drain", reason=self._standing.operator_drains)))
        reports, self._reports = self._reports, []
        self._out += [ev.ForwardReport(registration.node_id, self._epoch, report) for report in reports]
        if self._heartbeat is not None:
            self._take_capabilities(self._heartbeat)
            self._heartbeat_due = True

    def _send_heartbeat(self) -> None:
        """One in flight at a time; while a registration is being confirmed it waits for the new epoch."""
        registration, heartbeat = self._registration, self._heartbeat
        if self._heartbeat_in_flight or self._registering is not None or registration is None or heartbeat is None:
            return
        self._heartbeat_in_flight, self._heartbeat_due = True, False
        self._retry_at_ms = None
        changed = self._languages if self._languages != self._languages_sent else None
        status: StoredStatus = "suspect" if self._liveness.is_suspect else self._standing.status
        self._status_told = status
        load = read_load(heartbeat.resource_usage)
        node_id = registration.node_id
        self._out.append(
            ev.HeartbeatNode(node_id, self._epoch, status, load, self._standing.services, changed, heartbeat)
        )

    def _on_heartbeat_replied(self, event: ev.HeartbeatReplied) -> None:
        self._heartbeat_in_flight = False
        if self._phase not in KNOWN:
            return
        match event.word:
            case "STALE_EPOCH":
                self._on_superseded()
                return
            case "NODE_NOT_REGISTERED":
                self._on_unknown_to_store()
                return
            case "NO_LANGUAGES" | "TOO_MANY_PAIRS":
                self._answer_error(ErrorCode.INVALID_CAPABILITY_SCHEMA, event.word, field="language_capabilities")
                self._languages = self._languages_sent
                return
            case _:
                self._languages_sent = self._languages
        self._store_was_away = False
        if self._phase is Phase.REGISTERED:
            self._move(Phase.SERVING)
        self._go_on()

    def _go_on(self) -> None:
        """What waited for the answer."""
        if self._register_next is not None:
            registration, self._register_next = self._register_next, None
            self._register(registration)
        elif self._heartbeat_due:
            self._send_heartbeat()

    def _on_unknown_to_store(self) -> None:
        """The key is gone: it expired, or the store came back empty."""
        assert self._registration is not None
        if self._store_was_away or self._register_next is not None:
            registration, self._register_next = self._register_next or self._registration, None
            self._register(registration)
        else:
            self._answer_error(ErrorCode.NODE_NOT_REGISTERED, "the registration has expired")
            self._leave("lost", REGISTER_AGAIN, "registration expired")

    def _on_store_failed(self, event: ev.StoreFailed) -> None:
        self._store_was_away = True
        match event.operation:
            case "register":
                self._is_asking = False
            case "heartbeat":
                self._heartbeat_in_flight = False
                self._heartbeat_due = True
            case "status":
                self._status_told = "registering"
            case "offline":
                pass
        if self._phase is not Phase.LEAVING or event.operation in ("register", "offline"):
            self._retry_at_ms = self._now + STORE_RETRY_MS

    def _on_store_returned(self) -> None:
        """What waits for the store goes on at once; what it may have forgotten is said again."""
        self._store_was_away = True
        self._heartbeat_due = True
        self._ask_again()

    def _ask_again(self) -> None:
        self._retry_at_ms = None
        if self._phase is Phase.LEAVING:
            if not self._is_asking:
                self._mark_offline()
        elif self._registering is None:
            self._go_on()
        elif not self._is_asking:
            registration, self._register_next = self._register_next or self._registering, None
            self._register(registration)

    def _tell_status(self) -> None:
        """Between heartbeats, the store hears of a change at once; after a failure at `_retry_at_ms`."""
        status = self.status
        is_due = self._phase is Phase.SERVING and status != self._status_told and self._retry_at_ms is None
        if is_due and self._registering is None and self._registration is not None:
            self._status_told = status
            self._out.append(ev.SetStatus(self._registration.node_id, self._epoch, status))

    # --------------------------------------------------------------------------------------- the end

    def _leave(self, cause: LostCause, code: int | None = None, reason: str = "") -> None:
        """The connection is over: closed by the node, or by us with `code`."""
        if code is not None:
            self._out.append(ev.Close(code, reason))
        self._left_at_ms = self._now
        self._retry_at_ms = None
        if self._registration is not None:
            self._out.append(ev.AnnounceLost(self._registration.node_id, self._epoch, cause))
        if self._phase is Phase.CONNECTED or (self._phase is Phase.REGISTERING and not self._is_asking):
            self._move(Phase.GONE)
            return
        self._move(Phase.LEAVING)
        if not self._is_asking:
            self._mark_offline()

    def _mark_offline(self) -> None:
        if self._registration is None or self._now - self._left_at_ms >= self._ttl_ms:
            self._move(Phase.GONE)  # it never got in, or the store has forgotten it by itself
        else:
            self._out.append(ev.MarkOffline(self._registration.node_id, self._epoch))

    def _on_superseded(self) -> None:
        if self._phase in OPEN:
            self._out.append(ev.Close(TAKEN_OVER, "a newer connection of this node took over"))
            if self._registration is not None:
                self._out.append(ev.AnnounceLost(self._registration.node_id, self._epoch, "replaced"))
        if self._phase is Phase.REGISTERING:
            # The store's answer would make this the newest connection after all: the node it names leaves with it.
            self._left_at_ms = self._now
            self._move(Phase.LEAVING if self._is_asking else Phase.GONE)
        else:
            self._move(Phase.GONE)

    # --------------------------------------------------------------------------------------- status and time

    def _control(self, reason: str, *, drains: bool) -> None:
        self._standing.operator_drains = reason if drains else None
        if self._phase in KNOWN:
            self._out.append(ev.Send(NodeControl(command="drain" if drains else "resume", reason=reason)))

    def _on_time_reached(self) -> None:
        if self._retry_at_ms is not None and self._now >= self._retry_at_ms:
            self._ask_again()
        self._standing.forget_failures(self._now)
        if self._phase is Phase.CONNECTED and self._now >= self._register_by_ms:
            self._leave("closed", REGISTER_AGAIN, "no registration")
        if self._phase in OPEN:
            self._watch()

    def _watch(self) -> None:
        verdict = self._liveness.judge(self._now) if self._phase in KNOWN else None
        registration = self._registration
        if verdict == "lost":
            self._leave("lost", REGISTER_AGAIN, "no sign of life")
            return
        if verdict == "suspect" and registration is not None:
            self._out.append(ev.AnnounceLost(registration.node_id, self._epoch, "suspect"))
        if self._liveness.is_ping_due(self._now):
            self._out.append(ev.SendPing())

    def check(self) -> None:
        """AssertionError where an invariant is broken."""
        assert not self._out, "an effect was not handed out"
        assert (self._registration is not None) == (self._epoch > 0), "confirmed under an epoch"
        assert (self._phase in KNOWN) <= (self._registration is not None)
        assert self._phase is not Phase.REGISTERING or self._registering is not None
        assert len(self._reports) <= REPORTS_KEPT
        assert self._registration is None or not self._reports, "reports wait only for the confirmation"
        deadline = self.next_deadline_ms()
        assert self._phase is Phase.GONE or deadline is not None or self._phase is Phase.LEAVING
        if self._phase is Phase.SERVING and self._registering is None and self._retry_at_ms is None:
            assert self.status == self._status_told, "the store knows another status"
