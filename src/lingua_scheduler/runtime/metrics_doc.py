"""The table of `docs/metrics.md`, made from the registry itself.

`python -m lingua_scheduler.runtime.metrics_doc docs/metrics.md` rewrites it in place; a test holds it current.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import Metric

from lingua_scheduler.runtime.metrics import CLOSED, PAIRS_MAX, Metrics

BEGIN, END = "<!-- metrics: begin -->", "<!-- metrics: end -->"


def names() -> set[str]:
    """Every name that a query may use: `_total`, `_bucket`, `_sum` and `_count` included."""
    metrics = Metrics()
    metrics.asked("en", "pt")
    found = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    return {name for name in found if not name.endswith("_created")}


def with_table(document: str) -> str:
    """`document` with its table made anew. ValueError where the markers are missing."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def table() -> str:
    """A row for each metric: its name, type, label with the values that it may have, and what it counts."""
    metrics = Metrics()
    metrics.asked("en", "pt")
    families = sorted(metrics.registry.collect(), key=lambda family: family.name)
    rows = [_row(family) for family in families if family.name.startswith("lingua_")]
    return "\n".join(["| metric | type | label and its values | what it tells |", "|---|---|---|---|", *rows])


def _row(family: Metric) -> str:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return f"| `{name}` | {family.type} | {', '.join(_labels(family))} | {family.documentation} |"


def _labels(family: Metric) -> Iterator[str]:
    labels = dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le")
    for label in labels:
        if (values := CLOSED.get(family.name)) is not None:
            yield f"{label}: {' · '.join(values)}"
        elif label in {"src", "tgt"}:
            yield f"{label}: a language ({PAIRS_MAX} pairs), or other"
        else:
            yield label


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text("utf-8")), "utf-8")
