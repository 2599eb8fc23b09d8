"""Tests of the API's routes about jobs: for customers, producers and workers in other languages."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.db.models import Value
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext

from jobs.intake import idempotency, queue_position
from jobs.models import IdempotencyKey, Job, JobEvent, Outbox, RunProgress, Status, WorkerHeartbeat
from jobs.runs.restart import restart
from opsconsole.kit import row_locks
from opsconsole.kit.kept_changes import OutcomeUnknown
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import lifecycle
from ratelimits.keys import api_keys
from tests.factories import SECOND, job, run
from tests.keys import key, sent
from tests.other_sessions import other_session
from tests.racing import race

pytestmark = pytest.mark.django_db

ODD_IDS = [
    "nobody",
    "TEST-001/../TEST-002",
    "a/b",
    "%0A",
    "%20",
    "'; DROP TABLE jobs; --",
    "😀",
    "..%2f..%2fetc",
    "x" * 10_000,
    "5744199b-0ba7-4508-ae31-ee7ec045327b",
    "-1",
]


@pytest.fixture(autouse=True)
def surroundings(settings: Any) -> None:
    settings.QUEUES = {
        name: QueueConfig(name, f"http://127.0.0.1:1/0/{name}", None) for name in ("default", "bulk")
    }
    api_keys.clear_cache()


@pytest.fixture
def worker(client: Client) -> Worker:
    return Worker(client)


class Worker:
    """A worker that uses only JSON over HTTP and none of this project's Python code."""

    def __init__(self, client: Client, name: str = "node-1") -> None:
        self.client = client
        self.name = name
        self.headers = sent(key(f"workers of {name}", ["worker"])[1])

    def post(self, path: str, **body: Any) -> Any:
        return self.client.post(
            f"/api/{path}",
            json.dumps({"worker_id": self.name} | body),
            content_type="application/json",
            headers=self.headers,
        )


def nested(levels: int) -> list[Any]:
    document: list[Any] = []
    for _ in range(levels - 1):
        document = [document]
    return document


def queue(client: Client, customer_id: str) -> Any:
    response = client.get(f"/api/queue/{customer_id}")
    assert response.status_code == 200, response.content
    return response.json()["jobs"]


def produce(client: Client, text: str, body: Any = None, **headers: str) -> Any:
    asked = {"customer_id": "TEST-001", "package_size": 50} if body is None else body
    return client.post(
        "/api/jobs", json.dumps(asked), content_type="application/json", headers=sent(text) | headers
    )


# --- for customers ---


def test_customer_sees_positions_of_their_jobs(client: Client) -> None:
    hour = timedelta(hours=1)
    job(customer_id="other", updated_at=Now() - hour)
    job(customer_id="other", updated_at=Now() - hour, queue="bulk")
    job(created_at=Now() - hour, updated_at=Now() - 60 * SECOND)
    job(customer_id="other", updated_at=Now())
    running = run(
        age=hour, silent=SECOND, created_at=Now() - 2 * hour, error_message="secret", payload={"a": 1}
    )

    waiting, in_progress = queue(client, "TEST-001")

    assert (waiting["status"], waiting["position"], waiting["position_over"]) == ("pending", 2, None)
    assert (in_progress["status"], in_progress["position"]) == ("in_progress", None)
    assert in_progress["id"] == str(running.pk)
    assert in_progress["started_at"] is not None
    assert set(waiting) == {
        "id",
        "status",
        "position",
        "position_over",
        "created_at",
        "started_at",
        "completed_at",
        "not_before",
    }


def test_response_contains_nothing_internal(client: Client) -> None:
    run(age=SECOND, silent=SECOND, worker="worker-7", error_message="boom", payload={"iban": "DE02"}, epoch=3)
    job(status=Status.QUARANTINED, recovery_count=3)
    job(status="archived-by-us")

    told = client.get("/api/queue/TEST-001").content.decode()

    for inner in (
        "worker-7",
        "boom",
        "DE02",
        "epoch",
        "quarantined",
        "recover",
        "archived-by-us",
        "TEST-001",
    ):
        assert inner not in told
    assert {each["status"] for each in json.loads(told)["jobs"]} == {"in_progress", "on_hold", "other"}


