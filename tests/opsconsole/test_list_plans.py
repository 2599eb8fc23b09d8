"""Tests of the query plans of every list and filter: indexed, with a cost per page and not per table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from jobs.admin import state_counts
from jobs.admin.jobs import changelist, filters
from jobs.models import Job
from jobs.runs import runs_of_worker
from opsconsole.cluster import schedules
from opsconsole.kit import capped_paginator
from opsconsole.search import of_notes, of_work

pytestmark = pytest.mark.django_db

ROWS = 20_000
PAGE = 50
# Allows for counting two pages and the rows beside each state, showing one, scanning twice as many without an index, and
# joining some rows.
MOST_READ = 22 * PAGE
# One row per worker: lists may read the whole table.
ALWAYS_WHOLE = {"worker_heartbeats"}
# No lists of rows: one looks for the table of jobs in the catalogue of the database, and each figure of the other has a
# limit of time.
WITHOUT_ROWS = {"jobs.attachment", "opsconsole.tablesize"}
# Of filters whose value is typed, and of the order that is offered.
TYPED = {
    "jobs.job": [
        "?customer=customer-7",
        "?customer=nobody",
        "?customer=customer-7&status=failed",
        "?worker=worker-19999",
        "?error=TypeError",
        "?since=2000-01-01",
        "?before=2000-01-01T10:00&status=failed",
        "?finished_since=2000-01-01&finished_before=2999-01-01",
        "?group=9999999",
        "?o=5",
        "?o=5&status=failed&customer=customer-7",
        "?o=5&worker=worker-7",
    ],
    "jobs.deadletter": [
        "?customer=customer-7",
        "?worker=worker-7",
        "?since=2000-01-01&before=2999-01-01",
        "?o=5&state=replayed",
    ],
}
# The events of one day, which the index of times finds: the overview reads the same for the figure that leads there.
# The lines of the audit of the time that a chart shows, for its marks.
OF_A_DAY = (
    ("/admin/jobs/job/?lost=", "job_events_"),
    ("/admin/jobs/runrollup/", "django_admin_log"),
    ("/admin/ratelimits/ratelimithour/", "django_admin_log"),
)
FILLED = (
    """INSERT INTO jobs (customer_id, package_size, priority_level, status, created_at, updated_at, started_at, worker_id,
                          claimed_epoch, queue)
       SELECT 'customer-' || n %% 500, 50, CASE n %% 1000 WHEN 17 THEN 'rare' ELSE 'starter' END,
              CASE WHEN n <= 100 THEN 'in_progress' WHEN n <= 200 THEN 'pending' WHEN n %% 100 = 7 THEN 'failed'
                   WHEN n %% 200 = 11 THEN 'quarantined' WHEN n %% 200 = 13 THEN 'cancelled' WHEN n %% 500 = 15 THEN 'theirs'
                   ELSE 'completed' END,
              now() - n * interval '2 minutes', now() - n * interval '2 minutes', now() - n * interval '2 minutes',
              'worker-' || n, 1, 'default'
         FROM generate_series(%(rows)s, 1, -1) AS n""",
    """INSERT INTO job_events (job_id, at, kind, run_epoch, actor)
       SELECT id, created_at, 'claimed', 1, 'worker' FROM jobs ORDER BY created_at""",
    """INSERT INTO outbox (job_id, run_epoch, state, created_at, message_id, sent_at)
       SELECT id, 1, CASE WHEN status = 'pending' THEN 'waiting' ELSE 'sent' END, created_at, id::text, created_at
         FROM jobs ORDER BY created_at""",
    """INSERT INTO worker_heartbeats (worker_id, current_job_id, current_run_epoch, last_heartbeat)
       SELECT 'worker-' || n, NULL, NULL, now() - n * interval '1 minute' FROM generate_series(1, %(rows)s / 10) AS n""",
    """INSERT INTO sweeps (trigger, mode, started_at, finished_at, found, requeued)
       SELECT 'schedule', 'armed', now() - n * interval '2 minutes', now() - n * interval '2 minutes', n %% 3, n %% 3
         FROM generate_series(%(rows)s, 1, -1) AS n""",
    "SET session_replication_role = replica",
    """INSERT INTO django_admin_log (action_time, user_id, content_type_id, object_id, object_repr, action_flag, change_message)
       SELECT now() - n * interval '1 minute', (SELECT min(id) FROM auth_user), (SELECT min(id) FROM django_content_type),
              n, 'job', 2, 'Requeued.' FROM generate_series(%(rows)s, 1, -1) AS n""",
    "SET session_replication_role = DEFAULT",
    """INSERT INTO dead_letter_queues (url) VALUES ('http://127.0.0.1:9/dlq')""",
    """INSERT INTO failure_groups (fingerprint, kind, title)
       SELECT 'f-' || n, 'words', 'failure ' || n FROM generate_series(1, 400) AS n""",
    """INSERT INTO dead_letters (dlq_id, group_id, message_id, body, body_bytes, state, first_seen_at, sent_at, queue)
       SELECT (SELECT min(id) FROM dead_letter_queues), (SELECT min(id) FROM failure_groups) + n %% 400, 'm-' || n, '{}', 2,
              CASE WHEN n <= 200 THEN 'in_queue' ELSE 'replayed' END, now() - n * interval '2 minutes', now(), 'default'
         FROM generate_series(%(rows)s, 1, -1) AS n""",
)


@pytest.fixture
def operator(client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(capped_paginator, "MOST_PAGES", 2)
    monkeypatch.setattr(changelist, "ROWS_LOOKED_THROUGH", 2 * PAGE)
    monkeypatch.setattr(changelist, "ROWS_APART_LOOKED_THROUGH", PAGE)
    monkeypatch.setattr(filters, "PRIORITIES_READ", PAGE)
    monkeypatch.setattr(state_counts, "COUNTED_TO", PAGE)
    monkeypatch.setattr(runs_of_worker, "EVENTS_READ", PAGE)
    schedules.sync()
    client.force_login(User.objects.create_superuser("root"))
    with connection.cursor() as cursor:
        for statement in FILLED:
            cursor.execute(statement, {"rows": ROWS})
        # Without the catalogues that all databases share: a test of another process may hold these until it ends.
        cursor.execute("SELECT string_agg(relid::regclass::text, ', ') FROM pg_stat_user_tables")
        [(tables,)] = cursor.fetchall()
        cursor.execute(f"ANALYZE {tables}")
        # Read in one process, because its rows are easier to count.
        cursor.execute("SET LOCAL max_parallel_workers_per_gather = 0")
    return client


class Plans:
    """Explains each query when it is executed, and counts the rows read per table."""

    def __init__(self) -> None:
        self.read: Counter[str] = Counter()
        self._explaining = False

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if not self._explaining and sql.lstrip().upper().startswith(("SELECT", "WITH")):
            self._explaining = True
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", params)
                [(plan,)] = cursor.fetchall()
            self._explaining = False
            self._note(json.loads(plan)[0]["Plan"] if isinstance(plan, str) else plan[0]["Plan"])
        return execute(sql, params, many, context)

    def _note(self, plan: dict[str, Any]) -> None:
        for node in nodes(plan):
            if (table := node.get("Relation Name")) is None:
                continue
            lost = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
            self.read[table] += round((node["Actual Rows"] + lost) * node["Actual Loops"])


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def test_every_list_reads_only_one_page(operator: Client) -> None:
    wrong = []
    for model in admin.site._registry:
        if model._meta.label_lower in WITHOUT_ROWS:
            continue
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for query in ["", *_choices(operator, address), *TYPED.get(model._meta.label_lower, ())]:
            plans = Plans()
            with connection.execute_wrapper(plans):
                response = operator.get(address + query)
            assert response.status_code in {200, 302}, (address, query)
            wrong += [
                f"{address}{query} reads {read:,} rows of {table}"
                for table, read in plans.read.items()
                if read > MOST_READ and table not in ALWAYS_WHOLE and not _is_of_a_day(address + query, table)
            ]
    assert wrong == [], "\n".join(wrong)


@pytest.mark.parametrize(
    "query", ["customer=huge&status=failed", "q=huge&status=failed", "customer=huge&status=other"]
)
@pytest.mark.parametrize("share", [2, 1])
def test_state_of_a_customer_with_very_many_jobs_reads_only_their_newest(
    operator: Client, query: str, share: int
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs SET customer_id = 'huge' WHERE hashtext(id::text) %% %s = 0", [share])
        cursor.execute("ANALYZE jobs")
    plans = Plans()

    with connection.execute_wrapper(plans):
        response = operator.get(reverse("admin:jobs_job_changelist") + f"?{query}")

    # By chance, more or fewer rows of others lie between those of the customer, who has ten or twenty thousand.
    assert plans.read["jobs"] <= 3 * MOST_READ, plans.read
    assert response.context["cl"].looked_back_to is not None


def test_waiting_jobs_behind_many_scheduled_ones_are_looked_for_in_steps(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which plan counts a state that a fifth of a small table has is PostgreSQL's choice.
    monkeypatch.setattr(filters.StatusFilter, "counts", lambda *_: {})
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO jobs (customer_id, package_size, status, created_at, updated_at, not_before, queue)
               SELECT 'later', 50, 'pending', now() - n * interval '1 second', now(), now() + interval '1 day', 'default'
                 FROM generate_series(1, 5000) AS n"""
        )
        cursor.execute("ANALYZE jobs")
    plans = Plans()

    with connection.execute_wrapper(plans):
        response = operator.get(reverse("admin:jobs_job_changelist") + "?status=waiting")

    assert plans.read["jobs"] <= MOST_READ, plans.read
    assert response.context["cl"].looked_back_to is not None
    assert "100 waiting or scheduled ones that match the other filters" in response.text


