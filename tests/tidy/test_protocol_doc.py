"""The message tables of the protocol's document are those of the structs."""

from pathlib import Path

import pytest

from lingua_scheduler.protocol.catalogue import with_tables

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"


def test_the_tables_are_current():
    text = DOCUMENT.read_text("utf-8")
    assert text == with_tables(text), "run: python -m lingua_scheduler.protocol.catalogue docs/protocol.md"


def test_a_document_without_markers_is_refused():
    with pytest.raises(ValueError, match="messages: begin"):
        with_tables("# Protocol")
