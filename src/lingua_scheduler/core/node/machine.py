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

Bounds. Reports before the confirmation: `REPORTS_KEPT`; answers that are remembered: `ANSWERED_KEPT`. Everything else
is one value of each kind.

The machine does not know of jobs (it forwards what is said of them), sessions, sockets, Redis or clocks. Closing codes:
4001 register again, 4002 a newer connection took over, 4003 the node id is another's.
"""

from typing import assert_never

from lingua_scheduler.core.node import events as ev
from lingua_scheduler.core.node.answered import Answered
from lingua_scheduler.core.node.config import REGISTER_MS, REPORTS_KEPT, HealthSettings
from lingua_scheduler.core.node.events import LostCause, NodeEffect, NodeEvent, Refusal, Registration, StoredStatus
from lingua_scheduler.core.node.liveness import Liveness
from lingua_scheduler.core.node.phases import KNOWN, OPEN, TRANSITIONS, Phase
from lingua_scheduler.core.node.registration import Identity, SchemaError, read_registration
from lingua_scheduler.core.node.standing import Standing
from lingua_scheduler.core.node.store_link import StoreLink
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
TAKEN_OVER_WHY = "a newer connection of this node took over"


class NodeMachine:
    """One connection. `fresh_node_id` is the node's name if it brings none; `default_capacity` its slots likewise."""

    def __init__(self, *, health: HealthSettings, default_capacity: int, fresh_node_id: NodeId, now_ms: int) -> None:
        self._default = Identity(fresh_node_id, default_capacity)
        self._ttl_ms = health.heartbeat_ttl_seconds * 1000
        self._out: list[NodeEffect] = []
        self._now = now_ms
        self._phase = Phase.CONNECTED
        self._liveness = Liveness(health, now_ms)
        self._standing = Standing()
        self._store = StoreLink(self._out, self._standing, self._liveness)
        self._owes_ack = False
        self._reports: list[ev.JobReport] = []
        self._answered = Answered()
        self._register_by_ms = now_ms + REGISTER_MS
        self._left_at_ms = 0

    def handle(self, event: NodeEvent, now_ms: int) -> list[NodeEffect]:
        """What is to be done about `event`, in order. Times are loop time and never go back."""
        self._now = now_ms
        if self._phase is not Phase.GONE:
            self._dispatch(event)
        if self._phase is Phase.SERVING:
            self._store.tell_status()
        effects = self._out.copy()
        self._out.clear()
        return effects

    def next_deadline_ms(self) -> int | None:
        """When to hand in `TimeReached`; None once the connection is gone."""
        candidates = [None if self._phase is Phase.GONE else self._store.retry_at_ms]
        if self._phase in OPEN:
            candidates.append(self._liveness.next_deadline_ms(is_watched=self._phase in KNOWN))
            candidates.append(self._standing.forget_failures_at_ms)
        if self._phase is Phase.CONNECTED:
            candidates.append(self._register_by_ms)
        return min([at for at in candidates if at is not None], default=None)

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def epoch(self) -> int:
        """0 before the store has confirmed the node."""
        return self._store.epoch

    @property
    def first_epoch(self) -> int:
        """That of the first confirmation, likewise: what was placed under an older one is not with this connection."""
        return self._store.first_epoch

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen: the socket is gone and the store knows."""
        return self._phase is Phase.GONE

    @property
    def status(self) -> StoredStatus:
        """The node's status as everybody sees it."""
        if self._phase not in OPEN:
            return "offline"
        return self._store.status if self._phase is Phase.SERVING else "registering"

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
                if (known := self._speaker(event.message.node_id)) is not None:
                    self._out.append(ev.RecordNodeError(known.node_id, event.message))
            case NodeDrain():
                if self._speaker(event.message.node_id) is not None:
                    self._standing.node_drains = True
            case _:
                assert_never(event.message)

    def _on_frame_refused(self, event: ev.FrameRefused) -> None:
        if self._phase not in OPEN:
            return
        self._heard()
        if event.is_registration:
            self._refuse("registration", ErrorCode.INVALID_CAPABILITY_SCHEMA, event.detail)
        else:
            self._refuse("malformed", ErrorCode.INVALID_MESSAGE, event.detail)

    def _on_register(self, message: NodeRegister) -> None:
        """A node that registers again on the same connection keeps its id; it may change all else."""
        known = self._store.known
        default = self._default if known is None else Identity(known.node_id, self._default.capacity)
        try:
            registration = read_registration(message, default)
        except SchemaError as error:
            self._refuse("registration", ErrorCode.INVALID_CAPABILITY_SCHEMA, str(error), error.field)
            return
        if known is not None and registration.node_id != known.node_id:
            self._refuse(
                "foreign_node_id", ErrorCode.NODE_ID_CONFLICT, f"this connection is {known.node_id}", "node_id"
            )
            return
        self._owes_ack = True
        self._standing.node_drains = False
        if self._phase is Phase.CONNECTED:
            self._move(Phase.REGISTERING)
        self._store.register(registration)

    def _on_heartbeat(self, message: NodeHeartbeat) -> None:
        known = self._store.known
        if known is None or message.node_id != known.node_id:
            self._refuse("not_registered", ErrorCode.NODE_NOT_REGISTERED, "register before the heartbeat", "node_id")
            self._leave("closed", REGISTER_AGAIN, "heartbeat of an unknown node")
            return
        if not self._store.take_heartbeat(message):
            self._out.append(ev.RefuseMessage("malformed"))
        self._store.go_on()

    def _on_report(self, report: ev.JobReport) -> None:
        known = self._speaker(getattr(report, "node_id", None))
        if known is None or self._answered.is_echo(report):
            return
        if self._phase in KNOWN:
            self._out.append(ev.ForwardReport(known.node_id, self.epoch, report))
        elif len(self._reports) < REPORTS_KEPT:
            self._reports.append(report)
        else:
            self._out.append(ev.RefuseMessage("overflow"))

    def _speaker(self, node_id: str | None) -> Registration | None:
        """Who speaks, if the node may and does so in its own name, or in none."""
        known = self._store.known
        if known is None:
            self._refuse("not_registered", ErrorCode.NODE_NOT_REGISTERED, "register first")
            self._leave("closed", REGISTER_AGAIN, "not registered")
        elif node_id is not None and node_id != known.node_id:
            self._out.append(ev.RefuseMessage("foreign_node_id"))
            return None
        return known

    def _refuse(self, why: Refusal, code: ErrorCode, message: str, field: str | None = None) -> None:
        """Counted, and answered with what is wrong."""
        self._out.append(ev.RefuseMessage(why))
        self._answer_error(code, message, field)

    def _answer_error(self, code: ErrorCode, message: str, field: str | None = None) -> None:
        details = {"field": field} if field else None
        self._out.append(ev.Send(ErrorMessage(code=code, message=message, details=details)))

    # --------------------------------------------------------------------------------------- what the store says

    def _on_register_replied(self, event: ev.RegisterReplied) -> None:
        registration = self._store.registering
        if registration is None or not self._store.is_asking:
            return
        if event.word == "OK":
            self._store.on_confirmed(registration, event.epoch)
        else:
            self._store.on_refused()
        if self._phase is Phase.LEAVING:
            self._mark_offline()
        elif event.word == "OK":
            self._on_confirmed(registration)
        else:
            self._on_register_refused(event.word)

    def _on_confirmed(self, registration: Registration) -> None:
        if self._phase is Phase.REGISTERING:
            self._move(Phase.REGISTERED)
        self._out.append(ev.AnnounceRegistered(registration, self.epoch))
        if self._owes_ack:
            self._owes_ack = False
            ack = NodeRegisterAck(node_id=registration.node_id, message="registered", status="registering")
            self._out.append(ev.Send(ack))
            if self._standing.operator_drains is not None:
                self._out.append(ev.Send(NodeControl(command="drain", reason=self._standing.operator_drains)))
        self._out += [ev.ForwardReport(registration.node_id, self.epoch, report) for report in self._reports]
        self._reports.clear()
        self._store.go_on()

    def _on_register_refused(self, word: str) -> None:
        self._owes_ack = False
        self._out += [ev.RefuseMessage("not_registered") for _ in self._reports]
        self._reports.clear()
        if word == "NODE_ID_CONFLICT":
            self._answer_error(ErrorCode.NODE_ID_CONFLICT, "another node uses this id", "node_id")
            self._leave("closed", NOT_ALLOWED, "node id of another node")
            return
        self._answer_error(ErrorCode.INVALID_CAPABILITY_SCHEMA, word, "language_capabilities")
        if self._phase is Phase.REGISTERING:
            self._move(Phase.CONNECTED)
            self._register_by_ms = self._now + REGISTER_MS

    def _on_heartbeat_replied(self, event: ev.HeartbeatReplied) -> None:
        drops_languages = event.word in ("NO_LANGUAGES", "TOO_MANY_PAIRS")
        if event.word in ("STALE_EPOCH", "NODE_NOT_REGISTERED") or drops_languages:
            self._store.on_heartbeat_refused(drops_languages=drops_languages)
        else:
            self._store.on_heartbeat_taken()
        if self._phase not in KNOWN:
            return
        if event.word == "STALE_EPOCH":
            self._on_superseded()
        elif event.word == "NODE_NOT_REGISTERED":
            if not self._store.register_again():
                self._answer_error(ErrorCode.NODE_NOT_REGISTERED, "the registration has expired")
                self._leave("lost", REGISTER_AGAIN, "registration expired")
        else:
            if drops_languages:
                self._answer_error(ErrorCode.INVALID_CAPABILITY_SCHEMA, event.word, "language_capabilities")
            elif self._phase is Phase.REGISTERED:
                self._move(Phase.SERVING)
            self._store.go_on()

    def _on_store_failed(self, event: ev.StoreFailed) -> None:
        """While leaving, only what decides whether the store knows of it is repeated."""
        if self._phase is not Phase.LEAVING or event.operation in ("register", "offline"):
            self._store.on_failed(event, self._now)

    def _on_store_returned(self) -> None:
        if self._phase is not Phase.LEAVING:
            self._store.on_returned()
        elif self._store.retry_at_ms is not None:
            self._mark_offline()

    # --------------------------------------------------------------------------------------- the end

    def _leave(self, cause: LostCause, code: int | None = None, reason: str = "") -> None:
        """The connection is over: closed by the node, or by us with `code`."""
        if code is not None:
            self._out.append(ev.Close(code, reason))
        self._announce_lost(cause)
        self._left_at_ms = self._now
        self._store.retry_at_ms = None
        self._reports.clear()
        if self._phase in KNOWN or self._store.is_asking:
            self._move(Phase.LEAVING)
        else:
            self._move(Phase.GONE)
        if self._phase is Phase.LEAVING and not self._store.is_asking:
            self._mark_offline()

    def _mark_offline(self) -> None:
        """Unless it never got in, or the store has forgotten it by itself meanwhile."""
        registration = self._store.registration
        self._store.retry_at_ms = None
        if registration is None or self._now - self._left_at_ms >= self._ttl_ms:
            self._move(Phase.GONE)
        else:
            self._out.append(ev.MarkOffline(registration.node_id, self.epoch))

    def _on_superseded(self) -> None:
        """A newer connection is the node: nothing is said to the store that could touch it."""
        if self._phase not in OPEN:
            self._move(Phase.GONE)
        elif self._phase is Phase.REGISTERING:
            self._leave("replaced", TAKEN_OVER, TAKEN_OVER_WHY)
        else:
            self._out.append(ev.Close(TAKEN_OVER, TAKEN_OVER_WHY))
            self._announce_lost("replaced")
            self._move(Phase.GONE)

    def _announce_lost(self, cause: LostCause) -> None:
        registration = self._store.registration
        if self._phase in KNOWN and registration is not None:
            self._out.append(ev.AnnounceLost(registration.node_id, self._store.epoch_max, cause))

    # --------------------------------------------------------------------------------------- drain and time

    def _control(self, reason: str, *, drains: bool) -> None:
        self._standing.operator_drains = reason if drains else None
        if self._phase in KNOWN:
            self._out.append(ev.Send(NodeControl(command="drain" if drains else "resume", reason=reason)))

    def _on_time_reached(self) -> None:
        if self._store.retry_at_ms is not None and self._now >= self._store.retry_at_ms:
            if self._phase is Phase.LEAVING:
                self._mark_offline()
            else:
                self._store.ask_again()
        self._standing.forget_failures(self._now)
        if self._phase is Phase.CONNECTED and self._now >= self._register_by_ms:
            self._leave("closed", REGISTER_AGAIN, "no registration")
        if self._phase in OPEN:
            self._watch()

    def _watch(self) -> None:
        verdict = self._liveness.judge(self._now) if self._phase in KNOWN else None
        if verdict == "lost":
            self._leave("lost", REGISTER_AGAIN, "no sign of life")
            return
        if verdict == "suspect":
            self._announce_lost("suspect")
        if self._liveness.is_ping_due(self._now):
            self._out.append(ev.SendPing())

    def check(self) -> None:
        """AssertionError where an invariant is broken."""
        store = self._store
        assert not self._out, "an effect was not handed out"
        assert (store.registration is not None) == (self.epoch > 0), "confirmed under an epoch"
        assert self._phase not in KNOWN or store.registration is not None
        assert self._phase is not Phase.REGISTERING or store.registering is not None
        assert not store.is_asking or store.registering is not None
        assert len(self._reports) <= REPORTS_KEPT
        assert not self._reports or self._phase is Phase.REGISTERING, "reports wait only for the confirmation"
        assert (self.next_deadline_ms() is not None) or self._phase in (Phase.LEAVING, Phase.GONE), "stuck"
        if self._phase is Phase.SERVING and store.retry_at_ms is None:
            assert store.is_status_told, "the store has another status"
