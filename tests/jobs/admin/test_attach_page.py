"""The page Attach: the proposal beside rows and what the console would make of them, for administrators."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection
from django.test import Client

from jobs.inspection.proposal import propose, reading
from jobs.inspection.proposal.sample_rows import sample_rows
from jobs.inspection.proposal.snapshot import ColumnFacts, TableFacts, columns
from opsconsole.sign_in import roles
from tests.opsconsole.sign_in.test_roles import member

PAGE = "/admin/jobs/attachment/"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
THEIRS = """
CREATE TABLE public."Work" (id bigserial PRIMARY KEY, state text, created_at timestamptz, started_at timestamptz, ended_at timestamptz,
                     api_token text, input text, note text);
INSERT INTO public."Work" (state, created_at, started_at, ended_at, api_token, input, note)
SELECT word, now() - interval '5 hours', now() - interval '4 hours', now() - interval '1 hour', 'tok-1234',
       '{"user": {"password": "hunter2"}, "size": 3}', repeat('long <b> ', 30)
  FROM unnest(ARRAY['queued', 'running', 'done', 'paused']) AS word;
"""


@pytest.fixture
def administrator(db: None, client: Client) -> Client:
    with connection.cursor() as cursor:
        cursor.execute(THEIRS)
    # Tests that empty the database also delete the rows that migrations wrote.
    call_command("sync_roles", stdout=StringIO())
    client.force_login(member(roles.ADMINISTRATOR, "ada"))
    return client


def shown(client: Client) -> str:
    answer = client.get(PAGE)
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_page_shows_the_proposal_beside_rows_and_saves_nothing(administrator: Client) -> None:
    page = shown(administrator)

    assert "table = &quot;Work&quot;" in page and "pending = [&quot;queued&quot;]" in page
    assert "running for 4 h, last beat unknown" in page
    assert "waiting for 5 h" in page and "completed 1 h ago" in page
    assert "left alone as it is: &#x27;paused&#x27; is no word of the mapping" in page
    assert administrator.post(PAGE, {"anything": "1"}).status_code == 403


def test_values_of_other_columns_are_cut_escaped_and_redacted(administrator: Client, settings: Any) -> None:
    page = shown(administrator)
    assert "long &lt;b&gt; " * 8 in page and "long &lt;b&gt; " * 10 not in page
    assert "tok-1234" in page and "hunter2" in page

    settings.OPSCONSOLE_REDACT_PATHS = ("$.api_token", "$..password")
    page = shown(administrator)
    assert "tok-1234" not in page and "hunter2" not in page
    assert "size" in page

    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE public."Work" SET input = '{"password": "hunter2", "more": "' || repeat('x', 300) || '"}'"""
        )
    page = shown(administrator)
    assert "hunter2" not in page and "[Hidden" in page


def test_rows_are_for_people_who_may_see_jobs_and_the_page_for_administrators(administrator: Client) -> None:
    for role in (roles.VIEWER, roles.OPERATOR):
        administrator.force_login(member(role, role.lower()))
        assert administrator.get(PAGE).status_code == 403
    only_here = User.objects.create_user("paul", is_staff=True)
    only_here.user_permissions.set(Permission.objects.filter(codename="view_attachment"))
    administrator.force_login(only_here)
    page = shown(administrator)
    assert "&quot;Work&quot;" in page and "Rows are shown to people who may see jobs" in page
    assert "tok-1234" not in page and "running for" not in page


def test_columns_of_the_console_are_no_doubts_and_late_tables_are_named(administrator: Client) -> None:
    found = reading.read()
    [jobs] = [table for table in found.tables if table.sql == '"public"."jobs"']
    assert "run_epoch" not in jobs.columns and "customer_id" in jobs.columns
    assert '"public"."Work"' in reading.read(seconds=0).unread


def _table(**types: str) -> tuple[ColumnFacts, ...]:
    return tuple(ColumnFacts(name, kind) for name, kind in types.items())


@pytest.mark.parametrize(
    ("kind", "hours_ago"),
    [
        ("timestamp with time zone", lambda hours: f"{NOW - timedelta(hours=hours):%Y-%m-%d %H:%M:%S}+00"),
        ("timestamp without time zone", lambda hours: f"{NOW - timedelta(hours=hours):%Y-%m-%d %H:%M:%S}"),
        ("bigint", lambda hours: str(int((NOW - timedelta(hours=hours)).timestamp() * 1_000))),
        ("integer", lambda hours: str(int((NOW - timedelta(hours=hours)).timestamp()))),
    ],
)
def test_times_of_each_kind_say_how_long(kind: str, hours_ago: Any) -> None:
    """A run whose start can't be held counts from its creation. A row of the statistics has a status only."""
    tasks = TableFacts(
        "tasks",
        columns(*_table(id="bigint", status="text", created_at=kind, started_at=kind)),
        sample=(
            {"id": "1", "status": "running", "created_at": hours_ago(9), "started_at": hours_ago(4)},
            {"id": "2", "status": "running", "created_at": hours_ago(9), "started_at": "infinity"},
            {"id": "3", "status": "running", "created_at": hours_ago(9), "started_at": hours_ago(1)},
            {"id": "4", "status": "queued", "created_at": hours_ago(2), "started_at": None},
            {"status": "done"},
        ),
    )
    beats = TableFacts(
        "worker_beats",
        columns(*_table(worker_id="text", job_id="bigint", last_heartbeat="timestamp with time zone")),
        sample=({"worker_id": "w", "job_id": "1", "last_heartbeat": "2026-03-01 11:55:00+00"},),
    )

    assert {row.key: row.sentence for row in sample_rows(propose([tasks, beats]), NOW)} == {
        "1": "running for 4 h, last beat 5 min ago",
        "2": "running for 9 h, last beat unknown",
        "4": "waiting for 2 h",
    }
