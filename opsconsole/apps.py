from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks


class OpsConsoleConfig(AppConfig):
    name = "opsconsole"
    verbose_name = "Ops console"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # They need the settings; importing the checks registers them.
        from opsconsole import checks, error_reports, traces  # noqa: F401, PLC0415
        from opsconsole.cluster import task_values  # noqa: PLC0415 - needs the models
        from opsconsole.kit import command_loops  # noqa: PLC0415 - needs the settings
        from opsconsole.sign_in import audited, role_words  # noqa: PLC0415 - they need the models
        from opsconsole.sign_in.oidc import checks as _  # noqa: F401, PLC0415 - registers it

        error_reports.begin()
        traces.begin()
        task_values.use()
        audited.connect()
        role_words.use()
        command_loops.beside.append(_metrics)


@contextmanager
def _metrics() -> Iterator[None]:
    # The page of metrics is much to read for a process that has no port.
    if not settings.OPSCONSOLE_METRICS_LISTEN:
        yield
        return
    from opsconsole import metrics_server  # noqa: PLC0415 - see above

    with metrics_server.beside_a_loop():
        yield


class ConsoleAdminConfig(SimpleAdminConfig):
    """The admin, whose pages are read when they are first needed (``opsconsole.kit.admin_pages``)."""

    default_site = "opsconsole.site.ConsoleSite"

    def ready(self) -> None:
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(check_pages, checks.Tags.admin)


def check_pages(**kwargs: Any) -> list[checks.CheckMessage]:
    """Let Django check all pages of the admin."""
    from opsconsole.kit import admin_pages  # noqa: PLC0415 - needs the models

    admin_pages.site()
    found: list[checks.CheckMessage] = check_admin_app(**kwargs)
    return found
