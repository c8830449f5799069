"""What /metrics counts while real peers speak to a real scheduler."""

import time

import pytest

from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.runtime.metrics import BUFFERS, CLOSED
from lingua_scheduler.scheduler.app import Scheduler
from tests.support import wait_until
from tests.support.peers import ClientPeer, NodePeer, Peers


def value(scheduler: Scheduler, name: str, **labels: str) -> float:
    found = scheduler.context.metrics.registry.get_sample_value(name, labels)
    assert found is not None, f"no such series: {name} {labels}"
    return found


async def talk(peers: Peers) -> tuple[ClientPeer, NodePeer]:
    """One sentence, translated and spoken."""
    node, client = await peers.node(), await peers.client()
    await node.register()
    await client.open(protocol_version="1.1")
    await client.speak(400)
    timings = {"asr_ms": 40.0, "nmt_ms": 20.0, "tts_ms": 60.0, "total_ms": 130.0}
    sound = codec.encode_audio(b"RIFF")
    await node.answer(await node.take_job(), tts_audio=sound, tts_format="wav", extra={"service_timings": timings})
    await client.wait_for(wire.TranslationResult)
    return client, node


async def test_one_sentence_is_seen_from_its_end_to_its_sound(scheduler: Scheduler, peers: Peers):
    client, _ = await talk(peers)
    assert value(scheduler, "lingua_sessions_open") == 1
    assert value(scheduler, "lingua_sessions_opened_total") == 1
    assert value(scheduler, "lingua_utterances_total", reason="IsFinal") == 1
    assert value(scheduler, "lingua_pair_jobs_total", src="en", tgt="pt") == 1
    assert value(scheduler, "lingua_job_outcomes_total", outcome="translated") == 1
    assert value(scheduler, "lingua_selections_total", answer="only") == 1
    for name in ("result", "first_text", "first_sound", "queue_wait"):
        assert value(scheduler, f"lingua_{name}_seconds_count") == 1, name
        assert value(scheduler, f"lingua_{name}_seconds_sum") < 15, name
    for stage in CLOSED["lingua_stage_seconds"]:
        assert value(scheduler, "lingua_stage_seconds_count", stage=stage) == 1, stage
    assert value(scheduler, "lingua_stage_seconds_sum", stage="tts") == pytest.approx(0.06)
    assert value(scheduler, "lingua_redis_seconds_count") > 3
    await client.send(wire.SessionClose(session_id=client.session_id, reason="done"))
    await client.wait_for(wire.SessionCloseAck)
    await wait_until(lambda: value(scheduler, "lingua_sessions_ended_total", by="client") == 1, "the end of a session")
    assert value(scheduler, "lingua_sessions_open") == 0


async def test_text_without_sound_is_no_first_sound(scheduler: Scheduler, peers: Peers):
    node, client = await peers.node(), await peers.client()
    await node.register()
    await client.open()
    await client.speak(400)
    await node.answer(await node.take_job())
    await client.wait_for(wire.TranslationResult)
    assert value(scheduler, "lingua_first_text_seconds_count") == 1
    assert value(scheduler, "lingua_first_sound_seconds_count") == 0


async def test_levels_are_there_and_a_job_shows_where_it_stands(scheduler: Scheduler, peers: Peers):
    node, client = await peers.node(), await peers.client()
    await node.register(capacity=2)
    await client.open()
    await client.speak(400)
    job = await node.take_job()
    await wait_until(
        lambda: (
            value(scheduler, "lingua_jobs", state="assigned") == 1 and value(scheduler, "lingua_fleet_slots_taken") == 1
        ),
        "a job at a node",
    )
    assert value(scheduler, "lingua_fleet_slots") == 2
    assert value(scheduler, "lingua_fleet_nodes") == 1
    assert value(scheduler, "lingua_fleet_instances") == 1
    assert value(scheduler, "lingua_buffer_fill_ratio", buffer="session_audio") > 0
    assert 0 < value(scheduler, "lingua_buffer_fill_ratio", buffer="memory") < 1
    assert {one for one in BUFFERS if value(scheduler, "lingua_buffer_fill_ratio", buffer=one) > 1} == set()
    assert value(scheduler, "lingua_redis_up") == 1
    assert value(scheduler, "lingua_inbox_messages") == 0
    assert value(scheduler, "lingua_dlq_messages") == 0
    await node.answer(job)
    await client.wait_for(wire.TranslationResult)
    await wait_until(lambda: value(scheduler, "lingua_jobs", state="assigned") == 0, "no job at a node")


async def test_a_lost_node_is_a_failover(scheduler: Scheduler, peers: Peers):
    client, first, second = await peers.client(), await peers.node(), await peers.node()
    await first.register("node-a")
    await client.open()
    await client.speak(400)
    await first.take_job()
    await second.register("node-b")
    await first.ws.close()
    await second.answer(await second.take_job())
    await client.wait_for(wire.TranslationResult)
    assert value(scheduler, "lingua_nodes_lost_total", cause="closed") == 1
    assert value(scheduler, "lingua_job_retries_total", cause="node_closed") == 1
    assert value(scheduler, "lingua_queue_wait_seconds_count") == 1, "the first attempt's alone"


async def test_the_loop_tells_how_late_it_is(scheduler: Scheduler):
    await wait_until(lambda: value(scheduler, "lingua_loop_lag_seconds_count") >= 1, "a sleeper of the loop")
    before = value(scheduler, "lingua_loop_lag_seconds_sum")
    until = time.monotonic() + 0.6
    while time.monotonic() < until:  # on the loop itself: nothing else gets on meanwhile
        pass
    await wait_until(lambda: value(scheduler, "lingua_loop_lag_seconds_sum") > before + 0.3, "the lag to be told")
