"""Browser tests of the journeys of an operator, one after the other in one console, with their clicks counted.

Each begins on the overview, after the log-in. The table in docs/journeys.md is held by the test.
"""

from __future__ import annotations

import re
from base64 import b32decode
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models.functions import Now
from django_otp.oath import totp
from playwright.sync_api import Error, Page, expect

from alerts.channels.outcome import ChannelAnswer, Outcome
from alerts.channels.targets import all_targets
from alerts.models import Alert, Channel
from alerts.sending import addressing, banner, delivery
from jobs.dead_letters import check
from jobs.dead_letters.queue_visit import Visit
from jobs.models import BulkOperation, DeadLetterQueue, Job, JobEvent, RecoveryControl, RunProgress, Status
from opsconsole import overview
from opsconsole.kit.models import Pause
from ratelimits.models import ApiKey, Policy
from tests import people, presets
from tests.jobs.bulk.helpers import chunk, finish
from tests.journeys import clicks, letters, scenery
from tests.journeys.clicks import Walk
from tests.journeys.scenery import STALE_JOB
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)
BULK = "CUST-BULK"


@pytest.fixture
def night(live_server: Any, settings: Any, limiter: None) -> str:
    """Yield the address of a console where something of everything is wrong."""
    settings.QUEUES = letters.queues()
    settings.OPSCONSOLE_CHANNEL_KEYS = ["k" * 40]
    settings.OPSCONSOLE_BULK_AT_ONCE = 20
    settings.OPSCONSOLE_BULK_TRIAL_SIZE = 0
    settings.OPSCONSOLE_BULK_PACE = 20
    scenery.build(300)
    presets.write()
    letters.build()
    people.operator()
    people.viewer()
    Job.objects.bulk_create(
        Job(customer_id=BULK, package_size=50, status=Status.FAILED, created_at=Now()) for _ in range(60)
    )
    banner.memory.clear()
    check.tell(DeadLetterQueue.objects.get(url=letters.DLQ), Visit(depth=7))
    overview.memory.clear()
    return str(live_server.url)


def at_home(page: Page, address: str) -> Walk:
    overview.memory.clear()
    page.goto(f"{address}/admin/")
    return Walk(page)


def what_is_wrong(walk: Walk) -> None:
    page = walk.page
    expect(page.locator(".headline")).to_have_text("SQS counts 7 dead letters (default).")
    walk.link("Open alert")
    expect(page.locator(".runbook")).to_contain_text("Follow Review")
    expect(page.locator(".facts")).to_contain_text("CUST-")


def alert_to_it_helped(walk: Walk) -> None:
    page = walk.page
    walk.link("Open alert")
    walk.link("Review")
    row = page.locator("#result_list tr", has_text="CUST-00311").or_(
        page.locator("#result_list tbody tr", has_text="Failed").first
    )
    walk.click(row.first.locator("input.action-select"))
    walk.button("Replay")
    walk.why("the directory answers again")
    walk.button("Replay 1 dead letter")
    helped = page.locator("section", has_text="Did it help?").locator(".sentence")
    expect(helped).to_have_text("Not known yet: 1 of 1 still waiting or running.")
    replayed = JobEvent.objects.filter(kind="requeued", reason="the directory answers again").latest("pk")
    Job.objects.filter(pk=replayed.job_id).update(status=Status.COMPLETED, completed_at=Now())
    # The page says it by itself.
    expect(helped).to_have_text("It helped: the job has completed.")


def stale_to_requeue(walk: Walk) -> None:
    page = walk.page
    walk.link(re.compile("^0?[1-9].*Stale now|Stale now"))
    walk.click(page.locator("#result_list").get_by_role("link", name=str(STALE_JOB)[:8]))
    walk.link("Requeue")
    walk.why("its host was shut down")
    walk.button("Requeue 1 job")
    expect(page.get_by_role("heading", level=1)).to_have_text("1 job requeued")
    expect(page.locator("section", has_text="Did it help?")).to_contain_text("Not known yet")


def everything_about_a_customer(walk: Walk) -> None:
    page = walk.page
    walk.link(re.compile("^Jobs failed in 24 h"))
    walk.click(page.locator("#result_list").get_by_role("link", name=re.compile("^CUST-")).first)
    for part in ("Jobs", "Dead letters", "Limits", "Open alerts"):
        expect(page.locator("#content-main").get_by_role("heading", name=part, exact=True)).to_be_visible()


