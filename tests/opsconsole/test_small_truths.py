"""Tests of texts that once said a thing twice, wrongly, or to the wrong person."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.utils import flatten, label_for_field
from django.contrib.auth.models import Group, User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django_q.models import Schedule

from alerts import notify, operator_decisions
from alerts.channels.targets import all_targets
from alerts.models import Alert, Channel, SlackPerson
from alerts.notify import Trouble
from alerts.sending import banner
from jobs.admin.dead_letters import letter_badges
from jobs.dead_letters import scan_coverage
from jobs.models import BulkOperation, DeadLetter, DeadLetterQueue, JobEvent, Status
from opsconsole.kit import admin_pages, audit
from opsconsole.kit.identity_models import SignInIdentity
from opsconsole.kit.short_ids import short_id
from opsconsole.kit.titled_admin import TitledAdmin
from opsconsole.templatetags import console
from opsconsole_worker.environment import QueueConfig
from tests import people
from tests.factories import SECOND, beat, dead_letter, dead_letter_queue, failure_group, job
from tests.page_text import spaced

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("receives", "views", "words"),
    [
        (135, 135, "none by workers, 135 by the console"),
        (138, 135, "3 by workers, 135 by the console"),
        (3, 0, "3 by workers"),
        # SQS counts approximately.
        (2, 3, "none by workers, 3 by the console"),
    ],
)
def test_receives_tell_workers_from_the_console(receives: int, views: int, words: str) -> None:
    assert letter_badges.receives(DeadLetter(receive_count=receives, views=views)) == words


@pytest.mark.parametrize(
    ("depth", "seen", "words"),
    [
        (11, 11, "all 11 seen"),
        (10, 11, "the last scan saw all 11"),
        (12, 11, "11 at the last scan, all seen"),
        (0, 0, "empty"),
        (2, 0, "the last scan found none"),
    ],
)
def test_coverage_fits_the_depth_beside_it(depth: int, seen: int, words: str) -> None:
    assert (
        scan_coverage.in_words(
            DeadLetterQueue(visible=depth, in_flight=0, delayed=0, seen=seen, about=seen, full=True)
        )
        == words
    )


@pytest.mark.parametrize(
    ("depth", "seen", "words"),
    [
        (11, 11, "11 in the queue, all 11 seen"),
        (10, 11, "SQS counts about 10, the last scan saw all 11"),
        (12, 11, "12 in the queue, 11 at the last scan, all seen"),
    ],
)
def test_fewer_in_the_queue_than_were_seen_is_told_as_an_approximate_count(
    client: Client, settings: Any, depth: int, seen: int, words: str
) -> None:
    url = "https://sqs.fake/dead"
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", url)}
    dead_letter_queue(url=url, visible=depth, seen=seen, about=seen, full=True)
    client.force_login(people.operator())
    page = client.get(reverse("admin:jobs_deadletter_changelist")).content.decode()
    assert words in page


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status.FAILED, "It is not run again until somebody requeues it"),
        (Status.QUARANTINED, "It is not sent again until somebody releases it"),
    ],
)
def test_job_that_stays_as_it_is_says_so_and_leads_to_its_letters(
    client: Client, status: str, words: str
) -> None:
    stays = job(status=status, error_message="its address is missing\nTraceback")
    letter = dead_letter(stays)
    client.force_login(people.operator())
    page = client.get(reverse("admin:jobs_job_change", args=[stays.pk])).content.decode()
    assert words in page and '<p class="sentence">its address is missing</p>' in page
    [link] = re.findall(r'href="([^"]*)">Show its dead letters', page)
    assert short_id(letter.pk) in client.get(unescape(link)).content.decode()


def test_empty_list_over_a_full_queue_says_that_it_was_not_read(client: Client, settings: Any) -> None:
    url = "https://sqs.fake/dead"
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", url)}
    dead_letter_queue(url=url, visible=58)
    client.force_login(people.operator())
    page = client.get(reverse("admin:jobs_deadletter_changelist")).content.decode()
    assert "SQS counts 58 dead letters, which the console has not read yet." in page


def test_stopped_operation_says_so_once(client: Client) -> None:
    stopped = BulkOperation.objects.create(
        action="requeue",
        scope="all",
        state="stopped",
        actor="operator:olga",
        sentence="Stopped automatically: 3 of the first 5 failed again.",
    )
    client.force_login(people.operator())
    page = client.get(reverse("admin:jobs_bulkoperation_change", args=[stopped.pk])).content.decode()
    assert page.count("Stopped automatically") == 1
    assert "3 of the first 5 failed again." in page


def test_banner_ends_its_sentences_once(settings: Any) -> None:
    settings.SLACK_WEBHOOK_URL, settings.OPSCONSOLE_ALERT_CHANNELS = (
        "https://hooks.slack.com/services/T/B/x",
        {},
    )
    Channel.objects.create(
        name="slack",
        broken_since=Now(),
        broken_why="no_service: set a new URL.",
        addresses={all_targets()["slack"].digest: Channel.BROKEN},
    )
    banner.memory.clear()
    shown = banner.read()
    banner.memory.clear()
    assert shown and ".." not in shown.sentence and shown.nobody


def test_acknowledging_is_offered_until_it_is_done(client: Client) -> None:
    notify.fire("x", Trouble(title="X", severity="warning"))
    alert = Alert.objects.get()
    client.force_login(people.operator())
    address = reverse("admin:alerts_alert_change", args=[alert.pk])
    assert "operation-acknowledge" in client.get(address).content.decode()
    operator_decisions.acknowledge(alert.pk, "olga", "I look.")
    page = client.get(address).content.decode()
    assert "operation-acknowledge" not in page and "operation-resolve" in page


def test_route_is_shown_as_the_documentation_writes_it() -> None:
    assert console.route("/api/v1/queue/<anything:customer_id>") == "/api/v1/queue/{customer_id}"
    assert console.route("/a/<b>/") == "/a/{b}/"


def test_superuser_is_not_told_to_ask_for_a_role(client: Client) -> None:
    address = reverse("admin:auth_user_delete", args=[people.viewer().pk])
    client.force_login(people.operator())
    answer = client.get(address)
    assert answer.status_code == 403
    assert "Your role" not in answer.content.decode()


def test_invited_person_may_log_in(client: Client) -> None:
    client.force_login(people.operator())
    address = reverse("admin:auth_user_add")
    assert 'name="is_staff" ' in client.get(address).content.decode()
    secret = "a-long-new-secret-9"
    client.post(
        address,
        {
            "username": "ines",
            "usable_password": "true",
            "password1": secret,
            "password2": secret,
            "is_staff": "on",
            "reason": "She joins.",
        },
    )
    assert User.objects.get(username="ines").is_staff


def test_person_with_a_role_who_cannot_log_in_is_told_of(client: Client) -> None:
    role = Group.objects.create(name="Night shift")
    ines = User.objects.create_user("ines")
    client.force_login(people.operator())
    address = reverse("admin:auth_user_change", args=[ines.pk])
    form = client.get(address).context["adminform"].form
    values = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    sent = {key: value for key, value in values.items() if value not in (None, False) and key != "password"}
    joined = ines.date_joined
    page = client.post(
        address,
        sent
        | {
            "groups": [role.pk],
            "user_permissions": [],
            "reason": "She joins.",
            "date_joined_0": f"{joined:%Y-%m-%d}",
            "date_joined_1": f"{joined:%H:%M:%S}",
        },
        follow=True,
    ).content.decode()
    assert "The user ines has a role but cannot log in" in page


def test_page_of_a_worker_lists_the_runs_that_it_did(client: Client) -> None:
    beat("w-1")
    done, lost, other = job(status=Status.COMPLETED), job(), job()
    for of, kind, worker, ago in (
        (lost, "claimed", "w-1", 900),
        (done, "claimed", "w-1", 600),
        (other, "claimed", "w-2", 500),
        (done, "completed", "w-1", 300),
    ):
        JobEvent.objects.create(
            job_id=of.pk, kind=kind, run_epoch=1, actor=f"worker:{worker}", at=Now() - ago * SECOND
        )
    address = reverse("admin:jobs_workerheartbeat_change", args=["w-1"])
    client.force_login(people.operator())
    page = client.get(address).content.decode()
    assert page.index(str(done.pk)) < page.index(str(lost.pk))
    assert str(other.pk) not in page
    assert "ran 5 min" in spaced(page) and "No result from this worker" in page
    assert "protocol: one worker per run" in page or "Old kind: it names no epochs" in page
    assert "?worker=w-1" in page

    beat("w-1", lost.pk, 1)
    now = client.get(address).content.decode()
    assert "Its current run" in now and "No result from this worker" not in now
    beat("w-1", lost.pk, 1, ago=3_600 * SECOND)
    assert "Its current run" not in client.get(address).content.decode(), "it is dead"

    only_workers = people.viewer("wim")
    only_workers.user_permissions.remove(*only_workers.user_permissions.filter(codename="view_job"))
    client.force_login(only_workers)
    page = client.get(address).content.decode()
    assert str(done.pk) not in page and "?worker=" not in page


def test_empty_list_and_its_count_have_the_name_of_the_page(client: Client) -> None:
    client.force_login(people.operator())
    page = client.get(reverse("admin:axes_accessattempt_changelist")).content.decode()
    assert "There are no failed logins." in page and "0 failed logins" in page
    assert "access attempt" not in page


def test_counts_of_rows_are_in_lower_case_and_in_our_words() -> None:
    """A list says "1 failed task", not "1 Failed task", and "1 failed login", not "1 access attempt"."""
    pages = admin_pages.site()._registry.values()
    names = {getattr(page, name, "") for page in pages for name in ("one", "many")}
    assert {"failed task", "failed login"} <= names
    assert [name for name in names if re.match("[A-Z][a-z]", name) or "access attempt" in name] == []


def test_labels_of_columns_and_fields_are_in_sentence_case() -> None:
    """Packages whose models we show name their fields in title case, such as "Failed Logins"."""
    labels = {
        (page.opts.label, name): str(label_for_field(name, page.model, page))
        for page in admin_pages.site()._registry.values()
        for name in [*page.list_display, *flatten(page.fields or ())]
        if isinstance(name, str)
    }
    assert ("axes.AccessAttempt", "failed") in labels
    assert [(*where, label) for where, label in labels.items() if re.search(r"\S [A-Z][a-z]", label)] == []


def test_fields_of_a_schedule_say_nothing_of_how_to_fill_them_in(client: Client) -> None:
    client.force_login(people.operator())
    row = Schedule.objects.create(name="opsconsole: sweep", func="opsconsole.cluster.tasks.sweep", minutes=2)
    page = client.get(reverse("admin:django_q_schedule_change", args=[row.pk])).content.decode()
    assert "opsconsole: sweep</h1>" in page and row.func in page
    assert "John" not in page and "Schedule Type" not in page and "kwarg" not in page


@pytest.mark.parametrize(
    "name", ["auth_user_add", "auth_group_add", "ratelimits_policy_add", "auth_user_change"]
)
def test_no_form_offers_to_add_another(client: Client, name: str) -> None:
    user = people.operator()
    client.force_login(user)
    args = [user.pk] if name.endswith("_change") else []
    page = client.get(reverse(f"admin:{name}", args=args)).content.decode()
    assert 'name="_save"' in page and 'name="_addanother"' not in page


@pytest.mark.parametrize("address", ["admin:admin_logentry_changelist", "admin:index"])
def test_audit_names_the_kind_of_an_object_once(client: Client, address: str) -> None:
    user = people.operator()
    operation = BulkOperation.objects.create(action="requeue", scope="chosen", actor="operator:ada")
    audit.log(user, [operation], "Cancelled.", why="wrong jobs")
    client.force_login(user)
    text = " ".join(re.sub("<[^>]*>", " ", client.get(reverse(address)).content.decode()).split())
    assert f"bulk operation {operation.pk} " in text
    assert "bulk operation bulk operation" not in text


def test_names_of_kinds_are_in_sentence_case() -> None:
    """A count such as "21 Scheduled tasks" begins with a capital where the model's package does."""
    pages = [page for page in admin_pages.site()._registry.values() if isinstance(page, TitledAdmin)]
    names = {getattr(page, name, "") for page in pages for name in ("one", "many")}
    assert "scheduled tasks" in names
    assert [name for name in sorted(names) if re.match("[A-Z][a-z]", name)] == []


def test_pages_of_rows_are_called_by_their_names(client: Client) -> None:
    client.force_login(people.operator())
    group = failure_group()
    named: dict[str, tuple[int, str]] = {
        "alerts_slackperson": (
            SlackPerson.objects.create(team="T1", member="U1", name="ada").pk,
            "Person in Slack ada",
        ),
        "opsconsole_signinidentity": (
            SignInIdentity.objects.create(issuer="https://sso.example", subject="s-1", name="ada").pk,
            "Sign-in identity ada",
        ),
        "jobs_failuregroup": (group.pk, group.title),
    }
    for page, (key, name) in named.items():
        shown = client.get(reverse(f"admin:{page}_change", args=[key])).content.decode()
        assert f"<h1>{name}</h1>" in shown and f"&rsaquo; {name}</div>" in shown
