"""`mode = "sentinel"`: of several servers one is the master, and sentinels know which.

They are asked anew at each connect, and what they say is checked with the server itself: a sentinel may not have heard
of a failover yet. A master that became a replica answers READONLY, or closes its connections: the client then asks
again. Writes that a master took and had not passed on when it died are lost; the fleet repairs that as it does a Redis
that came back empty.
"""

from collections.abc import Sequence
from dataclasses import replace

from lingua_scheduler.store.connection import Address
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.servers import Endpoint, Rota, ask_once, parse_url, shown


class Sentinels:
    """Finds the master called `name`. The server's user, password, database and TLS are those of `url`."""

    may_move = True

    def __init__(self, urls: Sequence[str], name: str, url: str) -> None:
        """Raises ValueError where one of them is no URL."""
        self._name = name
        self._template = parse_url(url)
        self._rota = Rota(parse_url(one) for one in urls)
        self._shown = f"the master {name!r} of the sentinels {shown(urls)}"

    def __str__(self) -> str:
        return self._shown

    async def find(self) -> Endpoint:
        return await self._rota.ask(self._master_says)

    def moved(self, address: Address) -> None:
        raise AssertionError(f"{self}: only a cluster says MOVED (to {address})")

    async def _master_says(self, sentinel: Endpoint) -> Endpoint:
        match await ask_once(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name):
            case [str(host), str(port)]:
                address = replace(self._template.address, path=None, host=host, port=int(port))
            case _:
                told = f"the sentinel {sentinel.address} knows no master {self._name!r}"
                raise StoreError(told, may_have_happened=False)
        master = Endpoint(address, self._template.greeting)
        match await ask_once(master, "ROLE"):
            case ["master", *_]:
                return master
            case _:
                raise StoreError(f"{address} is no master (any more)", may_have_happened=False)
