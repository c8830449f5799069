"""`mode = "cluster"`: all keys of a fleet share a hash tag, so of a Redis Cluster only the owner of one slot matters.

Who that is, any node of the cluster can say; it is asked anew at each connect. A slot that moves makes its former owner
answer MOVED, and ASK while it is moving: the client follows both. Scripts declare key areas, which are no keys, so both
sides of a moving slot refuse them (ASK, then TRYAGAIN) until it has moved: a migration is a pause for the fleet, and no
script ever sees half of its keys.
"""

import binascii
from collections.abc import Sequence
from dataclasses import replace

from lingua_scheduler.store.connection import Address, Reply
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.servers import Endpoint, Rota, ask_once, parse_url, shown

SLOTS = 16_384


def slot_of(tag: str) -> int:
    """The slot of every key that carries `{tag}`: CRC-16/XMODEM, as Redis Cluster has it."""
    return binascii.crc_hqx(tag.encode(), 0) % SLOTS


class Cluster:
    """Finds the owner of one slot. Name and password of the first URL are used for every node."""

    may_move = True

    def __init__(self, urls: Sequence[str], tag: str) -> None:
        """Raises ValueError where one of `urls` is none, or cannot be a cluster's."""
        seeds = [parse_url(url) for url in urls]
        if any(word[0] == "SELECT" for seed in seeds for word in seed.greeting):
            raise ValueError(f"a Redis Cluster has database 0 alone: {shown(urls)}")
        self.slot = slot_of(tag)
        self._first = seeds[0]
        self._rota = Rota(seeds)
        self._told: Address | None = None
        self._shown = f"the cluster of {shown(urls)}"

    def __str__(self) -> str:
        return self._shown

    async def find(self) -> Endpoint:
        if (told := self._told) is not None:
            self._told = None
            return self._node(told)
        return await self._rota.ask(self._owner_says)

    def moved(self, address: Address) -> None:
        self._told = address

    async def _owner_says(self, asked: Endpoint) -> Endpoint:
        owner: Endpoint | None = None
        for first, last, nodes in _ranges(await ask_once(asked, "CLUSTER", "SLOTS"), asked.address):
            self._rota.add(self._node(node) for node in nodes)
            if first <= self.slot <= last:
                owner = self._node(nodes[0])
        if owner is None:
            raise StoreError(f"{asked.address}: slot {self.slot} has no owner", may_have_happened=False)
        return owner

    def _node(self, address: Address) -> Endpoint:
        return Endpoint(replace(address, tls=self._first.address.tls), self._first.greeting)


def _ranges(reply: Reply, asked: Address) -> list[tuple[int, int, list[Address]]]:
    """First slot, last slot and the nodes that have them, the master first. Raises StoreError for anything else."""
    ranges: list[tuple[int, int, list[Address]]] = []
    for row in reply if isinstance(reply, list) else []:
        match row:
            case [int(first), int(last), *nodes] if nodes:
                ranges.append((first, last, [_address(node, asked) for node in nodes]))
            case _:
                raise StoreError(f"{asked}: no range of slots: {row!r}", may_have_happened=False)
    return ranges


def _address(node: Reply, asked: Address) -> Address:
    match node:
        case [str() | None as host, int(port), *_]:
            # A node that does not know its own address leaves it out: it is the one we reached it by.
            return replace(asked, host=host if host and host != "?" else asked.host, port=port)
        case _:
            raise StoreError(f"{asked}: no node of a cluster: {node!r}", may_have_happened=False)
