"""Tests of text that PostgreSQL cannot store, in every part of a request: refused or cleaned, no error."""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from axes.models import AccessAttempt
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from jobs.models import Job, JobEvent
from opsconsole.kit.models import Pause
from opsconsole.kit.problems import MEDIA_TYPE
from opsconsole.logs import LineFormatter
from ratelimits.keys import api_keys
from ratelimits.models import ApiKey
from tests import people
from tests.factories import run
from tests.keys import key, sent
from tests.opsconsole import everything
from tests.opsconsole.walking import one_post
from tests.sending import send

pytestmark = pytest.mark.django_db

NUL, LONE_SURROGATE = "%00", "%ED%A0%80"
PARAMETERS = (
    "q",
    "p",
    "o",
    "all",
    "e",
    "id",
    "period",
    "policy",
    "key",
    "hash",
    "minutes",
    "outcome",
    "after",
    "next",
)
SWITCHES = "/admin/opsconsole/pause/"


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


@pytest.fixture
def root(client: Client, settings: Any) -> Client:
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:9/services/secret-word"
    everything.build()
    client.force_login(people.operator("root"))
    return client


def lists_and_parameters(root: Client) -> Iterator[tuple[str, str]]:
    """Yield each list of the console with each parameter that it reads."""
    for model, of_it in admin.site._registry.items():
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        request = root.get(address).wsgi_request
        filters = (
            of_it.get_changelist_instance(request).filter_specs if of_it.get_list_filter(request) else []
        )
        names = [name for each in filters for name in each.expected_parameters() if name]
        yield from ((address, name) for name in [*names, *PARAMETERS])


@pytest.mark.parametrize("text", [NUL, LONE_SURROGATE])
def test_lists_ignore_it_as_filter(root: Client, text: str) -> None:
    asked = [f"{address}?{name}={text}" for address, name in lists_and_parameters(root)]

    wrong = [
        (address, answer.status_code) for address in asked if (answer := root.get(address)).status_code != 400
    ]

    assert len(asked) > 350
    assert wrong == []


@pytest.mark.parametrize("text", [NUL, LONE_SURROGATE, "a%FFb"])
def test_every_address_with_it_is_refused(root: Client, text: str) -> None:
    asked = everything.addresses_with(text)
    wrong = [
        (address, answer.status_code)
        for address in asked
        for answer in (root.get(address), root.post(address, {"reason": "x"}))
        if answer.status_code != 400
    ]

    assert len(asked) > 100
    assert wrong == []


def test_no_form_fails(root: Client) -> None:
    wrong = []
    for address in everything.addresses():
        if address == reverse("admin:logout"):
            continue
        for form in one_post(address):
            typed = {f"{name}\x00": _with_nul(value) for name, value in form.items()}
            if (answer := root.post(address, typed)).status_code >= 500:
                wrong.append((address, answer.status_code))

    assert wrong == []


def _with_nul(value: Any) -> Any:
    return [f"\x00{each}\x00" for each in value] if isinstance(value, list) else f"\x00{value}\x00"


def test_text_of_a_form_is_cleaned_instead_of_refused(client: Client) -> None:
    client.force_login(people.operator())

    send(
        client,
        SWITCHES,
        {"name": "recovery", "decision": "pause", "recovery-minutes": "30", "recovery-reason": "de\x00ploy"},
    )

    assert Pause.objects.get().reason == "deploy"

    fields = {
        "key_id": "5744199b-0ba7-4508-ae31-ee7ec045327b",
        "name": "sh\x00op",
        "scopes": ["worker"],
        "policy": "api-key",
        "reason": "x",
    }
    client.post(reverse("admin:ratelimits_apikey_make"), fields)

    assert ApiKey.objects.get().name == "shop"


def test_url_with_it_is_refused_with_page_for_browsers(client: Client) -> None:
    answer = client.get(f"/admin/jobs/job/?queue={NUL}")

    assert answer.status_code == 400
    assert "<h1>This request cannot be processed</h1>" in answer.content.decode()


@pytest.mark.parametrize(
    "address",
    [
        f"/api/queue/a{NUL}b",
        f"/api/queue/a{LONE_SURROGATE}",
        f"/api/queue/a?x={NUL}",
        f"/api/queue/a?x={LONE_SURROGATE}",
    ],
)
def test_url_with_it_is_refused_with_problem_document_for_api(client: Client, address: str) -> None:
    answer = client.get(address)

    assert (answer.status_code, answer.headers["Content-Type"]) == (400, MEDIA_TYPE)


