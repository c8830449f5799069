"""The inside of a worker process: load one engine, then answer one request after the other until the socket closes.

Started as `python -m lingua_scheduler.node.workers.child FD PARENT_PID SPEC`. It ends with its parent: on Linux the
kernel kills it even in the middle of a call, elsewhere it ends when the socket does.
"""

import ctypes
import os
import signal
import socket
import sys
import traceback

from lingua_scheduler.node.engines.base import REQUEST_TYPES, EngineCard, EngineError
from lingua_scheduler.node.engines.registry import kind_of
from lingua_scheduler.node.engines.spec import parse_spec
from lingua_scheduler.node.workers.wire import Failure, FrameReader, Kind, decoder, frame
from lingua_scheduler.protocol.errors import ErrorCode

_PR_SET_PDEATHSIG = 1
_READ_BYTES = 1 << 18


def main(arguments: list[str]) -> int:
    fd, parent_pid, spec_text = int(arguments[0]), int(arguments[1]), arguments[2]
    _die_with(parent_pid)
    with socket.socket(fileno=fd) as link:
        try:
            _serve(link, spec_text)
        except (BrokenPipeError, ConnectionResetError):
            return 0  # the node is gone: nobody waits for an answer
    return 0


def _serve(link: socket.socket, spec_text: str) -> None:
    try:
        spec = parse_spec(spec_text)
        kind = kind_of(spec)
        assert kind.make is not None, f"{kind.name} runs on the node's loop"
        engine = kind.make(spec)
        card: EngineCard = engine.load()
    except Exception as error:  # noqa: BLE001 - whatever a library raises is told to the node, then this process ends
        link.sendall(frame(Kind.FAILED, _failure(error, ErrorCode.MODEL_LOAD_FAILED)))
        return
    link.sendall(frame(Kind.CARD, card))
    requests = decoder(REQUEST_TYPES[kind.stage])
    reader = FrameReader()

    def emit(text: str) -> None:
        link.sendall(frame(Kind.PARTIAL, text))

    while data := link.recv(_READ_BYTES):
        for _, body in reader.feed(data):
            try:
                answer = frame(Kind.RESULT, engine.run(requests.decode(body), emit))
            except Exception as error:  # noqa: BLE001 - one bad request must not cost the loaded model
                answer = frame(Kind.FAILED, _failure(error, ErrorCode.PROCESSING_ERROR))
            link.sendall(answer)


def _failure(error: Exception, code: ErrorCode) -> Failure:
    if isinstance(error, EngineError):
        return Failure(error.code, error.message, error.retryable)
    traceback.print_exception(error)
    return Failure(code, f"{type(error).__name__}: {error}", retryable=code is ErrorCode.PROCESSING_ERROR)


def _die_with(parent_pid: int) -> None:
    """Have the kernel end this process with its parent (its thread that started us, to be exact)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(0)  # it died before the line above


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
