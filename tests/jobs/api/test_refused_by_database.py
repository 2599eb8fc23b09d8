"""Tests of changes that a constraint, type or trigger of theirs refuses: 409 or 422 with its name, never 500."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test import Client

from jobs.intake.enqueue import NewJob, enqueue
from jobs.models import IdempotencyKey, Job, JobEvent, Outbox, Status
from opsconsole_worker import refusals
from opsconsole_worker.environment import QueueConfig
from ratelimits.keys import api_keys
from tests import factories
from tests.keys import key, sent

JOB = {"customer_id": "TEST-001", "package_size": 50}
RAISE = """
CREATE FUNCTION refuse_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION {what}; END $$;
CREATE TRIGGER refuse_it BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION refuse_it()
"""
# By name: the statement that makes the rule, the expected status and what the answer names.
RULES: dict[str, tuple[str, int, dict[str, str]]] = {
    "unique": ("CREATE UNIQUE INDEX one_each ON jobs (customer_id)", 409, {"constraint": "one_each"}),
    "exclusion": (
        "ALTER TABLE jobs ADD CONSTRAINT no_twins EXCLUDE (customer_id WITH =)",
        409,
        {"constraint": "no_twins"},
    ),
    "foreign key": (
        (
            "CREATE TABLE customers (id text PRIMARY KEY); INSERT INTO customers SELECT 'other';"
            " ALTER TABLE jobs ADD CONSTRAINT known_customer FOREIGN KEY (customer_id) REFERENCES customers NOT VALID"
        ),
        422,
        {"constraint": "known_customer"},
    ),
    "check": (
        "ALTER TABLE jobs ADD CONSTRAINT small CHECK (package_size < 50) NOT VALID",
        422,
        {"constraint": "small"},
    ),
    "not null": (
        (
            "ALTER TABLE jobs ADD COLUMN region text; UPDATE jobs SET region = 'eu';"
            " ALTER TABLE jobs ALTER COLUMN region SET NOT NULL"
        ),
        422,
        {"column": "region"},
    ),
    "too long": ("ALTER TABLE jobs ALTER COLUMN customer_id TYPE varchar(8) USING 'short'", 422, {}),
    "out of range": ("ALTER TABLE jobs ALTER COLUMN package_size TYPE smallint USING 1", 422, {}),
    "longer than an index holds": ("CREATE INDEX their_payloads ON jobs ((payload::text))", 422, {}),
    "trigger": (RAISE.format(what="'orders are closed today'"), 422, {}),
    "trigger with a code of its own": (
        RAISE.format(what="'orders are closed today' USING ERRCODE = '45001', CONSTRAINT = 'opening_hours'"),
        422,
        {"constraint": "opening_hours"},
    ),
}  # fmt: skip
ASKED: dict[str, dict[str, Any]] = {
    "too long": {"customer_id": "TEST-0001"},
    "out of range": {"package_size": 40_000},
    # So much that compression does not make it short enough.
    "longer than an index holds": {
        "payload": {"a": "".join(chr(Random(number).randrange(0x4E00, 0x9FA0)) for number in range(3_000))}
    },
}

Post = Callable[..., Any]


@pytest.fixture
def post(db: None, client: Client, settings: Any) -> Post:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}
    client.raise_request_exception = False
    api_keys.clear_cache()
    _, secret = key()

    def send(path: str = "/api/jobs", headers: dict[str, str] | None = None, **fields: Any) -> Any:
        return client.post(
            path,
            json.dumps(fields),
            content_type="application/json",
            headers=sent(secret) | (headers or {}),
        )

    return send


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize("name", RULES)
def test_refused_job_is_answered_with_the_name_of_the_rule(post: Post, name: str) -> None:
    statement, status, named = RULES[name]
    factories.job(customer_id="TEST-001")
    execute(statement)
    events, messages = JobEvent.objects.count(), Outbox.objects.count()

    response = post(**JOB | ASKED.get(name, {}), headers={"Idempotency-Key": "order-1"})

    problem = response.json()
    assert (response.status_code, problem["status"]) == (status, status), problem
    assert {member: problem[member] for member in ("constraint", "column") if member in problem} == named
    assert problem["reason"] == "refused_by_database"
    assert problem["detail"].endswith(". Nothing was changed.")
    if name in ASKED:
        assert "which the value does not fit" in problem["detail"]
    if "trigger" in name:
        assert "orders are closed today" in problem["detail"]
    assert (Job.objects.count(), JobEvent.objects.count(), Outbox.objects.count()) == (1, events, messages)
    assert not IdempotencyKey.objects.exists(), "what was refused keeps no answer"


@pytest.mark.django_db(transaction=True)
def test_deferred_constraint_refuses_at_the_commit(post: Post) -> None:
    factories.job(customer_id="TEST-001")
    execute("ALTER TABLE jobs ADD CONSTRAINT one_each UNIQUE (customer_id) DEFERRABLE INITIALLY DEFERRED")
    try:
        response = post(**JOB)
    finally:
        execute("ALTER TABLE jobs DROP CONSTRAINT one_each")
    assert (response.status_code, response.json()["constraint"]) == (409, "one_each")
    assert response.json()["detail"].endswith("Nothing was changed.")
    assert Job.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_refused_report_of_a_worker(post: Post) -> None:
    run = factories.run(silent=factories.SECOND)
    execute("ALTER TABLE jobs ADD CONSTRAINT their_words CHECK (status <> 'completed') NOT VALID")

    try:
        response = post(f"/api/jobs/{run.pk}/complete", worker_id="worker-1", run_epoch=1)
    finally:
        execute("ALTER TABLE jobs DROP CONSTRAINT their_words")

    assert (response.status_code, response.json()["constraint"]) == (422, "their_words")
    run.refresh_from_db()
    assert run.status == Status.IN_PROGRESS


@pytest.mark.django_db(transaction=True)
def test_refused_claim_is_not_settled(post: Post) -> None:
    factories.run(silent=factories.SECOND)
    waiting = factories.job()
    execute("CREATE UNIQUE INDEX one_running ON jobs (customer_id) WHERE status = 'in_progress'")

    try:
        response = post(f"/api/jobs/{waiting.pk}/claim", worker_id="node-1", run_epoch=1)
    finally:
        execute("DROP INDEX one_running")

    problem = response.json()
    assert (response.status_code, problem["reason"], problem["settled"]) == (
        409,
        "refused_by_database",
        False,
    )
    assert (problem["constraint"], problem["retryAfter"]) == ("one_running", 30)
    assert problem["detail"].endswith("Nothing was changed.")
    waiting.refresh_from_db()
    assert waiting.status == Status.PENDING


def test_our_own_failures_stay_failures(post: Post) -> None:
    execute("ALTER TABLE job_events RENAME COLUMN actor TO other")
    assert post(**JOB).status_code >= 500


def test_customer_that_no_index_holds_is_refused_in_words(db: None, settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}
    customer = "".join(chr(Random(number).randrange(0x4E00, 0x9FA0)) for number in range(3_000))
    execute("CREATE INDEX their_customers ON jobs (customer_id)")
    with pytest.raises(DatabaseError) as raised:
        enqueue(NewJob(customer_id=customer, package_size=1))
    refusal = refusals.of(raised.value)
    assert refusal and "index" in refusal.said
    assert refusal.rule == "a limit of PostgreSQL, which the value does not fit"
