"""The names that the contract table has in this database, for the models of later migrations."""

from django.db import migrations

from opsconsole.kit.mapped_operations import NameAsMapped


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0011_freed_clients")]

    operations = [NameAsMapped("ratelimitrequest", "rate_limit_requests")]
