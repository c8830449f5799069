"""Messages between instances of one fleet, through their inboxes: jobs for nodes that are connected elsewhere.

The instance that owns a session owns its jobs; the instance that a node is connected to passes assignments on to it and
its reports back. MessagePack, so that audio travels as it is.
"""

from typing import Literal

import msgspec

from lingua_scheduler.protocol.messages import (
    MissingResult,
    TranslationResult,
    WebrtcAnswer,
    WebrtcIce,
    WebrtcOffer,
)
from lingua_scheduler.protocol.node import (
    JobAck,
    JobAssign,
    JobCancel,
    JobHeld,
    JobReject,
    JobResult,
    JobStarted,
    NodeAsrPartial,
)
from lingua_scheduler.protocol.plain import unpack

JobReport = JobAck | JobStarted | NodeAsrPartial | JobResult | JobHeld | JobReject


class Bus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="bus"):
    """Base of all messages between instances."""


class AssignJob(Bus, tag="assign", frozen=True, kw_only=True):
    """From a job's owner: send this to your node, and its reports to me."""

    owner: str
    node_id: str
    epoch: int
    """Of the connection that the job was placed on: a newer one has no slot for it."""
    assign: JobAssign
    audio: bytes


class CancelJob(Bus, tag="cancel", frozen=True, kw_only=True):
    node_id: str
    cancel: JobCancel


class CountOutcome(Bus, tag="outcome", frozen=True, kw_only=True):
    """From a job's owner: whether your node did what a healthy node does."""

    node_id: str
    is_good: bool


class ReportJob(Bus, tag="report", frozen=True, kw_only=True):
    """To a job's owner: what the node said, vouched for by the instance it is connected to."""

    node_id: str
    report: JobReport


class AssignFailed(Bus, tag="assign_failed", frozen=True, kw_only=True):
    """To a job's owner: the node is not connected here (any more), or whoever owned the job never sent it there."""

    node_id: str
    job_id: str
    attempt_id: int
    is_unsent: bool = False
    """The node is not to blame and has heard nothing of the job."""


class AskJobs(Bus, tag="ask_jobs", frozen=True, kw_only=True):
    """From a job's owner, once Redis is back: tell of those that your node does not have (any more)."""

    owner: str
    node_id: str
    jobs: list[tuple[str, int, int]]
    """With their attempts, and the epochs of the connections that they were placed on."""


class JobGone(Bus, tag="job_gone", frozen=True, kw_only=True):
    """To a job's owner that asked: the node may have had this attempt, and has nothing of it any more."""

    node_id: str
    job_id: str
    attempt_id: int


class NodeGone(Bus, tag="node_gone", frozen=True, kw_only=True):
    """To everybody with jobs on a node: it was lost."""

    node_id: str
    epoch: int | None
    cause: Literal["closed", "suspect", "lost", "replaced"]


class SessionMoved(Bus, tag="session_moved", frozen=True, kw_only=True):
    """To everybody: a session was resumed here; what you own of it is mine, and so is what nodes say of its jobs."""

    session_id: str
    owner: str
    epoch: int
    jobs: list[str]
    """Those that are open."""


class DrainNode(Bus, tag="drain_node", frozen=True, kw_only=True):
    """To the instance a node is connected to: an operator wants no new work on it, or lifts that."""

    node_id: str
    lifts: bool = False


class SlotFreed(Bus, tag="slot", frozen=True, kw_only=True):
    """To the owner of a waiting job: a slot is kept for it for a moment."""

    job_id: str


class RoomChanged(Bus, tag="room", frozen=True, kw_only=True):
    """To every instance with a member of the room: what it is now."""

    room_id: str
    picture: bytes | None
    """A room of `core/rooms`; None: it has expired."""


class RoomLine(Bus, tag="line", frozen=True, kw_only=True):
    """From the instance of a speaker: what members of the room with sessions at yours are to hear."""

    room_id: str
    recipients: list[str]
    line: TranslationResult | MissingResult


class RoomSignal(Bus, tag="signal", frozen=True, kw_only=True):
    """From one member's browser to another's; `to` inside names the sender already."""

    room_id: str
    to: str
    signal: WebrtcOffer | WebrtcAnswer | WebrtcIce


RoomMessage = RoomChanged | RoomLine | RoomSignal
Signal = WebrtcOffer | WebrtcAnswer | WebrtcIce
BusMessage = (
    AssignJob | SessionMoved | CancelJob | CountOutcome | ReportJob | AssignFailed | AskJobs | JobGone | NodeGone
    | DrainNode | SlotFreed | RoomChanged | RoomLine | RoomSignal
)  # fmt: skip

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(BusMessage)


def encode_bus(message: BusMessage) -> bytes:
    return _encoder.encode(message)


def decode_bus(body: bytes) -> BusMessage:
    """Raises msgspec.DecodeError where another version wrote what this one cannot read."""
    return unpack(_decoder, body)
