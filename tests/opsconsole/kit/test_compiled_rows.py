"""Rows of a QuerySet that was compiled once are those that the QuerySet gives."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db.models import Model, Value
from django.db.models.functions import Now

from jobs.models import Job, Status
from opsconsole.kit.bounded_columns import LONGEST_NAME, is_cut
from opsconsole.kit.compiled_rows import CompiledRows
from tests import factories

pytestmark = pytest.mark.django_db


def _values(row: Model) -> dict[str, Any]:
    """Return what was read, which leaves out deferred fields, but for what follows the moment of reading."""
    of_moment = {"_state", "read_at", "stale_before"}
    return {name: value for name, value in vars(row).items() if name not in of_moment}


def _jobs() -> list[Job]:
    return [
        factories.job(customer_id="%s {x} ä", status=Status.PENDING, payload={"a": [1, None]}),
        factories.job(customer_id="C" * (LONGEST_NAME + 9), error_message=None),
        factories.run(worker="w-1"),
    ]


@pytest.mark.parametrize("deferred", [(), ("payload", "worker_id")], ids=["whole", "deferred"])
def test_rows_are_those_of_the_queryset(django_assert_num_queries: Any, deferred: tuple[str, ...]) -> None:
    jobs = _jobs()
    rows = Job.objects.with_signs_of_life().with_message().annotate(same=Value("100 %")).defer(*deferred)
    compiled = CompiledRows(rows.order_by("created_at", "pk"))
    by_key = CompiledRows(rows.order_by())
    expected = [_values(row) for row in rows.order_by("created_at", "pk")]

    with django_assert_num_queries(1):
        assert [_values(row) for row in compiled.all()] == expected
    with django_assert_num_queries(1):
        found = by_key.of_keys([jobs[0].pk, jobs[2].pk, uuid.uuid4()])
    assert {pk: _values(row) for pk, row in found.items()} == {
        each["id"]: each for each in expected if each["id"] in {jobs[0].pk, jobs[2].pk}
    }
    assert [is_cut(row.customer_id) for row in compiled.all()].count(True) == 1


def test_each_reading_is_of_its_own_moment(django_assert_num_queries: Any) -> None:
    compiled = CompiledRows(Job.objects.annotate(at=Now()).order_by())
    with django_assert_num_queries(0):
        assert compiled.of_keys([]) == {}
    assert compiled.all() == []

    [job] = [factories.job()]

    [first], [second] = list[Any](compiled.all()), list[Any](compiled.all())
    assert first == second == job
    assert first.at < second.at
    assert first is not second
    assert not first._state.adding