@pytest.mark.parametrize("customer_id", ODD_IDS)
def test_unusual_customer_id_has_empty_list(client: Client, customer_id: str) -> None:
    job(customer_id="TEST-001")

    assert queue(client, customer_id) == []


def test_slash_at_the_end_is_a_part_of_the_id_or_refused(client: Client) -> None:
    job(customer_id="TEST-001")
    theirs = job(customer_id="TEST-002/")

    assert [each["id"] for each in queue(client, "TEST-002/")] == [str(theirs.pk)]
    answer = client.get("/api/queue/TEST-001/")
    assert (answer.status_code, answer.json()["reason"]) == (404, "unknown_customer")
    assert "leave it out" in answer.json()["detail"]


@pytest.mark.parametrize("kind", ["uuid", "integer"])
def test_customer_id_refused_by_column_has_empty_list(client: Client, kind: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE jobs ALTER COLUMN customer_id TYPE {kind} USING NULL::{kind}")

    for customer_id in ODD_IDS:
        assert queue(client, customer_id) == []
    assert queue(client, "9" * 30) == []


def test_id_may_contain_a_slash(client: Client) -> None:
    job(customer_id="eu/4711")

    assert len(queue(client, "eu/4711")) == 1
    assert len(queue(client, "eu%2F4711")) == 1


def test_queue_position_count_is_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_position, "COUNTED_TO", 3)
    for number in range(3):
        job(customer_id="other", updated_at=Now() - (60 + number) * SECOND)
    job(updated_at=Now() - 30 * SECOND)

    (far,) = queue(client, "TEST-001")
    assert (far["position"], far["position_over"]) == (None, 3)

    Job.objects.filter(customer_id="other").earliest("updated_at").delete()
    (near,) = queue(client, "TEST-001")
    assert (near["position"], near["position_over"]) == (3, None)


def ahead_of(client: Client) -> tuple[Any, Any]:
    (place,) = queue(client, "TEST-001")
    return place["position"], place["position_over"]


def test_scheduled_job_has_no_position_but_a_time(client: Client) -> None:
    job(updated_at=Now() - 60 * SECOND, not_before=Now() + timedelta(hours=1))

    (later,) = queue(client, "TEST-001")
    assert (later["status"], later["position"], later["position_over"]) == ("pending", None, None)
    assert later["not_before"] is not None

    Job.objects.update(not_before=Now() - SECOND)
    (due,) = queue(client, "TEST-001")
    assert (due["position"], due["position_over"], due["not_before"]) == (1, None, None)


def test_only_jobs_that_may_start_are_ahead(client: Client) -> None:
    """Each waits since the later of its last change and the time that it was scheduled for."""
    hour = timedelta(hours=1)
    mine = job(updated_at=Now() - 60 * SECOND)
    for unchanged, due, is_ahead in (
        (hour, -hour, False),
        (hour, 30 * SECOND, False),
        (hour, 90 * SECOND, True),
        (90 * SECOND, hour, True),
        (30 * SECOND, hour, False),
    ):
        before = ahead_of(client)[0]
        job(customer_id="other", updated_at=Now() - unchanged, not_before=Now() - due)
        assert ahead_of(client) == (before + is_ahead, None), (unchanged, due)

    Job.objects.filter(pk=mine.pk).update(updated_at=Now() - 2 * hour, not_before=Now() - 45 * SECOND)
    assert ahead_of(client) == (3, None)


def test_scheduled_jobs_between_others_do_not_end_the_counting(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_position, "COUNTED_TO", 3)
    job(customer_id="other", updated_at=Now() - 90 * SECOND)
    for _ in range(4):
        job(customer_id="later", updated_at=Now() - 60 * SECOND, not_before=Now() + timedelta(hours=1))
    mine = job(updated_at=Now() - 30 * SECOND)

    assert ahead_of(client) == (2, None)

    # A job that a wrong clock has changed in the future may start, behind all others and before no scheduled one.
    Job.objects.filter(pk=mine.pk).update(updated_at=Now() + timedelta(hours=2))
    assert ahead_of(client) == (2, None)


