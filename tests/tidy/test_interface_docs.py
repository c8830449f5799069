"""The documents of the interfaces are those that the structs make."""

import json

import pytest

from lingua_scheduler.protocol import asyncapi
from lingua_scheduler.scheduler import http_doc, openapi
from tests.tidy import sources


def test_the_http_side_is_current():
    told = json.loads((sources.ROOT / "docs/openapi.json").read_text("utf-8"))
    assert told == openapi.document(), "run: python -m lingua_scheduler.scheduler.openapi docs/openapi.json"


def test_the_websocket_side_is_current():
    told = json.loads((sources.ROOT / "docs/asyncapi.json").read_text("utf-8"))
    assert told == asyncapi.document(), "run: python -m lingua_scheduler.protocol.asyncapi docs/asyncapi.json"


def test_the_page_of_the_http_side_is_current():
    page = (sources.ROOT / "docs/http.md").read_text("utf-8")
    assert page == http_doc.with_tables(page), "run: python -m lingua_scheduler.scheduler.http_doc docs/http.md"


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="operations: begin"):
        http_doc.with_tables("# HTTP")
