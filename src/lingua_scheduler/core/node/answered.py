"""What a node has answered lately: the empty result that one of protocol 1 sends behind the real one is no answer.

Only here both are known to be of one node and in order. Further on the real one makes its owner, and whoever it was
passed on by, forget the job, and the empty one would go another way and may arrive first. Bound: `ANSWERED_KEPT`.
"""

from collections import deque

from lingua_scheduler.core.jobs.faults import says_no_text_assigned
from lingua_scheduler.core.node.events import JobReport
from lingua_scheduler.protocol.node import JobResult

ANSWERED_KEPT = 64
"""It follows at once: more than a node works on."""


class Answered:
    def __init__(self) -> None:
        self._attempts = deque[tuple[str, int]](maxlen=ANSWERED_KEPT)

    def is_echo(self, report: JobReport) -> bool:
        """Whether `report` says of an attempt that was answered that it has no text; another is remembered."""
        if not isinstance(report, JobResult):
            return False
        attempt = report.job_id, report.attempt_id
        if attempt not in self._attempts:
            self._attempts.append(attempt)
            return False
        return report.merged_into is None and says_no_text_assigned(report)