def test_job_list_ends_and_takes_one_query(client: Client) -> None:
    for _ in range(queue_position.MOST_JOBS + 2):
        job()
    with CaptureQueriesContext(connection) as seen:
        assert len(queue(client, "TEST-001")) == queue_position.MOST_JOBS
    assert len([each for each in seen if "SELECT" in each["sql"] and '"jobs"' in each["sql"]]) == 1


def test_queue_position_is_counted_by_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO jobs (customer_id, package_size, updated_at, queue)"
            " SELECT 'c' || n, 1, now() - n * interval '1 second', 'q' || n % 50 FROM generate_series(1, 5000) n"
        )
        cursor.execute("ANALYZE jobs")
    plan = queue_position._with_those_ahead(Job.objects.filter(customer_id="c7")).explain()

    assert "opsconsole_jobs_since_idx" in plan
    assert "opsconsole_jobs_customer_idx" in plan


# --- for producers ---


def test_job_is_accepted(client: Client) -> None:
    text = key("shop")[1]
    body = {
        "customer_id": "TEST-001",
        "package_size": 50,
        "priority": "enterprise",
        "payload": {"business": "Café Blüte", "sizes": [1, 2.5, None]},
        "queue": "bulk",
        "not_before": "2030-01-31T12:00:00Z",
        "deadline_at": "2030-01-31T14:00:00+01:00",
    }
    response = produce(client, text, body)

    assert response.status_code == 201, response.content
    made = Job.objects.get(pk=response.json()["id"])
    assert (made.customer_id, made.package_size, made.priority_level) == ("TEST-001", 50, "enterprise")
    assert (made.payload, made.queue) == (body["payload"], "bulk")
    assert made.not_before is not None and made.not_before.isoformat() == "2030-01-31T12:00:00+00:00"
    assert JobEvent.objects.get(job_id=made.pk).actor == "api:shop"
    assert Outbox.objects.get(job_id=made.pk).queue == "bulk"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "body.customer_id"),
        ({"customer_id": "a", "package_size": "50"}, "body.package_size"),
        ({"customer_id": "a", "package_size": True}, "body.package_size"),
        ({"customer_id": "a", "package_size": 0}, "body.package_size"),
        ({"customer_id": "a", "package_size": 2**31}, "body.package_size"),
        ({"customer_id": "a\0b", "package_size": 1}, "body.customer_id"),
        ({"customer_id": 7, "package_size": 1}, "body.customer_id"),
        ({"customer_id": "a", "package_size": 1, "colour": "red"}, "body.colour"),
        ({"customer_id": "a", "package_size": 1, "not_before": 1}, "body.not_before"),
        ({"customer_id": "a", "package_size": 1, "not_before": "2030-01-31T12:00:00"}, "body.not_before"),
        ({"customer_id": "a", "package_size": 1, "payload": []}, "body.payload"),
        ([], "body"),
    ],
)
def test_invalid_field_is_named(client: Client, body: Any, where: str) -> None:
    response = produce(client, key()[1], body)

    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"
    assert where in [error["where"] for error in response.json()["errors"]]
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"customer_id": "  "}, "customer_id must be non-empty text"),
        ({"queue": "fast"}, "There is no queue named 'fast'. Known queues: bulk, default."),
        ({"payload": {"a": "\0"}}, "payload can't be stored: it has a NUL character."),
        ({"payload": {"a": nested(100)}}, "The body is nested more than 100 levels deep."),
        ({"payload": {"a": nested(900)}}, "The body is nested more than 100 levels deep."),
        ({"payload": {"a": "\ud800"}}, "payload can't be stored: it has a lone surrogate"),
        ({"payload": {"a": "x" * 1_100_000}}, "at most 1048576 are accepted."),
        ({"not_before": "0001-01-01T00:00:00+12:00"}, "not_before must lie between the years 1970 and 9998."),
        ({"deadline_at": "9999-12-31T23:59:59-12:00"}, "deadline_at must lie between the years"),
        (
            {"deadline_at": "2020-01-01T00:00:00Z"},
            "deadline_at must lie in the future: 2020-01-01T00:00:00+00:00 had",
        ),
        (
            {"not_before": "2098-01-02T00:00:00Z", "deadline_at": "2098-01-02T01:00:00+02:00"},
            "deadline_at must lie after not_before",
        ),
        ({"customer_id": "\u200b"}, "customer_id must be non-empty text without control"),
        ({"customer_id": "a\x7fb"}, "customer_id must be non-empty text without control"),
    ],
)
def test_unstorable_values_are_refused_with_message(
    client: Client, fields: dict[str, Any], sentence: str
) -> None:
    response = produce(client, key()[1], {"customer_id": "a", "package_size": 1} | fields)

    assert response.status_code == 422
    assert sentence in response.json()["detail"]
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    "body", ["{", "nonsense", '{"customer_id": NaN}', "[" * 50, "1" * 5_000, b"\xff\xfe"]
)
def test_invalid_json_is_refused(client: Client, body: Any) -> None:
    response = client.post("/api/jobs", body, content_type="application/json", headers=sent(key()[1]))

    assert response.status_code == 400
    assert response.json()["detail"] == "The body is not JSON."


