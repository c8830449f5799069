"""Why no node was found, for people: the reason and the counts of a refusal in the languages of our clients."""

from collections.abc import Mapping

from lingua_scheduler.core.placement import NoNodeReason
from lingua_scheduler.protocol.errors import Hint

_REASONS = {
    NoNodeReason.NO_NODES: Hint("没有任何节点在线", "no node is connected"),
    NoNodeReason.NONE_FOR_PAIR: Hint("没有节点支持该语言方向", "no node serves this pair of languages"),
    NoNodeReason.ALL_FULL: Hint("所有节点都已满", "all nodes are full"),
    NoNodeReason.ALL_DEGRADED: Hint("所有节点都处于降级状态", "all nodes are degraded"),
    NoNodeReason.ALL_DRAINING: Hint("所有节点都在退出", "all nodes are draining"),
    NoNodeReason.ALL_EXCLUDED: Hint("所有节点都已尝试失败或不适用", "no other node can take this sentence"),
}
_COUNTS = {
    "full": Hint("已满", "full"),
    "degraded": Hint("降级且已满", "degraded and full"),
    "suspect": Hint("失去响应", "not answering"),
    "draining": Hint("正在退出", "draining"),
    "excluded": Hint("已失败", "failed before"),
    "unavailable": Hint("模型不可用", "without the model"),
    "unsupported": Hint("不支持", "unable"),
    "kept": Hint("已预留", "reserved"),
    "dead": Hint("已离线", "gone"),
    "waiting": Hint("句在排队", "sentences waiting before it"),
}


def shortage(reason: NoNodeReason, counts: Mapping[str, int]) -> str:
    """`all_full: 1 draining, 2 full`: for stories and logs, and for `explained`."""
    told = ", ".join(f"{count} {why}" for why, count in sorted(counts.items()) if count)
    return f"{reason}: {told}" if told else str(reason)


def explained(told: str, language: str) -> str:
    """A `shortage` in Chinese or English; empty where `told` is none."""
    reason, _, counts = told.partition(": ")
    if reason not in _REASONS:
        return ""
    words = [count.split(" ") for count in counts.split(", ") if count]
    listed = [f"{number} {_COUNTS[why].localised(language)}" for number, why in words if why in _COUNTS]
    said = _REASONS[NoNodeReason(reason)].localised(language)
    return f"{said} ({', '.join(listed)})" if listed else said
