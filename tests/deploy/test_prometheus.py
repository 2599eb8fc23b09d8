"""Tests of the rules and the dashboard: each name in them is one that /metrics has, with these labels.

``tests/field/test_metrics.py`` lets Prometheus evaluate them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from opsconsole import metric_gauges
from opsconsole.kit import metrics
from tests.prometheus import dashboard_queries, rules

LABELS = {metric.name: set(metric.labels) for metric in metrics.ALL} | {
    name: set(label.split(",")) if label else set() for name, (_, label) in metric_gauges.GAUGES.items()
}
HISTOGRAMS = {
    f"{metric.name}{end}": metric
    for metric in metrics.ALL
    if metric.buckets
    for end in ("_bucket", "_sum", "_count")
}


def queries() -> Iterator[str]:
    yield from dashboard_queries()
    yield from (rule["expr"] for rule in rules())


@pytest.mark.parametrize("query", list(queries()))
def test_query_asks_for_what_there_is(query: str) -> None:
    asked = re.findall(r"(opsconsole_\w+)(?:\{([^}]*)\})?", query)
    assert asked or query.startswith("up")
    for name, matchers in asked:
        labels = set(HISTOGRAMS[name].labels) | {"le"} if name in HISTOGRAMS else LABELS[name]
        assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= labels, name


def test_every_metric_has_a_panel_or_a_rule() -> None:
    used = " ".join(queries())
    unused = {name for name in LABELS if name not in used}
    assert unused == {
        "opsconsole_build_info",
        "opsconsole_alerts",
        "opsconsole_sweeps_total",
        "opsconsole_sweep_late",
        "opsconsole_recovery_armed",
        "opsconsole_limiter_enforced",
        "opsconsole_limiter_troubles",
    }
