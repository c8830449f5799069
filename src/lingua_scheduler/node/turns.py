"""Turns in the order of asking: whoever asked first goes first, however long the others have been ready."""

import asyncio


class Turns:
    """Each turn is an event that is set when it has come. Whoever took one must leave it, also on giving up."""

    def __init__(self) -> None:
        self._order: dict[asyncio.Event, None] = {}

    def take(self) -> asyncio.Event:
        turn = asyncio.Event()
        self._order[turn] = None
        self._call_next()
        return turn

    def leave(self, turn: asyncio.Event) -> None:
        """Done, or not wanted any more; repeats change nothing."""
        self._order.pop(turn, None)
        self._call_next()

    def _call_next(self) -> None:
        if (first := next(iter(self._order), None)) is not None:
            first.set()
