"""The whole console on tables whose words and ids are citext, which PostgreSQL compares without regard to upper and lower case."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attach.mapped import NAMES, NO_QUEUE, TABLES, Mapped, mapped
from tests.attach.test_mapped_names import LIFE

CITEXT = "CREATE EXTENSION citext;\n" + TABLES.replace(" text", " citext")
TEXT_IDS = CITEXT.replace(
    '"jobId" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY', '"jobId" citext PRIMARY KEY'
).replace('"jobId" bigint,', '"jobId" citext,')


@pytest.fixture(scope="module", params=["words", "ids, too"])
def there(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, django_db_setup: None
) -> Iterator[Mapped]:
    numbers = request.param == "words"
    mapping = NAMES if numbers else NAMES.replace('id_type = "bigint"', 'id_type = "text"')
    with mapped(tmp_path_factory.mktemp("citext"), mapping, CITEXT if numbers else TEXT_IDS) as found:
        yield found


def test_console_lives_on_citext(there: Mapped) -> None:
    there.run(LIFE.replace("@FUNCTIONS@", '"JobManager".'))


def test_words_in_another_case_are_told(there: Mapped) -> None:
    """PostgreSQL takes them for ours, and programs don't: they are told as any word that the console does not know."""
    numbers = "bigint" in there.file.read_text()
    key, value = ("", "") if numbers else ('"jobId", ', "'X', ")
    there.database.sql(
        f'INSERT INTO "JobManager"."Job" ({key}"customerId", size, state, "createdAt", "updatedAt")'
        f" VALUES ({value}'c', 5, 'In_Progress', 1, 1)"
    )

    told = there.database.manage(
        "inspect_database", OPSCONSOLE_MAPPING=str(there.file), SQS_QUEUE_URL=NO_QUEUE
    )

    assert told.returncode == 0, told.stderr
    assert (
        "there are jobs with 'In_Progress': the console shows them as they are and leaves them alone"
        in told.stdout
    )
