"""A collector of traces for tests: takes OTLP over HTTP and shows the spans as they came."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Seen:
    """One span."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    began_ns: int
    ended_ns: int
    error: str
    told: dict[str, Any]


@dataclass(slots=True)
class Collector:
    url: str = ""
    spans: list[Seen] = field(default_factory=list[Seen])

    @classmethod
    @asynccontextmanager
    async def start(cls) -> AsyncGenerator[Self]:
        collector = cls()
        app = web.Application()
        app.router.add_post("/v1/traces", collector._take)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            collector.url = f"http://{host}:{port}/v1/traces"
            yield collector
        finally:
            await runner.cleanup()

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]

    def below(self, parent: Seen) -> dict[str, Seen]:
        return {span.name: span for span in self.spans if span.parent == parent.span and span.trace == parent.trace}

    async def _take(self, request: web.Request) -> web.Response:
        body: Any = ExportTraceServiceRequest()
        data = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            import gzip

            data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        body.ParseFromString(data)
        for resource in body.resource_spans:
            told = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_seen(span, told["service.name"]) for span in scope.spans]
        return web.Response()


def _seen(span: Any, service: str) -> Seen:
    told = {
        one.key.removeprefix("lingua."): getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes
    }
    return Seen(
        service=service,
        name=span.name,
        trace=span.trace_id.hex(),
        span=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        error=span.status.message,
        told=told,
    )
