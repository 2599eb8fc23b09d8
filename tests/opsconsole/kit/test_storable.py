"""Tests of storable text: PostgreSQL accepts exactly what counts as storable."""

from __future__ import annotations

import pytest
from django.db import DataError, connection, transaction
from django.db.models import JSONField
from hypothesis import given
from hypothesis import strategies as st

from opsconsole.kit.storable import json_problem, plain_text

texts = st.text(st.characters(codec=None, exclude_categories=()))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(texts)
def test_plain_text_keeps_all_that_can_be_kept(text: str) -> None:
    plain = plain_text(text)
    plain.encode()
    assert "\x00" not in plain
    assert plain == text or "\x00" in text or any("\ud800" <= each <= "\udfff" for each in text)


@pytest.mark.django_db
@given(value=values)
def test_json_without_a_problem_is_accepted_by_postgresql(value: object) -> None:
    stored = JSONField().get_db_prep_value(value, connection)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT %s::jsonb", [stored])
    except (DataError, UnicodeEncodeError, ValueError):
        assert json_problem(value) is not None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"a": [1, 2.5, None, "é", "\\"]}, None),
        ({"a": "\x00"}, "NUL"),
        ({"a": "\ud800"}, "lone surrogate"),
        ({"a": float("inf")}, "not JSON"),
        ({"a": {1, 2}}, "not JSON"),
    ],
)
def test_problems_are_named(value: object, problem: str | None) -> None:
    found = json_problem(value)
    assert found is None if problem is None else problem in str(found)
