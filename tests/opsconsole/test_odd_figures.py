"""Tests of counts and the lists that they open, of rows that nobody expects: odd queues, unknown statuses, replays under way.

``tests/opsconsole/test_tiles.py`` has the figures of expected rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from jobs.models import Status
from opsconsole import customers, overview
from opsconsole.overview.finding import Finding
from opsconsole_worker.environment import QueueConfig
from tests import people
from tests.factories import SECOND, dead_letter, dead_letter_queue, failure_group, job, run
from tests.opsconsole.test_tiles import DAY, DLQ, HOUR, TIMES, lost, scene, tiles
from tests.page_text import spaced

pytestmark = pytest.mark.django_db

QUEUES = ("default", "gone", "", "ü / x?&", "long" * 100)
CUSTOMER = "ACME & co"


@pytest.fixture(autouse=True)
def odd(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", DLQ)}
    overview.memory.clear()
    scene()
    queue = dead_letter_queue(url=f"{DLQ}-of-others", visible=9, in_flight=0, delayed=0, read_at=Now())
    timeouts = failure_group("a timeout")
    for number, name in enumerate(QUEUES):
        job(queue=name, customer_id=CUSTOMER, updated_at=Now() - HOUR)
        job(queue=name, customer_id=CUSTOMER, not_before=Now() + DAY)
        job(queue=name, customer_id=CUSTOMER, updated_at=Now() + HOUR)
        run(queue=name, customer_id=CUSTOMER, age=2 * HOUR, silent=HOUR, worker=f"dead-{number}")
        run(queue=name, customer_id=CUSTOMER, age=HOUR, silent=SECOND, worker=f"hung-{number}")
        job(queue=name, customer_id=CUSTOMER, status=Status.FAILED)
        job(queue=name, customer_id=CUSTOMER, status=Status.FAILED, created_at=Now() - 8 * DAY)
        lost(job(queue=name, customer_id=CUSTOMER, status="held"))
        job(queue=name, customer_id=CUSTOMER, status="waiting for Godot")
        job(queue=name, customer_id=CUSTOMER, status="")
        job(queue=name, customer_id=CUSTOMER, status=Status.QUARANTINED)
        for state in ("in_queue", "replaying", "replaying", "outcome_unknown", "kept", "discarded"):
            dead_letter(dlq=queue, queue=name, state=state, group=timeouts)
    overview.memory.clear()


@pytest.fixture
def olga(client: Client) -> Client:
    client.force_login(people.operator())
    return client


def count_of(client: Client, address: str) -> int:
    page = client.get(address)
    assert page.status_code == 200, address
    number: int = page.context["cl"].result_count
    return number


def test_tiles_of_the_overview_equal_their_lists(olga: Client) -> None:
    counted = {
        label: (address, figure)
        for label, (address, figure) in tiles(olga).items()
        if label not in TIMES and not address.startswith("#") and label != "Refused in 1 h"
    }
    lists = {label: str(count_of(olga, address)) for label, (address, _) in counted.items()}
    assert {label: figure for label, (_, figure) in counted.items()} == lists
    assert len(lists) > 15


def test_findings_of_the_overview_equal_their_lists(olga: Client) -> None:
    moment = overview.read_moment()
    told: Iterable[Finding] = overview.findings(moment.seen, moment.around)
    checked = {}
    for each in told:
        number = re.match(r"(\d+) (run|job|alert|message)", each.sentence)
        if number and each.link.endswith("_changelist") and each.query:
            checked[each.sentence] = (int(number[1]), count_of(olga, each.url))
    assert len(checked) >= 3
    assert [sentence for sentence, (said, listed) in checked.items() if said != listed] == []


# A queue without a name has no page.
@pytest.mark.parametrize("name", [name for name in QUEUES if name])
def test_figures_of_a_queue_equal_their_lists(olga: Client, name: str) -> None:
    page = olga.get(reverse("admin:jobs_queuestate_change", args=[name])).context
    figures = {each.label: each for each in (*page["depth"], page["letters"])}
    assert {label: each.number for label, each in figures.items()} == {
        label: str(count_of(olga, each.url)) for label, each in figures.items()
    }
    assert "Dead letters undecided or being replayed" in figures


def test_counts_of_a_customer_add_up_and_equal_their_lists(olga: Client) -> None:
    page = olga.get(customers.url_of(CUSTOMER)).context
    counts = {each.label: each for each in page["counts"]}
    assert sum(each.number for each in counts.values()) == page["counted"]
    assert {label: each.number for label, each in counts.items()} == {
        label: count_of(olga, each.url) for label, each in counts.items()
    }
    assert counts["Other (no text, held, waiting for Godot)"].number == 3 * len(QUEUES)


def test_letters_of_a_group_equal_their_list(olga: Client) -> None:
    page = olga.get(reverse("admin:jobs_failuregroup_changelist"))
    for group in page.context["cl"].result_list:
        listed = olga.get(reverse("admin:jobs_deadletter_changelist"), {"group": group.pk})
        assert listed.context["cl"].result_count == group.open_letters
        assert "Undecided or being replayed" in listed.text
    assert "Undecided or being replayed" in page.text


def test_oldest_wait_is_that_of_the_first_job_in_its_list(olga: Client) -> None:
    made = job(queue="nobody reads it", updated_at=Now() - 9 * HOUR)
    overview.memory.clear()
    address, shown = tiles(olga)["Oldest wait"]
    [first, *_] = olga.get(address).context["cl"].result_list
    assert first.pk == made.pk
    assert spaced(shown) == "9 h"
    oldest = overview.read().oldest_wait
    assert oldest is not None and 9 * HOUR <= oldest < 9 * HOUR + timedelta(minutes=5)
