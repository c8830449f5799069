"""Runs the suite of faults again and again, until one run fails: `python -m tests.e2e.repeat [times [workers]]`.

Every failure is a finding, in the project or in its tests: there is none that a second run excuses.
"""

import subprocess
import sys
import time

SUITE = (
    "tests/e2e",
    "--ignore=tests/e2e/chaos",  # of a length of its own: see there
    *(f"--ignore=tests/e2e/test_{name}.py" for name in ("demo", "room_demo", "reading_along", "access")),  # no faults
    "tests/store/test_moving_servers.py",
    "tests/scheduler/test_bus.py",
    "tests/scheduler/test_emptied_redis.py",
    "tests/scheduler/test_reconnect.py",
    "tests/scheduler/test_resume_elsewhere.py",
    "tests/scheduler/test_rooms_moving.py",
)
TIMES = 20


def main() -> int:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else TIMES
    for number in range(1, times + 1):
        started = time.monotonic()
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n", "1" if len(sys.argv) < 3 else sys.argv[2], *SUITE], check=False
        )
        took = f"{time.monotonic() - started:.0f} s"
        if result.returncode:
            _say(f"run {number} of {times} FAILED after {took}: {number - 1} had passed in a row")
            return 1
        _say(f"run {number} of {times} passed in {took}")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
