"""What a worker is told: times, limits and places, from the environment or from the program around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from opsconsole_worker.environment import Environment

DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings that the protocol depends on. docs/settings.md has their names and meanings.

    ``redacts``: values of messages may stand in no log. ``schema``: of the console's own tables.
    ``shares_plans``: the sessions behind the pooler of the database keep what was prepared in them.
    """

    stale_after: timedelta
    beat_seconds: float
    max_attempts: int
    retry_backoff: timedelta
    body_limit: int
    redacts: bool
    schema: str
    region: str
    endpoint: str | None
    shares_plans: bool


def of_environment(environment: Environment) -> Settings:
    """Return the settings that the variables name. Raise its error for the first that can't be used."""
    return Settings(
        stale_after=timedelta(seconds=environment.seconds("OPSCONSOLE_STALE_AFTER_SECONDS", 600)),
        beat_seconds=environment.seconds("OPSCONSOLE_BEAT_INTERVAL_SECONDS", 15),
        max_attempts=environment.integer("OPSCONSOLE_MAX_ATTEMPTS", 3, at_most=1_000),
        retry_backoff=timedelta(seconds=environment.seconds("OPSCONSOLE_RETRY_BACKOFF_SECONDS", 30)),
        body_limit=environment.integer("OPSCONSOLE_BODY_LIMIT_BYTES", 1_048_576, at_most=1_048_576),
        redacts=bool(environment.words("OPSCONSOLE_REDACT_PATHS")),
        schema=environment.schema("OPSCONSOLE_SCHEMA", "opsconsole"),
        region=environment.region("AWS_DEFAULT_REGION", DEFAULT_REGION),
        endpoint=environment.url("AWS_ENDPOINT_URL", ("http", "https"), "http://127.0.0.1:5000"),
        shares_plans=environment.boolean("OPSCONSOLE_POOLER_KEEPS_PLANS", default=False),
    )


@cache
def _of_process() -> Settings:
    return of_environment(Environment())


_source: list[Callable[[], Settings]] = [_of_process]


def use(source: Callable[[], Settings]) -> None:
    """Let a program with settings of its own, such as the console, answer instead of the environment."""
    _source[:] = [source]


def current() -> Settings:
    """Return the settings that are in force now."""
    return _source[0]()
