"""Every address, by GET and by POST, with every action: as a viewer and as nobody."""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from jobs.models import Job
from opsconsole import roles
from tests.opsconsole import everything
from tests.opsconsole.test_roles import member

pytestmark = pytest.mark.django_db

FORM = re.compile(r"<form\b([^>]*)>(.*?)</form>", re.DOTALL | re.IGNORECASE)
BUTTON = re.compile(
    r"<(?:button|input)\b(?![^>]*type=\"(?:button|hidden|search|text|checkbox)\")[^>]*>", re.IGNORECASE
)
LINK = re.compile(r'<a\b[^>]*\bhref="(/admin/[^"#]*)')
# The visitor's own affairs.
OWN = ("/admin/logout/", "/admin/password_change/", "/admin/second-factor/")


@pytest.fixture(autouse=True)
def _scenery(settings: Any) -> None:
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:9/services/secret-word"
    everything.build()


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


def posts(address: str) -> list[dict[str, Any]]:
    """What is sent to an address: a form that has something for every field, and each action of its list."""
    form = {
        "reason": "because",
        "plan": "x",
        "decision": "arm",
        "confirm": "yes",
        "post": "yes",
        "name": "mallory",
        "username": "mallory",
        "mode": "off",
        "threshold": "1",
        "limit": "1",
        "note": "x",
        "token": "000000",
        "id": [str(Job.objects.earliest("created_at").pk)],
    }
    decisions = ("disarm", "hold", "release", "off", "pause", "resume", "edit")
    found = [form, *(form | {"decision": decision} for decision in decisions)]
    for model, of_it in admin.site._registry.items():
        if address == reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"):
            chosen = [
                str(pk) for pk in model._default_manager.order_by("pk").values_list("pk", flat=True)[:3]
            ]
            names = [action if isinstance(action, str) else action.__name__ for action in of_it.actions or ()]
            found += [
                form | {"action": name, "_selected_action": chosen, "index": "0", "select_across": "1"}
                for name in (*names, "delete_selected")
            ]
    return found if len(found) > 1 else [form]


def one_post(address: str) -> list[dict[str, Any]]:
    return posts(address)[-1:]


def walk(client: Client, *, forms: Any = posts, also: Any = lambda address, answer: ()) -> list[str]:
    """Try everything; returns what should not have been: errors, and whatever else is complained about."""
    wrong = []
    for address in everything.addresses():
        if address == reverse("admin:logout"):
            continue
        answer = client.get(address)
        tried = [("GET", answer)]
        wrong += [f"GET {address}: {line}" for line in also(address, answer)]
        tried += [
            (f"POST {form.get('action', form['decision'])}", client.post(address, form))
            for form in forms(address)
        ]
        wrong += [f"{how} {address}: {each.status_code}" for how, each in tried if each.status_code >= 500]
    return wrong


class Watch:
    """Names whatever a request changed in the database."""

    def __init__(self) -> None:
        self.held = everything.held()

    def changes(self) -> list[str]:
        before, self.held = self.held, everything.held()
        return [f"{table} was changed" for table, was in before.items() if self.held[table] != was]


def temptations(answer: Any) -> list[str]:
    """Buttons and operations on a page that a viewer may not press."""
    if "text/html" not in answer.headers.get("Content-Type", "") or answer.streaming:
        return []
    page = answer.content.decode()
    found = []
    for attributes, inside in FORM.findall(page):
        if (
            'method="post"' in attributes
            and BUTTON.search(inside)
            and not any(own in attributes for own in OWN)
        ):
            found.append(f"a form to send: {attributes.strip()}")
    if re.search(r'<a\b[^>]*class="operation[ "]', page):
        found.append("an operation is offered")
    return found


def test_a_viewer_tries_everything_and_changes_nothing(client: Client) -> None:
    client.force_login(member(roles.VIEWER, "vera"))
    client.get(reverse("admin:index"))
    watch = Watch()

    assert walk(client, also=lambda address, answer: watch.changes()) + watch.changes() == []


def test_a_viewer_sees_no_button_and_no_link_that_refuses_him(client: Client) -> None:
    client.force_login(member(roles.VIEWER, "vera"))
    links: dict[str, str] = {}
    wrong = []
    for address in everything.addresses():
        if not address.startswith("/admin/") or address == reverse("admin:logout"):
            continue
        answer = client.get(address)
        if not address.startswith(OWN):
            wrong += [f"{address}: {found}" for found in temptations(answer)]
        if answer.status_code == 200 and not answer.streaming:
            for link in map(html.unescape, LINK.findall(answer.content.decode())):
                links.setdefault(urlsplit(link).path, f"{link} on {address}")
    wrong += [
        f"refused: {where}"
        for path, where in links.items()
        if client.get(where.partition(" on ")[0]).status_code in {403, 404}
    ]

    assert wrong == [], chr(10).join(wrong)


@pytest.mark.parametrize("action", ["requeue", "cancel", "release"])
def test_a_viewer_is_refused_by_name(client: Client, action: str) -> None:
    client.force_login(member(roles.VIEWER, "vera"))
    address = reverse("admin:jobs_job_operate", args=[action])

    assert (
        client.get(address).status_code
        == client.post(address, {"plan": "x", "reason": "x"}).status_code
        == 403
    )


def test_nobody_is_led_to_the_log_in_from_everywhere(client: Client) -> None:
    watch = Watch()

    def let_in(address: str, answer: Any) -> list[str]:
        public = address in {
            "/",
            "/api/",
            "/api/docs",
            "/api/openapi.json",
            "/admin/jsi18n/",
            reverse("admin:login"),
        }
        # Where a customer's jobs stand is told without a key; it is limited by address.
        public = public or address.startswith("/api/queue/")
        shut = answer.status_code in {401, 403, 404, 405} or (
            answer.status_code in {301, 302} and "/admin/login/" in answer.headers["Location"]
        )
        return watch.changes() + ([] if public or shut else [f"answered {answer.status_code}"])

    assert walk(client, forms=one_post, also=let_in) + watch.changes() == []
