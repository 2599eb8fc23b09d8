"""Intervals are read as they are, in whichever style a database prints them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection

pytestmark = pytest.mark.django_db

INTERVALS = [
    "0",
    "1 year 2 mons 3 days 04:05:06.789",
    "-1 day",
    "-1 day -02:03:04.5",
    "1 day -02:03:04",
    "-1 mon 3 days -00:00:00.000001",
    "-26:00:00",
    "10 days",
]


@pytest.mark.parametrize("style", ["postgres", "postgres_verbose", "sql_standard", "iso_8601"])
def test_intervals_of_each_style_are_read(style: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT unnest(%s::interval[])", [INTERVALS])
        usual = [value for (value,) in cursor.fetchall()]
        cursor.execute("SELECT set_config('intervalstyle', %s, true)", [style])
        cursor.execute("SELECT unnest(%s::interval[])", [INTERVALS])
        assert [value for (value,) in cursor.fetchall()] == usual
        assert usual[2:4] == [timedelta(days=-1), timedelta(days=-1, hours=-2, minutes=-3, seconds=-4.5)]
