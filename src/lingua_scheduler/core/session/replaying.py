"""Results that are sent again to a client that came back: announced once more is what they went past.

The announcements went to the connection that is lost, or to none.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from lingua_scheduler.core.session import replies
from lingua_scheduler.core.session.config import SessionIdentity
from lingua_scheduler.core.session.ordering import Slot
from lingua_scheduler.core.session.outbox import Result
from lingua_scheduler.protocol.ids import AUTO, Language
from lingua_scheduler.protocol.messages import MissingResult


def order_of(identity: SessionIdentity, tgt_lang: str | None) -> Language:
    """What results come in order with: their target, or each other where the speech decides on that."""
    return Language(tgt_lang or AUTO) if identity.speaker.mode != "two_way_auto" else AUTO


def with_announcements(
    identity: SessionIdentity, replayed: list[Result], slots: Iterable[Slot], now_ms: int
) -> Iterator[Result]:
    """`replayed`, each behind a `gap_timeout` for whatever is to come before it, and comes later or not yet."""
    late: defaultdict[Language, dict[int, MissingResult]] = defaultdict(dict)
    for slot in slots:
        if slot.recipients is None:
            gap = replies.missing(identity, slot, "gap_timeout", now_ms, None)
            late[order_of(identity, slot.tgt_lang)][slot.index] = gap
    highest: dict[Language, int] = {}
    for result in own_results(identity, replayed):
        order, index = order_of(identity, result.tgt_lang), result.utterance_index
        if index < highest.get(order, -1):
            late[order][index] = replies.pending(identity, result, now_ms)
        highest[order] = max(highest.get(order, -1), index)
    for result in replayed:
        if result.session_id == identity.speaker.session_id:
            gaps = late[order_of(identity, result.tgt_lang)]
            yield from [gaps.pop(index) for index in sorted(gaps) if index < result.utterance_index]
        yield result


def own_results(identity: SessionIdentity, results: list[Result]) -> Iterator[Result]:
    """Without what others in the room said."""
    return (result for result in results if result.session_id == identity.speaker.session_id)
