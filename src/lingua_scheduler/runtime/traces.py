"""Traces of what happened to an utterance, as OpenTelemetry spans sent by OTLP over HTTP.

Optional: nothing is imported and nothing kept until `observability.otlp_url` names a collector (extra `otel`). Spans
are made from times that were taken anyway, in loop milliseconds, so that what is traced is what was measured. Contexts
travel as W3C `traceparent`. Sampling is the SDK's: `OTEL_TRACES_SAMPLER` and its argument.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from lingua_scheduler import __version__
from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.config import ConfigError, ObservabilityConfig

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan

Kind = Literal["internal", "client", "server"]
Value = str | int | float | bool

EXPORT_EVERY_MS = 1000
EXPORT_TIMEOUT_S = 3
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

working_for: ContextVar[str] = ContextVar("working_for", default="")
"""The traceparent that a task's calls to other services belong to; empty where nothing is traced."""


def valid_traceparent(text: str | None) -> str:
    """`text` where it is one that can be continued, else nothing: a peer's mistake costs the link and no more."""
    return text if text is not None and _TRACEPARENT.fullmatch(text) else ""


EPOCH_MS = 60_000
"""The epoch is two clocks read one after the other, so no two of them are alike: read for each span, a part could begin
before the whole. Read now and then it follows a wall clock that is set."""


class Span:
    """One stretch of time. Ends once; what comes later is ignored."""

    def __init__(self, traces: "Traces", span: "OtelSpan") -> None:
        self._traces = traces
        self._span = span
        self._is_over = False

    @property
    def traceparent(self) -> str:
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def begin(self, name: str, at_ms: float, *, kind: Kind = "internal", **told: Value) -> "Span":
        """A part of this one."""
        return self._traces.begin(name, at_ms, parent=self, kind=kind, **told)

    def note(self, **told: Value) -> None:
        self._span.set_attributes(_named(told))

    def end(self, at_ms: float, error: str = "") -> None:
        if self._is_over:
            return
        self._is_over = True
        if error:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end(self._traces.wall_ns(at_ms))

    @property
    def otel(self) -> "OtelSpan":
        return self._span


class Traces:
    """Makes spans of one process's part of the story."""

    def __init__(self, provider: "TracerProvider", clock: Clock) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("lingua_scheduler", __version__)
        self._clock = clock
        self._epoch_ms = clock.epoch_ms()
        self._epoch_until_ms = clock.now_ms() + EPOCH_MS

    def begin(
        self, name: str, at_ms: float, *, parent: "Span | str" = "", kind: Kind = "internal", **told: Value
    ) -> Span:
        """A span that began at a loop time; `parent` may be a traceparent of another process."""
        from opentelemetry.trace import SpanKind

        made = self._tracer.start_span(
            name,
            context=_context(parent),
            kind=SpanKind[kind.upper()],
            attributes=_named(told),
            start_time=self.wall_ns(at_ms),
        )
        return Span(self, made)

    def wall_ns(self, at_ms: float) -> int:
        """Wall time of a loop time. In the order of loop times, but where the epoch is read anew between two."""
        if (now_ms := self._clock.now_ms()) >= self._epoch_until_ms:
            self._epoch_ms = self._clock.epoch_ms()
            self._epoch_until_ms = now_ms + EPOCH_MS
        return int((self._epoch_ms + at_ms) * 1_000_000)

    async def close(self) -> None:
        """Send what is left, for as long as an export may take."""
        await asyncio.to_thread(self._provider.shutdown)


@contextlib.asynccontextmanager
async def open_traces(
    config: ObservabilityConfig, clock: Clock, service: str, instance: str
) -> "AsyncGenerator[Traces | None]":
    """None where no collector is named. ConfigError where one is and the library is missing."""
    if not config.otlp_url:
        yield None
        return
    try:
        traces = Traces(_provider(config.otlp_url, service, instance), clock)
    except ImportError:
        raise ConfigError(
            "observability.otlp_url needs OpenTelemetry: pip install 'lingua-scheduler[otel]', or leave it empty"
        ) from None
    try:
        yield traces
    finally:
        await traces.close()


def _provider(url: str, service: str, instance: str) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    told = {"service.name": service, "service.version": __version__, "service.instance.id": instance}
    provider = TracerProvider(resource=Resource.create(told), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=url, timeout=EXPORT_TIMEOUT_S)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter, schedule_delay_millis=EXPORT_EVERY_MS, export_timeout_millis=EXPORT_TIMEOUT_S * 1000
        )
    )
    return provider


def _context(parent: "Span | str") -> Any:
    """An empty context where there is no parent: nothing is taken from whatever else runs in the process."""
    from opentelemetry.context import Context
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if isinstance(parent, Span):
        return set_span_in_context(parent.otel, Context())
    if not parent:
        return Context()
    return TraceContextTextMapPropagator().extract({"traceparent": parent}, Context())


def _named(told: dict[str, Value]) -> dict[str, Value]:
    return {f"lingua.{name}": value for name, value in told.items()}
