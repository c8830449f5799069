"""How fast fleets are simulated: `python -m bench.simulate`. One row for each size; times are of the processor."""

import time

from lingua_scheduler.sim.plan import EXTRAS, FAULTS, Size, make_plan
from lingua_scheduler.sim.runner import judge

SIZES = {
    "6 sessions, 4 nodes, all faults, checked": (Size(faults=(*FAULTS, *EXTRAS)), 5, True),
    "6 sessions, 4 nodes, all faults, checked, 10 minutes": (Size(faults=(*FAULTS, *EXTRAS), minutes=10.0), 3, True),
    "6 sessions, 4 nodes, no faults, checked": (Size(faults=()), 5, True),
    "6 sessions, 4 nodes, no faults": (Size(faults=()), 5, False),
    "100 sessions, 20 nodes, no faults": (Size(sessions=100, nodes=20, faults=()), 1, False),
}


def main() -> None:
    print("| world | seeds | simulated | utterances | processor | × real time |\n|---|---|---|---|---|---|")
    for name, (size, seeds, checks) in SIZES.items():
        began_s = time.process_time()
        verdicts = [judge(make_plan(seed, size), checks=checks) for seed in range(1, seeds + 1)]
        took_s = time.process_time() - began_s
        simulated_s = sum(one.simulated_ms for one in verdicts) / 1000
        utterances = sum(one.utterances for one in verdicts)
        print(
            f"| {name} | {seeds} | {simulated_s:.0f} s | {utterances} | {took_s:.1f} s | {simulated_s / took_s:.0f} |"
        )


if __name__ == "__main__":
    main()
