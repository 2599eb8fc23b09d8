"""The roles viewer, operator and administrator (opsconsole.roles)."""

from typing import Any

from django.db import migrations

from opsconsole import roles


def grant(apps: Any, schema_editor: Any) -> None:
    roles.grant(apps)


class Migration(migrations.Migration):
    dependencies = [
        ("opsconsole", "0003_pauses"),
        ("jobs", "0061_outbox_message_index"),
        ("alerts", "0001_alerts"),
        ("ratelimits", "0002_cleanup_function"),
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
