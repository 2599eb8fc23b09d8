"""Every page in the words of people: what rows keep for programs is shown only in blocks of code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.urls import reverse

from jobs.messaging import outbox
from jobs.models import JobEvent, Outbox, Status, Sweep
from opsconsole.kit import actors, pauses
from tests import factories, people
from tests.opsconsole.quick_client import QuickClient, body
from tests.opsconsole.test_every_page import _quick, _scenery, pages  # noqa: F401 - fixtures

pytestmark = pytest.mark.django_db

# What quotes programs, and what nobody reads.
QUOTED = {"code", "pre", "script", "style", "textarea", "template"}
# Pages about tables and columns name these.
ABOUT_TABLES = ("/admin/jobs/attachment/", "/admin/opsconsole/tablesize/")
# "Since 10:00", "for 45 min" and "45 min ago" are times; this is none.
SINCE_AN_AGE = re.compile(r"\b[Ss]ince (?:\d+ \w+ )+ago")


class Reader(HTMLParser):
    """Collects the text of a page outside of what quotes programs."""

    def __init__(self) -> None:
        super().__init__()
        self.within: list[str] = []
        self.read: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in QUOTED:
            self.within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.within and self.within[-1] == tag:
            self.within.pop()

    def handle_data(self, data: str) -> None:
        if not self.within:
            self.read.append(data)


def text_of(html: str) -> str:
    reader = Reader()
    reader.feed(html)
    return " ".join(" ".join(reader.read).split())


def stored_words() -> set[str]:
    """Return the values of columns that no sentence has: those of all choices, and the reasons of messages."""
    fields = [field for model in apps.get_models() for field in model._meta.get_fields()]
    values = {str(value) for field in fields for value, _ in getattr(field, "flatchoices", None) or ()}
    values |= {*Status.values, *JobEvent.Kind.values}
    values |= {value for name, value in vars(outbox).items() if name.isupper() and isinstance(value, str)}
    return {value for value in values if re.fullmatch(r"[a-z]+(_[a-z]+)+", value)}


def raw_forms() -> re.Pattern[str]:
    words = "|".join(sorted(stored_words()))
    return re.compile(
        rf"\b(?:operator|worker|api|queue):\S+|\b(?:{words})\b|\bOk at\b|\b[Ee]poch\b|\w+ object \("
    )


@pytest.mark.usefixtures("_scenery", "_quick")
def test_no_page_shows_what_is_stored_for_programs() -> None:
    people.operator()
    sweep = Sweep.objects.create(trigger="operator:ada")
    job = factories.job()
    messages = [
        Outbox.objects.create(job_id=job.pk, run_epoch=run, reason=reason)
        for run, reason in enumerate([outbox.STALE_JOB_RECOVERY, outbox.LOST_MESSAGE, outbox.RESTORED], 1)
    ]
    JobEvent.objects.create(job_id=job.pk, kind=JobEvent.Kind.CLAIMED, run_epoch=1, actor="worker:host-1")
    JobEvent.objects.create(job_id=job.pk, kind=JobEvent.Kind.ENQUEUED, run_epoch=1, actor="api:crm")
    pauses.begin("queue:gone", by="ada", reason="a deploy")
    pauses.end("queue:gone", by="ada", reason="deployed")
    mine = [
        f"/admin/jobs/sweep/{sweep.pk}/change/",
        f"/admin/jobs/job/{job.pk}/change/",
        *(f"/admin/jobs/outbox/{message.pk}/change/" for message in messages),
    ]
    client, looks_raw = QuickClient(User.objects.get(username="olga")), raw_forms()
    texts = dict(read(client, [*pages(), *mine]))

    assert [(address, found) for address, text in texts.items() for found in looks_raw.findall(text)] == []
    assert [(address, found) for address, text in texts.items() for found in SINCE_AN_AGE.findall(text)] == []
    assert set(mine) <= set(texts)
    assert "worker host-1" in texts[mine[1]] and "API key crm" in texts[mine[1]]
    assert "recovery of a stale run" in texts[mine[2]]
    assert "Queue gone" in texts[reverse("admin:opsconsole_pause_changelist")]


def read(client: QuickClient, addresses: list[str]) -> Iterator[tuple[str, str]]:
    for address in addresses:
        answer = client.send("get", address)
        if answer.status_code == 200 and not answer.streaming and not address.startswith(ABOUT_TABLES):
            text = body(answer)
            if "<html" in text:
                yield address, text_of(text)


def test_code_is_left_out_of_what_is_read() -> None:
    html = "<p>by operator:ada</p><pre>{&quot;actor&quot;: &quot;worker:1&quot;}</pre><p>done</p>"
    assert text_of(html) == "by operator:ada done"
    assert raw_forms().findall(text_of(html)) == ["operator:ada"]


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("operator:ada", "ada"),
        ("worker:host-1:4", "worker host-1:4"),
        ("worker:worker-1@host-1", "worker-1@host-1"),
        ("api:crm (…x1Yz), made by ada", "API key crm (…x1Yz), made by ada"),
        ("sweep", "sweep"),
        ("ada, as root at host-1 says (command)", "ada, as root at host-1 says (command)"),
        ("", ""),
    ],
)
def test_actors_in_words(stored: str, read: str) -> None:
    assert actors.in_words(stored) == read
