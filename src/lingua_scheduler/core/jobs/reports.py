"""From what nodes say to what the job machine hears."""

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.node.events import JobReport
from lingua_scheduler.protocol.ids import JobId, NodeId
from lingua_scheduler.protocol.node import JobAck, JobHeld, JobReject, JobResult, JobStarted, NodeAsrPartial


def job_event(node_id: NodeId, report: JobReport) -> ev.JobEvent:
    """What a node's report means to the job machine; `node_id` is the connection's, not the message's."""
    job_id = JobId(report.job_id)
    match report:
        case JobResult():
            return ev.ResultArrived(report, node_id)
        case JobAck():
            return ev.NodeAccepted(job_id, report.attempt_id, node_id)
        case JobStarted():
            return ev.NodeStarted(job_id, report.attempt_id, node_id)
        case JobHeld():
            return ev.NodeHeld(job_id, report.attempt_id, node_id, report.deadline_ms)
        case JobReject():
            return ev.NodeRejected(job_id, report.attempt_id, node_id, report.code, report.retry_after_ms or 0)
        case NodeAsrPartial():
            return ev.NodePartial(job_id, node_id, report.text, report.is_final, report.stable_chars)
