"""Tests of the decision at install: recovery is never armed where other programs have tables."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection

from jobs.models import RecoveryControl, Sweep
from opsconsole.kit import other_tables

pytestmark = pytest.mark.django_db

migration = import_module("jobs.migrations.0021_observe_beside_others")


def decide() -> str:
    migration.observe(apps, connection.schema_editor())
    return RecoveryControl.load().mode


def create_another_table() -> None:
    with connection.cursor() as cursor:
        cursor.execute('CREATE SCHEMA "Shop"; CREATE TABLE "Shop"."Orders" (id int)')


def test_console_alone_in_its_database_stays_armed() -> None:
    RecoveryControl.objects.update(mode="armed", changed_by="console")

    assert other_tables.of_other_programs(connection) == []
    assert decide() == "armed"


def test_table_of_another_program_lets_recovery_observe() -> None:
    RecoveryControl.objects.update(mode="armed", changed_by="console")
    create_another_table()

    assert other_tables.of_other_programs(connection) == ['"Shop"."Orders"']
    assert decide() == "observe"
    assert RecoveryControl.load().reason == migration.WHY


@pytest.mark.parametrize("by", ["operator:ada", "console"])
def test_upgrade_leaves_alone_what_a_person_decided_and_what_already_sweeps(by: str) -> None:
    RecoveryControl.objects.update(mode="armed", changed_by=by)
    if by == "console":
        Sweep.objects.create(trigger="schedule", mode="armed")
    create_another_table()

    assert decide() == "armed"
