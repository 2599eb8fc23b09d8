"""Tests of the whole site: navigation, banner, and permissions."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client, RequestFactory
from django.urls import reverse

from alerts import notify
from alerts.models import Alert
from alerts.sending import banner
from jobs.models import DeadLetter, Job, QueueState, RecoveryControl, Status, Sweep, WorkerHeartbeat
from opsconsole import overview
from opsconsole.kit import audit
from opsconsole.navigation import NAVIGATION
from opsconsole_worker.environment import QueueConfig
from tests import people
from tests.factories import SECOND, beat, dead_letter, failure_group, job, letter, run

pytestmark = pytest.mark.django_db

INDEX = reverse("admin:index")
HOUR = timedelta(hours=1)
MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
# Operators edit these directly; other tests check within which limits.
EDITED = {"ratelimits.Policy", "jobs.FailureGroup"}
OURS = [model for model in MODELS if model._meta.app_label != "auth" and model._meta.label not in EDITED]


@pytest.fixture(autouse=True)
def _fresh_figures(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/queue", None)}
    overview.memory.clear()
    banner.memory.clear()


def changelist(model: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def something_everywhere() -> None:
    made = run(age=2 * HOUR, silent=HOUR)
    letter(made, last_error="slow")
    beat("alive")
    WorkerHeartbeat.objects.create(worker_id="old", last_heartbeat=Now() - 120 * SECOND)
    Sweep.objects.create(trigger="t", mode="armed", started_at=Now() - HOUR)
    Sweep.objects.create(trigger="t", mode="armed")
    for mode in Sweep.Mode:
        Sweep.objects.create(trigger="t", mode=mode, finished_at=Now(), found=1, requeued=1)
    Sweep.objects.create(trigger="t", mode="armed", finished_at=Now() + 90 * SECOND, errors=1)
    QueueState.objects.create(name="never")
    QueueState.objects.create(name="read", read_at=Now(), visibility_timeout_seconds=300)
    QueueState.objects.create(name="unread", read_at=Now(), error="AccessDenied")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_every_list_opens(operator: Client, model: Any) -> None:
    something_everywhere()

    assert operator.get(changelist(model)).status_code == 200


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_every_own_row_opens_read_only(operator: Client, model: Any) -> None:
    something_everywhere()
    for row in model._default_manager.all():
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[row.pk])
        assert operator.get(url, follow=True).status_code == 200
        assert operator.post(url, {"name": "x"}).status_code in {302, 403, 405}
        assert model._default_manager.filter(pk=row.pk).exists()


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_own_rows_cannot_be_added_or_deleted(operator: Client, model: Any) -> None:
    request = RequestFactory().get("/")
    request.user = User.objects.get()
    page = admin.site._registry[model]

    assert not page.has_add_permission(request)
    assert not page.has_delete_permission(request)
    assert not page.has_change_permission(request)
    assert "delete_selected" not in page.get_actions(request)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_every_action_names_its_permission(model: Any) -> None:
    page: Any = admin.site._registry[model]
    own = [action if callable(action) else getattr(page, action) for action in page.actions or ()]
    for action in (*own, *dict(page.admin_site.actions).values()):
        permissions = getattr(action, "allowed_permissions", ())
        assert permissions, f"{model._meta.label}: {action} is offered to every viewer"
        for permission in permissions:
            assert callable(getattr(page, f"has_{permission}_permission"))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_viewer_is_offered_no_action(model: Any) -> None:
    request = RequestFactory().get("/")
    request.user = people.viewer()

    assert admin.site._registry[model].get_actions(request) == {}


def test_navigation_names_models_that_exist() -> None:
    registered = {model._meta.label for model in admin.site._registry}

    assert {name for _, names in NAVIGATION for name in names} <= registered


def test_navigation_is_grouped_and_marks_current_page(operator: Client) -> None:
    response = operator.get(changelist(Job))
    groups = response.context["available_apps"]

    names = [group["name"] for group in groups]
    assert names == [
        *("Overview", "Alerts", "Jobs", "Dead letters", "Workers & queues", "Limits", "Controls", "Settings"),
    ]
    assert [model["name"] for model in groups[2]["models"]] == ["Jobs", "Trends", "Bulk operations"]
    assert [group["name"] for group in groups if group["current"]] == ["Jobs"]
    assert [model["name"] for group in groups for model in group["models"] if model["current"]] == ["Jobs"]


def test_entry_lists_its_pages_while_one_of_them_is_open(operator: Client) -> None:
    entries = sidebar(operator.get(INDEX))
    assert [name for _, name in entries][:3] == ["Overview", "Alerts", "Jobs"]
    assert len(entries) == 8

    within = sidebar(operator.get(changelist(Sweep)))
    assert [name for _, name in within if name in {"Workers", "Queues", "Sweeps", "Policies"}] == [
        "Workers",
        "Queues",
        "Sweeps",
    ]
    reached = {url for entry, _ in entries for url, _ in sidebar(operator.get(entry))}
    pages = {
        page["admin_url"]
        for entry in operator.get(INDEX).context["available_apps"]
        for page in entry["models"]
    }
    assert pages <= reached


def test_each_page_of_an_area_shows_the_tabs_of_all_with_itself_marked(operator: Client) -> None:
    entries = operator.get(INDEX).context["available_apps"]
    areas = [[page["admin_url"] for page in entry["models"]] for entry in entries if len(entry["models"]) > 1]
    assert sum(map(len, areas)) > 25
    shown = {url: tabs(operator.get(url)) for area in areas for url in area}

    wanted = {url: [(other, other == url) for other in area] for area in areas for url in area}
    assert {url: found for url, found in shown.items() if found != wanted[url]} == {}


def test_page_below_a_tab_and_page_without_neighbours_show_no_tabs(operator: Client) -> None:
    assert tabs(operator.get(INDEX)) == []
    assert tabs(operator.get(reverse("admin:jobs_job_change", args=[job().pk]))) == []


def test_history_without_a_change_says_why_and_where_changes_are(operator: Client) -> None:
    group = failure_group()
    page = operator.get(reverse("admin:jobs_failuregroup_history", args=[group.pk])).content.decode()
    assert "The audit has no change of it by a person." in page
    assert "What was done to its dead letters is in the ledger on the page of each letter." in page
    for address in (
        reverse("admin:admin_logentry_changelist"),
        reverse("admin:jobs_failuregroup_change", args=[group.pk]),
    ):
        assert f'<a href="{address}">' in page


def test_history_of_a_row_begins_with_the_newest_line(operator: Client) -> None:
    user = people.viewer()
    for did in ("First.", "Second."):
        audit.log(user, [user], did, why="for a test")
    page = operator.get(reverse("admin:auth_user_history", args=[user.pk])).content.decode()

    assert 0 < page.index("Second.") < page.index("First.")


def tabs(response: Any) -> list[tuple[str, bool]]:
    """Return the addresses of the tabs of a page, and of which it is."""
    [links] = re.findall(r'<nav class="tabs".*?</nav>', response.content.decode(), re.DOTALL) or [""]
    return [
        (url, bool(current))
        for url, current in re.findall(r'<a href="([^"]+)"( aria-current="page")?>', links)
    ]


def test_navigation_counts_what_waits_for_a_decision(operator: Client) -> None:
    assert 'class="number"' not in operator.get(changelist(Job)).content.decode()
    for number, state in enumerate(("firing", "firing", "firing", "acknowledged")):
        Alert.objects.create(
            fingerprint=f"x:{number}", rule="x", title="One", severity="warning", state=state
        )
    overview.memory.clear()
    page = operator.get(changelist(Job)).content.decode()
    assert 'title="3 firing">3<' in page
    [url] = set(re.findall(r'<a href="([^"]+)"[^>]*>Alerts <span class="number"', page))
    assert operator.get(url).context["cl"].result_count == 3


@pytest.mark.parametrize("overview_was_read", [True, False])
def test_navigation_counts_the_letters_that_its_list_shows(operator: Client, overview_was_read: bool) -> None:
    for state in DeadLetter.State:
        dead_letter(state=state)
    overview.memory.clear()
    if overview_was_read:
        operator.get(INDEX)
    page = operator.get(changelist(DeadLetter))

    listed = page.context["cl"].result_count
    assert listed == len(DeadLetter.OPEN)
    assert f'title="{listed} undecided or being replayed">{listed}<' in page.content.decode()


def test_controls_lead_to_every_switch(operator: Client) -> None:
    page = operator.get(reverse("admin:opsconsole_pause_changelist")).content.decode()

    assert "Automatic recovery" in page
    assert "Checks of dead letters" in page
    for name in ("jobs_recoverycontrol", "ratelimits_limitercontrol", "django_q_schedule"):
        assert f'<a href="{reverse(f"admin:{name}_changelist")}">' in page.partition("More controls")[2]


def sidebar(response: Any) -> list[tuple[str, str]]:
    """Return the links of the navigation to pages: their addresses and names."""
    page = response.content.decode()
    links = page[page.index('id="console-nav"') :].partition("</nav>")[0].partition('class="account"')[0]
    return [
        (url, html.unescape(name).strip())
        for url, name in re.findall(r'<a href="([^"]+)"[^>]*>([^<]+)<', links)
    ]


def test_forbidden_links_are_hidden(client: Client) -> None:
    user = people.viewer()
    user.user_permissions.clear()
    client.force_login(user)

    assert [group["name"] for group in client.get(INDEX).context["available_apps"]] == ["Overview"]


def test_app_has_no_page_of_its_own(operator: Client) -> None:
    assert operator.get(reverse("admin:app_list", args=["jobs"])).headers["Location"] == INDEX


def test_overview_says_all_is_well_in_one_sentence(operator: Client, settings: Any) -> None:
    settings.SLACK_WEBHOOK_URL = "https://hooks.slack.com/services/T/B/x"
    banner.memory.clear()
    Sweep.objects.create(trigger="t", mode="armed", finished_at=Now())
    notify.monitor_ok("sweep", timedelta(minutes=2))

    assert "Nothing needs your attention." in operator.get(INDEX).content.decode()


def test_overview_links_to_problems(operator: Client) -> None:
    Sweep.objects.create(trigger="t", mode="armed", finished_at=Now())
    beat("alive")
    run(age=2 * HOUR, silent=HOUR)
    job(status=Status.QUARANTINED)

    page = operator.get(INDEX).content.decode()

    assert "1 run lost its worker." in page
    assert f"{changelist(Job)}?stale=any" in page
    assert f"{changelist(Job)}?status=quarantined" in page


def test_observing_banner_is_on_every_page(operator: Client) -> None:
    RecoveryControl.objects.update(mode=RecoveryControl.Mode.OBSERVE)
    run(age=2 * HOUR, silent=HOUR)

    for model in (Job, Sweep, User):
        page = operator.get(changelist(model)).content.decode()
        assert "Recovery only observes: 1 run lost its worker." in page
        assert changelist(RecoveryControl) in page


def test_hold_banner_is_on_every_page_until_hold_ends(operator: Client, settings: Any) -> None:
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1
    run(age=2 * HOUR, silent=HOUR)
    RecoveryControl.objects.update(mode=RecoveryControl.Mode.ARMED, hold_until=Now() + HOUR)
    assert "Recovery is held" in operator.get(changelist(Job)).content.decode()

    RecoveryControl.objects.update(hold_until=Now() - HOUR)
    assert "Recovery is held" not in operator.get(changelist(Job)).content.decode()


def test_armed_console_has_no_banner(operator: Client) -> None:
    RecoveryControl.objects.update(mode=RecoveryControl.Mode.ARMED, hold_until=None)

    assert 'class="banner' not in operator.get(changelist(Job)).content.decode()


def test_anonymous_users_see_only_login(client: Client) -> None:
    for model in MODELS:
        assert client.get(changelist(model)).headers["Location"].startswith(reverse("admin:login"))
    page = client.get(reverse("admin:login")).content.decode()
    assert "Recovery only observes" not in page
    assert changelist(Job) not in page


def test_pages_open_while_the_shared_cache_is_away(operator: Client, settings: Any) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "opsconsole.kit.json_cache.JSONCache",
            "LOCATION": "redis://127.0.0.1:1/0",
        }
    }

    assert operator.get(INDEX).status_code == 200
    assert operator.get(changelist(Job)).status_code == 200


def test_overview_shows_recent_user_actions(operator: Client) -> None:
    made = job()
    audit.log(User.objects.get(), [made], "Requeued.", why="the <b>customer</b> called")

    page = operator.get(INDEX).content.decode()

    assert "“the &lt;b&gt;customer&lt;/b&gt; called”" in page
    assert reverse("admin:jobs_job_change", args=[made.pk]) in page
    assert LogEntry.objects.get().object_id == str(made.pk)


def test_csp_forbids_inline_code_and_pages_have_none(operator: Client) -> None:
    something_everywhere()
    for url in [INDEX, *(changelist(model) for model in MODELS)]:
        response = operator.get(url)
        assert "'unsafe-inline'" not in response.headers["Content-Security-Policy"]
        page = response.content.decode()
        assert "<style" not in page
        assert " style=" not in page
        assert " onclick=" not in page
        assert "<script>" not in page


@pytest.mark.parametrize(
    ("state", "names"), [("alive", {"alive"}), ("silent", {"old"}), ("dead", {"worker-1"})]
)
def test_workers_by_state(operator: Client, state: str, names: set[str]) -> None:
    something_everywhere()

    response = operator.get(changelist(WorkerHeartbeat), {"state": state})

    assert {row.pk for row in response.context["cl"].result_list} == names
    assert state.capitalize() in response.content.decode()


def test_workers_of_the_old_kind_are_marked(operator: Client) -> None:
    something_everywhere()

    page = operator.get(changelist(WorkerHeartbeat)).content.decode()

    assert "Old kind: no epochs" in page.partition(">old<")[2]


def test_sweep_list_shows_outcomes(operator: Client) -> None:
    something_everywhere()

    page = operator.get(changelist(Sweep)).content.decode()

    for words in (
        "Did not finish",
        "Running",
        "Recovered",
        "Observed only",
        "Held: mass staleness",
        "With errors",
    ):
        assert words in page


def test_queue_list_shows_known_depths(operator: Client) -> None:
    something_everywhere()

    page = operator.get(changelist(QueueState)).content.decode()

    for words in ("Never read", "Unknown", "AccessDenied", "5 min"):
        assert words in page


def test_messages_by_state(operator: Client) -> None:
    from jobs.models import Outbox

    waiting = letter(job())
    letter(job(), state=Outbox.State.SENT)

    response = operator.get(changelist(Outbox), {"state": "waiting"})

    assert [row.pk for row in response.context["cl"].result_list] == [waiting.pk]
    assert not operator.get(changelist(Outbox), {"state": "nonsense"}).context["cl"].result_list


def test_live_fragment_reports_end_of_session_without_redirect(client: Client) -> None:
    live = reverse("admin:overview_live")
    assert client.get(live).status_code == 401

    nobody = people.viewer()
    client.force_login(nobody)
    answer = client.get(live)
    assert answer.status_code == 200
    assert "<html" not in answer.content.decode()
    assert "no-store" in answer.headers["Cache-Control"]

    nobody.user_permissions.clear()
    answer = client.get(live)
    assert "You don’t have permission to see any figures" in answer.content.decode()
    assert "<dd>" not in answer.content.decode()


def test_page_titles_match_navigation(operator: Client) -> None:
    entries = operator.get(INDEX).context["available_apps"]
    links = {page["admin_url"]: page["name"] for entry in entries for page in entry["models"]}
    assert len(links) > 25
    titled = {}
    for url, name in links.items():
        page = operator.get(url).content.decode()
        heading = re.search(r"<h1[^>]*>\s*([^<]+?)\s*<", page)
        crumbs = re.search(r'class="breadcrumbs">(.*?)</div>', page, re.DOTALL)
        last = crumbs[1].rpartition("&rsaquo;")[2].strip() if crumbs else name
        title = re.search(r"<title>([^|<]+)", page)
        titled[name] = (heading and heading[1], last, title and title[1].strip())
    assert {name: found for name, found in titled.items() if found != (html.escape(name),) * 3} == {}


@pytest.mark.parametrize(
    "wanted", ["", "//elsewhere.example/", "https://elsewhere.example/", "javascript:alert(1)"]
)
def test_log_in_leads_to_the_overview_where_the_wanted_page_is_none_of_ours(
    client: Client, wanted: str
) -> None:
    """Django's own default is /accounts/profile/, which is not found here."""
    User.objects.create_superuser("olga", password="correct-horse-battery")
    form = {"username": "olga", "password": "correct-horse-battery", "next": wanted}
    answer = client.post(reverse("admin:login"), form)
    assert (answer.status_code, answer.headers["Location"]) == (302, INDEX)
