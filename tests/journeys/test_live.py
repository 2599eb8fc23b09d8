"""Browser tests of live pages: they update without moving what somebody uses, report an outage, and stop with the session."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from playwright.sync_api import Locator, Page, Response, expect

from jobs.models import FailureGroup, Job, Status
from opsconsole import overview
from opsconsole.kit import audit, pauses
from opsconsole_worker.runs import progress
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from tests.factories import SECOND, dead_letter, job, run
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)

# Milliseconds on the real clock.
SHORTLY = 2_000


@pytest.fixture
def page(visitor: Visitor) -> Iterator[Page]:
    """Open the overview with a clock that the test controls."""
    page = visitor.stranger()
    page.clock.install()
    page.goto(f"{visitor.address}/admin/")
    page.get_by_label("Username").fill("olga")
    page.get_by_label("Password").fill("correct-horse-battery")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("[data-live]")).to_be_visible()
    page.wait_for_load_state("load")
    yield page
    # These tests cause refused and failed requests, so ignore the browser's messages about them.
    visitor.complaints[:] = [line for line in visitor.complaints if "Failed to load resource" not in line]


def quarantined(page: Page) -> str:
    return page.locator("dl div", has_text="Quarantined").locator("dd").inner_text()


def time_passes_until(page: Page, holds: Callable[[], None]) -> None:
    """Advance the page's clock by one refresh at a time; on a slow machine one may already be in flight."""
    for _ in range(12):
        page.clock.run_for(10_100)
        try:
            holds()
        except AssertionError:
            continue
        return
    holds()


def test_page_updates_without_reload(page: Page) -> None:
    before = int(quarantined(page))
    job(status=Status.QUARANTINED)
    overview.memory.clear()

    shown = page.locator("dl div", has_text="Quarantined").locator("dd")
    time_passes_until(page, lambda: expect(shown).to_have_text(str(before + 1), timeout=SHORTLY))


def test_page_reports_end_of_session_and_stops_polling(page: Page) -> None:
    Session.objects.all().delete()

    statuses: list[int] = []
    page.on("response", lambda answer: statuses.append(answer.status))
    note = page.locator("[data-live-note]")

    time_passes_until(page, lambda: expect(note).to_contain_text("Your session has ended", timeout=SHORTLY))

    assert statuses[-1] == 401
    expect(page.get_by_role("link", name="Log in again")).to_be_visible()


def test_page_tells_the_end_of_a_role_from_that_of_the_session(visitor: Visitor, page: Page) -> None:
    page.goto(f"{visitor.address}/admin/jobs/job/")
    User.objects.filter(username="olga").update(is_superuser=False)
    note = page.locator("[data-live-note]")

    told = "Your role no longer allows this page"
    time_passes_until(page, lambda: expect(note).to_contain_text(told, timeout=SHORTLY))
    expect(note).not_to_contain_text("session")
    assert page.locator("#login-form").count() == 0
    asked_again: list[str] = []
    page.on("request", lambda request: asked_again.append(request.url))
    page.clock.run_for(60_000)
    assert asked_again == []


def test_page_reports_console_outage_and_recovers(page: Page) -> None:
    page.route("**/admin/", lambda route: route.abort())
    note = page.locator("[data-live-note]")
    time_passes_until(page, lambda: expect(note).to_contain_text("Stale since", timeout=SHORTLY))
    expect(page.locator("#content")).to_have_class(re.compile("stale"))

    page.unroute("**/admin/")
    time_passes_until(page, lambda: expect(note).to_be_hidden(timeout=SHORTLY))
    expect(page.locator("#content")).not_to_have_class(re.compile("stale"))
    assert Job.objects.exists()


def test_keyboard_focus_survives_update(page: Page) -> None:
    page.get_by_role("link", name="Quarantined", exact=True).focus()

    with page.expect_response(re.compile(r"/admin/$")):
        page.clock.run_for(5_100)
    page.clock.run_for(10)

    expect(page.get_by_role("link", name="Quarantined", exact=True)).to_be_focused()


def test_progress_of_a_running_job_moves(page: Page, visitor: Visitor) -> None:
    """On its page and in the list, from what a worker writes, with the exact figure in the text."""
    watched = run(silent=SECOND)
    worker = Worker("worker-1", "host", 1)
    page.goto(f"{visitor.address}/admin/jobs/job/{watched.pk}/change/")
    panel, bar = page.locator("#progress"), page.locator("#progress progress")
    expect(panel).to_have_count(0)

    for percent, figure, text in [
        (12.5, "12.5 %", "4 of 32"),
        (50, "50 %", "16 of 32"),
        (100, "100 %", "32 of 32"),
    ]:
        assert progress.report(worker, watched.pk, 1, percent, text) is Verdict.GO_ON
        told_at_once()
        shows = partial(expect(panel).to_contain_text, figure, timeout=SHORTLY)
        time_passes_until(page, shows)
        expect(panel).to_contain_text(text)
        assert float(bar.get_attribute("value") or "") == percent

    page.goto(f"{visitor.address}/admin/jobs/job/?status=in_progress")
    page.mouse.move(0, 0)
    line = page.locator("tr", has_text=str(watched.pk)[:8])
    expect(line.locator(".percent")).to_have_text("100 %")
    assert progress.report(worker, watched.pk, 1, 7, "begun anew") is Verdict.GO_ON
    told_at_once()
    time_passes_until(page, lambda: expect(line.locator(".percent")).to_have_text("7 %", timeout=SHORTLY))


