"""Pieces of audio cut and joined; who still needs which utterance; which are concluded."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.core.jobs.carry import Piece, cut_tail, join_pieces, tail_of
from lingua_scheduler.core.jobs.ledger import RANGES_MAX, Custody, IndexSet
from lingua_scheduler.core.utterance import Utterance
from lingua_scheduler.protocol.audio import count_samples, join_packets, split_packets
from lingua_scheduler.protocol.ids import JobId
from tests.core.jobs.support import A, B, pcm, utterance

# Mono packets of one frame, by their duration in milliseconds (RFC 6716 table 2).
TOC = {20: 1 << 3, 60: 3 << 3, 10: 0 << 3}


def opus(*packet_ms: int) -> Utterance:
    packets = [bytes([TOC[ms], number]) for number, ms in enumerate(packet_ms)]
    audio = join_packets(packets)
    samples = count_samples(audio, "opus", 16_000)
    return replace(utterance(0), audio=audio, audio_format="opus", samples=samples)


@given(st.integers(0, 40_000))
def test_pcm16_is_cut_to_the_sample(samples: int):
    whole = utterance(0, ms=2_000)
    audio, had = cut_tail(whole, samples)
    assert had == min(samples, whole.samples)
    assert audio == pcm(whole.samples - had, had)


@given(st.lists(st.sampled_from(sorted(TOC)), min_size=1, max_size=20), st.integers(1, 20_000))
def test_opus_is_cut_between_packets_and_never_short(packet_ms: list[int], samples: int):
    whole = opus(*packet_ms)
    audio, had = cut_tail(whole, samples)
    assert whole.audio.endswith(audio)
    assert had == count_samples(audio, "opus", 16_000)
    assert had >= min(samples, whole.samples)
    first = next(iter(split_packets(audio)))
    assert had - count_samples(join_packets([bytes(first)]), "opus", 16_000) < samples


def test_nothing_of_opus_is_nothing():
    assert cut_tail(opus(20, 20), 0) == (b"", 0)


def test_a_tail_spans_the_pieces_it_needs():
    line = [Piece(JobId(f"j{index}"), utterance(index, ms=100), 1_600, None) for index in range(3)]
    tail = tail_of(line, 2_000, A)
    assert [(piece.utterance.index, piece.samples, piece.keeper) for piece in tail] == [(1, 400, A), (2, 1_600, A)]
    assert tail_of(line, 0, A) == []
    assert sum(piece.samples for piece in tail_of(line, 10**9, B)) == 4_800


def test_pieces_stand_in_front_of_the_utterance():
    earlier = Piece(JobId("j0"), utterance(0, ms=100, start_ms=0), 400, None)
    audio, ahead = join_pieces([earlier], utterance(1, ms=100, start_ms=100))
    assert (audio, ahead) == (pcm(1_200, 2_000), 400)
    assert join_pieces([], utterance(1, ms=100, start_ms=100)) == (pcm(1_600, 1_600), 0)


@given(st.lists(st.integers(0, 60)))
def test_a_set_of_indices_is_a_set(indices: list[int]):
    remembered, known = IndexSet(), set[int]()
    for index in indices:
        remembered.add(index)
        known.add(index)
        assert {at for at in range(62) if at in remembered} == known
    gaps = sum(index + 1 not in known for index in known)
    assert len(remembered) == gaps


def test_a_client_that_skips_indices_costs_bounded_memory():
    remembered = IndexSet()
    for index in range(0, 10_000, 2):
        remembered.add(index)
    assert len(remembered) == RANGES_MAX
    assert 9_998 in remembered
    assert 0 not in remembered


def test_audio_is_free_with_its_last_claim():
    custody = Custody()
    custody.claim(3)
    custody.claim(3)
    assert not custody.give_up(3)
    assert custody.give_up(3)
    with pytest.raises(AssertionError):
        custody.give_up(3)
