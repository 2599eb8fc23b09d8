"""Tests of the page of a queue: what waits and runs, its ages, what ended, its pauses and its dead letters."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from jobs.models import QueueState, RunRollup, RunRollupState, Status
from opsconsole.kit import pauses
from tests import factories
from tests.factories import SECOND, job, run
from tests.page_costs import fewest_statements
from tests.page_text import spaced

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def address(name: str = "default") -> str:
    return reverse("admin:jobs_queuestate_change", args=[name])


def test_everything_about_a_queue(operator: Client) -> None:
    QueueState.objects.create(name="default", visible=7, in_flight=1, delayed=0, read_at=Now())
    job(updated_at=Now() - 3 * HOUR)
    job(updated_at=Now() - 10 * SECOND)
    job(not_before=Now() + HOUR)
    job(queue="other", updated_at=Now() - 9 * HOUR)
    run(age=SECOND, silent=SECOND)
    job(status=Status.COMPLETED)
    factories.dead_letter()
    factories.dead_letter(queue="other")
    pauses.begin("queue:default", by="ada", reason="a deploy")
    for minutes in (5, 60):
        RunRollup.objects.create(
            minutes=minutes, start=Now() - 30 * 60 * SECOND, dimension="queue", value="default",
            completed=41, failed=3, first_event=1, last_event=2,
        )  # fmt: skip
    RunRollupState.objects.update_or_create(pk=1, defaults={"counted_until": Now()})

    page = operator.get(address())

    context = page.context
    assert {figure.label: figure.number for figure in context["depth"]} == {
        "Waiting": "2",
        "Scheduled": "1",
        "Running": "1",
    }
    assert [figure.number for figure in context["ages"]] == ["1", "0", "0", "0", "1", "0"]
    assert [(line.completed, line.failed) for line in context["throughput"]] == [(41, 3), (41, 3)]
    assert context["letters"].number == "1"
    text = spaced(page.content.decode())
    assert "a deploy" in text and "41" in text
    oldest = text[text.index("Oldest has waited") :]
    assert (
        oldest[: oldest.index("</dd>")].startswith("Oldest has waited</dt><dd>for <time")
        and ">3 h<" in oldest
    )
    for figure in context["depth"]:
        listed = operator.get(figure.url).context["cl"].result_count
        assert f"{listed}" == figure.number, figure.url
    assert operator.get(context["letters"].url).context["cl"].result_count == 1


def test_list_and_page_say_the_visibility_timeout_alike(operator: Client) -> None:
    QueueState.objects.create(name="default", visibility_timeout_seconds=300, read_at=Now())
    for url in (reverse("admin:jobs_queuestate_changelist"), address()):
        text = operator.get(url).content.decode()
        assert "5 min<" in text and "300 s" not in text, url
    QueueState.objects.update(visibility_timeout_seconds=None)
    assert "<dt>Visibility timeout</dt><dd>unknown</dd>" in operator.get(address()).content.decode()


def test_what_was_not_counted_yet_is_not_shown_as_zero(operator: Client) -> None:
    QueueState.objects.create(name="default")
    text = operator.get(address()).content.decode()
    assert "No run that ended was counted yet" in text and 'data-label="Completed"' not in text
    RunRollupState.objects.update_or_create(pk=1, defaults={"counted_until": Now()})
    text = operator.get(address()).content.decode()
    assert "Counted up to" in text and 'data-label="Completed"' in text and "was counted yet" not in text


def test_links_lead_there(operator: Client) -> None:
    QueueState.objects.create(name="default")
    made = job()
    assert address() in operator.get(reverse("admin:jobs_job_change", args=[made.pk])).content.decode()
    jobs = operator.get(reverse("admin:jobs_job_changelist"), {"queue": "default"}).content.decode()
    assert address() in jobs
    assert operator.get(reverse("search"), {"q": "default"})["Location"] == address()


def test_queue_that_only_jobs_name(operator: Client) -> None:
    job(queue="gone away/1")

    page = operator.get(reverse("admin:jobs_queuestate_change", args=["gone away_2F1"])).content.decode()

    assert "The settings name no queue gone away/1" in page and "never read" in page
    assert operator.get(address("nothing")).status_code == 302


def test_page_quotes_only_what_one_may_see(client: Client) -> None:
    QueueState.objects.create(name="default", error="AccessDenied", read_at=Now())
    job(), factories.dead_letter(), pauses.begin("queue:default", by="ada", reason="a deploy")
    user = User.objects.create_user("queues only", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_queuestate"))
    client.force_login(user)

    page = client.get(address()).content.decode()

    assert "AccessDenied" in page
    for heading in ("depth-heading", "throughput-heading", "pauses-heading", "Dead letter queue", "a deploy"):
        assert heading not in page


def test_page_costs_the_same_for_many_jobs(operator: Client) -> None:
    QueueState.objects.create(name="default")
    few = len(fewest_statements(operator, address()))
    for _ in range(20):
        job()
    assert len(fewest_statements(operator, address())) == few
    assert few <= 12
