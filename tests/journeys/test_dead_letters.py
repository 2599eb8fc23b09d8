"""Browser tests of dead letters, as an operator and as a viewer."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from jobs.models import DeadLetter, Job, ReplayAttempt, Status
from opsconsole_worker.environment import QueueConfig
from tests import factories
from tests.factories import DAY, dead_letter
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/jobs/deadletter/"
REASON = "the directory answers again"


@pytest.fixture
def letters(console: str, settings: Any) -> list[DeadLetter]:
    """Create a foreign letter with a day left, and one of a failed job that came back."""
    dlq = "https://sqs.us-east-1.amazonaws.com/123456789012/default-dlq"
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/queue", dlq)}
    factories.dead_letter_queue(visible=2, seen=2, about=2, full=True)
    failed = Job.objects.filter(status=Status.FAILED).earliest("pk")
    group = factories.failure_group(note="Its gateway is restarted every Monday.")
    foreign = dead_letter(
        age=3.4 * DAY,
        body='{"order": 4218, "business": "Café Blüte & <b>Söhne</b>"}',
        group=factories.failure_group("A JSON object with business, order", kind="shape"),
    )
    return [foreign, dead_letter(failed, group=group, returns=1)]


@pytest.mark.parametrize("width", [1440, 390])
def test_review_and_replay_letter(visitor: Visitor, letters: list[DeadLetter], width: int) -> None:
    page = visitor.log_in("olga", width=width)
    page.goto(visitor.address + LIST)
    expect(page.locator(".coverage")).to_contain_text("the last scan saw all 2")
    expect(page.locator("#result_list .soon")).to_have_count(1)
    page.get_by_role("link", name=str(letters[0].pk)[:8]).click()

    expect(page.locator(".letter-body")).to_contain_text("Café Blüte & <b>Söhne</b>")
    page.get_by_role("link", name="Replay", exact=True).click()
    expect(page.locator(".lines")).to_contain_text("Will be sent to the queue default")
    page.get_by_label("Reason").fill(REASON)
    page.get_by_role("button", name="Replay 1 dead letter").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("1 dead letter")
    expect(page.locator("#content")).to_contain_text("The cluster carries out such decisions within a minute")
    page.get_by_role("region", name="Done:").get_by_role("link", name=str(letters[0].pk)[:8]).click()
    expect(page.locator("#ledger")).to_contain_text(REASON)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Being replayed")
    assert ReplayAttempt.objects.get().actor == "operator:olga"


def test_viewer_sees_no_buttons_and_is_refused_by_post(visitor: Visitor, letters: list[DeadLetter]) -> None:
    page = visitor.log_in("vera")
    page.goto(visitor.address + reverse("admin:jobs_deadletter_change", args=[letters[0].pk]))
    expect(page.locator(".letter-body")).to_be_visible()
    expect(page.locator(".operation")).to_have_count(0)
    page.goto(visitor.address + LIST)
    expect(page.get_by_role("button", name="Check now")).to_have_count(0)

    csrf = page.locator("input[name=csrfmiddlewaretoken]").first.input_value()
    answer = page.request.post(
        visitor.address + reverse("admin:jobs_deadletter_operate", args=["replay"]),
        form={"csrfmiddlewaretoken": csrf, "plan": "x", "reason": "x"},
        headers={"Referer": visitor.address},
    )
    assert answer.status == 403
    assert not ReplayAttempt.objects.exists()
