"""Proposals for the pieces of the gallery, read from real tables, against the mappings declared for them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from pytest_django.plugin import DjangoDbBlocker

from jobs.inspection.proposal import Proposal, propose_mapping, render
from jobs.inspection.proposal.queue_table import NONE_IS_A_QUEUE
from opsconsole.kit.mapping import CONTRACT_COLUMNS, STATUSES
from opsconsole_worker.mapping import mapping_file
from tests import databases
from tests.attach.pieces import Piece, piece_of, pieces
from tests.databases import Database

ALL = pieces()
# What a person knows to be the size of a job; no proposal guesses it.
GUESSED = {"enum_without_failed": {"package_size"}, "words_in_a_table": {"package_size"}}


@pytest.fixture(scope="module")
def empty(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """Yield an empty database that is Django's default: each piece is loaded in a transaction that is undone."""
    database = databases.create(settings.DATABASES["default"])
    with django_db_blocker.unblock(), database.as_default():
        yield database
    databases.drop(database)


@contextmanager
def loaded(piece: Piece, further: str = "") -> Iterator[None]:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL search_path = public")
            cursor.execute(piece.sql + further)
        yield
        transaction.set_rollback(True)


def proposed(piece: Piece, further: str = "") -> Proposal:
    with loaded(piece, further):
        return propose_mapping()


@pytest.mark.parametrize("piece", ALL, ids=lambda piece: piece.name)
def test_proposal_is_what_the_gallery_declares(piece: Piece, empty: Database) -> None:
    found = proposed(piece)
    if not piece.supported:
        assert found.refused
        text = render(found)
        assert all(str(piece.declared[key]) in text for key in ("table", "column", "reason"))
        return
    assert not found.refused
    declared, mapped = piece.mapping(), mapping_file.parse(render(found))
    for ours, theirs in zip(mapped.tables, declared.tables, strict=True):
        assert (ours.schema, ours.name, ours.absent) == (theirs.schema, theirs.name, theirs.absent)
        assert ours.times == theirs.times
        for column in CONTRACT_COLUMNS[ours.contract]:
            if ours.has(column) or column not in GUESSED.get(piece.name, ()):
                assert (ours.has(column), ours.column(column)) == (theirs.has(column), theirs.column(column))
    assert mapped.jobs.id_type == declared.jobs.id_type
    if piece.name != "words_in_a_table":
        # Its rows change after the start of a run, although nothing beats.
        assert mapped.jobs.life == declared.jobs.life
    for status in STATUSES:
        assert mapped.jobs.written(status) == declared.jobs.written(status), status
        for word in declared.jobs.words(status):
            assert word in mapped.jobs.words(status) or repr(word) in " ".join(found.doubts)


def test_none_is_a_queue_where_nothing_runs_and_the_command_says_so(empty: Database) -> None:
    vacancies = piece_of("vacancies")
    found = proposed(vacancies)

    assert found.refused == [NONE_IS_A_QUEUE]
    assert "told_by" not in render(found)


def test_view_that_looks_like_the_queue_is_told_from_its_table(empty: Database) -> None:
    piece = piece_of("camel_case")
    found = proposed(piece, 'CREATE VIEW task_queue AS SELECT * FROM "Jobs"')

    assert found.jobs.facts is not None
    assert found.jobs.facts.name == "Jobs"
    assert found.considered == ['"public"."task_queue" looks like a queue too: check which one is meant']


def test_names_and_words_that_quoting_must_survive(empty: Database) -> None:
    found = proposed(
        piece_of("vacancies"),
        """CREATE SCHEMA "Über's"; CREATE TABLE "Über's"."task #1" ("job's id" bigint PRIMARY KEY, "State" text,
        "createdAt" timestamptz, "startedAt" timestamptz);
        INSERT INTO "Über's"."task #1" VALUES (1, 'queued', now()), (2, 'running', now()), (3, 'done', now()),
        (4, E'odd "word"\n[jobs]\nid_type = "text"', now());""",
    )

    text = render(found)
    assert tomllib.loads(text)["jobs"]["schema"] == "Über's"
    assert tomllib.loads(text)["jobs"]["table"] == "task #1"
    assert tomllib.loads(text)["jobs"]["columns"]["id"] == "job's id"
    assert mapping_file.parse(text).jobs.name == "task #1"


QUEUE = """CREATE TABLE tasks (tenant int, id bigint NOT NULL, status {status}, created_at timestamptz, started_at timestamptz {more},
                               PRIMARY KEY (tenant, id));
           INSERT INTO tasks (tenant, id, status) VALUES (1, 1, 'queued'), (1, 2, 'running'), (1, 3, 'done');"""


OVER_ENUM = """CREATE TYPE word AS ENUM ('queued', 'running', 'done'); CREATE DOMAIN words AS word;
               ALTER TABLE tasks ALTER status TYPE words USING status::word"""


