"""The token that a node shows when it registers."""

from pathlib import Path

from lingua_scheduler.runtime.config import ConfigError, NodeConfig
from lingua_scheduler.runtime.logs import get_logger

_log = get_logger("node.credentials")


class Credentials:
    """From the configuration, or from a file that whoever renews tokens replaces while the node runs."""

    def __init__(self, config: NodeConfig) -> None:
        """ConfigError where the file cannot be used."""
        self._path = Path(config.token_file) if config.token_file and not config.token else None
        self._token = config.token if self._path is None else _first_line(self._path)

    def token(self) -> str:
        """The one to show now; "" where there is none. A file that cannot be read any more leaves the last one."""
        if self._path is not None:
            try:
                self._token = _first_line(self._path)
            except ConfigError as error:
                _log.warning("token not read again; the one of before is shown", cause=str(error))
        return self._token


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not text"
        raise ConfigError(f"node.token_file: {path}: {why}") from None
    if not lines:
        raise ConfigError(f"node.token_file: {path} is empty")
    return lines[0]