def test_url_with_it_is_one_line_in_the_log(client: Client) -> None:
    """A scanner sends thousands of them."""
    lines: list[str] = []
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    handler.emit = lambda record: lines.append(handler.format(record))  # type: ignore[method-assign]  # keeps the lines
    logger = logging.getLogger("django.request")
    logger.addHandler(handler)
    try:
        client.get(f"/admin/jobs/job/?queue={NUL}")
    finally:
        logger.removeHandler(handler)

    [line] = lines
    assert "The address has a NUL character or invalid UTF-8" in line
    assert "Traceback" not in line


@pytest.mark.parametrize(
    "address",
    [
        "/admin/?q=100%",
        "/admin/?q=%C3%BC",
        "/admin/?q=%F0%9F%98%80",
        "/admin/?q=a+b%2B",
        "/admin/%C3%BC/",
        "/admin/5%25/",
    ],
)
def test_other_urls_pass(client: Client, address: str) -> None:
    assert client.get(address).status_code == 302


# --- headers and cookies ---


def test_failed_login_is_recorded_with_any_user_agent(client: Client) -> None:
    answer = client.post(
        "/admin/login/",
        {"username": "mallory", "password": "guess"},
        headers={"user-agent": "curl\x00/8", "accept": "text/\x00html"},
    )

    assert answer.status_code == 200
    assert AccessAttempt.objects.get().username == "mallory"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("address", "headers"),
    [
        (f"/admin/jobs/job/{NUL}/change/", {}),
        (f"/admin/jobs/job/?queue={NUL}", {}),
        (f"/admin/jobs/job/?queue={LONE_SURROGATE}", {}),
        (f"/admin/jobs/job/{LONE_SURROGATE}/change/", {}),
    ],
)
def test_real_server_refuses_nul_in_a_url(live_server: Any, address: str, headers: dict[str, str]) -> None:
    assert _status(live_server, address, headers) == 400


@pytest.mark.django_db(transaction=True)
def test_real_server_reads_no_nul_from_a_quoted_cookie(live_server: Any) -> None:
    cookie = r'sessionid="aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\000"'

    assert _status(live_server, "/admin/", {"Cookie": cookie}) == 302


def _status(live_server: Any, address: str, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(str(urlsplit(live_server.url).netloc), timeout=20)
    try:
        connection.request("GET", address, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


# --- documents of the API ---


@pytest.fixture
def worker(client: Client) -> Any:
    api_keys.clear_cache()
    headers = sent(key("workers", ["worker", "jobs:write", "limits:check"])[1])

    def post(path: str, **body: Any) -> Any:
        document = json.dumps({"worker_id": "node-1"} | body)
        return client.post(f"/api/{path}", document, content_type="application/json", headers=headers)

    return post


def test_worker_error_truncated_inside_character_is_stored(worker: Any) -> None:
    job = run(worker="node-1")

    answer = worker(f"jobs/{job.pk}/fail", run_epoch=job.run_epoch, error="no \ud83d\x00", retryable=False)

    assert answer.status_code == 200
    assert Job.objects.get(pk=job.pk).error_message == "no ?"


def test_note_is_cleaned(worker: Any) -> None:
    job = run(worker="node-1")

    answer = worker(f"jobs/{job.pk}/progress", run_epoch=job.run_epoch, note="12 \udc80", reference="b\x00-9")

    assert answer.status_code == 200
    details = JobEvent.objects.get(job_id=job.pk, kind=JobEvent.Kind.PROGRESS).details
    assert (details["note"], details["reference"]) == ("12 ?", "b-9")


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
def test_names_are_refused(worker: Any, text: str) -> None:
    job = run(worker="node-1")
    named: list[tuple[str, dict[str, Any]]] = [
        ("jobs", {"customer_id": text, "package_size": 1}),
        ("jobs", {"customer_id": "a", "package_size": 1, "priority": text}),
        ("jobs", {"customer_id": "a", "package_size": 1, "queue": text}),
        ("jobs", {"customer_id": "a", "package_size": 1, "payload": {text: text}}),
        (f"jobs/{job.pk}/claim", {"dead_letter_id": text}),
        (f"jobs/{job.pk}/beat", {"run_epoch": 1, "hostname": text}),
        (f"jobs/{job.pk}/complete", {"run_epoch": 1, "details": {"a": text}}),
        ("workers/beat", {"worker_id": text}),
        ("limits/check", {"policy": "standard", "identity": text}),
        ("limits/check", {"policy": text, "identity": "a"}),
    ]

    answers = {(path, str(body)): worker(path, **body).status_code for path, body in named}

    assert {status for status in answers.values() if status not in {404, 422}} == set(), answers


def test_api_key_with_it_is_invalid(client: Client) -> None:
    answer = client.post(
        "/api/workers/beat", "{}", content_type="application/json", headers={"x-api-key": "ock_\x00"}
    )

    assert answer.status_code == 401
    assert not ApiKey.objects.exists()
