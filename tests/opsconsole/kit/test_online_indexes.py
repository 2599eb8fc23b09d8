"""Indexes that are built online: nobody waits behind a build that waits for a writer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.core.management.base import CommandError
from django.db import connection
from django.db.models import Index, Q

from opsconsole.kit import short_locks
from opsconsole.kit.online_indexes import AddOwnIndexOnline
from tests.factories import job
from tests.opsconsole.seals.test_sealer import elsewhere
from tests.opsconsole.trends import timelines
from tests.opsconsole.trends.timelines import Kind

NAME = "job_events_tried_idx"
STATE: Any = SimpleNamespace(apps=apps)
ADD = AddOwnIndexOnline("jobevent", Index(fields=["at"], name=NAME, condition=Q(kind__in=("fenced",))))


def forwards() -> None:
    with connection.schema_editor(atomic=False) as editor:
        ADD.database_forwards("jobs", editor, STATE, STATE)


def backwards() -> None:
    with connection.schema_editor(atomic=False) as editor:
        ADD.database_backwards("jobs", editor, STATE, STATE)


def is_valid() -> bool | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [NAME])
        row = cursor.fetchone()
    return row[0] if row else None


@pytest.mark.django_db(transaction=True)
def test_index_of_the_timeline_lets_others_pass_while_a_writer_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_locks, "LOCK_TRIES", 1)
    monkeypatch.setattr(short_locks, "LOCK_TIMEOUT_MS", 50)
    of = job()
    with elsewhere() as writer:
        # If something waits for it nevertheless, the test ends.
        writer.execute("SET idle_in_transaction_session_timeout = '20s'")
        writer.commit()
        written = [of.pk, timelines.now(), Kind.COMPLETED, 1, "worker:w-1"]

        writer.execute(timelines.INSERT, written)
        with pytest.raises(CommandError, match="could not be locked"):
            forwards()
        writer.commit()
        assert is_valid() is None

        forwards()
        assert is_valid()

        writer.execute(timelines.INSERT, written)
        with pytest.raises(CommandError, match="could not be locked"):
            backwards()
        writer.commit()
        assert is_valid()

    backwards()
    assert is_valid() is None
