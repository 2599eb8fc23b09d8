"""The place to which the worker of this process reports: the database, unless another was chosen."""

from __future__ import annotations

from opsconsole_worker.reports.protocol import Reports
from opsconsole_worker.reports.to_database import DatabaseReports

_used: list[Reports] = [DatabaseReports()]


def use(reports: Reports) -> None:
    """Let the worker of this process report there."""
    _used[:] = [reports]


def current() -> Reports:
    """Return the place to which the worker of this process reports."""
    return _used[0]