def with_queue(status: str = "text", more: str = ", UNIQUE (id)", further: str = "") -> Proposal:
    return proposed(piece_of("vacancies"), QUEUE.format(status=status, more=more) + further)


def test_id_is_a_unique_column_where_the_key_is_composite(empty: Database) -> None:
    found = with_queue()
    assert not found.refused and found.jobs.columns["id"] == "id"
    assert "composite (tenant, id)" in with_queue(more="").refused[0]


def test_word_of_new_rows_is_written(empty: Database) -> None:
    status = (
        "text DEFAULT 'available' CHECK (status IN ('pending', 'available', 'queued', 'running', 'done'))"
    )
    found = with_queue(status)
    assert found.statuses.by_status["pending"] == ("available", "pending", "queued")
    assert any("'available' is written" in doubt for doubt in found.doubts)
    assert with_queue("text CHECK (status <> '')").statuses.by_status["in_progress"] == ("running",)


@pytest.mark.parametrize(
    ("further", "reason"),
    [
        ("ALTER TABLE tasks ALTER created_at TYPE date", '"created_at" is date, and a timestamp or a whole number is needed'),
        ('ALTER SCHEMA public RENAME TO "say ""hi"""', "without the characters"),
        (OVER_ENUM, "a domain over an enum"),
        ("UPDATE tasks SET status = 'in Arbeit' WHERE status = 'running'", "'in Arbeit'"),
    ],
)  # fmt: skip
def test_what_can_not_be_proposed_is_said_with_the_reason(empty: Database, further: str, reason: str) -> None:
    found = with_queue(further=further)
    assert found.refused
    assert reason in render(found)


def test_types_are_known_where_a_database_quotes_every_name(empty: Database) -> None:
    assert not with_queue(further="SET LOCAL quote_all_identifiers = on").refused


def test_tables_that_fail_to_be_read_are_passed_over(empty: Database) -> None:
    found = with_queue(
        further="CREATE MATERIALIZED VIEW job_stats AS SELECT status, started_at FROM tasks WITH NO DATA;"
        " CREATE VIEW failing_jobs AS SELECT status, 1 / (length(status) - length(status)) AS started_at FROM tasks;"
    )
    assert found.jobs.facts is not None
    assert found.jobs.facts.name == "tasks"


def test_partitioned_heartbeats_are_named_and_not_proposed(empty: Database) -> None:
    found = with_queue(
        further="CREATE TABLE worker_beats (worker_id text, job_id bigint, last_seen timestamptz) PARTITION BY HASH (worker_id);"
    )
    assert found.heartbeats.facts is None
    assert any("worker_beats" in each and "is a partitioned table" in each for each in found.considered)


def printed(*options: str) -> tuple[int, str]:
    output = StringIO()
    try:
        call_command("inspect_database", "--propose", *options, stdout=output)
    except SystemExit as end:
        return int(str(end.code)), output.getvalue()
    return 0, output.getvalue()


def test_column_under_a_name_of_the_console_is_said_to_be_renamed_first(empty: Database) -> None:
    piece = piece_of("camel_case")
    with loaded(piece):
        table = propose_mapping().jobs.facts
        assert table is not None
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table.sql} ADD payload text, ADD attempts integer")
        code, text = printed()
        as_json = json.loads(printed("--json")[1])

        [line] = [line for line in text.splitlines() if line.startswith("# first:")]
        assert code == 1 and '"payload" (text)' in line
        assert as_json["first"] == [line.removeprefix("# first: ")] and as_json["mapping"]
        mapping_file.parse(text)
        with connection.cursor() as cursor:
            cursor.execute(line.partition("migrate: ")[2])
        assert printed()[0] == 0


def test_command_prints_a_file_ready_to_paste_and_as_json(empty: Database) -> None:
    with loaded(piece_of("camel_case")):
        code, text = printed()
        as_json = json.loads(printed("--json")[1])
        with connection.cursor() as cursor:
            cursor.execute('SELECT count(*) FROM "Jobs"')

    assert code == 0
    assert mapping_file.parse(text) == mapping_file.parse(as_json["mapping"])
    assert as_json["table"] == '"public"."Jobs"'
    assert as_json["promise"] in text
    assert "# doubt: 'error' is left out" in text
    for named in ("columns:", "times:", "statuses:", "life:", "doubt, lost or first"):
        assert named in text.partition("[jobs]")[0]


def test_command_fails_and_prints_no_mapping_where_none_fits(empty: Database) -> None:
    with loaded(piece_of("derived_status")):
        code, text = printed()
        as_json = json.loads(printed("--json")[1])

    assert code == 1
    assert tomllib.loads(text) == {}
    assert as_json["mapping"] is None
    assert "is generated" in as_json["refused"][0]
