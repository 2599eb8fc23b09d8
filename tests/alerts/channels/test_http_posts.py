"""Posts to vendors: how long a vendor asks to wait, and secrets in its answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from alerts.channels.http_posts import wait, without_secrets


def test_retry_after_is_seconds_or_a_date_up_to_an_hour() -> None:
    assert wait("3") == timedelta(seconds=3)
    assert wait("999999999") == timedelta(hours=1)
    assert wait("") is wait("soon") is wait("-3") is None
    in_a_minute = wait(format_datetime(datetime.now(UTC) + timedelta(seconds=60)))
    assert in_a_minute and timedelta(seconds=50) < in_a_minute <= timedelta(seconds=60)
    assert wait("Wed, 21 Oct 2015 07:28:00 GMT") == timedelta(0)


def test_parts_of_the_url_are_removed_from_a_text() -> None:
    text = "Could not reach host.example.com with tok%40en/tok@en as bob"
    assert (
        without_secrets(text, "pover://bob:tok%40en@host.example.com/key")
        == "Could not reach *** with ***/*** as bob"
    )
