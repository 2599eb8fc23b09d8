"""Facts about failures of dead letters say under which redaction they were read: those stored before, under an unknown one."""

from django.db import migrations, models

OF_AN_UNKNOWN_REDACTION = """
UPDATE {table}
   SET facts = (
       SELECT jsonb_agg(
                  CASE WHEN fact ->> 0 = 'Newest failures' AND jsonb_array_length(fact) = 2
                       THEN fact || '[""]'::jsonb ELSE fact END
                  ORDER BY place)
         FROM jsonb_array_elements(facts) WITH ORDINALITY AS each (fact, place))
 WHERE facts @> '[["Newest failures"]]'
"""
AS_BEFORE = """
UPDATE {table}
   SET facts = (
       SELECT jsonb_agg(jsonb_build_array(fact -> 0, fact -> 1) ORDER BY place)
         FROM jsonb_array_elements(facts) WITH ORDINALITY AS each (fact, place))
 WHERE facts @> '[["Newest failures"]]'
"""


class Migration(migrations.Migration):
    dependencies = [("alerts", "0012_refused_claims_rule")]

    operations = [
        migrations.AlterField(
            model_name="alert",
            name="facts",
            field=models.JSONField(
                blank=True,
                db_default=[],
                help_text="Labels with a text, and the redaction under which it was read.",
            ),
        ),
        *(
            migrations.RunSQL(OF_AN_UNKNOWN_REDACTION.format(table=table), AS_BEFORE.format(table=table))
            for table in ("alerts", "alert_notifications")
        ),
    ]
