"""Reports of errors to Sentry, where SENTRY_DSN is set: the error and where it happened, never whose data it was about."""

from __future__ import annotations

import os
from multiprocessing import util
from typing import Any

from django.conf import settings

import opsconsole
from opsconsole import logs

# Of a request, what says which page failed. The rest has cookies, searches and forms.
_OF_REQUEST = ("method", "url")


# For what waits at the end of a process.
FLUSH_SECONDS = 2.0


def begin() -> None:
    """Report errors from now on. Without SENTRY_DSN, the library is not even loaded."""
    if not settings.SENTRY_DSN:
        return
    # The forks of a cluster end without what Python does at its end, and the library sends in a thread.
    util.register_after_fork(flush, lambda _: util.Finalize(None, flush, exitpriority=0))
    import sentry_sdk  # noqa: PLC0415 - it takes memory in every process

    secrets = logs.secrets_of(os.environ)

    def cleaned(event: Any, _hint: Any) -> Any:
        return clean(event, secrets)

    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        environment=settings.OPSCONSOLE_ENV,
        release=f"opsconsole@{opsconsole.__version__}",
        before_send=cleaned,
        before_breadcrumb=_without_contents,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        traces_sample_rate=0.0,
        enable_logs=False,
        disabled_integrations=_unwanted(),
    )


def flush() -> None:
    """Send what waits, before this process ends."""
    if settings.SENTRY_DSN:
        import sentry_sdk  # noqa: PLC0415 - see ``begin``

        sentry_sdk.flush(FLUSH_SECONDS)


def _unwanted() -> list[Any]:
    """Return the integrations that report command lines, which may hold reasons, and loaded packages."""
    from sentry_sdk.integrations.argv import ArgvIntegration  # noqa: PLC0415 - see ``begin``
    from sentry_sdk.integrations.modules import ModulesIntegration  # noqa: PLC0415

    return [ArgvIntegration(), ModulesIntegration()]


def clean(event: dict[str, Any], secrets: tuple[str, ...]) -> dict[str, Any]:
    """Return the event without people, contents and secrets."""
    request = event.pop("request", {})
    if request:
        url = str(request.get("url", "")).partition("?")[0]
        event["request"] = {
            name: value for name, value in (request | {"url": url}).items() if name in _OF_REQUEST
        }
    for name in ("user", "extra"):
        event.pop(name, None)
    for error in event.get("exception", {}).get("values", []):
        # The further lines of PostgreSQL quote rows.
        error["value"] = str(error.get("value", "")).strip().partition("\n")[0]
    if entry := event.get("logentry"):
        text = entry.get("formatted") or entry.get("message") or ""
        event["logentry"] = {"message": entry.get("message") or text, "formatted": text.partition("\n")[0]}
    cleaned: dict[str, Any] = _deep(event, secrets)
    return cleaned


def _deep(value: Any, secrets: tuple[str, ...]) -> Any:
    match value:
        case str():
            return logs.without(secrets, value)
        case dict():
            return {name: _deep(each, secrets) for name, each in value.items()}
        case list() | tuple():
            return [_deep(each, secrets) for each in value]
    return value


def _without_contents(crumb: dict[str, Any], _hint: Any) -> dict[str, Any] | None:
    """Keep lines of the log; statements have values, and the addresses of requests have secrets."""
    if crumb.get("type") != "log":
        return None
    return crumb | {"message": str(crumb.get("message", "")).partition("\n")[0], "data": {}}
