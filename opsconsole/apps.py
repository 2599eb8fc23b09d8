from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class OpsConsoleConfig(AppConfig):
    name = "opsconsole"
    verbose_name = "Ops console"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # They need the settings; importing the checks registers them.
        from opsconsole import checks, error_reports  # noqa: F401, PLC0415
        from opsconsole.cluster import task_values  # noqa: PLC0415 - needs the models
        from opsconsole.sign_in import audited  # noqa: PLC0415 - it needs the models

        error_reports.begin()
        task_values.use()
        audited.connect()


class ConsoleAdminConfig(AdminConfig):
    default_site = "opsconsole.site.ConsoleSite"
