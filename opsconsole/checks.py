"""System checks: what production refuses (errors) and what is allowed but unwise (warnings).

Every command runs them before it works, and the WSGI and ASGI entry points before they serve.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from alerts.channels import no_channel
from opsconsole import secret_strength
from opsconsole.kit import env, intervals, mapping_version, redis_url_check, schema_version, session_defaults
from opsconsole.seals import checking, state, verification
from opsconsole.settings import DEVELOPMENT_SECRET_KEY
from opsconsole_worker import secret_files

PREFIX = "OPSCONSOLE_"


@checks.register("opsconsole")
def check_production(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    return list(_refused_in_production()) if settings.OPSCONSOLE_ENV == "production" else []


def _refused_in_production() -> Iterator[checks.CheckMessage]:
    if settings.DEBUG:
        yield checks.Error(
            "OPSCONSOLE_DEBUG is on in production: error pages would show settings and data to anybody.",
            hint="Unset OPSCONSOLE_DEBUG, or set OPSCONSOLE_ENV=development on a machine of your own.",
            id="opsconsole.E001",
        )
    if (
        settings.SECRET_KEY == DEVELOPMENT_SECRET_KEY
        or len(settings.SECRET_KEY) < env.FEWEST_SECRET_CHARACTERS
    ):
        yield checks.Error(
            "OPSCONSOLE_SECRET_KEY is missing or too short: whoever guesses it can be any user and "
            "queue any task.",
            hint=f"Set it to at least {env.FEWEST_SECRET_CHARACTERS} random characters and keep them secret.",
            id="opsconsole.E002",
        )
    yield from _missing_services()


def _missing_services() -> Iterator[checks.CheckMessage]:
    # The embedded services never stand in for these in production.
    if not env.text("DATABASE_URL"):
        yield checks.Error(
            "DATABASE_URL is missing: production needs its own PostgreSQL server.",
            hint="Set it to a URL such as postgres://user:password@host:5432/name.",
            id="opsconsole.E003",
        )
    if not env.text("CACHE_URL"):
        yield checks.Error(
            "CACHE_URL is missing: processes share the rate limits there.",
            hint="Set it to a URL of Redis or Valkey such as redis://host:6379/0.",
            id="opsconsole.E004",
        )
    if not settings.QUEUES:
        yield checks.Error(
            "SQS_QUEUE_URL is missing: there is no queue to send jobs to.",
            hint="Set SQS_QUEUE_URL and SQS_DLQ_URL, or OPSCONSOLE_QUEUES.",
            id="opsconsole.E005",
        )
    if not settings.ALLOWED_HOSTS:
        yield checks.Error(
            "OPSCONSOLE_ALLOWED_HOSTS is missing: every request would be refused.",
            hint="Set it to the host names of the console, separated by commas.",
            id="opsconsole.E006",
        )


@checks.register("opsconsole")
def check_intervals(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    threshold = settings.OPSCONSOLE_STALE_AFTER_SECONDS
    return [
        checks.Warning(
            f"{name} ({interval} s) is more than a quarter of OPSCONSOLE_STALE_AFTER_SECONDS "
            f"({threshold} s): {consequence}",
            hint=f"Set {name} to at most {threshold // 4}, or raise the threshold.",
            id=check_id,
        )
        for name, interval, consequence, check_id in (
            (
                "OPSCONSOLE_SWEEP_INTERVAL_SECONDS",
                round(intervals.of_sweeps().every.total_seconds()),
                "a dead worker's job waits long after it has become stale.",
                "opsconsole.W001",
            ),
            (
                "OPSCONSOLE_BEAT_INTERVAL_SECONDS",
                settings.OPSCONSOLE_BEAT_INTERVAL_SECONDS,
                "a few late heartbeats make a living worker look dead.",
                "opsconsole.W002",
            ),
        )
        if interval * 4 > threshold
    ]


@checks.register("opsconsole")
def check_names(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """Warn of misspelt variables, which would silently leave their settings at the defaults."""
    ours = (
        name
        for name in os.environ
        if name.startswith(PREFIX) or name.removesuffix(secret_files.SUFFIX) in env.known.keys() - {name}
    )
    return [
        checks.Warning(
            f"{name} is set in the environment, but there is no such setting.",
            hint=_meant(name),
            id="opsconsole.W003",
        )
        for name in sorted(ours)
        if name not in env.known and name.removesuffix(secret_files.SUFFIX) not in env.secret_names
    ]


def _meant(misspelt: str) -> str:
    if (setting := misspelt.removesuffix(secret_files.SUFFIX)) in env.known:
        return f"Only secrets are read from files. Set {setting}."
    names = [name.removeprefix(PREFIX) for name in env.known]
    closest = difflib.get_close_matches(misspelt.removeprefix(PREFIX), names, n=1)
    return f"Did you mean {PREFIX}{closest[0]}?" if closest else "docs/settings.md lists them all."


@checks.register("opsconsole")
def check_alert_channels(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    return list(_alerting())


def _alerting() -> Iterator[checks.CheckMessage]:
    names = [*settings.OPSCONSOLE_ALERT_CHANNELS, *(["slack"] if settings.SLACK_WEBHOOK_URL else [])]
    fallback = settings.OPSCONSOLE_ALERT_FALLBACK
    if fallback and fallback not in names:
        yield checks.Error(
            f"OPSCONSOLE_ALERT_FALLBACK names '{fallback}', which is not a channel.",
            hint=f"Channels: {', '.join(names) or 'none'}.",
            id="opsconsole.E007",
        )
    if settings.OPSCONSOLE_ENV != "production":
        return
    if not names:
        yield checks.Warning(
            no_channel.SENTENCE,
            hint=no_channel.ADVICE,
            id="opsconsole.W004",
        )
    elif not settings.OPSCONSOLE_PUBLIC_URL:
        yield checks.Warning(
            "OPSCONSOLE_PUBLIC_URL is missing: alert messages have no buttons to the console.",
            hint="Set it to the address of the console, such as https://ops.example.com.",
            id="opsconsole.W005",
        )


@checks.register("opsconsole")
def check_sign_in_header(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    if not settings.OPSCONSOLE_SIGN_IN_HEADER or settings.OPSCONSOLE_TRUSTED_PROXIES:
        return []
    return [
        checks.Error(
            "OPSCONSOLE_SIGN_IN_HEADER is set, but no proxy is trusted: nobody could sign in with it.",
            hint="Name the networks of your proxies in OPSCONSOLE_TRUSTED_PROXIES, or unset the header.",
            id="opsconsole.E008",
        )
    ]


@checks.register("opsconsole", deploy=True)
def check_doors(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    """Warn of what makes it easier to get in. Only ``check --deploy`` says so."""
    return list(_open_doors()) if settings.OPSCONSOLE_ENV == "production" else []


def _open_doors() -> Iterator[checks.CheckMessage]:
    yield from _weak_secrets()
    if "*" in settings.ALLOWED_HOSTS:
        yield checks.Warning(
            "OPSCONSOLE_ALLOWED_HOSTS allows every host: links and checks of forms follow whatever Host a client sends.",
            hint="Set it to the host names of the console, separated by commas.",
            id="opsconsole.W008",
        )
    if settings.OPSCONSOLE_SECOND_FACTOR == "off":
        yield checks.Warning(
            "OPSCONSOLE_SECOND_FACTOR is off: whoever learns a password is in.",
            hint="Set it to required, or at least to optional, which is the default.",
            id="opsconsole.W009",
        )
    # The second is the first unless it was set.
    stores = {
        settings.OPSCONSOLE_RATE_LIMIT_STORE: "OPSCONSOLE_RATE_LIMIT_STORE",
        settings.CACHE_URL: "CACHE_URL",
    }
    for address, name in stores.items():
        if address and redis_url_check.has_no_secret(address):
            yield checks.Warning(
                f"{name} has no password: whoever reaches the store can lift every rate limit.",
                hint="Give the store a password (requirepass), and write redis://:PASSWORD@HOST:6379/0.",
                id="opsconsole.W010",
            )


def _weak_secrets() -> Iterator[checks.CheckMessage]:
    """Refuse secrets that somebody with a signature or a hash finds at home, and warn of passwords that a server compares."""
    peppers = "OPSCONSOLE_API_KEY_PEPPERS"
    for name, values, consequence in (
        ("OPSCONSOLE_SECRET_KEY", [settings.SECRET_KEY], "A new one ends all sessions."),
        (peppers, settings.OPSCONSOLE_API_KEY_PEPPERS, "Put it in front, and see docs/settings.md."),
    ):
        if any(map(secret_strength.is_weak, values)):
            yield checks.Error(
                f"{name} can be guessed: it is a pattern, a few words or a placeholder.",
                hint=f'Make a random one: python -c "import secrets; print(secrets.token_urlsafe(48))". {consequence}',
                id="opsconsole.E032" if name == peppers else "opsconsole.E033",
            )
    for name in ("DATABASE_URL", "OPSCONSOLE_OWNER_DATABASE_URL", "CACHE_URL", "OPSCONSOLE_RATE_LIMIT_STORE"):
        password = _password_in(env.text(name))
        if password and secret_strength.is_weak_password(password):
            yield checks.Warning(
                f"The password in {name} can be guessed.",
                hint='Make a random one: python -c "import secrets; print(secrets.token_urlsafe(24))".',
                id="opsconsole.W012",
            )


def _password_in(address: str) -> str:
    parts = urlsplit(address)
    return unquote(parts.password or "") or parse_qs(parts.query).get("password", [""])[0]


@checks.register("migrations")
def check_migrations(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Warn of a database that lacks migrations of this code. Before an update it does, so it is no error."""
    if not databases or "default" not in databases or not (lacking := schema_version.lacking()):
        return []
    return [
        checks.Warning(
            f"{lacking}: until they are, pages are answered with 503, and sweeps and workers wait.",
            hint=schema_version.MIGRATE,
            id="opsconsole.W013",
        )
    ]


