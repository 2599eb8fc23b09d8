"""Checks of the database: whether it fits, its migrations, session settings, grants and people."""

from __future__ import annotations

from django.contrib.auth.models import Group, User
from django.db import Error, connection
from django.db.models import Q

from jobs.inspection import Finding, blockers, inspect_database
from jobs.inspection.finding import Severity
from opsconsole import database_roles
from opsconsole.kit import full_disk, schema_version, session_defaults
from opsconsole.kit.counting import exactly
from opsconsole.kit.database_troubles import Trouble, headline, refuses_changes, trouble_behind
from opsconsole.kit.errors import first_line
from opsconsole.kit.schema_version import MIGRATE
from opsconsole.sign_in import roles
from opsconsole.verification.check import Judgement, Problem, Wishes, of, ok, unknown, wrong

# Findings about who may do what. The other warnings of an inspection say which promise is weaker.
OF_GRANTS = {"own-tables-granted", "table-open", "schema-open", "privileges"}


def database_fits(_: Wishes) -> Judgement:
    """Connect as pages do, and look for what makes the database unfit."""
    try:
        connection.ensure_connection()
    except Error as error:
        return wrong(
            f"{headline(trouble_behind(error))}: {first_line(error)}.",
            "Check DATABASE_URL, that the server or the pooler runs, and that this host may connect.",
        )
    if refuses_changes():
        return wrong(
            Trouble.READ_ONLY.value,
            "Set DATABASE_URL to the primary, or turn default_transaction_read_only off.",
        )
    if full_disk.is_full():
        return wrong(Trouble.DISK_FULL.value, "Make room on the server.")
    return of(
        map(_problem, blockers(inspect_database())), fine="The database answers, and the console fits it."
    )


def migrations_are_applied(_: Wishes) -> Judgement:
    lacking = schema_version.lacking()
    return wrong(f"{lacking}.", MIGRATE) if lacking else ok("All migrations of this version are applied.")


def sessions_fit(_: Wishes) -> Judgement:
    """Read the session settings through DATABASE_URL, with a pooler where pages have one."""
    found = session_defaults.differences()
    return of(
        (
            Problem(f"{difference.sentence}.", advice)
            for difference, advice in zip(found, session_defaults.advice(found), strict=True)
        ),
        fine="Sessions have the settings that the console needs.",
    )


def grants_fit(_: Wishes) -> Judgement:
    """Compare what the console's role may do with what it needs, and look for what others may do."""
    if schema_version.is_behind():
        return unknown("The database lacks migrations, which also grant what the console needs.", MIGRATE)
    lacking = [Problem(f"The console's role lacks: {each}.", f"{each}; or: {MIGRATE}") for each in _lacking()]
    opened = [
        _problem(finding)
        for finding in inspect_database()
        if finding.id in OF_GRANTS and finding.severity in {Severity.WARNING, Severity.BLOCKER}
    ]
    return of(
        [*lacking, *opened], fine="The console's role has what it needs, and no other has what it should not."
    )


def _lacking() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        role = str(cursor.fetchone()[0])
    return database_roles.lacking(role)


def people_can_work(_: Wishes) -> Judgement:
    """Tell whether the roles are complete, and whether somebody can log in who may do everything."""
    lacking = {role: number for role, number in roles.lacking().items() if number}
    problems = [
        Problem(f"The role {role} lacks {exactly(number, 'permission')}.", "Run sync_roles.")
        for role, number in lacking.items()
    ]
    administrators = Group.objects.filter(name=roles.ADMINISTRATOR)
    able = User.objects.filter(
        Q(is_superuser=True) | Q(groups__in=administrators), is_active=True, is_staff=True
    )
    if not able.exists():
        problems.append(
            Problem(
                "Nobody can log in who may administer the console.",
                "Run createsuperuser, and give people roles.",
            )
        )
    return of(problems, fine="The roles are complete, and there is an administrator.")


def _problem(finding: Finding) -> Problem:
    return Problem(finding.sentence, finding.action)
