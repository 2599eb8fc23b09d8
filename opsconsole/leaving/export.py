"""The export of the timeline, the audit and their seals, as JSON lines that ``verify_audit --folder`` can verify later.

Each line of a row holds the very texts that were sealed. Rows are read in pages by id, so that the memory does not grow.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError
from django.db import ProgrammingError, connection, transaction

from opsconsole.kit import audit
from opsconsole.kit.audit_models import AuditSeal
from opsconsole.kit.counting import exactly
from opsconsole.kit.errors import first_line
from opsconsole.kit.retention_models import DroppedRows
from opsconsole.seals import chain, drops, exported, rows, sealer

PAGE = 2_000
NAMES = {source: file.name for source, file in exported.FILES.items()}


def write(folder: Path) -> str:
    """Write the files to a folder, seal before that what was not sealed yet, and say what was written.

    A file gets its name when it is complete.
    """
    files = [*NAMES.values(), exported.SEALS, exported.DROPS]
    if taken := [name for name in files if (folder / name).exists()]:
        raise CommandError(
            f"{folder / taken[0]} exists already. Nothing was changed. Name another folder, or leave out --export if that is the "
            "export of an uninstall that was interrupted."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        audit.log_without_user(
            audit.command_actor(""), "Uninstalled the console. This is the last line.", why=audit.NOT_ASKED
        )
        while sealer.seal().seals:
            pass
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            counts = {source: _write(folder / name, _lines(source)) for source, name in NAMES.items()}
            seals = _write(folder / exported.SEALS, _seals())
            _write(folder / exported.DROPS, DroppedRows.objects.order_by("pk").values(*drops.FIELDS))
    except ProgrammingError as error:
        raise CommandError(
            f"The export failed: {first_line(error)}. Nothing was uninstalled. If the database lacks migrations of this version, run "
            "migrate first."
        ) from error
    except OSError as error:
        raise CommandError(f"The export to {folder} failed: {error}. Nothing was uninstalled.") from error
    newest = chain.newest()
    return (
        f"Exported {exactly(counts[AuditSeal.Source.TIMELINE], 'event')} of the timeline, "
        f"{exactly(counts[AuditSeal.Source.AUDIT], 'line')} of the audit, what was decided about bulk operations and dead letters, "
        f"and {exactly(seals, 'seal')} to {folder}. "
        + (f"The newest seal is {newest.number}:{newest.hash}." if newest else "Nothing was ever sealed.")
    )


def _write(path: Path, lines: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("w", encoding="utf-8") as file:
        for line in lines:
            # Any text of the database, lone surrogates included, as ASCII.
            file.write(json.dumps(line) + "\n")
            count += 1
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    return count


def _lines(source: AuditSeal.Source) -> Iterator[dict[str, Any]]:
    names = exported.FILES[source].columns
    for page in rows.read_all(source, [(-sealer.END, sealer.END)], PAGE):
        lines = [dict(zip(names, row.texts, strict=True)) for row in page]
        people = dict(
            User.objects.filter(
                pk__in={int(line["user_id"]) for line in lines if line["user_id"]}
            ).values_list("pk", "username")
        )
        for line in lines:
            yield line | {"username": people.get(int(line["user_id"])) if line["user_id"] else None}


def _seals() -> Iterator[dict[str, Any]]:
    for page in chain.pages():
        for seal in page:
            yield seal._asdict()
