"""Tests of the pages about failures of the database: they promise "nothing was changed" only where that is known (I14)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse
from psycopg.errors import DeadlockDetected, QueryCanceled

from jobs.models import Job
from opsconsole import database_failures, unavailable
from opsconsole.kit import row_locks
from opsconsole.kit.database_troubles import Trouble, trouble_behind
from opsconsole.kit.kept_changes import OutcomeUnknown
from tests import factories, people
from tests.other_sessions import other_session

MIDDLEWARE = database_failures.DatabaseFailureMiddleware(lambda _: pytest.fail("not called"))


def request(method: str = "POST") -> HttpRequest:
    made = HttpRequest()
    made.method = method
    made.saved_before = connection.saved_changes  # type: ignore[attr-defined] # set by the middleware
    return made


def cancelled() -> OperationalError:
    error = OperationalError("canceling statement due to statement timeout")
    error.__cause__ = QueryCanceled()
    return error


def page(asked: HttpRequest, error: Exception) -> str:
    response = MIDDLEWARE.process_exception(asked, error)
    assert response is not None
    assert response.status_code == 503
    return response.content.decode()


@pytest.mark.django_db(transaction=True)
def test_page_reports_statement_timeout(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.force_login(people.viewer())

    def slow(*_: Any) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '20ms'")
            try:
                cursor.execute("SELECT pg_sleep(60)")
            finally:
                cursor.execute("RESET statement_timeout")
        return []

    monkeypatch.setattr("opsconsole.search.search", slow)

    answer = client.get(reverse("search"), {"q": "anything"})

    assert answer.status_code == 503
    assert "This took too long" in answer.content.decode()
    assert "Nothing was changed" not in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_timeout_of_a_form_says_what_was_saved_before() -> None:
    asked = request()
    assert "Nothing was changed" in page(asked, cancelled())

    job = factories.job()
    assert "Nothing was changed" not in page(asked, cancelled())
    assert "A part of the change was saved before that" in page(asked, cancelled())

    later = request()
    list(Job.objects.filter(pk=job.pk))
    assert "Nothing was changed" in page(later, cancelled())


@pytest.mark.django_db(transaction=True)
def test_unknown_outcome_is_told_as_unknown() -> None:
    text = page(request(), OutcomeUnknown("the connection is lost"))

    assert "Whether it was saved is unknown" in text
    assert "Nothing was changed" not in text


@pytest.mark.django_db(transaction=True)
def test_refused_change_is_told_with_its_constraint() -> None:
    job = factories.job()
    with pytest.raises(IntegrityError) as raised:
        factories.job(id=job.pk)

    response = MIDDLEWARE.process_exception(request(), raised.value)

    assert response is not None
    assert response.status_code == 409
    text = response.content.decode()
    assert "refused it by constraint &#x27;jobs_pkey&#x27; of table &#x27;jobs&#x27;" in text
    assert "Nothing was changed." in text
    assert MIDDLEWARE.process_exception(request("GET"), raised.value) is None


def test_other_errors_have_no_page_here() -> None:
    assert MIDDLEWARE.process_exception(request(), ValueError("x")) is None
    assert MIDDLEWARE.process_exception(request(), OperationalError("x")) is None


@pytest.mark.django_db(transaction=True)
def test_nobody_is_told_to_try_again_what_may_have_been_saved() -> None:
    asked = request()
    nothing = unavailable.answer(asked, Trouble.AWAY, OperationalError("gone"))
    assert "Nothing was changed. Try again." in nothing.content.decode()
    assert nothing.headers["Retry-After"]

    for error in (OutcomeUnknown("gone"), OperationalError("gone")):
        factories.job()
        answer = unavailable.answer(asked, Trouble.AWAY, error)
        assert "look" in answer.content.decode().lower()
        assert "Try again" not in answer.content.decode()
        assert "Retry-After" not in answer.headers


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("cause", "sentence"),
    [(DeadlockDetected, "ended a deadlock"), (QueryCanceled, "cancelled a statement that took too long")],
)
def test_page_of_a_deadlock_says_that_the_database_answered(cause: type[Exception], sentence: str) -> None:
    error = OperationalError("x")
    error.__cause__ = cause()
    trouble = trouble_behind(error)
    assert trouble is not None
    answer = unavailable.answer(request(), trouble, error)
    text = answer.content.decode()
    assert answer.status_code == 503 and answer.headers["Retry-After"]
    assert sentence in text and "Nothing was changed. Try again" in text
    assert "does not answer" not in text


@pytest.mark.django_db(transaction=True)
def test_request_that_met_a_locked_row_is_told_so() -> None:
    job = factories.job()
    asked = request()
    with other_session() as other, pytest.raises(OperationalError) as caught:
        other.execute("SELECT FROM jobs FOR NO KEY UPDATE")
        with transaction.atomic():
            row_locks.locked_at_once(Job.objects.filter(pk=job.pk)).get()
    trouble = trouble_behind(caught.value)
    assert trouble is Trouble.LOCKED
    answer = unavailable.answer(asked, trouble, caught.value)
    assert answer.status_code == 503 and answer.headers["Retry-After"]
    assert "Another transaction keeps the rows locked that this needs." in answer.content.decode()
    assert "Try again." in answer.content.decode()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("limit", ["lock_timeout", "statement_timeout"])
def test_page_names_who_has_locked_a_table(client: Client, limit: str) -> None:
    client.force_login(people.viewer())
    client.raise_request_exception = False
    with connection.cursor() as cursor, other_session() as other:
        pid = other.info.backend_pid
        cursor.execute(f"SET {limit} = '50ms'")
        try:
            other.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
            answer = client.get("/admin/jobs/job/")
        finally:
            cursor.execute(f"RESET {limit}")
    text = answer.content.decode()
    assert answer.status_code == 503
    assert f"Session {pid} of role postgres has locked public.jobs against everybody" in text
    assert f"SELECT pg_terminate_backend({pid}); ends it." in text
    # What others ask may hold what not everybody may read.
    assert "LOCK TABLE" not in text and "Narrow the list" not in text


@pytest.mark.django_db(transaction=True)
def test_strangers_are_not_told_who_has_locked_a_table() -> None:
    asked = request()
    with other_session() as other:
        other.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        text = unavailable.answer(asked, Trouble.LOCKED).content.decode()
    assert "Another transaction keeps the rows locked" in text and "Session" not in text
