"""Tests of a database whose disk is full: it is told where a refused write has shown it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import OperationalError, connection, transaction
from django.test import Client

from jobs.models import Job, RecoveryControl
from opsconsole.kit import full_disk
from tests import factories

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("rules_without_delay")]

SENTENCE = "The disk of the database is full."


@contextmanager
def disk_full() -> Iterator[None]:
    """Let PostgreSQL refuse new jobs as it does when a file can't grow."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION"
            " 'could not extend file \"base/1/2\": No space left on device' USING ERRCODE = '53100'; END $$;"
            " CREATE TRIGGER no_room BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION no_room()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER no_room ON jobs; DROP FUNCTION no_room()")


@pytest.mark.parametrize("in_transaction", [True, False])
def test_refused_write_shows_a_full_disk_until_one_is_accepted(
    operator: Client, in_transaction: bool
) -> None:
    RecoveryControl.objects.get_or_create(pk=1)
    assert SENTENCE not in operator.get("/admin/jobs/job/").text
    with disk_full(), pytest.raises(OperationalError):
        if in_transaction:
            with transaction.atomic():
                factories.job()
        else:
            factories.job()
    assert full_disk.is_full()
    assert SENTENCE in operator.get("/admin/jobs/job/").text
    assert operator.get("/readyz").json()["checks"]["database"] == "disk full"
    Job.objects.update(package_size=1)
    assert full_disk.is_full(), "a change of no row proves nothing"
    factories.job()
    assert not full_disk.is_full()
    assert SENTENCE not in operator.get("/admin/jobs/job/").text
    assert operator.get("/readyz").json()["checks"]["database"] == "ok"
