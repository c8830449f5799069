"""Makes the plan of a violation small: what can be left out with the same rule still broken is left out.

Delta debugging over faults, speakers, turns and nodes in turn, halves first (Zeller and Hildebrandt 2002), until a
whole round removes nothing or the budget of runs is spent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from lingua_scheduler.sim.plan import Plan, SpeakerPlan, Turn
from lingua_scheduler.sim.runner import judge

T = TypeVar("T")


@dataclass(slots=True)
class Shrinking:
    """One search. `tried` runs were played of at most `runs_max`."""

    rule: str
    runs_max: int = 150
    tried: int = 0

    def shrink(self, plan: Plan) -> Plan:
        """A plan, no larger, that breaks the same rule."""
        while True:
            before = plan
            plan = self._without(plan, plan.faults, lambda p, kept: replace(p, faults=tuple(kept)))
            plan = self._without(plan, plan.speakers, lambda p, kept: replace(p, speakers=tuple(kept)))
            plan = self._turns(plan)
            plan = self._without(plan, plan.nodes, lambda p, kept: replace(p, nodes=tuple(kept)), least=1)
            plan = self._fewer_instances(plan)
            plan = self._earlier(plan)
            if plan == before or self.tried >= self.runs_max:
                return plan

    def _breaks(self, plan: Plan) -> bool:
        if self.tried >= self.runs_max:
            return False
        self.tried += 1
        return any(one.rule == self.rule for one in judge(plan).violations)

    def _without(
        self, plan: Plan, parts: Sequence[T], rebuilt: Callable[[Plan, list[T]], Plan], least: int = 0
    ) -> Plan:
        kept = list(parts)
        size = max(1, len(kept) // 2)
        while size and len(kept) > least:
            at = 0
            while at < len(kept) and len(kept) > least:
                fewer = kept[:at] + kept[at + size :]
                if len(fewer) >= least and self._breaks(rebuilt(plan, fewer)):
                    kept = fewer
                else:
                    at += size
            size //= 2
        return rebuilt(plan, kept)

    def _turns(self, plan: Plan) -> Plan:
        for number in range(len(plan.speakers)):

            def rebuilt(p: Plan, turns: list[Turn], at: int = number) -> Plan:
                speakers = list(p.speakers)
                speakers[at] = _speaking(speakers[at], turns)
                return replace(p, speakers=tuple(speakers))

            plan = self._without(plan, plan.speakers[number].turns, rebuilt)
        return plan

    def _fewer_instances(self, plan: Plan) -> Plan:
        while plan.instances > 1 and self._breaks(replace(plan, instances=plan.instances - 1)):
            plan = replace(plan, instances=plan.instances - 1)
        return plan

    def _earlier(self, plan: Plan) -> Plan:
        last_ms = (
            max([0, *(f.at_ms for f in plan.faults), *(t.ends_ms for s in plan.speakers for t in s.turns)]) + 1_000
        )
        shorter = replace(plan, duration_ms=min(plan.duration_ms, last_ms))
        return shorter if shorter != plan and self._breaks(shorter) else plan


def _speaking(speaker: SpeakerPlan, turns: list[Turn]) -> SpeakerPlan:
    return replace(speaker, turns=tuple(turns))


def describe(plan: Plan) -> list[str]:
    """A small plan for people."""
    lines = [f"{plan.instances} instances, {plan.duration_ms / 1000:g} s"]
    lines += [
        f"{node.name}: protocol {node.protocol}, {node.capacity} slots, {' '.join(node.languages)}"
        for node in plan.nodes
    ]
    for speaker in plan.speakers:
        said = ", ".join(
            f"{turn.at_ms / 1000:.1f}–{turn.ends_ms / 1000:.1f} s {turn.ending}{' poison' * turn.is_poison}"
            for turn in speaker.turns
        )
        lines.append(
            f"client-{speaker.number} ({speaker.protocol}, {speaker.src} → {speaker.tgt}) says {said or 'nothing'}"
        )
    return [*lines, *(f"fault at {fault}" for fault in plan.faults)]