@pytest.mark.parametrize(
    "body",
    [
        '{"customer_id": "a", "package_size": 1, "package_size": 50}',
        '{"customer_id": "a", "package_size": 1, "payload": {"package_size": 1, "package_size": 50}}',
    ],
)
def test_body_with_key_twice_is_refused_by_its_name(client: Client, body: str) -> None:
    response = client.post("/api/jobs", body, content_type="application/json", headers=sent(key()[1]))

    assert response.status_code == 422
    assert (
        response.json()["detail"] == 'Body: the key "package_size" is twice in one object. Nothing was done.'
    )
    assert not Job.objects.exists()


def test_body_that_is_nested_too_deeply_is_refused(client: Client) -> None:
    response = client.post(
        "/api/jobs", "[" * 100_000, content_type="application/json", headers=sent(key()[1])
    )

    assert response.status_code == 422
    assert response.json()["detail"] == "The body is nested more than 100 levels deep."


def test_number_that_overflows_to_infinity_is_refused(client: Client) -> None:
    body = '{"customer_id": "a", "package_size": 1, "payload": {"n": 1e999}}'
    response = client.post("/api/jobs", body, content_type="application/json", headers=sent(key()[1]))

    assert response.status_code == 422


def test_oversized_body_is_refused(client: Client) -> None:
    response = client.post(
        "/api/jobs", b"x" * 3_000_000, content_type="application/json", headers=sent(key()[1])
    )
    assert response.status_code == 413
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("state", "reason", "sentence"),
    [
        ("40P01", "deadlock", "ended a deadlock"),
        ("40001", "conflict", "changed the same rows"),
        ("57014", "too_slow", "took too long"),
    ],
)
def test_database_that_answered_is_not_said_to_be_away(
    client: Client, state: str, reason: str, sentence: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE FUNCTION end_it() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$;"
            " CREATE TRIGGER end_it BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION end_it()"
        )

    response = produce(client, key()[1])

    assert (response.status_code, response.json()["reason"]) == (503, reason)
    assert sentence in response.json()["detail"]
    assert "Nothing was changed. Try again" in response.json()["detail"]
    assert response.headers["Retry-After"]


# --- repeated requests ---


def test_repeated_request_with_idempotency_key_creates_one_job(client: Client) -> None:
    text = key()[1]
    first = produce(client, text, **{"Idempotency-Key": "order-1"})
    Job.objects.update(status=Status.COMPLETED)
    # JSON that differs only in key order and spacing counts as the same request.
    again = client.post(
        "/api/jobs",
        '{ "package_size": 50, "customer_id" : "TEST-001" }',
        content_type="application/json",
        headers=sent(text) | {"Idempotency-Key": "order-1"},
    )

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert Job.objects.count() == Outbox.objects.count() == 1


def test_idempotency_key_reused_for_other_request_is_refused(client: Client) -> None:
    text = key()[1]
    produce(client, text, **{"Idempotency-Key": "order-1"})

    response = produce(
        client, text, {"customer_id": "TEST-002", "package_size": 50}, **{"Idempotency-Key": "order-1"}
    )

    assert response.status_code == 422
    assert "was already used for another request" in response.json()["detail"]
    assert Job.objects.count() == 1


