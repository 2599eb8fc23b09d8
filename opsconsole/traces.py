"""Traces for an OpenTelemetry collector, where OTEL_EXPORTER_OTLP_ENDPOINT is set."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

import opsconsole
from opsconsole.kit import tracing


def begin() -> None:
    """Send traces from now on. Without an endpoint, we load nothing for it."""
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return
    try:
        tracing.begin(
            settings.OTEL_EXPORTER_OTLP_ENDPOINT,
            version=opsconsole.__version__,
            environment=settings.OPSCONSOLE_ENV,
        )
    except ImportError as error:
        raise ImproperlyConfigured(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and the packages that send traces are not installed. Install "
            "opsconsole[traces] (in a checkout: requirements-dev.txt), or unset it."
        ) from error
