"""The redaction under which the title of a failure group was read, and no other copies of such titles and of addressees."""

from django.db import migrations, models

NO_TITLE_IN_SCOPE = r"""
UPDATE bulk_operations
   SET scope = 'dead letters of failure group ' || substring(query FROM '(?:^|&)group=(\d+)')
 WHERE query ~ '(^|&)group=\d+' AND strpos(scope, 'failure: ') > 0
"""
NO_ADDRESSEE_IN_SENTENCE = """
UPDATE bulk_members
   SET sentence = regexp_replace(
           sentence,
           '^(It was on its way to|SNS could not deliver it to a subscriber of) .*?, (which is no queue|and the message)',
           '\\1 a target (see “Not delivered to” on its page), \\2')
 WHERE starts_with(sentence, 'It was on its way to ')
    OR starts_with(sentence, 'SNS could not deliver it to a subscriber of ')
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0017_refused_claims")]

    operations = [
        migrations.AddField(
            model_name="failuregroup", name="title_of", field=models.TextField(blank=True, db_default="")
        ),
        migrations.RunSQL(NO_TITLE_IN_SCOPE, migrations.RunSQL.noop),
        migrations.RunSQL(NO_ADDRESSEE_IN_SENTENCE, migrations.RunSQL.noop),
    ]
