"""A collector of traces in one file: takes OpenTelemetry spans over HTTP and prints each as a line of JSON.

    python3 examples/collector.py 4318 > traces.jsonl

Enough to read a fleet's traces where no server for them runs. Needs `pip install 'lingua-scheduler[otel]'`.
"""

import gzip
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def lines(body: bytes) -> list[dict[str, Any]]:
    request: Any = ExportTraceServiceRequest()
    request.ParseFromString(body)
    return [
        line(span, {one.key: one.value.string_value for one in resource.resource.attributes})
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def line(span: Any, resource: dict[str, str]) -> dict[str, Any]:
    told = {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}
    return {
        "trace": span.trace_id.hex()[:8],
        "service": resource.get("service.name"),
        "of": resource.get("service.instance.id"),
        "span": span.name,
        "ms": (span.end_time_unix_nano - span.start_time_unix_nano) // 1_000_000,
        "error": span.status.message,
        **{name.removeprefix("lingua."): value for name, value in told.items()},
    }


class Collector(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
        for one in lines(body):
            print(json.dumps(one), flush=True)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as its base names it
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Collector).serve_forever()
