"""Every address, method, role and single permission, with and without the second factor: who may open what, and what it quotes.

The addresses come from the resolver: a new page fails here until ``NEEDS`` says what it asks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.test import Client
from django.urls import Resolver404, resolve, reverse

from jobs.models import Job
from opsconsole.kit.read_only_admin import OnePageAdmin, PageAdmin, ReadOnlyAdmin
from opsconsole.kit.short_ids import short_id
from opsconsole.sign_in import roles
from tests import people
from tests.opsconsole import everything, marked, quick_client
from tests.opsconsole.quick_client import QuickClient, body
from tests.opsconsole.sign_in.test_roles import member

pytestmark = pytest.mark.django_db

# Open to everybody who is signed in as staff: what they quote is checked by its marks.
FOR_STAFF = (
    "index", "overview_live", "search", "logout", "login", "jsi18n", "app_list", "view_on_site", "autocomplete",
    "password_change", "password_change_done", "second_factor", "second_factor_prove", "second_factor_picture",
    "second_factor_remove", "oidc_begin", "oidc_return", "oidc_log_out",
)  # fmt: skip
# Beside the list, the page, the history, and the forms of each model.
NEEDS: dict[str, set[str]] = {name: set() for name in FOR_STAFF} | {
    "audit_export": {"admin.view_logentry"},
    "customer": {"jobs.view_job"},
    "alerts_alert_decide": {"alerts.view_alert", "alerts.acknowledge_alert"},
    "alerts_channel_make": {"alerts.view_channel", "alerts.configure_channel"},
    "alerts_channel_mute": {"alerts.view_channel", "alerts.configure_channel"},
    "alerts_channel_remove": {"alerts.view_channel", "alerts.configure_channel"},
    "alerts_channel_settings": {"alerts.view_channel", "alerts.configure_channel"},
    "alerts_channel_test": {"alerts.view_channel", "alerts.test_channel"},
    "alerts_rule_edit": {"alerts.view_rule", "alerts.change_rule"},
    "auth_user_password_change": {"auth.change_user"},
    "jobs_bulkoperation_decide": {"jobs.view_bulkoperation", "jobs.view_job", "jobs.requeue_job"},
    "jobs_bulkoperation_export": {"jobs.view_bulkoperation", "jobs.view_job", "jobs.view_deadletter"},
    "jobs_bulkoperation_progress": {"jobs.view_bulkoperation"},
    "jobs_deadletter_body": {"jobs.view_deadletter"},
    "jobs_deadletter_check": {"jobs.view_deadletter", "jobs.replay_deadletter"},
    "jobs_deadletter_edit": {"jobs.view_deadletter", "jobs.replay_deadletter", "jobs.edit_deadletter"},
    "jobs_deadletter_operate": {"jobs.view_deadletter", "jobs.replay_deadletter"},
    "jobs_deadletter_queue": {"jobs.view_deadletter", "jobs.replay_deadletter"},
    "jobs_failuregroup_bulk": {"jobs.view_failuregroup", "jobs.view_deadletter", "jobs.replay_deadletter"},
    "jobs_job_enqueue": {"jobs.view_job", "jobs.enqueue_job"},
    "jobs_job_operate": {"jobs.view_job", "jobs.requeue_job"},
    "jobs_job_payload": {"jobs.view_job", "jobs.edit_job"},
    "jobs_deadletter_became": {"jobs.view_deadletter", "jobs.view_job"},
    "jobs_job_became": {"jobs.view_job"},
    "jobs_job_whole": {"jobs.view_job"},
    "jobs_jobevent_whole": {"jobs.view_job"},
    "jobs_recovery_hindsight": {"jobs.view_recoverycontrol"},
    "jobs_runrollup_changelist": {"jobs.view_job"},
    "jobs_runrollup_events": {"jobs.view_job"},
    "jobs_runrollup_runs": {"jobs.view_job"},
    "jobs_workerheartbeat_whole": {"jobs.view_workerheartbeat", "jobs.view_job"},
    "ratelimits_apikey_make": {"ratelimits.view_apikey", "ratelimits.add_apikey"},
    "ratelimits_ratelimithour_client": {"ratelimits.view_ratelimithour"},
    "ratelimits_ratelimithour_requests": {"ratelimits.view_ratelimithour"},
    "ratelimits_ratelimithour_export": {"ratelimits.view_ratelimithour"},
    "ratelimits_ratelimithour_free": {"ratelimits.view_ratelimithour", "ratelimits.free_client"},
}
NOBODY = {"nobody's permission"}
REFUSED = {400, 401, 403, 404, 405}
# The pages that name jobs by their ids to those who may see the page, because its own subject names them: what a message
# says, what was done to a job, what people are alerted to.
NAME_JOBS = {
    "jobs_deadletter": "jobs.view_deadletter",
    "admin_logentry": "admin.view_logentry",
    "audit_export": "admin.view_logentry",
    # What people did last.
    "index": "admin.view_logentry",
    "overview_live": "admin.view_logentry",
    "alerts_alert": "alerts.view_alert",
}
JOB_ID = re.compile(r"\b[0-9a-f]{8}(?:-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})?\b")
MARK = re.compile(r"mark-of-([a-z-]+)-rows")
METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace")
# Somebody who may open nothing tries every method everywhere; the others on every so many pages, which takes long.
SAMPLED = 16
# Of the pages of other models each permission tries every sixth, the next one the next sixth.
SIXTHS = 6


def needs(address: str) -> set[str] | None:
    """Return the permissions that a page asks for; None where it redirects to a page that asks."""
    try:
        name = resolve(address.partition("?")[0]).url_name
    except Resolver404:
        return NOBODY
    if name is None:
        return None
    if name in NEEDS:
        return NEEDS[name]
    for model, of_it in admin.site._registry.items():
        label, word = model._meta.app_label, model._meta.model_name
        if name.startswith(f"{label}_{word}_"):
            return _of_model(name.rpartition("_")[2], of_it, label, str(word))
    raise AssertionError(f"{name} ({address}) is new: say in NEEDS what it asks for")


def _of_model(page: str, of_it: Any, label: str, word: str) -> set[str] | None:
    match page:
        case "changelist":
            return {f"{label}.view_{word}"}
        case "change":
            return None if isinstance(of_it, OnePageAdmin) else {f"{label}.view_{word}"}
        case "history":
            redirects = isinstance(of_it, OnePageAdmin | PageAdmin)
            return None if redirects else {f"{label}.view_{word}", "admin.view_logentry"}
        case "add" | "delete" if isinstance(of_it, ReadOnlyAdmin) or (page, word) in {
            ("delete", "user"),
            ("delete", "policy"),
            ("add", "failuregroup"),
        }:
            return NOBODY
        case "add" if word == "user":
            return {"auth.add_user", "auth.change_user"}
        case "add" | "delete":
            return {f"{label}.{page}_{word}"}
    raise AssertionError(f"{label}_{word}_{page} is new: say what it asks for")


def holds(user: Any, permission: str) -> bool:
    """Tell whether a user has a permission; whoever may change rows also sees them."""
    return any(user.has_perm(each) for each in (permission, permission.replace(".view_", ".change_")))


def pages() -> list[str]:
    """Return an address of every page for people, with the searches that a mark could come from."""
    found: dict[str, str] = {}
    for address in everything.addresses():
        if not address.startswith("/admin/") or address == reverse("admin:logout"):
            continue
        try:
            match = resolve(address)
        except Resolver404:
            continue
        # Those without a name redirect.
        if match.url_name:
            found.setdefault(match.route, address)
    terms = [
        marked.mark("jobs_job"),
        marked.mark("jobs_outbox"),
        marked.mark("ratelimits_apikey"),
        "worker-1",
    ]
    return [*found.values(), *(f"{reverse('search')}?q={term}" for term in terms)]


@pytest.fixture
def _scenery(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:9/services/secret-word"
    settings.OPSCONSOLE_EDIT_DEAD_LETTERS = True
    everything.build()
    known = marked.everything()
    shown = {f"{model._meta.app_label}_{model._meta.model_name}" for model in admin.site._registry}
    assert shown - known == set(), "mark a column of these models"


@pytest.fixture
def _quick(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in quick_client.SETTINGS.items():
        setattr(settings, name, value)
    monkeypatch.setattr("opsconsole.urls.handler403", quick_client.refused, raising=False)


def told(user: Any, address: str, answer: Any, *, judged: bool = True) -> Iterator[str]:
    """Yield what is wrong with an answer: an error, a page for somebody else, or a quotation of a page that is not open."""
    if answer.status_code >= 500:
        yield f"{address}: {answer.status_code}"
        return
    asked = needs(address)
    if judged and asked is not None:
        may = all(holds(user, permission) for permission in asked)
        if may and answer.status_code in {401, 403}:
            yield f"{address}: {answer.status_code}, though {sorted(asked)} are held"
        if not may and answer.status_code not in REFUSED | {301, 302}:
            yield f"{address}: {answer.status_code} without {sorted(asked)}"
    text = body(answer)
    if names_job(user, address, text):
        yield f"{address} names a job"
    for page in {name.replace("-", "_") for name in MARK.findall(text)}:
        label, _, word = page.rpartition("_")
        deletes = address.endswith("/delete/") and user.has_perm(f"{label}.delete_{word}")
        if not (deletes or holds(user, f"{label}.view_{word}") or marked.mark(page) in address):
            yield f"{address} quotes {page}"


def names_job(user: Any, address: str, text: str) -> bool:
    """Tell whether a page names a job to somebody who may see neither jobs nor a page whose subject names it."""
    if holds(user, "jobs.view_job"):
        return False
    name = resolve(address.partition("?")[0]).url_name or ""
    if any(name.startswith(page) and holds(user, needed) for page, needed in NAME_JOBS.items()):
        return False
    return any(found in job_ids() and found not in address for found in JOB_ID.findall(text))


@cache
def job_ids() -> frozenset[str]:
    """Return the ids of all jobs, whole and as lists show them."""
    ids = [str(pk) for pk in Job.objects.values_list("pk", flat=True)]
    return frozenset([*ids, *(short_id(each) for each in ids)])


def walk(user: Any, addresses: list[str]) -> list[str]:
    client = QuickClient(user)
    return [line for address in addresses for line in told(user, address, client.send("get", address))]


def of_shown_models() -> list[Permission]:
    kinds = {(model._meta.app_label, model._meta.model_name) for model in admin.site._registry}
    rows = Permission.objects.select_related("content_type").order_by("pk")
    return [row for row in rows if (row.content_type.app_label, row.content_type.model) in kinds]


@pytest.mark.usefixtures("_scenery", "_quick")
def test_everybody_opens_their_pages_and_sees_nothing_of_others() -> None:
    """Walk with single permissions, then as each role and with every method. One scenery serves both."""
    addresses = pages()
    wrong = [*by_single_permission(addresses), *by_role(addresses)]
    assert wrong == [], chr(10).join(wrong)


def by_single_permission(addresses: list[str]) -> list[str]:
    user = User.objects.create_user("paul", password="!", is_staff=True)
    wrong, quoted = [], set()
    for number, permission in enumerate(of_shown_models()):
        user.user_permissions.set([permission])
        paul = User.objects.get(pk=user.pk)
        name = f"{permission.content_type.app_label}.{permission.codename}"
        sees = permission.codename.startswith("view_")
        own = reverse("admin:index") + "/".join((*permission.content_type.natural_key(), ""))
        close = [address for address in addresses if address.startswith(own)]
        others = [address for address in addresses[number % SIXTHS :: SIXTHS] if address not in close]
        for_staff = [address for address in addresses if needs(address) == set() and address not in others]
        near = [*close, *others, *for_staff] if sees else close
        wrong += [f"{name}: {line}" for line in walk(paul, near)]
        if sees:
            list_of = f"admin:{permission.content_type.app_label}_{permission.codename.removeprefix('view_')}_changelist"
            shown = MARK.findall(body(QuickClient(paul).send("get", reverse(list_of))))
            quoted |= {name.replace("-", "_") for name in shown}

    # The marks are where people look, so that their absence elsewhere means something.
    assert len(quoted) > 20, sorted(quoted)
    return wrong


def by_role(addresses: list[str]) -> list[str]:
    nobody = User.objects.create_user("nobody", is_staff=True)
    outsider = User.objects.create_user("outsider")
    people_of = [member(role, role.lower()) for role in (roles.VIEWER, roles.OPERATOR, roles.ADMINISTRATOR)]
    wrong = []
    everybody: list[User | AnonymousUser] = [*people_of, nobody, outsider, AnonymousUser()]
    for user in everybody:
        client = QuickClient(user)
        for place, address in enumerate(addresses):
            asked = needs(address)
            # What all roles may open, the first of them opened.
            again = user in people_of[1:] and all(".view_" in permission for permission in asked or ())
            sampled = place % SAMPLED == 0
            for method in METHODS if user == nobody or sampled else ("get",) * (not again):
                answer = client.send(method, address)
                judged = method == "get" and getattr(user, "is_staff", False)
                found = told(user, address, answer, judged=judged)
                wrong += [f"{user} {method}: {line}" for line in found]
                if not getattr(user, "is_staff", False) and answer.status_code == 200 and asked:
                    wrong.append(f"{user} {method} {address}: open")
    return wrong


@pytest.mark.usefixtures("_scenery")
def test_without_the_required_second_factor_no_page_opens(settings: Any) -> None:
    """Sign in by the password alone, through everything that a request passes."""
    settings.OPSCONSOLE_SECOND_FACTOR = "required"
    client = Client(raise_request_exception=False)
    own = {reverse(f"second_factor{name}") for name in ("", "_prove", "_picture", "_remove")}
    for user in (member(roles.ADMINISTRATOR, "ada"), people.operator("root")):
        client.force_login(user)
        for address in pages():
            if address in own or address == reverse("admin:login"):
                continue
            answer = client.get(address)
            shut = answer.status_code in REFUSED or (
                answer.status_code in {301, 302}
                and (
                    answer["Location"].startswith(("/admin/login/", "/admin/second-factor/"))
                    or needs(address) is None
                )
            )
            assert shut or resolve(address).url_name == "jsi18n", (address, answer.status_code)
            assert not MARK.search(body(answer)), address
