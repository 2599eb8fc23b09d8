"""Browser tests of every page at every screen size: no overflow, accessible, nothing blocked by the CSP."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from playwright.sync_api import expect

from alerts.models import Alert
from jobs.models import BulkOperation, FailureGroup, Job, Status
from opsconsole.kit import figures
from opsconsole.kit.durations import HOUR
from opsconsole.trends import hour_events
from ratelimits.models import ApiKey
from ratelimits.records import counted_requests
from tests.journeys import letters
from tests.journeys.scenery import STALE_JOB, job_that_waits_in_vain
from tests.journeys.screens import IN_TURN, WIDE_IN_DARK, faults
from tests.journeys.visitor import Visitor
from tests.opsconsole import everything

pytestmark = pytest.mark.django_db(transaction=True)

# Pages that are tested together, by the prefix of their URL; the longest matching prefix applies.
GROUPS = {
    "overview and account": ("",),
    "jobs": ("jobs/job/",),
    "workers, sweeps and queues": (
        "jobs/runrollup/",
        "jobs/outbox/",
        "jobs/queuestate/",
        "jobs/recoverycontrol/",
        "jobs/sweep/",
        "jobs/workerheartbeat/",
        "opsconsole/pause/",
    ),
    "dead letters": ("jobs/deadletter/",),
    "what is done to dead letters": ("jobs/deadletter/operate/", "jobs/failuregroup/"),
    "bulk operations": ("jobs/bulkoperation/",),
    "alerts": ("alerts/alert/", "alerts/rule/"),
    "channels and what watches": (
        "alerts/channel/",
        "alerts/slackperson/",
        "alerts/deadmanping/",
        "alerts/monitor/",
        "alerts/snsmessage/",
    ),
    "limits": ("ratelimits/",),
    "people and audit": ("admin/logentry/", "auth/", "axes/"),
    "task queue": ("django_q/",),
}
# Pages that refuse even a superuser: rows are added and deleted only through operations, not every page supports
# every operation, and a preview has no progress.
REFUSED = re.compile(
    r"/(add|delete)/$|/(operate|decide|became)/\w+/$|^jobs/bulkoperation/\d+/(progress/|members)"
    r"|^r/|^autocomplete/$|^no/such/page$|^oidc/"
)


@pytest.fixture
def console(full_console: str) -> str:
    return full_console


def beside() -> dict[str, Callable[[], list[str]]]:
    """Return pages that the URLs alone do not cover: filters, and rows in other states."""
    return {
        "overview and account": lambda: ["search/?q=CUST-04218", "search/?q=nothing-at-all", "../api/docs"],
        "jobs": lambda: [
            "jobs/job/?stale=any",
            "jobs/job/?message=used_up",
            "jobs/job/?q=nobody",
            f"jobs/job/{STALE_JOB}/change/",
            f"jobs/job/{job_that_waits_in_vain().pk}/change/",
            *(f"jobs/job/{_job(status).pk}/change/" for status in (Status.FAILED, Status.QUARANTINED)),
            f"jobs/job/operate/requeue/?id={STALE_JOB}",
            f"jobs/job/operate/cancel/?id={STALE_JOB}&id={_job(Status.FAILED).pk}",
            f"jobs/job/operate/release/?id={_job(Status.QUARANTINED).pk}",
            f"customer/?id={Job.objects.get(pk=STALE_JOB).customer_id}",
        ],
        "workers, sweeps and queues": lambda: [
            "jobs/workerheartbeat/legacy-node-01/change/",
            _path(hour_events.list_url("failed", figures.hours_to_now(2)[0])),
        ],
        "dead letters": lambda: [
            "jobs/deadletter/?state=all",
            "jobs/deadletter/?state=gone&left=day",
            "jobs/deadletter/?q=nobody",
            f"jobs/deadletter/?group={FailureGroup.objects.latest('last_seen_at').pk}&queue=default",
            *(f"jobs/deadletter/{letter}/change/" for letter in letters.of_each_state().values()),
            f"jobs/deadletter/{letters.CAME_BACK}/change/",
        ],
        "what is done to dead letters": lambda: [
            *(
                f"jobs/deadletter/operate/{action}/?id={letters.FOREIGN}&id={letters.CAME_BACK}"
                for action in ("replay", "discard", "restore")
            ),
        ],
        "bulk operations": lambda: [
            *(
                f"jobs/bulkoperation/{operation.pk}/change/"
                for operation in BulkOperation.objects.order_by("pk")
            ),
            "jobs/bulkoperation/?state=stopped",
        ],
        "alerts": lambda: [
            "alerts/alert/?state=all",
            *(f"alerts/alert/{alert.pk}/change/" for alert in Alert.objects.all()),
            f"alerts/alert/decide/snooze/?id={Alert.objects.open().latest('pk').pk}",
        ],
        "limits": lambda: [
            "ratelimits/ratelimithour/?period=week&policy=standard",
            "ratelimits/ratelimithour/?q=203.0.113.7",
            "ratelimits/ratelimithour/client/?key=address:203.0.113.7",
            _path(counted_requests.list_url(figures.hours_to_now(1)[0], HOUR, "refused")),
            f"ratelimits/apikey/{ApiKey.objects.get(name='crm').pk}/change/",
        ],
        "people and audit": lambda: ["admin/logentry/?q=nobody"],
    }


def _path(address: str) -> str:
    return address.removeprefix("/admin/")


def _job(status: str) -> Job:
    return Job.objects.filter(status=status).earliest("pk")


def group_of(path: str) -> str:
    begins = [(prefix, name) for name, prefixes in GROUPS.items() for prefix in prefixes]
    return max((len(prefix), name) for prefix, name in begins if path.startswith(prefix))[1]


def pages(group: str) -> Iterator[str]:
    """Return each URL of the group that answers with a page; other tests cover refusals and errors."""
    client = Client()
    client.force_login(User.objects.get(username="olga"))
    for address in everything.addresses():
        path = address.removeprefix("/admin/")
        if path == address or address == reverse("admin:logout") or group_of(path) != group:
            continue
        answer = client.get(address)
        if answer.status_code == 200 and not answer.streaming and b"<html" in answer.content:
            yield path
        assert answer.status_code < 400 or answer.status_code == 405 or REFUSED.search(path), (
            f"{address} answered {answer.status_code}"
        )


@pytest.mark.parametrize("group", GROUPS)
def test_every_page_fits_screen_and_is_accessible(visitor: Visitor, group: str) -> None:
    page = visitor.log_in("olga")
    found = []
    for place, path in enumerate(dict.fromkeys([*pages(group), *beside().get(group, list)()])):
        response = page.goto(f"{visitor.address}/admin/{path}")
        assert response is not None
        assert response.status == 200, path
        found += [f"{path}: {line}" for line in faults(visitor, page, IN_TURN[place % len(IN_TURN)])]
    assert found == [], "\n".join(found)


def test_frame_on_a_wide_screen_in_dark_theme(visitor: Visitor) -> None:
    page = visitor.log_in("olga")

    assert faults(visitor, page, WIDE_IN_DARK) == []


def test_login_page(visitor: Visitor) -> None:
    page = visitor.stranger()
    page.goto(f"{visitor.address}/admin/login/")

    assert faults(visitor, page) == []


def test_account_is_reached_from_the_menu_where_the_header_has_no_room(visitor: Visitor) -> None:
    page = visitor.log_in("olga", width=390)
    page.locator(".menu > summary").click()

    page.get_by_role("navigation", name="Menu").get_by_role("link", name="Change password").click()

    expect(page.get_by_role("heading", name="Password change")).to_be_visible()


def test_controls_of_the_header_are_large_enough(visitor: Visitor) -> None:
    page = visitor.log_in("olga", width=1440)

    heights = page.locator("#header :is(a, button)").evaluate_all(
        "found => found.filter(each => each.checkVisibility() && !each.closest('#site-name'))"
        ".map(each => each.getBoundingClientRect().height)"
    )

    assert len(heights) >= 4 and min(heights) >= 24


def test_tabs_take_one_line_on_a_phone_and_show_the_current_one(visitor: Visitor) -> None:
    page = visitor.log_in("olga", width=390)
    for place in ("alerts/alert", "alerts/snsmessage", "django_q/ormq", "opsconsole/verification"):
        page.goto(f"{visitor.address}/admin/{place}/")
        tabs = page.locator(".tabs a")
        current = page.locator(".tabs [aria-current]").bounding_box()

        assert len(set(tabs.evaluate_all("found => found.map(each => each.offsetTop)"))) == 1
        assert current and current["x"] >= 0 and current["x"] + current["width"] <= 378


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_state_of_a_live_page_stands_beside_its_way_or_title(visitor: Visitor, width: int) -> None:
    page = visitor.log_in("olga", width=width)
    for place, beside in (("jobs/job/", ".breadcrumbs"), ("", "#content > h1")):
        page.goto(f"{visitor.address}/admin/{place}")
        bar, way = page.locator(".live-bar").bounding_box(), page.locator(beside).bounding_box()

        assert bar and way
        assert bar["y"] < way["y"] + way["height"] and way["y"] < bar["y"] + bar["height"]


def test_first_row_of_a_list_is_near_its_filters_on_a_phone(visitor: Visitor) -> None:
    page = visitor.log_in("olga", width=390)
    page.goto(f"{visitor.address}/admin/jobs/job/")
    tools, row = (
        page.locator(place).first.bounding_box() for place in (".list-tools", "#result_list tbody tr")
    )

    assert tools and row and row["y"] - tools["y"] - tools["height"] < 100


@pytest.mark.parametrize("width", [1280, 768])
def test_customers_of_a_list_have_one_line_where_there_is_room(visitor: Visitor, width: int) -> None:
    page = visitor.log_in("olga", width=width)
    page.goto(f"{visitor.address}/admin/jobs/job/")
    customers = page.locator("#changelist .field-customer a")

    assert customers.count() > 10
    assert (
        customers.evaluate_all("found => Math.max(...found.map(each => each.getClientRects().length))") == 1
    )


def test_history_on_a_phone_names_its_columns(visitor: Visitor) -> None:
    page = visitor.log_in_with_the_form("olga", width=390)
    page.goto(f"{visitor.address}/admin/auth/user/{User.objects.get(username='olga').pk}/history/")
    row = page.locator("#change-history tbody tr").last

    names = row.locator("th, td:not(:empty)").evaluate_all(
        "found => found.map(each => getComputedStyle(each, '::before').content)"
    )

    assert names[:3] == ['"When"', '"Who"', '"What"']


def test_names_of_settings_keep_to_their_column(visitor: Visitor) -> None:
    page = visitor.log_in("olga", width=1024)
    page.goto(f"{visitor.address}/admin/opsconsole/tablesize/")
    cells = page.locator("td:has(.setting)")

    beside = cells.evaluate_all(
        "found => found.map(each => each.getBoundingClientRect().right"
        " - each.querySelector('.setting').getBoundingClientRect().right)"
    )

    assert beside and min(beside) >= 0


def test_charts_fill_their_panels(visitor: Visitor) -> None:
    page = visitor.log_in("olga")
    charts = page.locator("figure.chart")

    expect(charts).not_to_have_count(0)
    assert {chart.evaluate("each => getComputedStyle(each).margin") for chart in charts.all()} == {"0px"}


# The list, a cell with a sentence (four lines and more in a third of the width), and two short cells that stand side by side.
CARDS = (
    ("admin/logentry", "field-did", ("field-when", "field-who")),
    ("alerts/rule", "field-fires_above", ("field-level", "field-reminds")),
)
LINES = """cells => Math.max(...cells.map(cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return new Set([...range.getClientRects()].map(each => Math.round(each.top))).size;
}))"""


@pytest.mark.parametrize(("place", "sentence", "short"), CARDS)
def test_cards_on_a_phone_give_a_sentence_its_width(
    visitor: Visitor, place: str, sentence: str, short: tuple[str, str]
) -> None:
    page = visitor.log_in("olga", width=390)
    client = Client()
    client.force_login(User.objects.get(username="olga"))
    assert client.get("/admin/admin/logentry/export.csv").status_code == 200
    page.goto(f"{visitor.address}/admin/{place}/")

    assert page.locator(f"#changelist td.{sentence}").evaluate_all(LINES) <= 3
    first = page.locator("#changelist tbody tr").first
    boxes = [first.locator(f".{name}").bounding_box() for name in short]
    assert boxes[0] and boxes[1] and boxes[0]["y"] == boxes[1]["y"]


def test_figures_of_a_line_share_rows_on_a_phone(visitor: Visitor) -> None:
    page = visitor.log_in("olga", width=390)
    page.goto(f"{visitor.address}/admin/jobs/runrollup/")
    cells = page.locator(".lines tbody tr").first.locator("td")

    boxes = [box for cell in cells.all() if (box := cell.bounding_box())]

    assert len({box["y"] for box in boxes}) < len(boxes)
    assert all(box["x"] + box["width"] <= 390 for box in boxes)


def test_bar_of_a_run_is_on_its_jobs_page_on_a_phone(visitor: Visitor) -> None:
    page = visitor.log_in("olga", width=390)
    page.goto(f"{visitor.address}/admin/jobs/job/{STALE_JOB}/change/")
    room = page.locator("#runs .scroll")

    hidden = room.evaluate("each => each.scrollHeight - each.clientHeight")
    bar = page.locator("#runs .axis-cell").first.bounding_box()
    table = page.locator("#runs .lines").bounding_box()

    assert hidden <= 1 and bar and table and bar["width"] > table["width"] * 0.9
