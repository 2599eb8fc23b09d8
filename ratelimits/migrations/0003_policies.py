"""Policies, the global switch, and the version by which every process notices an edit."""

import django.contrib.postgres.fields
from django.db import migrations, models

VERSION = """
INSERT INTO rate_limit_control (id, salt)
VALUES (1, replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''));

CREATE FUNCTION rate_limit_policies_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE rate_limit_control SET version = version + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER rate_limit_policies_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON rate_limit_policies
    FOR EACH STATEMENT EXECUTE FUNCTION rate_limit_policies_changed();

CREATE FUNCTION rate_limit_switched() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER rate_limit_switched BEFORE UPDATE OF mode ON rate_limit_control
    FOR EACH ROW EXECUTE FUNCTION rate_limit_switched();
"""
UNDO = """
DROP TRIGGER rate_limit_switched ON rate_limit_control;
DROP FUNCTION rate_limit_switched();
DROP TRIGGER rate_limit_policies_changed ON rate_limit_policies;
DROP FUNCTION rate_limit_policies_changed();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("ratelimits", "0002_cleanup_function"),
    ]

    operations = [
        migrations.CreateModel(
            name="Policy",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.TextField(
                        help_text="Lower-case letters, digits and dashes. It can't be changed later.",
                        unique=True,
                    ),
                ),
                ("limit", models.IntegerField(help_text="How many requests a client may make in a window.")),
                ("window_seconds", models.IntegerField(default=60, verbose_name="window, seconds")),
                (
                    "algorithm",
                    models.TextField(
                        choices=[
                            ("moving", "exact moving window: never more than the limit in any window"),
                            ("counter", "sliding counter: approximate, 90 bytes a client"),
                        ],
                        default="moving",
                    ),
                ),
                (
                    "mode",
                    models.TextField(
                        choices=[
                            ("enforce", "enforce: refuses what is too much"),
                            ("shadow", "shadow: counts and records, refuses nothing"),
                            ("off", "off: does not count"),
                        ],
                        default="enforce",
                    ),
                ),
                (
                    "key",
                    models.TextField(
                        choices=[
                            ("default", "API key, else user, else address"),
                            ("address", "address"),
                            ("user", "user, else address"),
                            ("api_key", "API key, else address"),
                        ],
                        default="default",
                        verbose_name="counts by",
                    ),
                ),
                (
                    "path_prefixes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        default=list,
                        help_text="Paths that are limited by it, separated by commas, such as /api/. Views may name it themselves.",
                        size=None,
                    ),
                ),
                (
                    "methods",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        default=list,
                        help_text="Such as POST, PUT. Empty: all methods.",
                        size=None,
                    ),
                ),
                (
                    "allow_networks",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        default=list,
                        help_text="Never limited, such as 10.0.0.0/8.",
                        size=None,
                    ),
                ),
                (
                    "deny_networks",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        default=list,
                        help_text="Always refused, with 403.",
                        size=None,
                    ),
                ),
                (
                    "when_store_is_away",
                    models.TextField(
                        choices=[
                            ("local", "count in each process, limit divided by the processes"),
                            ("open", "let everything pass"),
                            ("closed", "refuse everything"),
                        ],
                        default="local",
                    ),
                ),
                (
                    "position",
                    models.IntegerField(
                        default=100, help_text="Where several apply to a request, the lowest is told first."
                    ),
                ),
                ("changed_at", models.DateTimeField(auto_now=True)),
                ("changed_by", models.TextField(blank=True, default="", editable=False)),
            ],
            options={
                "verbose_name_plural": "policies",
                "db_table": "rate_limit_policies",
                "ordering": ["position", "name"],
                "default_permissions": ("view", "add", "change"),
            },
        ),
        migrations.CreateModel(
            name="LimiterControl",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                (
                    "mode",
                    models.TextField(
                        choices=[
                            ("enforce", "enforce: refuses what is too much"),
                            ("shadow", "shadow: counts and records, refuses nothing"),
                            ("off", "off: does not count"),
                        ],
                        db_default="enforce",
                    ),
                ),
                ("changed_at", models.DateTimeField(null=True)),
                ("changed_by", models.TextField(blank=True, db_default="")),
                ("reason", models.TextField(blank=True, db_default="")),
                (
                    "version",
                    models.BigIntegerField(db_default=1, help_text="A trigger raises it with each change."),
                ),
                ("salt", models.TextField(help_text="Hashed with the keys of the rollups.")),
            ],
            options={
                "verbose_name": "limiter control",
                "db_table": "rate_limit_control",
                "permissions": [("switch_limiter", "Can switch all rate limits to shadow or off")],
                "default_permissions": ("view",),
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="rate_limit_control_one_row")
                ],
            },
        ),
        migrations.RunSQL(VERSION, UNDO),
    ]
