"""Tests of the list of sweeps: which of them requeued runs, and when."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from jobs.models import Sweep
from opsconsole import overview
from tests import people

pytestmark = pytest.mark.django_db
LIST = reverse("admin:jobs_sweep_changelist")
HOUR = timedelta(hours=1)


@pytest.fixture
def client() -> Client:
    overview.memory.clear()
    client = Client()
    client.force_login(people.viewer())
    return client


def sweep(ago: timedelta, **figures: int) -> int:
    """Create a sweep and return its primary key."""
    began = Now() - ago
    return Sweep.objects.create(trigger="t", mode="armed", started_at=began, finished_at=began, **figures).pk


def listed(client: Client, query: str) -> list[int]:
    return [row.pk for row in client.get(LIST + query).context["cl"].result_list]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?outcome=recovered&when=day", ["recovered"]),
        ("?outcome=recovered", ["recovered", "long ago"]),
        ("?outcome=found&when=day", ["recovered", "skipped"]),
        ("?outcome=errors", ["failed"]),
        ("?when=hour", ["recovered", "skipped"]),
        ("?outcome=nonsense&when=hour", []),
    ],
)
def test_filters(client: Client, query: str, expected: list[str]) -> None:
    made = {
        "recovered": sweep(timedelta(minutes=2), found=1, requeued=1),
        "skipped": sweep(timedelta(minutes=4), found=1, skipped=1),
        "failed": sweep(23 * HOUR, errors=1),
        "long ago": sweep(25 * HOUR, found=1, requeued=1),
    }

    assert listed(client, query) == [made[name] for name in expected]