def limit_edited(walk: Walk) -> None:
    walk.menu("Limits")
    walk.menu("Policies")
    walk.link("standard")
    walk.page.get_by_role("spinbutton", name="Limit:").first.fill("61")
    walk.why("somebody scrapes")
    walk.button("Save")
    expect(walk.page.locator(".messagelist")).to_contain_text("standard")
    assert Policy.objects.get(name="standard").limit == 61


def key_made_and_revoked(walk: Walk) -> None:
    walk.menu("Limits")
    walk.menu("API keys")
    _make_and_revoke(walk, "mobile app")


def key_made_and_revoked_on_a_phone(walk: Walk) -> None:
    """The menu has every page, because opening it is a click already."""
    walk.menu("API keys")
    _make_and_revoke(walk, "tablet app")


def _make_and_revoke(walk: Walk, name: str) -> None:
    page = walk.page
    walk.link("Create API key")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Claim and run jobs (worker)").check()
    walk.why()
    walk.button("Create API key")
    expect(page.locator("#secret")).to_contain_text("ock_")
    walk.button("Revoke key")
    walk.why("found in a log")
    walk.button("Revoke 1 key")
    expect(page.locator(".messagelist")).to_contain_text("Requests with it are refused now.")
    assert ApiKey.objects.get(name=name).revoke_reason == "found in a log"


def pause_for_a_deploy(walk: Walk) -> None:
    page = walk.page
    walk.menu("Controls")
    recovery = page.locator("section", has=page.get_by_role("heading", name=re.compile("Automatic recovery")))
    recovery.get_by_label("Reason").fill("deploy 1.4")
    walk.click(recovery.get_by_role("button", name=re.compile("^Pause")))
    expect(recovery.locator(".badge")).to_have_text("Paused")
    # The same page says it, and lets it last longer.
    recovery.get_by_label("Reason").last.fill("the deploy takes longer")
    recovery.get_by_label("Keep it paused, from now").select_option("60")
    walk.click(recovery.get_by_role("button", name=re.compile("^Extend")))
    expect(recovery).to_contain_text("the deploy takes longer")
    expect(page.locator("section", has_text="Earlier pauses").last).to_contain_text("deploy 1.4")
    # Every other page says it, too.
    walk.menu("Jobs")
    expect(page.locator("#banners")).to_contain_text("Recovery is paused")
    # The charts mark both.
    overview.memory.clear()
    walk.menu("Overview")
    expect(page.locator(".marks")).to_contain_text("deploy 1.4")
    expect(page.locator(".marks")).to_contain_text("the deploy takes longer")
    assert page.locator(".chart .mark").count() >= 2
    assert Pause.objects.active().get().reason == "the deploy takes longer"


def bulk_cancel_resumed(walk: Walk) -> None:
    page = walk.page
    walk.menu("Jobs")
    page.locator("#searchbar").fill(BULK)
    page.keyboard.press("Enter")
    expect(page.locator("#result_list")).to_contain_text(BULK)
    walk.click(page.locator("#action-toggle"))
    if (every := page.get_by_role("button", name=re.compile("Select all"))).is_visible():
        walk.click(every)
    walk.button("Requeue")
    walk.why("the directory is back")
    if (typed := page.get_by_label(re.compile("to confirm"))).is_visible():
        typed.fill("60")
    walk.button("Requeue 60 jobs")
    operation = BulkOperation.objects.latest("pk")
    chunk(operation)
    walk.why("the wrong directory")
    walk.button("Stop the rest")
    expect(page.get_by_role("heading", name="Resume the operation")).to_be_visible()
    walk.why("it was the right one")
    walk.button(re.compile("^Resume with"))
    finish(operation)
    page.reload()
    expect(page.locator(".headline")).to_contain_text("60 jobs requeued.")
    expect(page.locator("#results .sentence")).to_have_text(
        "Not known yet: 60 of 60 still waiting or running."
    )