@checks.register("sessions")
def check_sessions(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Warn of session settings that the database does not give to the connections of pages."""
    if not databases or "default" not in databases or schema_version.is_behind():
        return []
    found = session_defaults.differences()
    return [
        checks.Warning(
            f"The database's sessions don't fit: {difference.sentence}.",
            hint=advice,
            id="opsconsole.W006",
        )
        for difference, advice in zip(found, session_defaults.advice(found), strict=True)
    ]


@checks.register("mapping")
def check_mapping(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Refuse a mapping that changed after migrate built it into functions and indexes."""
    if not databases or "default" not in databases or schema_version.is_behind():
        return []
    if not mapping_version.has_changed():
        return []
    return [checks.Error(mapping_version.SENTENCE, hint=mapping_version.ACTION, id="opsconsole.E034")]


@checks.register("seals", deploy=True)
def check_seals(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Tell of rows of the audit, the timeline and the ledgers that are not as they were sealed, or that nothing seals.

    Only the newest seals are read.
    """
    if not databases or "default" not in databases or schema_version.is_behind():
        return []
    found = dict.fromkeys([*verification.verify_recent().breaks, *checking.known_breaks()])
    unsealed = checks.Warning(
        f"{state.BEHIND}: until then, nothing shows changes of them.",
        hint=state.WHEN_BEHIND,
        id="opsconsole.W011",
    )
    return [unsealed] * state.is_behind() + [
        checks.Error(
            each.sentence,
            hint="Run manage.py verify_audit, which reads everything, and follow docs/runbooks/audit-broken.md.",
            id="opsconsole.E031",
        )
        for each in found
    ]
