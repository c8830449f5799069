"""What tests of every folder share: free ports, waiting for conditions, real child processes, sound files."""

from tests.support.ports import free_port
from tests.support.processes import Child, Processes
from tests.support.waiting import let_pass, wait_until
from tests.support.wav import Wav, read_wav

__all__ = ["Child", "Processes", "Wav", "free_port", "let_pass", "read_wav", "wait_until"]
