"""The overview: its figures, the findings that explain them, and recent charts and events."""

from opsconsole.kit.counting import COUNTED_TO, figure, runs
from opsconsole.overview import flow, navigation_counts, silence
from opsconsole.overview.charts_and_events import History, history, watches
from opsconsole.overview.current_figures import Moment, Overview, read, read_moment, surroundings_now
from opsconsole.overview.finding import Finding
from opsconsole.overview.findings import PAGES, findings
from opsconsole.overview.job_findings import of_recovery, of_switches
from opsconsole.overview.limiter_findings import of_the_limiter
from opsconsole.overview.machinery import in_one_line
from opsconsole.overview.memory import memory

__all__ = [
    "COUNTED_TO",
    "PAGES",
    "Finding",
    "History",
    "Moment",
    "Overview",
    "figure",
    "findings",
    "flow",
    "history",
    "in_one_line",
    "memory",
    "navigation_counts",
    "of_recovery",
    "of_switches",
    "of_the_limiter",
    "read",
    "read_moment",
    "runs",
    "silence",
    "surroundings_now",
    "watches",
]
