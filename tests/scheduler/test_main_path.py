"""From speech to result through a real scheduler: the path that everything else widens."""

from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from tests.support.peers import Peers


async def test_an_utterance_becomes_a_job_and_its_result_reaches_the_speaker(peers: Peers):
    node, client = await peers.node(), await peers.client()
    await node.register()
    ack = await client.open()
    assert ack.message == "session opened"
    await client.speak(400)
    job = await node.take_job()
    assert (job.session_id, job.utterance_index, job.attempt_id) == (client.session_id, 0, 1)
    assert (job.src_lang, job.tgt_lang, job.is_manual_cut) == ("en", "pt", True)
    await node.answer(job, "hello")
    result = await client.wait_for(wire.TranslationResult)
    assert (result.text_asr, result.text_translated, result.utterance_index) == ("hello", "<hello>", 0)


async def test_results_keep_the_order_of_speech_whatever_the_order_of_answers(peers: Peers):
    node, client = await peers.node(), await peers.client()
    await node.register()
    await client.open(protocol_version="1.1")
    jobs: list[node_wire.JobAssign] = []
    for _ in range(3):
        await client.speak(400)
        jobs.append(await node.take_job())
    for job in reversed(jobs):
        await node.answer(job)
    results = [await client.wait_for(wire.TranslationResult) for _ in jobs]
    assert [result.utterance_index for result in results] == [0, 1, 2]
    assert [result.result_seq for result in results] == [1, 2, 3]


async def test_a_dead_node_costs_a_second_attempt_and_nothing_else(peers: Peers):
    client, first, second = await peers.client(), await peers.node(), await peers.node()
    await first.register("node-a")
    await client.open()
    await client.speak(400)
    lost = await first.take_job()
    await second.register("node-b")
    await first.ws.close()
    again = await second.take_job()
    assert (again.job_id, again.attempt_id, again.audio) == (lost.job_id, 2, lost.audio)
    await second.answer(again)
    assert (await client.wait_for(wire.TranslationResult)).text_asr == "utterance 0"


async def test_without_a_node_the_client_is_told_and_can_go_on_speaking(peers: Peers):
    client = await peers.client()
    ack = await client.open()
    assert "no node serves en:pt" in ack.message
    await client.speak(400)
    missing = await client.wait_for(wire.MissingResult)
    assert (missing.utterance_index, missing.reason) == (0, "no_available_node")
    told = next(one for one in client.received if isinstance(one, wire.UiEvent) and one.event == "ERROR")
    assert (told.hint or "").endswith("(no node is connected)")
    node = await peers.node()
    await node.register()
    await client.speak(400)
    await node.answer(await node.take_job(), "now")
    assert (await client.wait_for(wire.TranslationResult)).text_asr == "now"
