from django.apps import AppConfig


class OpsConsoleConfig(AppConfig):
    name = "opsconsole"
    verbose_name = "Ops console"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from opsconsole import checks  # noqa: F401, PLC0415 - importing registers them; they need the settings
