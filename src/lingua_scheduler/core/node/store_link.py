"""What the store was told of a node, and what is still to be told: one question at a time, repeated where it failed.

A heartbeat and a registration are never in flight together, so that no answer can speak of an older epoch.
"""

from lingua_scheduler.core.node import events as ev
from lingua_scheduler.core.node.config import STORE_RETRY_MS
from lingua_scheduler.core.node.events import Languages, NodeEffect, Registration, StoredStatus
from lingua_scheduler.core.node.liveness import Liveness
from lingua_scheduler.core.node.registration import SchemaError, read_languages, read_load, read_services
from lingua_scheduler.core.node.standing import Standing
from lingua_scheduler.protocol.node import NodeHeartbeat


class StoreLink:
    """The machine's side of the conversation; effects go to `out`."""

    def __init__(self, out: list[NodeEffect], standing: Standing, liveness: Liveness) -> None:
        self._out = out
        self._standing = standing
        self._liveness = liveness
        self.registration: Registration | None = None
        """As the store confirmed it."""
        self.epoch = 0
        """0 before the store has confirmed the node."""
        self.first_epoch = 0
        """Jobs that were placed under an older one went to another connection of the node."""
        self.epoch_max = 0
        """The highest that this connection had: a store that came back empty counts from 1 again."""
        self.registering: Registration | None = None
        """What the store is to confirm."""
        self.is_asking = False
        """Whether it has been asked to and owes the answer."""
        self.retry_at_ms: int | None = None
        self.was_away = False
        """Something failed since the store was last told of the node with its jobs: it may have forgotten them."""
        self.status_told: StoredStatus = "registering"
        self._register_next: Registration | None = None
        self._languages: Languages | None = None
        self._languages_told: Languages | None = None
        self._heartbeat: NodeHeartbeat | None = None
        self._heartbeat_due = False
        self._heartbeat_in_flight = False
        self._tells_jobs = False
        """Whether the heartbeat in flight does."""

    @property
    def known(self) -> Registration | None:
        """Who the node is, confirmed or not."""
        return self.registration or self.registering

    @property
    def status(self) -> StoredStatus:
        """Of a node that gets jobs, or would."""
        return "suspect" if self._liveness.is_suspect else self._standing.status

    # --------------------------------------------------------------------------------------- registration

    def register(self, registration: Registration) -> None:
        """Ask for its confirmation; of those that come while the store owes an answer, the last counts."""
        if self.is_asking or self._heartbeat_in_flight:
            self._register_next = registration
            return
        self.registering = registration
        self._register_next = None
        self.is_asking = True
        self.retry_at_ms = None
        says_jobs = registration is not self.registration and registration.message.active_jobs is not None
        self._out.append(ev.RegisterNode(registration, is_again=self.registration is not None and not says_jobs))

    def on_confirmed(self, registration: Registration, epoch: int) -> None:
        self.registering, self.is_asking = None, False
        self.registration, self.epoch = registration, epoch
        self.first_epoch = min(self.first_epoch or epoch, epoch)
        self.epoch_max = max(self.epoch_max, epoch)
        self._languages = self._languages_told = registration.languages
        self._standing.services = registration.services
        self.status_told = "registering"
        if self._heartbeat is not None:
            self.take_heartbeat(self._heartbeat)

    def on_refused(self) -> None:
        self.registering, self.is_asking = None, False
        self._register_next = None

    def register_again(self) -> bool:
        """Whether the node is registered from memory: it is the store that forgot, or the node wants it anyway."""
        assert self.registration is not None
        if not self.was_away and self._register_next is None:
            return False
        self.register(self._register_next or self.registration)
        return True

    # --------------------------------------------------------------------------------------- heartbeats and status

    def take_heartbeat(self, message: NodeHeartbeat) -> bool:
        """Whether all in it could be read. Languages that cannot be right leave those of before in force."""
        self._heartbeat, self._heartbeat_due = message, True
        if self.registration is None:
            return True
        if message.capability_by_type:
            self._standing.services = read_services(message.capability_by_type, message.language_capabilities)
        try:
            if message.language_capabilities is not None:
                self._languages = read_languages(message.language_capabilities)
        except SchemaError:
            return False
        return True

    def on_heartbeat_taken(self) -> None:
        self._heartbeat_in_flight = False
        self._languages_told = self._languages
        if self._tells_jobs:
            self.was_away = False

    def on_heartbeat_refused(self, *, drops_languages: bool) -> None:
        self._heartbeat_in_flight = False
        if drops_languages:
            self._languages = self._languages_told

    def go_on(self) -> None:
        """Say what waited for an answer."""
        if self._register_next is not None:
            self.register(self._register_next)
        elif self._heartbeat_due:
            self._send_heartbeat()

    def _send_heartbeat(self) -> None:
        registration, heartbeat = self.registration, self._heartbeat
        if self._heartbeat_in_flight or self.registering is not None or registration is None or heartbeat is None:
            return
        self._heartbeat_in_flight, self._heartbeat_due = True, False
        self._tells_jobs = self.was_away
        self.status_told = self.status
        effect = ev.HeartbeatNode(
            node_id=registration.node_id,
            epoch=self.epoch,
            status=self.status_told,
            load=read_load(heartbeat.resource_usage),
            services=self._standing.services,
            languages=self._languages if self._languages != self._languages_told else None,
            heartbeat=heartbeat,
            is_again=self._tells_jobs,
        )
        self._out.append(effect)

    def tell_status(self) -> None:
        """Between heartbeats, a change is told at once; after a failure at `retry_at_ms`."""
        if self.registration is None or self.is_status_told or self.retry_at_ms is not None:
            return
        self.status_told = self.status
        self._out.append(ev.SetStatus(self.registration.node_id, self.epoch, self.status_told))

    @property
    def is_status_told(self) -> bool:
        """Whether the store has the status, or gets it with the confirmation that is on its way."""
        return self.registering is not None or self.status == self.status_told

    # --------------------------------------------------------------------------------------- failures

    def on_failed(self, event: ev.StoreFailed, now_ms: int) -> None:
        self.was_away = True
        match event.operation:
            case "register":
                self.is_asking = False
            case "heartbeat":
                self._heartbeat_in_flight, self._heartbeat_due = False, True
            case "status":
                self.status_told = "registering"
            case "offline":
                pass
        self.retry_at_ms = now_ms + STORE_RETRY_MS

    def on_returned(self) -> None:
        """What the store may have forgotten is said again."""
        self.was_away = True
        self._heartbeat_due = True
        self.ask_again()

    def ask_again(self) -> None:
        self.retry_at_ms = None
        if self.registering is None:
            self.go_on()
        elif not self.is_asking:
            self.register(self._register_next or self.registering)