JOBS = "/admin/jobs/job/?status=quarantined"


@pytest.fixture
def jobs_list(page: Page, visitor: Visitor) -> Page:
    """Open a list of two jobs; the cursor is outside of it."""
    for customer in ("CUST-A", "CUST-B"):
        job(status=Status.QUARANTINED, customer_id=customer)
    page.goto(visitor.address + JOBS)
    page.mouse.move(0, 0)
    expect(page.get_by_role("button", name="Pause updates")).to_be_visible()
    return page


def told_at_once() -> None:
    """Let PostgreSQL count at once what this connection has written."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")


def renamed(old: str, new: str) -> None:
    Job.objects.filter(customer_id=old).update(customer_id=new)
    told_at_once()


def is_poll(answer: Response) -> bool:
    return "x-poll" in answer.request.headers


def polls(page: Page) -> list[int]:
    """Return the list of statuses of polls, which grows."""
    statuses: list[int] = []
    page.on("response", lambda answer: statuses.append(answer.status) if is_poll(answer) else None)
    return statuses


def test_changed_and_new_lines_appear_in_a_list(jobs_list: Page) -> None:
    renamed("CUST-A", "CUST-C")
    told = jobs_list.locator("#result_list")
    time_passes_until(jobs_list, lambda: expect(told).to_contain_text("CUST-C", timeout=SHORTLY))

    job(status=Status.QUARANTINED, customer_id="CUST-NEW")
    told_at_once()
    time_passes_until(jobs_list, lambda: expect(told).to_contain_text("CUST-NEW", timeout=SHORTLY))
    # The admin's own script counts in the lines that came by an update.
    jobs_list.locator("tr", has_text="CUST-NEW").get_by_role("checkbox").check()
    expect(jobs_list.locator(".action-counter")).to_contain_text("1 of")


def test_lines_in_use_stay_while_newer_ones_are_counted(jobs_list: Page) -> None:
    told, newer = jobs_list.locator("#result_list"), jobs_list.locator("[data-live-newer]")
    line = jobs_list.locator("tr", has_text="CUST-A")
    line.get_by_role("checkbox").check()
    jobs_list.mouse.move(0, 0)
    jobs_list.evaluate("document.activeElement.blur()")
    before = line.bounding_box()
    job(status=Status.QUARANTINED, customer_id="CUST-NEW")
    renamed("CUST-B", "CUST-D")

    time_passes_until(jobs_list, lambda: expect(newer).to_have_text("1 newer", timeout=SHORTLY))
    expect(told).to_contain_text("CUST-D")
    expect(told).not_to_contain_text("CUST-NEW")
    assert line.bounding_box() == before
    assert newer.evaluate("button => button.closest('[aria-live]').ariaLive") == "polite"

    newer.click()
    expect(told).to_contain_text("CUST-NEW")
    expect(newer).to_be_hidden()
    expect(line.get_by_role("checkbox")).to_be_checked()
    expect(jobs_list.locator(".action-counter")).to_contain_text("1 of")


def test_line_under_the_cursor_stays(jobs_list: Page) -> None:
    told, newer = jobs_list.locator("#result_list"), jobs_list.locator("[data-live-newer]")
    jobs_list.locator("tr", has_text="CUST-A").hover()
    job(status=Status.QUARANTINED, customer_id="CUST-NEW")
    told_at_once()
    time_passes_until(jobs_list, lambda: expect(newer).to_be_visible(timeout=SHORTLY))
    expect(told).not_to_contain_text("CUST-NEW")

    jobs_list.mouse.move(0, 0)
    time_passes_until(jobs_list, lambda: expect(told).to_contain_text("CUST-NEW", timeout=SHORTLY))
    expect(newer).to_be_hidden()


def test_selected_text_is_kept(jobs_list: Page) -> None:
    cell = jobs_list.locator("tr", has_text="CUST-A").locator(".field-customer")
    cell.evaluate("cell => getSelection().selectAllChildren(cell)")
    renamed("CUST-A", "CUST-C")

    # The second answer comes when the first one was dealt with.
    for _ in range(2):
        with jobs_list.expect_response(is_poll):
            jobs_list.clock.run_for(5_100)
    assert jobs_list.evaluate("getSelection().toString()") == "CUST-A"
    expect(cell).to_have_text("CUST-A")

    jobs_list.evaluate("getSelection().removeAllRanges()")
    time_passes_until(
        jobs_list,
        lambda: expect(jobs_list.locator("#result_list")).to_contain_text("CUST-C", timeout=SHORTLY),
    )


def test_updates_rest_while_paused_and_in_a_hidden_tab(jobs_list: Page) -> None:
    seen = polls(jobs_list)
    jobs_list.get_by_role("button", name="Pause updates").click()
    expect(jobs_list.locator("[data-live-state]")).to_contain_text("Paused")
    renamed("CUST-A", "CUST-C")
    jobs_list.clock.run_for(60_000)
    assert seen == []
    jobs_list.get_by_role("button", name="Resume updates").click()
    time_passes_until(
        jobs_list,
        lambda: expect(jobs_list.locator("#result_list")).to_contain_text("CUST-C", timeout=SHORTLY),
    )

    hide = """(hidden) => {
        Object.defineProperty(document, 'hidden', {configurable: true, get: () => hidden});
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    jobs_list.evaluate(hide, True)
    jobs_list.wait_for_load_state("networkidle")
    seen.clear()
    jobs_list.clock.run_for(60_000)
    assert seen == []
    with jobs_list.expect_response(is_poll):
        jobs_list.evaluate(hide, False)


def test_list_says_when_the_console_does_not_answer(jobs_list: Page) -> None:
    jobs_list.route("**/admin/jobs/job/**", lambda route: route.abort())
    note = jobs_list.locator("[data-live-note]")
    time_passes_until(jobs_list, lambda: expect(note).to_contain_text("does not answer", timeout=SHORTLY))
    state = jobs_list.locator("[data-live-state]")
    expect(state).to_contain_text("ago")
    expect(jobs_list.locator("#content")).to_have_class(re.compile("stale"))

    # Its age grows also while no answer is asked for.
    seconds = "state => Number(state.textContent.match(/From (\\d+) s ago/)[1])"
    before = state.evaluate(seconds)
    jobs_list.clock.run_for(4_000)
    assert state.evaluate(seconds) >= before + 3


def test_audit_says_by_itself_what_became_of_a_requeue(page: Page, visitor: Visitor) -> None:
    requeued = job(status=Status.PENDING)
    audit.log(User.objects.get(username="olga"), [requeued], "Requeued.", why="mended")
    page.goto(f"{visitor.address}/admin/admin/logentry/")
    page.mouse.move(0, 0)
    line = page.locator("#result_list tbody tr").first
    expect(line).to_contain_text("Still waiting or running")

    Job.objects.filter(pk=requeued.pk).update(status=Status.COMPLETED)
    told_at_once()

    time_passes_until(page, lambda: expect(line).to_contain_text("Completed", timeout=SHORTLY))


def controls_paused_by_ada(page: Page, visitor: Visitor, written: str) -> Locator:
    """Open *Controls*, write this reason, and let somebody else pause the checks; return the section once it says so."""
    page.goto(f"{visitor.address}/admin/opsconsole/pause/")
    section = page.locator("section.decide", has_text="Checks of dead letters")
    expect(section).to_contain_text("On")
    section.get_by_label("Reason").fill(written)
    if not written:
        page.locator("h1").click()
    pauses.begin(pauses.DEAD_LETTER_CHECKS, by="ada", reason="a migration", lasting=None)
    told_at_once()
    time_passes_until(page, lambda: expect(section).to_contain_text("by ada", timeout=SHORTLY))
    return section


def test_switch_that_somebody_else_used_can_be_used_from_an_open_page(page: Page, visitor: Visitor) -> None:
    section = controls_paused_by_ada(page, visitor, written="")

    section.get_by_label("Reason").first.fill("the migration ended")
    section.get_by_role("button", name="Resume").click()

    expect(section).to_contain_text("On")
    assert pauses.active(pauses.DEAD_LETTER_CHECKS) is None


def test_switch_that_changed_while_somebody_wrote_tells_so(page: Page, visitor: Visitor) -> None:
    section = controls_paused_by_ada(page, visitor, written="SQS is slow")

    expect(section.get_by_label("Reason").first).to_have_value("SQS is slow")
    section.get_by_role("button", name="Resume").click()

    expect(section.get_by_role("alert")).to_contain_text("a migration")
    assert pauses.active(pauses.DEAD_LETTER_CHECKS) is not None
    visitor.complaints[:] = [line for line in visitor.complaints if "409" not in line]


def test_group_updates_around_a_note_that_somebody_writes(page: Page, visitor: Visitor) -> None:
    group = FailureGroup.objects.create(fingerprint="f", title="Timeout")
    page.goto(f"{visitor.address}/admin/jobs/failuregroup/{group.pk}/change/")
    note = page.get_by_label("Note")
    note.fill("Their host is down")
    FailureGroup.objects.filter(pk=group.pk).update(note="Called them")
    dead_letter(job(status=Status.FAILED), group=group)
    told_at_once()

    undecided = page.locator(".field-letters")
    time_passes_until(page, lambda: expect(undecided).to_contain_text("1", timeout=SHORTLY))

    expect(note).to_have_value("Their host is down")
    expect(page.get_by_role("button", name="Replay all undecided")).to_be_visible()
    # The form still knows what it was opened with, so that nobody's note is lost.
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#content")).to_contain_text("Called them")
    assert FailureGroup.objects.get(pk=group.pk).note == "Called them"
    visitor.complaints[:] = [line for line in visitor.complaints if "409" not in line]