def test_repeated_request_gets_its_answer_after_the_deadline_of_its_job(client: Client) -> None:
    text = key()[1]
    asked = {"customer_id": "a", "package_size": 1, "deadline_at": "2098-01-01T00:00:00Z"}
    first = produce(client, text, asked, **{"Idempotency-Key": "1"})
    with patch("jobs.intake.enqueue._now", return_value=datetime(2099, 1, 1, tzinfo=UTC)):
        again = produce(client, text, asked, **{"Idempotency-Key": "1"})
        refused = produce(client, text, asked, **{"Idempotency-Key": "2"})

    assert (again.status_code, again.json()) == (201, first.json())
    assert refused.status_code == 422
    assert Job.objects.count() == 1


def test_idempotency_keys_are_separate_per_caller(client: Client) -> None:
    for name in ("shop", "crm"):
        assert produce(client, key(name)[1], **{"Idempotency-Key": "1"}).status_code == 201

    assert Job.objects.count() == 2


def test_idempotency_key_expires_after_a_day(client: Client) -> None:
    text = key()[1]
    produce(client, text, **{"Idempotency-Key": "1"})
    IdempotencyKey.objects.update(created_at=Now() - timedelta(hours=24, seconds=1))

    again = produce(client, text, **{"Idempotency-Key": "1"})

    assert "Idempotent-Replayed" not in again.headers
    assert Job.objects.count() == 2
    assert IdempotencyKey.objects.count() == 1


def test_refused_request_is_not_stored_for_its_key(client: Client) -> None:
    text = key()[1]
    bad = produce(
        client, text, {"customer_id": "a", "package_size": 1, "queue": "x"}, **{"Idempotency-Key": "1"}
    )
    good = produce(client, text, **{"Idempotency-Key": "1"})

    assert (bad.status_code, good.status_code) == (422, 201)


@pytest.mark.parametrize("value", ["", "x" * 256, "a b", "é"])
def test_invalid_idempotency_key_is_refused(client: Client, value: str) -> None:
    assert produce(client, key()[1], **{"Idempotency-Key": value}).status_code == 422
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_with_same_key_create_one_job() -> None:
    text = key()[1]
    ask = [lambda: produce(Client(), text, **{"Idempotency-Key": "order-1"})] * 8

    answers = race(ask)

    assert [answer.status_code for answer in answers] == [201] * 8
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert Job.objects.count() == Outbox.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_second_request_waits_and_succeeds_when_first_fails() -> None:
    def fails() -> Any:
        raise KeyboardInterrupt

    def attempt(do: Any) -> Any:
        try:
            return idempotency.once("c", "k", {"a": 1}, do)
        except KeyboardInterrupt:
            return None

    answers = race([lambda: attempt(fails), lambda: attempt(lambda: {"done": True})])

    # In either order, the failed request stores no answer.
    assert {answer.fields["done"] for answer in answers if answer} == {True}
    assert IdempotencyKey.objects.get().answer == {"done": True}


# --- for workers ---


def test_package_size_that_is_no_number_is_returned_unchanged(worker: Worker) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs ALTER package_size TYPE text")
    sizes = {"50": 50, "50.00": 50, "1.5": "1.5", "many": "many"}
    for text, answered in sizes.items():
        waiting = job()
        Job.objects.filter(pk=waiting.pk).update(package_size=Value(text))
        claimed = worker.post(f"jobs/{waiting.pk}/claim", run_epoch=1)
        assert (claimed.status_code, claimed.json()["package_size"]) == (200, answered)


