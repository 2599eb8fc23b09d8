"""The API key that claimed a run, with its epoch: only this key or its successor ends the run."""

from importlib import import_module

from django.db import migrations, models

from opsconsole.kit.ddl import EnsureTable

CREATE_JOBS = import_module("jobs.migrations.0001_contract_tables").CREATE_JOBS


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0015_timeline_refuses_truncate")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddField(
                    model_name="job",
                    name="claimed_by_key",
                    field=models.TextField("claimed by key", blank=True, null=True),
                ),
            ],
            database_operations=[
                EnsureTable("jobs", create=CREATE_JOBS, columns={"claimed_by_key": "text"}),
            ],
        ),
    ]
