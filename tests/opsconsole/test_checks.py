"""Tests of system checks: what production refuses, and what is allowed with a warning."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from opsconsole import checks, secret_strength
from opsconsole.settings import DEVELOPMENT_SECRET_KEY

GOOD = {
    "OPSCONSOLE_ENV": "production",
    "DEBUG": False,
    "SECRET_KEY": "x" * 32,
    "ALLOWED_HOSTS": ["ops.example.com"],
    "QUEUES": {"default": object()},
}

RANDOM = "vX3kQz9-Rt7LmN2_pW8sYb4HcJ6gDf1Ae5Tu0oViKxZ"


@pytest.fixture
def production(settings: Settings) -> Settings:
    for name, value in GOOD.items():
        setattr(settings, name, value)
    return settings


def found(check: Any) -> set[str]:
    return {message.id for message in check(None)}


def test_valid_production_settings_pass(production: Settings) -> None:
    assert found(checks.check_production) == set()


@pytest.mark.parametrize(
    ("name", "value", "check_id"),
    [
        ("DEBUG", True, "opsconsole.E001"),
        ("SECRET_KEY", DEVELOPMENT_SECRET_KEY, "opsconsole.E002"),
        ("SECRET_KEY", "x" * 31, "opsconsole.E002"),
        ("QUEUES", {}, "opsconsole.E005"),
        ("ALLOWED_HOSTS", [], "opsconsole.E006"),
    ],
)
def test_production_refuses(production: Settings, name: str, value: object, check_id: str) -> None:
    setattr(production, name, value)
    assert found(checks.check_production) == {check_id}
    production.OPSCONSOLE_ENV = "development"
    assert found(checks.check_production) == set()


@pytest.mark.parametrize(
    ("variable", "check_id"), [("DATABASE_URL", "opsconsole.E003"), ("CACHE_URL", "opsconsole.E004")]
)
def test_production_refuses_a_missing_service(
    production: Settings, monkeypatch: pytest.MonkeyPatch, variable: str, check_id: str
) -> None:
    monkeypatch.delenv(variable)
    assert found(checks.check_production) == {check_id}


@pytest.mark.parametrize(
    ("name", "check_id"),
    [
        ("OPSCONSOLE_SWEEP_INTERVAL_SECONDS", "opsconsole.W001"),
        ("OPSCONSOLE_BEAT_INTERVAL_SECONDS", "opsconsole.W002"),
    ],
)
def test_interval_of_more_than_a_quarter_of_the_threshold_warns(
    settings: Settings, name: str, check_id: str
) -> None:
    settings.OPSCONSOLE_STALE_AFTER_SECONDS = 960
    setattr(settings, name, 240)
    assert found(checks.check_intervals) == set()
    setattr(settings, name, 300)
    assert found(checks.check_intervals) == {check_id}


def test_misspelt_variable_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_names(None) == []
    monkeypatch.setenv("OPSCONSOLE_STALE_AFTER", "60")
    [warning] = checks.check_names(None)
    assert warning.msg.startswith("OPSCONSOLE_STALE_AFTER is set")
    assert warning.hint == "Did you mean OPSCONSOLE_STALE_AFTER_SECONDS?"
    monkeypatch.delenv("OPSCONSOLE_STALE_AFTER")
    monkeypatch.setenv("OPSCONSOLE_XYZZY", "1")
    assert [message.hint for message in checks.check_names(None)] == ["docs/settings.md lists them all."]


def test_production_warns_without_alert_channels(production: Settings) -> None:
    assert found(checks.check_alert_channels) == {"opsconsole.W004"}
    production.OPSCONSOLE_ALERT_CHANNELS = {"mail": "mailto://x"}
    assert found(checks.check_alert_channels) == {"opsconsole.W005"}
    production.OPSCONSOLE_PUBLIC_URL = "https://ops.example.com"
    assert found(checks.check_alert_channels) == set()
    production.OPSCONSOLE_ALERT_FALLBACK = "pager"
    assert found(checks.check_alert_channels) == {"opsconsole.E007"}
    production.OPSCONSOLE_ALERT_FALLBACK = "mail"
    assert found(checks.check_alert_channels) == set()


@pytest.mark.parametrize(
    ("secret", "weak"),
    [
        ("a" * 40, True),
        ("0123456789" * 4, True),
        ("abcdefghijklmnopqrstuvwxyz0123456789ABCDEF", True),
        ("changemechangemechangemechangeme1234", True),
        ("correct-horse-battery-staple-and-so-on", True),
        ("x9" * 20 + "k", True),
        ("django-insecure-8f$k2#m!q9@v7^w4&z1*c5(n3)b6", True),
        ("d41d8cd98f00b204e9800998ecf8427e", False),
        ("vX3kQz9-Rt7LmN2_pW8sYb4HcJ6gDf1Ae5Tu0oViKxZ", False),
        ("0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978", False),
    ],
)
def test_secret_that_can_be_guessed_is_refused(settings: Any, secret: str, weak: bool) -> None:
    settings.OPSCONSOLE_ENV, settings.SECRET_KEY = "production", secret
    assert ("opsconsole.E033" in found(checks.check_doors)) is weak
    settings.OPSCONSOLE_API_KEY_PEPPERS = [RANDOM, secret]
    assert ("opsconsole.E032" in found(checks.check_doors)) is weak


@pytest.mark.parametrize(
    ("address", "weak"),
    [
        ("postgres://console:secret@host/console", True),
        ("postgres://console:opsconsole1@host/console", True),
        ("redis://:change-me-please-now-1234@cache:6379/0", True),
        ("redis://cache:6379/0?password=aaaaaaaaaaaaaaaa", True),
        ("postgres://console:Yx3%2FkQ9wTz7Lm2Np@host/console", False),
        ("postgres:///console?host=/run/postgresql", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("name", ["DATABASE_URL", "CACHE_URL"])
def test_password_that_can_be_guessed_is_warned_of(
    settings: Any, monkeypatch: pytest.MonkeyPatch, name: str, address: str, weak: bool
) -> None:
    settings.OPSCONSOLE_ENV, settings.SECRET_KEY = "production", RANDOM
    for each in ("DATABASE_URL", "CACHE_URL"):
        monkeypatch.setenv(each, address if each == name else "")
    messages = [each.msg for each in checks.check_doors(None) if each.id == "opsconsole.W012"]
    assert messages == [f"The password in {name} can be guessed."] * weak


def test_open_doors_are_warned_of_in_production(settings: Any) -> None:
    settings.SECRET_KEY = RANDOM
    settings.ALLOWED_HOSTS, settings.OPSCONSOLE_SECOND_FACTOR = ["*"], "off"
    assert not found(checks.check_doors)
    settings.OPSCONSOLE_ENV = "production"
    assert found(checks.check_doors) == {"opsconsole.W008", "opsconsole.W009"}
    settings.ALLOWED_HOSTS, settings.OPSCONSOLE_SECOND_FACTOR = ["ops.example.com"], "optional"
    assert not found(checks.check_doors)


@pytest.mark.parametrize(
    ("address", "open_to_all"),
    [
        ("redis://cache:6379/0", True),
        ("rediss://user@cache:6379/0", True),
        ("redis://:secret@cache:6379/0", False),
        ("redis://cache:6379/0?password=secret", False),
        ("rediss://cache:6379/0?ssl_certfile=/etc/client.pem", False),
        ("redis://127.0.0.1:6379/0", False),
        ("unix:///run/valkey.sock", False),
    ],
)
def test_store_without_a_password_is_warned_of(settings: Any, address: str, open_to_all: bool) -> None:
    settings.SECRET_KEY = RANDOM
    settings.OPSCONSOLE_ENV, settings.ALLOWED_HOSTS = "production", ["ops.example.com"]
    settings.CACHE_URL = address
    assert found(checks.check_doors) == ({"opsconsole.W010"} if open_to_all else set())


def test_random_secrets_are_not_warned_of() -> None:
    for make in (secrets.token_hex, secrets.token_urlsafe):
        assert not any(secret_strength.is_weak(make(length)) for length in (24, 32, 48) for _ in range(200))