def channel_added_and_broken(walk: Walk) -> None:
    page = walk.page
    walk.menu("Alerts")
    walk.menu("Channels")
    walk.link("Add a channel")
    page.get_by_label("Name").fill("pager")
    page.get_by_label("Address").fill("pagerduty://INTEGRATIONKEYINTEGRATIONKEYABC@APIKEYAPIKEY")
    walk.why("on call")
    walk.button("Add the channel")
    expect(page.locator(".messagelist")).to_contain_text("The channel pager was added.")
    walk.button("Send test message")
    addressing.address_notifications()
    leased = delivery.lease_message(all_targets()["pager"])
    assert leased
    delivery.record_answer(leased, ChannelAnswer(Outcome.BROKEN, "404 no_service"))
    banner.memory.clear()
    walk.menu("Overview")
    expect(page.locator("#banners")).to_contain_text("Alerts no longer reach pager: 404 no_service.")
    Channel.objects.filter(pk="pager").update(secret="")
    banner.memory.clear()


def audit_export(walk: Walk) -> None:
    walk.menu("Settings")
    with walk.page.expect_download() as download:
        walk.link("Export CSV")
    assert "deploy 1.4" in download.value.path().read_text()


def api_page(walk: Walk) -> None:
    walk.menu("Limits")
    walk.menu("API keys")
    walk.link("API reference")
    expect(walk.page.locator("body")).to_contain_text("/api/queue/")


def running_job_watched(walk: Walk) -> None:
    page = walk.page
    walk.link(re.compile("^Jobs running"))
    walk.click(page.locator("#result_list a code").first)
    job = Job.objects.get(pk=re.search(r"job/([0-9a-f-]{36})/", page.url)[1])  # type: ignore[index]  # it is there
    JobEvent.objects.create(
        job=job,
        kind="progress",
        run_epoch=job.run_epoch,
        actor=f"worker:{job.worker_id}",
        details={"note": "submitted to the last directory"},
    )
    progress = RunProgress.objects.create(job_id=job.pk, run_epoch=job.run_epoch, percent=90, text="27 of 30")
    expect(page.locator(".timeline")).to_contain_text("submitted to the last directory", timeout=20_000)
    bar = page.locator("#progress progress").first
    expect(bar).to_have_attribute("value", "90.0", timeout=20_000)
    RunProgress.objects.filter(pk=progress.pk).update(percent=100, text="30 of 30", at=Now())
    expect(bar).to_have_attribute("value", "100.0", timeout=20_000)
    expect(page.locator("#progress")).to_contain_text("30 of 30")
    Job.objects.filter(pk=job.pk).update(status=Status.COMPLETED, completed_at=Now())
    expect(page.get_by_role("heading", level=1)).to_contain_text("Completed", timeout=20_000)


def acknowledged_on_a_phone(walk: Walk) -> None:
    walk.link("Open alert")
    walk.link("Acknowledge")
    walk.button("Acknowledge 1 alert")
    expect(walk.page.locator(".messagelist")).to_have_text("1 alert acknowledged.")
    assert Alert.objects.open().get(rule="dlq_not_empty").state == "acknowledged"


def second_factor(walk: Walk) -> None:
    page = walk.page
    walk.click(page.locator("#user-tools, header").get_by_role("link", name="Second factor").first)
    key = b32decode("".join(page.locator("main code, #content code").first.inner_text().split()))
    page.get_by_label("Code").fill(f"{totp(key):06}")
    walk.button("Turn on the second factor")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Backup codes")
    walk.link("Continue, I have stored them")
    expect(page.locator(".headline")).to_be_visible()


def viewer(walk: Walk) -> None:
    """Look at all that is wrong, with no button to press, and read what to do where something is refused."""
    page = walk.page
    walk.link("Open alert")
    expect(page.get_by_role("link", name="Acknowledge", exact=True)).to_have_count(0)
    walk.link("Review")
    expect(page.locator("input.action-select")).to_have_count(0)
    walk.menu("Controls")
    expect(page.locator("#content")).to_contain_text("You can only look at this page.")


