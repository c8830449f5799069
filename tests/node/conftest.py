"""Engines that several test files of the node share, loaded once each."""

import pytest

from lingua_scheduler.data import COMMANDS
from lingua_scheduler.node.engines.base import Audio
from lingua_scheduler.node.engines.pico import Pico
from lingua_scheduler.node.engines.spec import parse_spec
from lingua_scheduler.node.engines.whisper import Whisper
from tests.node.speech import samples_of


@pytest.fixture(scope="session")
def tiny_en() -> Whisper:
    engine = Whisper(parse_spec("whisper:tiny.en"))
    engine.load()
    return engine


@pytest.fixture(scope="session")
def pico() -> Pico:
    engine = Pico(parse_spec("pico"))
    engine.load()
    return engine


@pytest.fixture(scope="session")
def command() -> Audio:
    return samples_of(COMMANDS.path)[: int(3.4 * 16_000)]
