"""Tests of advisory locks: work that one process does at a time blocks no other work."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from alerts.models import Alert, Monitor
from alerts.watch import monitor_alerts
from opsconsole.kit.advisory_locks import AdvisoryLock

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.django_db(transaction=True)
def test_late_monitor_raises_alert_during_rate_limit_cleanup() -> None:
    """Use separate locks; with a shared one the cleanup delayed all monitor alerts."""
    minute = timedelta(minutes=1)
    Monitor.objects.create(name="sweep", interval=minute, last_ok_at=Now() - 5 * minute)
    told: list[str] = []

    def judge() -> None:
        try:
            told.extend(monitor_alerts.judge())
        finally:
            connection.close()

    with transaction.atomic(), connection.cursor() as cursor:
        # The cleanup takes its lock and, because nothing has expired, holds it until the transaction ends.
        cursor.execute("SELECT cleanup_rate_limit_requests()")
        other = threading.Thread(target=judge)
        other.start()
        other.join(timeout=30)

    assert told == ["sweep"]
    assert Alert.objects.open().filter(rule=monitor_alerts.RULE).exists()


def test_numbers_in_migrations_are_on_the_list() -> None:
    written = {
        int(number)
        for path in ROOT.glob("*/migrations/*.py")
        for number in re.findall(r"pg_\w*advisory\w*lock\w*\((\d+)\)", path.read_text())
    }
    assert written == {AdvisoryLock.CLEANUP_RATE_LIMIT_REQUESTS, AdvisoryLock.CREATE_JOB_EVENT_PARTITIONS}
