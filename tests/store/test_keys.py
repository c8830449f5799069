"""Names of keys under every prefix, and the page that lists them."""

import pytest

from lingua_scheduler.core.placement import Selected
from lingua_scheduler.protocol.ids import InstanceId, JobId, Language, NodeId, SessionId
from lingua_scheduler.store.keys import KEY_TABLE, Keys, lane_of
from lingua_scheduler.store.records import Presence
from lingua_scheduler.store.sessions import Ownership, SessionChange
from lingua_scheduler.store.store import Store
from tests.store import redis_doc
from tests.store.dump import dump, row_of
from tests.store.samples import HERE, join, request, split_pairs


def names(keys: Keys) -> list[str]:
    return [
        keys.node(NodeId("n")),
        keys.nodes,
        keys.job(JobId("j")),
        keys.session(SessionId("s")),
        keys.presence(InstanceId("i")),
        keys.owner("nodes", "n"),
        keys.owner("sessions", "s"),
        keys.inbox(InstanceId("i")),
        keys.dlq(InstanceId("i")),
    ]


DEFAULT = """
lingua:v1:node:n lingua:v1:nodes:all lingua:v1:job:j scheduler:session:s lingua:schedulers:presence:i
lingua:nodes:owner:{node:n} lingua:sessions:owner:{session:s}
lingua:streams:{instance:i}:inbox lingua:streams:{instance:i}:dlq
"""
OTHER = """
P:v1:node:n P:v1:nodes:all P:v1:job:j P:scheduler:session:s P:schedulers:presence:i
P:nodes:owner:{node:n} P:sessions:owner:{session:s} P:streams:{instance:i}:inbox P:streams:{instance:i}:dlq
"""
CLUSTER = """
{lingua}:v1:node:n {lingua}:v1:nodes:all {lingua}:v1:job:j {lingua}:session:s {lingua}:schedulers:presence:i
{lingua}:nodes:owner:{node:n} {lingua}:sessions:owner:{session:s}
{lingua}:streams:{instance:i}:inbox {lingua}:streams:{instance:i}:dlq
"""


@pytest.mark.parametrize(
    ("keys", "expected"),
    [(Keys(), DEFAULT), (Keys("P"), OTHER), (Keys("lingua", is_cluster=True), CLUSTER)],
    ids=["default", "other", "cluster"],
)
def test_names(keys: Keys, expected: str):
    assert names(keys) == expected.split()


def test_every_name_of_the_default_prefix_is_in_the_table():
    assert {row_of(name) for name in names(Keys())} < set(KEY_TABLE)


@pytest.mark.parametrize("prefix", ["", "{x}", "a b", "a\n", ":a", "x" * 65, "a*"])
def test_a_prefix_that_could_break_out_is_refused(prefix: str):
    with pytest.raises(ValueError, match="not a key prefix"):
        Keys(prefix)


@pytest.mark.parametrize(
    ("pairs", "lane"),
    [
        ("zh-en", "zh:en"),
        ("zh-en,en-zh", "en~zh"),
        ("en-zh,zh-en", "en~zh"),
        ("zh-en,ja-en", "zh:en"),
        ("en-en", "en:en"),
    ],
)
def test_lanes(pairs: str, lane: str):
    assert lane_of(split_pairs(pairs)) == lane
    assert Language("en") in lane


async def test_two_prefixes_on_one_redis_never_meet(redis_url: str):
    seen: dict[str, set[str]] = {}
    for prefix in ("lingua", "other"):
        async with Store.open(redis_url, Keys(prefix)) as store:
            before = set(await dump_names(store))
            await join(store, "n", "zh,en>en,zh", capacity=1)
            placed = await store.jobs.select(request("j", bind="timeout"))
            assert isinstance(placed, Selected), "the other prefix's job of this id and key is another job"
            await store.jobs.select(request("waits"))
            await store.instances.announce(Presence(HERE, 1, "host", 1, "1", "address"))
            await store.instances.claim_owner("nodes", "n", HERE)
            owner = Ownership(SessionId("s"), HERE, 1)
            kept = {JobId("j"): b"result"}
            await store.sessions.write(owner, SessionChange({"opening": "o"}, kept=kept))
            seen[prefix] = set(await dump_names(store)) - before
    assert not seen["lingua"] & seen["other"]
    assert all(name.startswith("other:") for name in seen["other"])
    assert len(seen["lingua"]) == len(seen["other"])


async def dump_names(store: Store) -> list[str]:
    return list(await dump(store.client))


def test_the_page_is_current():
    text = redis_doc.DOCUMENT.read_text()
    assert text == redis_doc.document(text), "run: python -m tests.store.redis_doc"