def test_worker_can_use_http_only(worker: Worker) -> None:
    waiting = job(payload={"directories": ["maps"]})

    assert worker.post("workers/beat", hostname="host-2", pid=7).status_code == 204
    row = WorkerHeartbeat.objects.get()
    assert (row.worker_id, row.hostname, row.pid, row.current_job_id) == ("node-1", "host-2", 7, None)

    claimed = worker.post(f"jobs/{waiting.pk}/claim", run_epoch=1)
    assert claimed.status_code == 200, claimed.content
    mine = claimed.json()
    assert mine == {
        "job_id": str(waiting.pk),
        "run_epoch": 1,
        "customer_id": "TEST-001",
        "package_size": 50,
        "priority": "starter",
        "payload": {"directories": ["maps"]},
        "attempts": 0,
        "last_progress": None,
        "beat_every_seconds": 15,
    }
    path = f"jobs/{mine['job_id']}"
    assert worker.post(f"{path}/beat", run_epoch=1).json() == {"verdict": "continue"}
    noted = worker.post(f"{path}/progress", run_epoch=1, note="submitted to maps", reference="maps/1")
    assert noted.json() == {"verdict": "continue"}
    assert worker.post(f"{path}/complete", run_epoch=1, details={"submitted": 1}).json() == {
        "outcome": "completed"
    }
    # A worker that lost the connection before the answer arrived can safely repeat the request.
    assert worker.post(f"{path}/complete", run_epoch=1).json() == {"outcome": "completed"}
    assert worker.post("workers/leave").status_code == 204

    assert Job.objects.get().status == Status.COMPLETED
    assert not WorkerHeartbeat.objects.exists()
    kinds = JobEvent.objects.order_by("id").values_list("kind", "actor")
    assert list(kinds) == [(kind, "worker:node-1") for kind in ("claimed", "progress", "completed")]


def test_progress_is_stored_and_received_with_the_next_claim(client: Client, worker: Worker) -> None:
    waiting = job()
    path = f"jobs/{waiting.pk}"
    worker.post(f"{path}/claim", run_epoch=1)

    for percent, text in [(10, "begun"), (40.5, "12 of 30 <directories>")]:
        told = worker.post(f"{path}/percent", run_epoch=1, percent=percent, text=text)
        assert (told.status_code, told.json()) == (200, {"verdict": "continue"})

    restart(Job.objects.all())
    late = worker.post(f"{path}/percent", run_epoch=1, percent=99)
    assert (late.status_code, late.json()) == (200, {"verdict": "superseded"})
    last = Worker(client, "node-2").post(f"{path}/claim", run_epoch=2).json()["last_progress"]
    assert {name: last[name] for name in ("percent", "text", "run_epoch")} == {
        "percent": 40.5,
        "text": "12 of 30 <directories>",
        "run_epoch": 1,
    }
    assert RunProgress.objects.count() == 1


@pytest.mark.parametrize(
    "said",
    [
        {"percent": -0.1},
        {"percent": 100.5},
        {"percent": "40"},
        {"percent": True},
        {"percent": None},
        {"percent": None, "text": "  "},
        {"percent": 1, "text": "x" * 501},
        {"text": "nothing about percent"},
    ],
    ids=str,
)
def test_what_is_no_progress_is_refused(worker: Worker, said: dict[str, Any]) -> None:
    waiting = job()
    worker.post(f"jobs/{waiting.pk}/claim", run_epoch=1)

    assert worker.post(f"jobs/{waiting.pk}/percent", run_epoch=1, **said).status_code == 422
    assert not RunProgress.objects.exists()


def test_progress_without_percent_needs_words_only(worker: Worker) -> None:
    waiting = job()
    worker.post(f"jobs/{waiting.pk}/claim", run_epoch=1)

    assert (
        worker.post(f"jobs/{waiting.pk}/percent", run_epoch=1, percent=None, text="counting").status_code
        == 200
    )
    assert RunProgress.objects.values_list("percent", "text").get() == (None, "counting")


def test_second_of_two_claims_is_refused_with_a_reason(client: Client, worker: Worker) -> None:
    waiting = job()
    worker.post(f"jobs/{waiting.pk}/claim", run_epoch=1)

    refused = Worker(client, "node-2").post(f"jobs/{waiting.pk}/claim", run_epoch=1)

    assert refused.status_code == 409
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json() == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "The run was claimed before.",
        "reason": "already_claimed",
        "settled": True,
        "retryAfter": 0,
    }