@pytest.mark.parametrize("query", ["lost=day", "stale=any", "stale=hung"])
def test_list_that_weighs_evidence_weighs_it_once(operator: Client, query: str) -> None:
    weighing = Plans()
    with connection.execute_wrapper(weighing):
        assert list(Job.objects.stale().values_list("pk", flat=True)) is not None
    page = Plans()

    with connection.execute_wrapper(page):
        operator.get(reverse("admin:jobs_job_changelist") + f"?{query}")

    # The page also looks for the heartbeats of the shown runs.
    assert page.read["worker_heartbeats"] <= weighing.read["worker_heartbeats"] + 3 * PAGE


def test_search_reads_only_few_rows(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_work, "MOST_FAILED", PAGE)
    monkeypatch.setattr(of_notes, "EVENTS_READ", PAGE)
    with connection.cursor() as cursor:
        cursor.execute("SELECT left(replace(id::text, '-', ''), 12) FROM dead_letters LIMIT 1")
        [(letter,)] = cursor.fetchall()
    wrong = []
    for term in (letter, "m-19999", "#17", "customer-7", "worker-19", "nothing"):
        plans = Plans()
        with connection.execute_wrapper(plans):
            operator.get(reverse("search"), {"q": term})
        wrong += [
            f"{term} reads {read:,} rows of {table}"
            for table, read in plans.read.items()
            if read > MOST_READ and table not in ALWAYS_WHOLE
        ]
    assert wrong == [], "\n".join(wrong)


def _is_of_a_day(address: str, table: str) -> bool:
    return any(address.startswith(page) and table.startswith(name) for page, name in OF_A_DAY)


def _choices(client: Client, address: str) -> list[str]:
    """Return the query string of each choice of each filter of a list."""
    context = client.get(address).context
    changes = context.get("cl") if context else None
    found = [
        choice["query_string"]
        for spec in getattr(changes, "filter_specs", ())
        for choice in spec.choices(changes)
        if choice.get("query_string", "?") != "?"
    ]
    return list(dict.fromkeys(found))


def test_full_table_scan_is_detected(operator: Client) -> None:
    plans = Plans()
    with connection.execute_wrapper(plans), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM jobs WHERE error_message = 'x'")

    assert plans.read["jobs"] == ROWS
