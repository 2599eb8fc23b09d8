"""The reason of each audit line in a field of its own, the seals, and triggers that also refuse TRUNCATE.

The database's clock writes the time of each new line of the audit, whoever inserts it.
"""

from django.db import migrations, models
from django.db.models.functions import Now

INSERT_ONLY = """
CREATE FUNCTION opsconsole_insert_only() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER opsconsole_audit_no_truncate BEFORE TRUNCATE ON django_admin_log
    FOR EACH STATEMENT EXECUTE FUNCTION opsconsole_insert_only();
CREATE TRIGGER audit_details_insert_only BEFORE UPDATE OR DELETE ON audit_details
    FOR EACH ROW EXECUTE FUNCTION opsconsole_insert_only();
CREATE TRIGGER audit_details_no_truncate BEFORE TRUNCATE ON audit_details
    FOR EACH STATEMENT EXECUTE FUNCTION opsconsole_insert_only();
CREATE TRIGGER audit_seals_insert_only BEFORE UPDATE OR DELETE ON audit_seals
    FOR EACH ROW EXECUTE FUNCTION opsconsole_insert_only();
CREATE TRIGGER audit_seals_no_truncate BEFORE TRUNCATE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION opsconsole_insert_only();
"""

NOT_INSERT_ONLY = """
DROP TRIGGER audit_seals_no_truncate ON audit_seals;
DROP TRIGGER audit_seals_insert_only ON audit_seals;
DROP TRIGGER audit_details_no_truncate ON audit_details;
DROP TRIGGER audit_details_insert_only ON audit_details;
DROP TRIGGER opsconsole_audit_no_truncate ON django_admin_log;
DROP FUNCTION opsconsole_insert_only();
"""

# Not the transaction's time: then ids and times have the same order, whatever waits for whatever.
CLOCK = """
CREATE FUNCTION opsconsole_audit_clock() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    NEW.action_time := clock_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER opsconsole_audit_clock BEFORE INSERT ON django_admin_log
    FOR EACH ROW EXECUTE FUNCTION opsconsole_audit_clock();
"""

NO_CLOCK = """
DROP TRIGGER opsconsole_audit_clock ON django_admin_log;
DROP FUNCTION opsconsole_audit_clock();
"""

# To find the seals of a row.
SPAN_INDEX = (
    "CREATE INDEX audit_seals_span_idx ON audit_seals USING gist (int8range(first_id, last_id, '[]'))"
)

SOURCES = [("audit", "Audit"), ("timeline", "Timeline")]


class Migration(migrations.Migration):
    dependencies = [("opsconsole", "0004_roles")]

    operations = [
        migrations.CreateModel(
            name="AuditSeal",
            fields=[
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                (
                    "previous",
                    models.TextField(
                        blank=True, help_text="The hash of the seal before it; empty for the first."
                    ),
                ),
                ("hash", models.TextField(unique=True)),
                ("source", models.TextField(choices=SOURCES)),
                ("existing", models.BooleanField()),
                (
                    "ids",
                    models.TextField(help_text="Exactly the rows that the seal covers, such as '1-8,10'."),
                ),
                ("first_id", models.BigIntegerField()),
                ("last_id", models.BigIntegerField()),
                ("row_count", models.IntegerField()),
                (
                    "content",
                    models.TextField(help_text="The hash of the canonical content of the rows."),
                ),
                ("sealed_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "seal",
                "db_table": "audit_seals",
                "ordering": ["number"],
                "default_permissions": (),
            },
        ),
        migrations.AddConstraint(
            model_name="auditseal",
            constraint=models.UniqueConstraint(fields=("previous",), name="audit_seals_one_chain"),
        ),
        migrations.CreateModel(
            name="UnsealedRange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("source", models.TextField(choices=SOURCES)),
                ("first_id", models.BigIntegerField()),
                ("last_id", models.BigIntegerField(null=True)),
                ("existing", models.BooleanField(db_default=False)),
                ("noticed_at", models.DateTimeField(db_default=Now())),
                ("horizon", models.BigIntegerField(null=True)),
            ],
            options={
                "db_table": "audit_unsealed",
                "ordering": ["source", "first_id"],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="SealCheck",
            fields=[
                ("id", models.SmallIntegerField(db_default=1, primary_key=True, serialize=False)),
                ("next_seal", models.BigIntegerField(db_default=1)),
                (
                    "newest_seal",
                    models.BigIntegerField(db_default=0, help_text="The last seal that there was."),
                ),
                ("round", models.IntegerField(db_default=1)),
                (
                    "round_ended_at",
                    models.DateTimeField(null=True, help_text="When all seals had last been checked."),
                ),
                ("breaks", models.JSONField(db_default=[])),
            ],
            options={"db_table": "audit_seal_checks", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="AuditDetail",
            fields=[
                (
                    "entry",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=models.DO_NOTHING,
                        primary_key=True,
                        related_name="detail",
                        serialize=False,
                        to="admin.logentry",
                    ),
                ),
                (
                    "reason",
                    models.TextField(
                        blank=True, db_default="", help_text="Why the person did it, in their words."
                    ),
                ),
                ("result", models.TextField(blank=True, db_default="")),
                (
                    "actor",
                    models.TextField(
                        blank=True,
                        db_default="",
                        help_text="Who did it where that is no user of the console, such as 'ada at host-1' for a command.",
                    ),
                ),
            ],
            options={"db_table": "audit_details", "default_permissions": ()},
        ),
        migrations.RunSQL(INSERT_ONLY, NOT_INSERT_ONLY),
        migrations.RunSQL(CLOCK, NO_CLOCK),
        migrations.RunSQL(SPAN_INDEX, "DROP INDEX audit_seals_span_idx"),
    ]