def test_claim_whose_answer_was_lost_is_repeated(client: Client, worker: Worker) -> None:
    waiting = job()
    path = f"jobs/{waiting.pk}/claim"
    lost = worker.post(path, run_epoch=1)

    again = worker.post(path, run_epoch=1, asked_before=True)

    assert (again.status_code, again.json()) == (200, lost.json())
    assert JobEvent.objects.filter(job_id=waiting.pk, kind="claimed").count() == 1
    second_copy = worker.post(path, run_epoch=1)
    assert (second_copy.status_code, second_copy.json()["reason"]) == (409, "already_claimed")
    other = Worker(client, "node-2").post(path, run_epoch=1, asked_before=True)
    assert (other.status_code, other.json()["reason"]) == (409, "already_claimed")
    worker.post(f"jobs/{waiting.pk}/complete", run_epoch=1)
    assert worker.post(path, run_epoch=1, asked_before=True).json()["reason"] == "ended"


def test_claim_of_unknown_outcome_says_how_to_repeat_it(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*args: Any, **options: Any) -> Any:
        raise OutcomeUnknown("server closed the connection unexpectedly")

    monkeypatch.setattr(lifecycle, "claim", cut)

    answer = worker.post(f"jobs/{job().pk}/claim", run_epoch=1)

    assert (answer.status_code, answer.json()["outcome"]) == (503, "unknown")
    assert "Repeat the request with asked_before set to true" in answer.json()["detail"]
    assert "Retry-After" not in answer.headers


@pytest.mark.django_db(transaction=True)
def test_locked_row_is_told_and_nothing_changes(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_locks, "WAIT", timedelta(milliseconds=100))
    waiting = job()
    path = f"jobs/{waiting.pk}"
    with other_session() as stranger:
        stranger.execute("SELECT FROM jobs WHERE id = %s FOR NO KEY UPDATE", [waiting.pk])
        claim = worker.post(f"{path}/claim", run_epoch=1)
    assert (claim.status_code, claim.json()["reason"], claim.json()["settled"]) == (409, "locked", False)
    assert claim.json()["retryAfter"] == 30
    assert worker.post(f"{path}/claim", run_epoch=1).status_code == 200
    with other_session() as stranger:
        stranger.execute("SELECT FROM jobs WHERE id = %s FOR NO KEY UPDATE", [waiting.pk])
        for report, words in (("complete", {}), ("fail", {"error": "it broke"})):
            answer = worker.post(f"{path}/{report}", run_epoch=1, **words)
            assert (answer.status_code, answer.json()["reason"]) == (503, "locked")
            assert answer.headers["Retry-After"] == "1"
    assert Job.objects.get().status == Status.IN_PROGRESS
    assert not JobEvent.objects.exclude(kind="claimed").exists()
    assert worker.post(f"{path}/complete", run_epoch=1).status_code == 200


@pytest.mark.parametrize(
    ("fields", "epoch", "reason", "settled"),
    [
        ({"run_epoch": 3}, 2, "superseded", True),
        ({"run_epoch": 3}, 4, "ahead", False),
        ({"status": Status.COMPLETED}, 1, "ended", True),
        ({"status": Status.CANCELLED}, None, "ended", True),
        ({"status": Status.FAILED}, 1, "not_waiting", False),
        ({"not_before": Now() + timedelta(seconds=90)}, 1, "too_early", False),
    ],
)
def test_refused_claim_gives_the_reason(
    worker: Worker, fields: dict[str, Any], epoch: int | None, reason: str, settled: bool
) -> None:
    response = worker.post(f"jobs/{job(**fields).pk}/claim", run_epoch=epoch)

    assert response.status_code == 409
    assert (response.json()["reason"], response.json()["settled"]) == (reason, settled)
    if reason == "too_early":
        assert 85 <= response.json()["retryAfter"] <= 90


@pytest.mark.parametrize("path", ["claim", "beat", "progress", "percent", "complete", "fail"])
def test_unknown_job_is_not_found_and_writes_nothing(worker: Worker, path: str) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "progress": {"note": "x"},
        "percent": {"percent": 1},
        "fail": {"error": "x"},
    }
    said = bodies.get(path, {})
    response = worker.post(f"jobs/{uuid4()}/{path}", run_epoch=1, **said)

    assert (response.status_code, response.json()["reason"]) == (404, "unknown_job")
    assert not JobEvent.objects.exists()


