"""Tests of forms that arrive after the end of their session: nothing that was written is lost, and no other site is quoted."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from jobs.models import Job, Status
from tests import people
from tests.factories import job

pytestmark = pytest.mark.django_db

OURS: dict[str, Any] = {"HTTP_ORIGIN": "http://testserver"}
WRITTEN = {
    "reason": "the <address> is mended",
    "deploy-reason": "deploy 7",
    "password": "s3cret",
    "plan": "x" * 30,
}


@pytest.fixture
def operate() -> str:
    return reverse("admin:jobs_job_operate", args=["requeue"])


@pytest.fixture
def expired() -> Client:
    """Log somebody in, and end the session."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(people.operator())
    client.get("/admin/")
    Session.objects.all().delete()
    return client


def post(client: Client, address: str, **headers: Any) -> Any:
    token = client.get(reverse("admin:login")).context["csrf_token"]
    return client.post(address, WRITTEN | {"csrfmiddlewaretoken": str(token)}, **headers)


def test_what_was_written_is_shown_and_the_form_is_found_again(expired: Client, operate: str) -> None:
    failed = job(status=Status.FAILED)
    answer = post(expired, operate, HTTP_REFERER=f"http://testserver{operate}?id={failed.pk}", **OURS)
    page = answer.content.decode()
    assert answer.status_code == 403
    assert "<h1>Your session has ended</h1>" in page and "Nothing was changed." in page
    assert "the &lt;address&gt; is mended" in page and "deploy 7" in page
    assert "s3cret" not in page and WRITTEN["plan"] not in page
    assert f'href="{reverse("admin:login")}?next={operate}%3Fid%3D{failed.pk}" target="_blank"' in page
    assert "no-store" in answer["Cache-Control"]
    assert Job.objects.get().status == Status.FAILED


@pytest.mark.parametrize(
    "headers", [{}, {"HTTP_ORIGIN": "https://elsewhere.example"}, {"HTTP_ORIGIN": "null"}]
)
def test_what_another_site_sends_is_not_quoted(
    expired: Client, operate: str, headers: dict[str, Any]
) -> None:
    answer = post(expired, operate, **headers)
    assert b"mended" not in answer.content
    assert answer.status_code == (302 if not headers else 403)
    expired.force_login(User.objects.get(username="olga"))
    answer = expired.post(operate, WRITTEN, **headers)
    assert answer.status_code == 403 and b"This form has expired" in answer.content
    assert b"mended" not in answer.content


def test_form_of_an_earlier_session_is_shown_too(operate: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(people.operator())
    answer = client.post(operate, WRITTEN, HTTP_REFERER="http://testserver/admin/x/?id=1&b=2", **OURS)
    page = answer.content.decode()
    assert answer.status_code == 403 and "<h1>This form has expired</h1>" in page
    assert "the &lt;address&gt; is mended" in page and "s3cret" not in page
    assert 'href="/admin/x/?id=1&amp;b=2"' in page


@pytest.mark.parametrize(
    "referer", ["https://elsewhere.example/x", "http://testserver//elsewhere.example/", ""]
)
def test_form_is_never_looked_for_elsewhere(expired: Client, operate: str, referer: str) -> None:
    page = post(expired, operate, HTTP_REFERER=referer, **OURS).content.decode()
    assert f'?next={operate}"' in page or "?next=//elsewhere" not in page
    assert "https://elsewhere" not in page


def test_log_out_after_the_end_is_no_lost_form(expired: Client) -> None:
    answer = post(expired, reverse("admin:logout"), **OURS)
    assert answer.status_code == 302
