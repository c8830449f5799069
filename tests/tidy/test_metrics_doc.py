"""The table of the metrics' document is that of the registry, and every name and label keeps the rules."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from lingua_scheduler.core.node.events import LostCause
from lingua_scheduler.runtime.metrics import CLOSED, Metrics
from lingua_scheduler.runtime.metrics_doc import with_table

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
OPEN_LABELS = {"src", "tgt", "version", "le"}
"""A bounded number of languages, one version, and the bounds of buckets."""


@dataclass
class Cause:
    cause: str


def test_the_table_is_current():
    text = DOCUMENT.read_text("utf-8")
    assert text == with_table(text), "run: python -m lingua_scheduler.runtime.metrics_doc docs/metrics.md"


def test_a_document_without_markers_is_refused():
    with pytest.raises(ValueError, match="metrics: begin"):
        with_table("# Metrics")


def test_labels_come_from_closed_sets():
    for family in Metrics().registry.collect():
        for sample in family.samples:
            for label, value in sample.labels.items():
                if family.name.startswith("lingua_") and label not in OPEN_LABELS:
                    assert value in CLOSED[family.name], sample


def test_every_cause_of_a_further_attempt_has_its_series():
    """Three were counted as `other` for weeks."""
    sources = (DOCUMENT.parents[1] / "src/lingua_scheduler/core/jobs").glob("*.py")
    calls = [
        found for source in sources for found in re.findall(r"requeue\(book, \w+, (f?)\"(.*?)\"", source.read_text())
    ]
    named = {cause for is_made, cause in calls if not is_made}
    made = {cause.format(event=Cause(one)) for is_made, cause in calls if is_made for one in get_args(LostCause)}
    assert len(named) >= 10
    assert named | made <= set(CLOSED["lingua_job_retries"])


def test_what_is_in_no_set_is_counted_as_other():
    metrics = Metrics()
    metrics.retries.labels("what a node made up").inc()
    assert metrics.registry.get_sample_value("lingua_job_retries_total", {"cause": "other"}) == 1


def test_names_tell_their_unit():
    families = [family for family in Metrics().registry.collect() if family.name.startswith("lingua_")]
    assert [one.name for one in families if one.type == "histogram" and not one.name.endswith("_seconds")] == []
    assert all(one.documentation for one in families)


def test_the_number_of_language_pairs_is_bounded():
    metrics = Metrics()
    for number in range(200):
        metrics.asked(f"l{number}", "en")
    series = next(one for one in metrics.registry.collect() if one.name == "lingua_pair_jobs").samples
    assert len({tuple(one.labels.items()) for one in series}) == 51
    assert metrics.registry.get_sample_value("lingua_pair_jobs_total", {"src": "other", "tgt": "other"}) == 150