def test_superseded_worker_is_refused_on_every_route(client: Client, worker: Worker) -> None:
    mine = UUID(worker.post(f"jobs/{job().pk}/claim").json()["job_id"])
    Job.objects.filter(pk=mine).update(status=Status.PENDING, run_epoch=2, claimed_epoch=None)
    Worker(client, "node-2").post(f"jobs/{mine}/claim", run_epoch=2)

    assert worker.post(f"jobs/{mine}/beat", run_epoch=1).json() == {"verdict": "superseded"}
    assert worker.post(f"jobs/{mine}/progress", run_epoch=1, note="x").json() == {"verdict": "superseded"}
    for path, said in (("complete", {}), ("fail", {"error": "boom"})):
        late = worker.post(f"jobs/{mine}/{path}", run_epoch=1, **said)
        assert (late.status_code, late.json()["reason"]) == (409, "superseded")

    stored = Job.objects.get(pk=mine)
    assert (stored.status, stored.run_epoch, stored.worker_id) == (Status.IN_PROGRESS, 2, "node-2")
    assert JobEvent.objects.filter(kind="late_result_rejected").count() == 2


def test_next_beat_reports_cancellation(worker: Worker) -> None:
    mine = worker.post(f"jobs/{job().pk}/claim").json()["job_id"]
    Job.objects.update(status=Status.CANCELLED)

    assert worker.post(f"jobs/{mine}/beat", run_epoch=1).json() == {"verdict": "cancelled"}
    late = worker.post(f"jobs/{mine}/complete", run_epoch=1)
    assert (late.status_code, late.json()["reason"]) == (409, "cancelled")


def test_failure_is_retried_and_finally_permanent(worker: Worker, settings: Any) -> None:
    settings.OPSCONSOLE_MAX_ATTEMPTS = 2
    mine = worker.post(f"jobs/{job().pk}/claim").json()["job_id"]

    first = worker.post(f"jobs/{mine}/fail", run_epoch=1, error="directory 7 answers 503")
    assert first.json() == {"outcome": "retry"}
    stored = Job.objects.get()
    assert (stored.status, stored.run_epoch, stored.attempts) == (Status.PENDING, 2, 1)
    assert stored.not_before is not None

    Job.objects.update(not_before=None)
    assert worker.post(f"jobs/{mine}/claim", run_epoch=2).json()["attempts"] == 1
    assert worker.post(f"jobs/{mine}/fail", run_epoch=2, error="again").json() == {"outcome": "failed"}
    assert Job.objects.get().status == Status.FAILED


def test_permanent_failure_is_not_retried(worker: Worker) -> None:
    mine = worker.post(f"jobs/{job().pk}/claim").json()["job_id"]

    response = worker.post(f"jobs/{mine}/fail", run_epoch=1, error="no such customer", retryable=False)

    assert response.json() == {"outcome": "failed"}


@pytest.mark.parametrize(
    "details", [{"a": "\0"}, {"a": nested(100)}, {"a": nested(900)}], ids=["nul", "100", "900"]
)
def test_unstorable_details_are_refused_and_run_continues(worker: Worker, details: dict[str, Any]) -> None:
    mine = worker.post(f"jobs/{job().pk}/claim").json()["job_id"]

    response = worker.post(f"jobs/{mine}/complete", run_epoch=1, details=details)

    assert response.status_code == 422
    assert Job.objects.get().status == Status.IN_PROGRESS


def test_redriven_letter_starts_its_job_once(worker: Worker) -> None:
    dead = job(status=Status.FAILED, claimed_epoch=1)

    claimed = worker.post(f"jobs/{dead.pk}/claim", run_epoch=1, dead_letter_id="letter-1")

    assert claimed.json()["run_epoch"] == 2


@pytest.mark.django_db(transaction=True)
def test_concurrent_claims_have_one_winner() -> None:
    waiting = job()
    workers = [Worker(Client(), f"node-{number}") for number in range(6)]

    answers = race([partial(each.post, f"jobs/{waiting.pk}/claim", run_epoch=1) for each in workers])

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5
    assert {answer.json()["reason"] for answer in answers if answer.status_code == 409} == {"already_claimed"}
