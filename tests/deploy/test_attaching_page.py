"""docs/attaching.md as a new user walks it: from the wheel to the list of stale runs, on a database of somebody else."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psycopg
from django.core.management import get_commands, load_command_class

from tests.attach.pieces import piece_of
from tests.conftest import OURS
from tests.databases import Database
from tests.deploy.installing import make_environment
from tests.repository import REPOSITORY

PAGE = (REPOSITORY / "docs" / "attaching.md").read_text()
# What a reader puts in place of the example. The cache and the queues stay: nobody may ask for them.
EXAMPLE = "postgres://owner:password@db.example.com:5432/app"
LONG_AGO = 172_800
# Three runs whose workers have been silent for two days.
AGE = f"""
UPDATE tasks SET updated_at = updated_at - {LONG_AGO}, started_at = started_at - {LONG_AGO} WHERE status = 'active';
UPDATE worker_pings SET pinged_at = pinged_at - {LONG_AGO};
"""


def blocks(language: str) -> list[str]:
    """Return the blocks of the page in this language, in their order."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(text) for _, text in found]


def test_page_leads_from_the_wheel_to_the_list_and_to_recovery(
    wheel: Path, tmp_path: Path, theirs: Database
) -> None:
    with theirs.connect() as connection:
        piece_of("epoch_times").load(connection)
        connection.execute(AGE)
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / wheel.name).symlink_to(wheel)
    programs = make_environment(tmp_path / "environment")
    script = "\n".join(f"echo '# block {number}'\n{text}" for number, text in enumerate(blocks("sh")))
    assert EXAMPLE in script
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}

    walked = subprocess.run(
        ["/bin/sh", "-eu", "-c", script.replace(EXAMPLE, theirs.url())],
        cwd=tmp_path,
        env=inherited | {"PATH": f"{programs}:{os.environ['PATH']}", "PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert walked.returncode == 0, walked.stdout + walked.stderr
    listed = walked.stdout.partition("If recovery were armed now:")[2]
    assert len(re.findall(r"^requeue ", listed, re.MULTILINE)) == 3, walked.stdout
    assert "The console fits this database." in walked.stdout
    assert theirs.sql("SELECT mode, unknown_rule FROM opsconsole.recovery_control") == [("observe", "after")]
    _run_statements(theirs)


def _run_statements(theirs: Database) -> None:
    """Run the SQL of the page, with the names of this test, in a transaction that is undone."""
    with theirs.connect() as connection, connection.transaction(force_rollback=True):
        for statement in statements():
            _run(connection, statement, theirs.name)


def statements() -> Iterator[str]:
    """Yield the SQL of the page: that of its blocks, and what stands in its sentences."""
    for block in blocks("sql"):
        yield from (line for line in block.splitlines() if line)
    yield "CREATE ROLE service_role"
    yield "CREATE ROLE your_worker"
    yield "CREATE ROLE owner_of_your_tables"
    sentences = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    inline = re.findall(r"`((?:ALTER|GRANT|CREATE) [A-Z]+ [^`]+)`", sentences)
    assert len(inline) >= 4
    # The schema is there by now.
    yield "ALTER SCHEMA opsconsole RENAME TO another"
    for statement in sorted(inline, key=lambda text: not text.startswith("CREATE SCHEMA")):
        yield f"{statement} TO your_worker" if statement.endswith("ON SCHEMA opsconsole") else statement


def _run(connection: psycopg.Connection[tuple[object, ...]], statement: str, name: str) -> None:
    roles = r"\b(opsconsole|service_role|your_worker|owner_of_your_tables)\b"
    ours = re.sub(rf"(ROLE|AUTHORIZATION|TO) {roles}", rf"\1 {name}_\2", statement)
    ours = ours.replace("find_stale_jobs(timestamptz)", "public.find_stale_jobs(timestamptz)")
    connection.execute(ours.replace("DATABASE app", f"DATABASE {name}"))


def test_commands_in_sentences_exist_with_these_options() -> None:
    known = get_commands()
    inline = re.findall(r"`opsconsole ([a-z_]+[^`]*)`", PAGE)
    inline += [line.removeprefix("opsconsole ") for text in blocks("sh") for line in text.splitlines()
               if line.startswith("opsconsole ")]  # fmt: skip
    leaving = (REPOSITORY / "docs" / "leaving.md").read_text()
    inline += re.findall(r"(?:^ *|`)python manage\.py ([^`\n]+)", leaving, re.MULTILINE)
    assert len(inline) > 14
    for command in inline:
        name, *arguments = shlex.split(command.partition(">")[0])
        parser = load_command_class(known[name], name).create_parser("opsconsole", name)
        parser.parse_args(arguments)
