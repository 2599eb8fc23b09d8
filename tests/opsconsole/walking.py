"""Requests to every URL with GET and POST, every form and action, and the checks of each response."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.contrib import admin
from django.test import Client
from django.urls import reverse

from jobs.models import Job
from tests.opsconsole import everything, forms
from tests.opsconsole.forms import Form

FORM = re.compile(r"<form\b([^>]*)>(.*?)</form>", re.DOTALL | re.IGNORECASE)
BUTTON = re.compile(
    r"<(?:button|input)\b(?![^>]*type=\"(?:button|hidden|search|text|checkbox)\")[^>]*>", re.IGNORECASE
)
LINK = re.compile(r'<a\b[^>]*\bhref="(/admin/[^"#]*)')
# Pages that read which decision was made, and all decisions that there are.
DECIDES = re.compile(r"/recoverycontrol/|/pause/")
DECISIONS = ("disarm", "hold", "release", "off", "pause", "resume", "edit")
# Pages of the user's own account.
OWN = ("/admin/logout/", "/admin/password_change/", "/admin/second-factor/")


def posts(address: str) -> list[dict[str, Any]]:
    """Return the data to send to a URL: a form with every field, and each action of its list."""
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
    found = [form]
    if DECIDES.search(address):
        found += [form | {"decision": decision} for decision in DECISIONS]
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


def walk(
    client: Client,
    addresses: list[str],
    *,
    sent: Any = posts,
    also: Any = lambda address, answer: (),
    root: Client | None = None,
) -> list[str]:
    """Request all of these, including the forms that ``root`` is offered.

    Return the violations: server errors, and whatever ``also`` complains about.
    """
    wrong = []
    for address in addresses:
        if address == reverse("admin:logout"):
            continue
        answer = client.get(address)
        tried = [("GET", answer)]
        wrong += [f"GET {address}: {line}" for line in also(address, answer)]
        for form in sent(address):
            answer = client.post(address, form)
            tried.append((f"POST {form.get('action', form['decision'])}", answer))
            if answer.status_code == 405:  # whatever is sent
                break
        if root and not address.startswith(OWN):
            tried += [each for form in forms_at(root, address) for each in send(client, form)]
        wrong += [f"{how} {address}: {each.status_code}" for how, each in tried if each.status_code >= 500]
    return wrong


class Watch:
    """Names the tables that changed since the last look, except those in ``apart_from``."""

    def __init__(self, apart_from: set[str] = everything.BOOKKEEPING) -> None:
        self.apart_from = apart_from
        self.held = everything.held(apart_from=apart_from)

    def changes(self) -> list[str]:
        before, self.held = self.held, everything.held(apart_from=self.apart_from)
        return [f"{table} was changed" for table, was in before.items() if self.held[table] != was]


def forms_at(client: Client, address: str) -> list[Form]:
    """Return the forms on the page, except those of the user's own account."""
    return forms_of(address, client.get(address))


def forms_of(address: str, answer: Any) -> list[Form]:
    if not is_page(answer):
        return []
    return [form for form in forms.on(address, answer.content.decode()) if not form.address.startswith(OWN)]


def send(client: Client, form: Form) -> Iterator[tuple[str, Any]]:
    """Send a form with each button and confirm the next page; yield each request with its response."""
    for way in form.ways():
        answer = client.post(form.address, way)
        yield f"POST {form.address}", answer
        for next_one in forms_of(form.address, answer):
            for next_way in next_one.ways():
                yield f"POST {form.address}, then {next_one.address}", client.post(next_one.address, next_way)


def is_page(answer: Any) -> bool:
    return "text/html" in answer.headers.get("Content-Type", "") and not answer.streaming


def temptations(answer: Any) -> list[str]:
    """Return buttons and operations on a page that a viewer may not use."""
    if not is_page(answer):
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


def refusing_links(client: Client) -> list[str]:
    """Return the links on this user's pages to pages that this user may not open."""
    links: dict[str, str] = {}
    for address in everything.addresses():
        if not address.startswith("/admin/") or address == reverse("admin:logout"):
            continue
        answer = client.get(address)
        if answer.status_code == 200 and not answer.streaming:
            for link in map(html.unescape, LINK.findall(answer.content.decode())):
                links.setdefault(urlsplit(link).path, f"{link} on {address}")
    return [
        f"refused: {where}"
        for where in links.values()
        if client.get(where.partition(" on ")[0]).status_code in {403, 404}
    ]
