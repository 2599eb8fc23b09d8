"""Tests of error pages: plain words, the console's design, and a link that leads on."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client, RequestFactory
from django.urls import reverse
from django.views import defaults

from tests import people

pytestmark = pytest.mark.django_db


def check(answer: Any, status: int, title: str) -> None:
    page = answer.content.decode()
    assert answer.status_code == status
    assert f"<h1>{title}</h1>" in page
    assert f"<title>{title} | Ops console</title>" in page
    assert f'href="{reverse("admin:index")}"' in page
    assert "<script" not in page and "style=" not in page


def test_not_found(client: Client) -> None:
    client.force_login(people.viewer())

    check(client.get("/no/such/page"), 404, "Page not found")


def test_forbidden(client: Client) -> None:
    client.force_login(people.viewer())

    check(client.get(reverse("admin:jobs_job_operate", args=["requeue"])), 403, "You do not have permission")


def test_csrf_failure() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(people.operator())

    check(client.post(reverse("admin:logout")), 403, "This form has expired")


def test_unknown_host(client: Client) -> None:
    check(client.get("/", HTTP_HOST="elsewhere.invalid"), 400, "This request cannot be processed")


def test_form_that_is_too_large(client: Client) -> None:
    client.force_login(people.operator())

    answer = client.post(reverse("admin:jobs_job_enqueue"), {"payload": "x" * 3_000_000})

    check(answer, 413, "This is too much at once")
    assert "at most 2,621,440 bytes" in answer.text and "host name" not in answer.text


def test_server_error() -> None:
    """Render the page without session, user or database, as any of them may have failed."""
    check(defaults.server_error(RequestFactory().get("/")), 500, "Something went wrong")