def by_keyboard(walk: Walk) -> None:
    """Go from the overview to a requeue without a mouse; what is pressed with Enter counts as a click."""
    page = walk.page

    def press(name: str | re.Pattern[str], role: Any = "link") -> None:
        target = page.get_by_role(role, name=name, exact=isinstance(name, str)).last
        for _ in range(150):
            page.keyboard.press("Tab")
            if target.evaluate("each => each === document.activeElement"):
                break
        else:
            raise AssertionError(f"no Tab leads to {name}")
        page.keyboard.press("Enter")
        page.wait_for_load_state()
        walk.clicks += 1

    press(re.compile("Quarantined$"))
    press(re.compile("^[0-9a-f]{8}$"))
    press("Release from quarantine")
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.type("its worker has more memory now")
    press("Release 1 job", "button")
    expect(page.get_by_role("heading", level=1)).to_have_text("1 job released")


Journey = Callable[[Walk], None]
# In this order: what one changes, the next ones see.
OF_OLGA: dict[str, Journey] = {
    "What is wrong": what_is_wrong,
    "From an alert to a replay, until “it helped”": alert_to_it_helped,
    "From a stale job to its requeue": stale_to_requeue,
    "Everything about a customer": everything_about_a_customer,
    "A limit edited": limit_edited,
    "A key made and revoked": key_made_and_revoked,
}
BY_DAY: dict[str, Journey] = {
    "A pause for a deploy, extended": pause_for_a_deploy,
    "A bulk operation stopped and resumed": bulk_cancel_resumed,
    "A channel added, tested and broken": channel_added_and_broken,
    "The audit exported": audit_export,
    "The page of the API": api_page,
    "A running job watched": running_job_watched,
    "By keyboard alone, from quarantine to a release": by_keyboard,
}
ON_A_PHONE: dict[str, Journey] = {
    "Acknowledging on a phone": acknowledged_on_a_phone,
    "A key made and revoked on a phone": key_made_and_revoked_on_a_phone,
}
OF_VERA: dict[str, Journey] = {"What a viewer sees": viewer}
LAST: dict[str, Journey] = {"A second factor turned on": second_factor}
# Who goes which ways, on a screen of which width. Two parts, because a test may not take as long as all of them.
PARTS: dict[str, tuple[tuple[str, int, dict[str, Journey]], ...]] = {
    "by night": (("vera", 1440, OF_VERA), ("olga", 1440, OF_OLGA)),
    "by day": (("olga", 1440, BY_DAY), ("olga", 390, ON_A_PHONE), ("olga", 1440, LAST)),
}
# These need more steps, each of which protects something.
APART = {"A second factor turned on", "A bulk operation stopped and resumed"}


@pytest.mark.parametrize("part", PARTS)
def test_no_journey_takes_more_than_six_clicks(chromium: Any, night: str, limiter: None, part: str) -> None:
    visitor = Visitor(chromium, night)
    counted: dict[str, int] = {}
    failed: list[str] = []
    for name, width, journeys in PARTS[part]:
        page = visitor.log_in(name, width=width)
        for title, journey in journeys.items():
            walk = at_home(page, night)
            try:
                journey(walk)
            except (AssertionError, Error) as error:
                # The journeys behind it are tried, too.
                failed.append(f"{title}, on {page.url}: {error}")
            counted[title] = walk.clicks
        # It would ask for news also once the second factor has ended this session.
        page.close()
    visitor.close()
    assert failed == [], "\n\n".join(failed)
    assert visitor.complaints == []
    assert {
        title: count for title, count in counted.items() if count > clicks.MOST and title not in APART
    } == {}
    table = clicks.documented()
    assert {title: table.get(title) for title in counted} == counted


def test_empty_console_teaches_the_next_step(chromium: Any, live_server: Any, settings: Any) -> None:
    settings.QUEUES = letters.queues()
    RecoveryControl.objects.update_or_create(pk=1, defaults={"mode": RecoveryControl.Mode.OBSERVE})
    people.operator()
    visitor = Visitor(chromium, str(live_server.url))
    page = visitor.log_in("olga")
    walk = at_home(page, str(live_server.url))
    expect(page.locator("#content")).to_contain_text("There are no jobs yet")
    walk.menu("Jobs")
    expect(page.locator(".empty").first).to_contain_text("jobs")
    walk.menu("Dead letters")
    expect(page.locator(".empty.teach")).to_contain_text("A message goes to a dead letter queue when")
    walk.menu("Alerts")
    walk.menu("Channels")
    expect(page.locator("#content")).to_contain_text("Add a channel")
    visitor.close()
    assert visitor.complaints == []
    assert walk.clicks == clicks.documented()["An empty console"] <= clicks.MOST
