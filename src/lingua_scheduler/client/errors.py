"""What a client can fail with: each carries one line that a person can read."""

from lingua_scheduler.protocol.errors import ErrorCode


class ClientError(Exception):
    """The session cannot begin or cannot go on. `code` says why in the wire's words."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class SoundError(Exception):
    """A file or a spoken translation that cannot be decoded."""
