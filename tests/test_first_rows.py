"""Tests of the rows that migrations write: a test finds them, also after one that emptied the tables."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command

from jobs.models import RecoveryControl
from tests import first_rows


@pytest.mark.django_db
def test_rows_of_migrations_are_put_back() -> None:
    roles = set(Group.objects.values_list("name", flat=True))
    control = RecoveryControl.objects.get()
    permissions = Group.permissions.through.objects.count()
    call_command("flush", interactive=False)
    assert not Group.objects.exists()

    first_rows.put_back()

    assert set(Group.objects.values_list("name", flat=True)) == roles
    assert RecoveryControl.objects.get() == control
    assert Group.permissions.through.objects.count() == permissions > 0
