from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "jobs"
    verbose_name = "Jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from jobs import checks  # noqa: F401, PLC0415 - registers the checks, once models are loaded
        from jobs.inspection import changes  # noqa: PLC0415 - it asks the mapping, once models are loaded
        from opsconsole.kit import changed_tables, worker_host  # noqa: PLC0415 - it asks the database about models

        worker_host.begin()
        changed_tables.begin(changes.sentences)
