"""No page, and no part that refreshes, asks the database more than twelve statements for all that the scenery has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from alerts.sending import banner
from jobs.models import DeadLetter, Job, Outbox, RecoveryControl
from opsconsole import overview
from opsconsole.kit.durations import HOUR
from ratelimits.models import ApiKey
from tests import people
from tests.factories import job, letter
from tests.opsconsole import everything, marked
from tests.opsconsole.test_every_page import pages
from tests.page_costs import fewest_statements

# Within the transaction of a test, parts of a page would be savepoints.
pytestmark = pytest.mark.django_db(transaction=True)
MOST = 12
ANSWERS = range(200, 500)
# The marks of a transaction ask nothing.
MARKS = {"BEGIN", "COMMIT", "ROLLBACK"}


@pytest.fixture
def operator(client: Client, settings: Any) -> Client:
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:9/services/secret-word"
    settings.OPSCONSOLE_EDIT_DEAD_LETTERS = True
    everything.build()
    marked.everything()
    client.force_login(people.operator("root"))
    return client


def searches() -> list[str]:
    """Return searches that each finder answers: by ids, short ids, numbers, names and words."""
    job, letter = str(Job.objects.latest("created_at").pk), str(DeadLetter.objects.latest("first_seen_at").pk)
    terms = (
        job,
        job[:8],
        letter,
        letter[:8],
        "1",
        "#1",
        "worker-1",
        "CUST-04218",
        "203.0.113.9",
        "directory",
    )
    return [f"{reverse('search')}?q={term}" for term in terms]


def pages_about() -> list[str]:
    """Return pages that are about what their query names; without one they ask next to nothing."""
    hour = f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:00Z}"
    key, customer = ApiKey.objects.latest("created_at").pk, Job.objects.latest("created_at").customer_id
    trends, requests = (
        reverse(f"admin:{name}_changelist") for name in ("jobs_runrollup", "ratelimits_ratelimithour")
    )
    return [
        f"{reverse('customer')}?id={customer}",
        f"{trends}?range=week&by=worker",
        f"{trends}?range=month&by=customer&only={customer}",
        f"{trends}runs/?at={hour}&minutes=60",
        f"{trends}runs/?at={hour}&minutes=60&by=customer&only={customer}",
        f"{requests}?period=week&policy=standard",
        f"{requests}requests/?at={hour}&minutes=60&counted=refused",
        *(
            f"{requests}client/?key={client}"
            for client in ("203.0.113.9", "address:203.0.113.9", f"key:{key}")
        ),
    ]


def too_many(client: Client, address: str, **asking: Any) -> list[str]:
    kept = [sql for sql in fewest_statements(client, address, **asking) if sql not in MARKS]
    return [f"{address}: {len(kept)}", *(f"  {sql[:110]}" for sql in kept)] if len(kept) > MOST else []


def test_every_page_asks_at_most_twelve_statements(operator: Client) -> None:
    wrong = [
        line for address in (*pages(), *searches()) for line in too_many(operator, address, statuses=ANSWERS)
    ]
    assert wrong == [], "\n".join(wrong)


def test_pages_about_what_their_query_names_ask_at_most_twelve_statements(operator: Client) -> None:
    wrong = [line for address in pages_about() for line in too_many(operator, address)]
    assert wrong == [], "\n".join(wrong)


def test_pages_of_jobs_in_every_state_ask_at_most_twelve_statements(operator: Client) -> None:
    wrong = [
        line
        for job in Job.objects.all()
        for line in too_many(operator, reverse("admin:jobs_job_change", args=[job.pk]))
    ]
    assert wrong == [], "\n".join(wrong)


def test_every_part_that_refreshes_asks_at_most_twelve_statements(operator: Client) -> None:
    lists = [
        reverse(f"admin:{each.opts.app_label}_{each.opts.model_name}_changelist") for each in live_lists()
    ]
    assert len(lists) > 5, lists
    wrong = [
        line
        for address in (reverse("admin:index"), *lists)
        for line in too_many(operator, address, headers={"X-Poll": "1"})
    ]
    assert wrong == [], "\n".join(wrong)


def forget() -> None:
    """Forget all that this process keeps for some seconds, also what every page shares."""
    overview.memory.clear()
    banner.memory.clear()


def test_overview_with_nothing_cached_asks_at_most_twelve_statements(operator: Client) -> None:
    assert too_many(operator, reverse("admin:index"), before=forget) == []


def test_overview_asks_no_more_while_messages_may_be_lost(operator: Client) -> None:
    waits = job(updated_at=Now() - 2 * HOUR)
    letter(waits, state=Outbox.State.SENT, sent_at=Now() - 2 * HOUR, attempts=1)
    RecoveryControl.objects.update(mode=RecoveryControl.Mode.ARMED, cutoff=Now() - HOUR)

    assert too_many(operator, reverse("admin:index"), before=forget) == []


def live_lists() -> list[Any]:
    return [each for each in admin.site._registry.values() if getattr(each, "live_on", ())]
