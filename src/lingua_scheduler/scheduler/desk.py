"""Dead letters over HTTP: everybody is shown what they are about; who may control the instance can act on them."""

import functools
from typing import Any

import msgspec
from aiohttp import web

from lingua_scheduler.protocol import bus as wire
from lingua_scheduler.protocol.ids import InstanceId, valid_id
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.scheduler.answers import Answer, LetterList, LetterMoved, LetterRow, Refusal
from lingua_scheduler.scheduler.auth import audit
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.control import refused
from lingua_scheduler.scheduler.snapshots import Snapshots
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.inboxes import DeadLetter
from lingua_scheduler.store.records import JobStory

_log = get_logger("scheduler.desk")

_LETTER_ID_CHARS_MAX = 48


class Desk:
    """`/api/v1/instances/{id}/dead-letters`: GET lists, POST to `{letter}/redeliver` and DELETE of one act."""

    def __init__(self, context: Context, snapshots: Snapshots) -> None:
        self.snapshots = snapshots
        self._context = context

    def add_to(self, app: web.Application) -> None:
        letters = "/api/v1/instances/{instance_id}/dead-letters"
        app.router.add_get(letters, self._list)
        app.router.add_post(f"{letters}/{{letter_id}}/redeliver", functools.partial(self._act, self._redeliver))
        app.router.add_delete(f"{letters}/{{letter_id}}", functools.partial(self._act, self._delete))

    async def _list(self, request: web.Request) -> web.Response:
        """The newest ones; of each what kind of message it is, about what: never what was said in it."""
        instance_id = request.match_info["instance_id"]
        if not valid_id(instance_id):
            return answer(Refusal(error="no such instance"), status=404)
        try:
            letters = await self._context.store.inboxes.dead_letters(InstanceId(instance_id))
        except StoreError as error:
            return answer(Refusal(error=f"Redis does not answer: {error}"), status=503)
        return answer(LetterList(dead_letters=[_row(letter) for letter in letters]))

    async def _act(self, act: Any, request: web.Request) -> web.Response:
        if (refusal := refused(request, self._context.guard)) is not None:
            return refusal
        instance_id, letter_id = request.match_info["instance_id"], request.match_info["letter_id"]
        try:
            found = valid_id(instance_id) and _is_letter_id(letter_id) and await act(InstanceId(instance_id), letter_id)
        except StoreError as error:
            return answer(Refusal(error=f"Redis does not answer: {error}"), status=503)
        if found:
            action = "delete-dead-letter" if request.method == "DELETE" else "redeliver-dead-letter"
            audit.obeyed(request, self._context.guard, action, f"{instance_id} {letter_id}")
        return (
            answer(LetterMoved(letter_id=letter_id))
            if found
            else answer(Refusal(error="no such dead letter"), status=404)
        )

    async def _redeliver(self, instance_id: InstanceId, letter_id: str) -> bool:
        """To the inbox that it came from; to this instance's where that is gone."""
        to = instance_id if instance_id in self.snapshots.instances else self._context.instance_id
        _log.info("dead letter redelivered", instance=instance_id, to=to)
        maxlen = self._context.config.scheduler.phase2.stream_maxlen
        return await self._context.store.inboxes.redeliver(instance_id, letter_id, to, maxlen)

    async def _delete(self, instance_id: InstanceId, letter_id: str) -> bool:
        _log.info("dead letter deleted", instance=instance_id)
        return await self._context.store.inboxes.delete(instance_id, letter_id)


def answer(value: Answer | JobStory, *, status: int = 200) -> web.Response:
    """JSON that nobody keeps."""
    headers = {"Cache-Control": "no-store"}
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json", headers=headers
    )


def _row(letter: DeadLetter) -> LetterRow:
    try:
        message = wire.decode_bus(letter.payload)
    except msgspec.DecodeError:
        kind, about = "unreadable", {}
    else:
        kind, about = type(message).__name__, _about(message)
    return LetterRow(
        letter_id=letter.letter_id,
        given_up_at_ms=int(letter.letter_id.partition("-")[0]),
        written_at_ms=int(letter.entry_id.partition("-")[0] or 0),
        reason=letter.reason,
        kind=kind,
        bytes=len(letter.payload),
        **about,
    )


def _about(message: wire.BusMessage) -> dict[str, str]:
    match message:
        case wire.AssignJob():
            return {"node_id": message.node_id, "job_id": message.assign.job_id}
        case wire.CancelJob():
            return {"node_id": message.node_id, "job_id": message.cancel.job_id}
        case wire.ReportJob():
            return {"node_id": message.node_id, "job_id": message.report.job_id}
        case wire.AssignFailed() | wire.JobGone():
            return {"node_id": message.node_id, "job_id": message.job_id}
        case wire.SlotFreed():
            return {"job_id": message.job_id}
        case wire.CountOutcome() | wire.NodeGone() | wire.AskJobs():
            return {"node_id": message.node_id}
        case _:
            return {}


def _is_letter_id(text: str) -> bool:
    digits = text.replace("-", "", 1)
    return len(text) <= _LETTER_ID_CHARS_MAX and digits.isascii() and digits.isdigit()
