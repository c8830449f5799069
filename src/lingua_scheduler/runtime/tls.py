"""Certificates of our own, read again when their file has changed."""

import ssl
from pathlib import Path

from lingua_scheduler.runtime.config import ConfigError
from lingua_scheduler.runtime.logs import get_logger

_log = get_logger("tls")

Stamp = tuple[int, int, int]


class Certificate:
    """What a context shows to peers. Connections that are open keep what they were shown."""

    def __init__(self, context: ssl.SSLContext, cert_file: str, key_file: str, key: str) -> None:
        """ConfigError, which names the setting `key`, where the files cannot be used."""
        self._context = context
        self._files = cert_file, key_file
        self._stamps = self._look()
        try:
            context.load_cert_chain(*self._files)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{key}: {why(error)}") from None

    def refresh(self) -> None:
        """Called by the clock, or before a connection. Files that cannot be used change nothing, and are told once."""
        if (stamps := self._look()) == self._stamps:
            return
        self._stamps = stamps
        try:
            # A trial first: half of a pair, loaded into the context itself, would be shown with the other half.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files)
            self._context.load_cert_chain(*self._files)
        except (OSError, ssl.SSLError) as error:
            _log.error("certificate not read again; that of before is shown", cause=why(error))
        else:
            _log.info("certificate read again", about=self._files[0])

    def _look(self) -> list[Stamp | None]:
        return [stamp(Path(file)) for file in self._files]


def stamp(path: Path) -> Stamp | None:
    """What changes when the file does; None where it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def trust(context: ssl.SSLContext, ca_file: str, key: str) -> None:
    """ConfigError, which names the setting `key`, where the authority cannot be used."""
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{key}: {why(error)}") from None


def why(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
