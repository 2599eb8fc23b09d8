"""Tests of the page of a worker: related facts stand together, and quote what somebody may see."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from jobs.models import Job, JobEvent, Status
from tests import people
from tests.factories import SECOND, run

pytestmark = pytest.mark.django_db
WORKER = "host-1/slot 2"


def page(client: Client) -> str:
    return client.get(reverse("admin:jobs_workerheartbeat_change", args=[WORKER.replace("/", "_2F")])).text


def panels(page: str) -> dict[str, str]:
    found = re.findall(
        r'<section class="panel"[^>]*>\s*<h2[^>]*>([^<]*)</h2>(.*?)</section>', page, re.DOTALL
    )
    return dict(found)


def test_facts_stand_in_panels_and_nothing_looks_like_a_form(client: Client) -> None:
    of = run(worker=WORKER, silent=2 * SECOND)
    JobEvent.objects.create(job=of, kind="claimed", run_epoch=1, actor=f"worker:{WORKER}")
    client.force_login(people.operator())

    seen = panels(page(client))

    assert list(seen) == ["What it does now", "Who it is", "Runs it did", "What it says of itself"]
    assert "Alive" in seen["What it does now"] and str(of.pk)[:8] in seen["What it does now"]
    assert WORKER in seen["Who it is"] and "late results are refused" in seen["Who it is"]
    assert str(of.pk)[:8] in seen["Runs it did"] and "whose last run it did" in seen["Runs it did"]
    assert '<div class="form-row' not in page(client)


def test_worker_that_fell_silent_after_its_run_is_not_said_to_have_ended(client: Client) -> None:
    """Whether it was stopped or killed, nobody saw: its run may have been given to another worker."""
    of = run(worker=WORKER, silent=3600 * SECOND)
    Job.objects.filter(pk=of.pk).update(run_epoch=2, status=Status.COMPLETED)
    client.force_login(people.operator())

    listed = client.get(reverse("admin:jobs_workerheartbeat_changelist"), {"state": "ended"}).text
    for shown in (page(client), listed):
        assert '<span class="badge badge-long badge-quiet">No longer seen</span>' in shown
        assert "Ended" not in shown


def test_who_sees_no_jobs_sees_no_panel_of_them(client: Client) -> None:
    of = run(worker=WORKER, silent=2 * SECOND)
    limited = User.objects.create_user("workers only", is_staff=True)
    limited.user_permissions.add(Permission.objects.get(codename="view_workerheartbeat"))
    client.force_login(limited)

    seen = panels(page(client))

    assert list(seen) == ["What it does now", "Who it is"]
    assert str(of.pk)[:8] not in page(client)
