"""Every page on every screen: nothing sticks out, nobody is kept out, nothing is blocked by the policy."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from alerts.models import Alert
from jobs.models import Sweep
from opsconsole import schedules
from ratelimits.models import ApiKey
from tests.journeys import alerting, scenery
from tests.journeys.scenery import STALE_JOB, job_that_waits_in_vain
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)

WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


def paths() -> list[str]:
    """The console's own pages; the forms for users and groups are Django's."""
    return [
        "",
        "jobs/job/",
        "jobs/job/?stale=any",
        "jobs/job/?message=used_up",
        "jobs/job/?q=nobody",
        f"jobs/job/{STALE_JOB}/change/",
        f"jobs/job/{job_that_waits_in_vain().pk}/change/",
        f"jobs/job/operate/requeue/?id={STALE_JOB}",
        "jobs/workerheartbeat/",
        "jobs/workerheartbeat/legacy-node-01/change/",
        "jobs/sweep/",
        f"jobs/sweep/{Sweep.objects.earliest('pk').pk}/change/",
        "jobs/outbox/",
        "jobs/queuestate/",
        "jobs/recoverycontrol/",
        "jobs/recoverycontrol/hindsight/",
        "opsconsole/pause/",
        "admin/logentry/",
        "search/?q=CUST-04218",
        "search/?q=nothing-at-all",
        "second-factor/",
        "alerts/alert/",
        "alerts/alert/?state=all",
        *(f"alerts/alert/{alert.pk}/change/" for alert in Alert.objects.all()),
        f"alerts/alert/decide/snooze/?id={Alert.objects.open().latest('pk').pk}",
        "alerts/rule/",
        "alerts/rule/stale_jobs_day/change/",
        "alerts/channel/",
        "alerts/channel/slack/change/",
        "alerts/monitor/",
        "jobs/bulkoperation/",
        *(f"jobs/bulkoperation/{number}/change/" for number in scenery.bulk_operations().values()),
        "django_q/schedule/",
        "django_q/failure/",
        "auth/user/",
        "ratelimits/ratelimithour/",
        "ratelimits/ratelimithour/?period=week&policy=standard",
        "ratelimits/ratelimithour/?q=203.0.113.7",
        "ratelimits/ratelimithour/client/?key=address:203.0.113.7",
        "ratelimits/apikey/",
        "ratelimits/apikey/make/",
        f"ratelimits/apikey/{ApiKey.objects.get(name='crm').pk}/change/",
        "axes/accessattempt/",
        "../api/docs",
    ]


def test_no_page_sticks_out_or_keeps_anybody_out(
    visitor: Visitor, any_screen: tuple[int, str], settings: Any
) -> None:
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:9/services/secret-word"
    schedules.sync()
    alerting.build()
    width, scheme = any_screen
    page = visitor.log_in("olga", width=width, scheme=scheme)
    found = []
    for path in paths():
        response = page.goto(f"{visitor.address}/admin/{path}")
        assert response is not None
        assert response.status == 200, path
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found.append(f"{path}: wider than the screen")
        found += [f"{path}: {line}" for line in violations(visitor, page)]
    assert found == []


def test_the_login_page(visitor: Visitor, any_screen: tuple[int, str]) -> None:
    width, scheme = any_screen
    page = visitor.stranger(width=width, scheme=scheme)
    page.goto(f"{visitor.address}/admin/login/")

    assert violations(visitor, page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def violations(visitor: Visitor, page: Page) -> list[str]:
    """What axe finds. It measures with inline styles of its own, which the policy blocks and the browser reports."""
    before = list(visitor.complaints)
    result = Axe().run(page, options=WCAG)
    visitor.complaints[:] = before
    return [
        f"{rule['id']}: {node['html'][:120]} ({node['failureSummary']})"
        for rule in result.response["violations"]
        for node in rule["nodes"]
    ]
