"""Short words for what happens on a node's connection."""

from typing import Any, TypeVar

from lingua_scheduler.core.node import events as ev
from lingua_scheduler.core.node.config import NodeHealth
from lingua_scheduler.core.node.events import NodeEffect, NodeEvent
from lingua_scheduler.core.node.machine import NodeMachine
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import NodeId
from lingua_scheduler.protocol.messages import ErrorMessage
from lingua_scheduler.protocol.node import (
    Capability,
    Hardware,
    JobResult,
    LanguageCapabilities,
    NodeHeartbeat,
    NodeRegister,
    ResourceUsage,
)

T = TypeVar("T", bound=NodeEffect)

FRESH = NodeId("node-fresh")
READY = [Capability(type=name, ready=True) for name in ("asr", "nmt", "tts")]


def languages(asr: str = "en", semantic: str = "en", tts: str = "es pt", **fields: Any) -> LanguageCapabilities:
    return LanguageCapabilities(
        asr_languages=asr.split(), semantic_languages=semantic.split(), tts_languages=tts.split(), **fields
    )


def registration(**fields: Any) -> NodeRegister:
    defaults: dict[str, Any] = {
        "version": "1.0",
        "platform": "linux",
        "hardware": Hardware(cpu_cores=4, memory_gb=8.0),
        "installed_models": [],
        "capability_by_type": READY,
        "features_supported": {},
        "accept_public_jobs": True,
        "language_capabilities": languages(),
    }
    return NodeRegister(**defaults | fields)


def result(node_id: str = FRESH, number: int = 0) -> JobResult:
    return JobResult(
        job_id=f"j{number}",
        attempt_id=1,
        node_id=node_id,
        session_id="s",
        utterance_index=number,
        success=True,
        trace_id="t",
    )


class Connection:
    """A node machine and the hand that feeds it. Every step checks the machine's invariants."""

    def __init__(self, **health: int) -> None:
        self.now = 0
        self.machine = NodeMachine(
            health=NodeHealth(**health), default_capacity=4, fresh_node_id=FRESH, now_ms=self.now
        )
        self.all: list[NodeEffect] = []
        self.last: list[NodeEffect] = []

    def feed(self, event: NodeEvent) -> list[NodeEffect]:
        self.last = self.machine.handle(event, self.now)
        self.all += self.last
        self.machine.check()
        return self.last

    def pass_ms(self, ms: int, *, answers: bool = False) -> list[NodeEffect]:
        """Let time pass, with every deadline kept; a node that `answers` answers each ping at once."""
        effects: list[NodeEffect] = []
        end = self.now + ms
        while (deadline := self.machine.next_deadline_ms()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            effects += self.feed(ev.TimeReached())
            if answers and self.of(ev.SendPing):
                effects += self.feed(ev.PongArrived())
        self.now = end
        self.last = effects
        return effects

    def of(self, kind: type[T], effects: list[NodeEffect] | None = None) -> list[T]:
        return [effect for effect in (self.last if effects is None else effects) if isinstance(effect, kind)]

    def one(self, kind: type[T]) -> T:
        (effect,) = self.of(kind)
        return effect

    def error(self) -> tuple[ErrorCode, str | None]:
        """Code and field of the one error that was answered."""
        (message,) = [send.message for send in self.of(ev.Send) if isinstance(send.message, ErrorMessage)]
        return message.code, (message.details or {}).get("field")

    # what the world does

    def say(self, message: Any) -> list[NodeEffect]:
        return self.feed(ev.MessageArrived(message))

    def register(self, **fields: Any) -> list[NodeEffect]:
        return self.say(registration(**fields))

    def confirm(self, epoch: int = 1) -> list[NodeEffect]:
        return self.feed(ev.RegisterReplied("OK", epoch))

    def beat(self, node_id: str = FRESH, **fields: Any) -> list[NodeEffect]:
        usage = fields.pop("resource_usage", ResourceUsage())
        return self.say(NodeHeartbeat(node_id=node_id, timestamp=1, resource_usage=usage, **fields))

    def beaten(self, word: str = "OK") -> list[NodeEffect]:
        return self.feed(ev.HeartbeatReplied(word))

    def serve(self, **fields: Any) -> "Connection":
        """From accept to ready."""
        self.register(**fields)
        self.confirm()
        self.beat(fields.get("node_id") or FRESH)
        self.beaten()
        return self


def serving(**fields: Any) -> Connection:
    return Connection().serve(**fields)
