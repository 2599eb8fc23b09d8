"""Every form of the console, opened by two people: who sends the older one is refused, and the other's change stands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.test import Client

from opsconsole.kit.form_versions import FIELD
from tests import people
from tests.opsconsole import everything
from tests.opsconsole.forms import Fields, Form
from tests.opsconsole.walking import OWN, Watch, forms_at, forms_of

pytestmark = pytest.mark.django_db

# Forms about the moment, by a part of their address: what takes the place of a version. The older one changes nothing.
GUARDED = {
    "/operate/": "The signed plan holds the state and the run of each row that was previewed; a changed row is skipped.",
}
# Forms that only add: there is nothing that an older one could overwrite.
ADDING = {
    "/make/": "A new API key; the form's own id allows one only.",
    "/bulk/": "Freezes a preview, which carries a version of its own.",
    "/admin/jobs/deadletter/check/": "Asks the cluster to look now.",
    "/test/": "Sends a test message.",
    "/admin/alerts/channel/": "Sends test messages.",
}
# Forms that decide nothing yet, or only ask a program to look now.
UNAUDITED = ("/bulk/", "/admin/jobs/deadletter/check/")
REFUSALS = ("Nothing was", "Perhaps it was deleted?")
SAVING = {"_save", "_addanother", "_continue"}
# Addresses without forms, and those of forms for new rows, which are left out to save time.
# Its form begins something new, whatever was there when it was shown.
BEGINS = ("/admin/opsconsole/verification/",)
WITHOUT = ("/add/", "/history/", ".csv", ".json", "/export/", "/admin/", "/whole/")


@dataclass
class Walk:
    """Two people with the same permissions, what went wrong, and the addresses of the forms that were tried."""

    ann: Client
    ben: Client
    watch: Watch
    unchanged: dict[str, str]
    wrong: list[str] = field(default_factory=list)
    versioned: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)

    def page(self, address: str) -> None:
        newer = forms_at(self.ben, address)
        self.pairs(forms_at(self.ann, address) if newer else [], newer)

    def pairs(self, older: list[Form], newer: list[Form], *, deeper: bool = True) -> None:
        for old, new in zip(older, newer, strict=True):
            # Of the three buttons that save, one is enough.
            several = len([name for name, _ in new.buttons if name in SAVING]) > 1
            for old_entries, new_entries in zip(old.ways(), new.ways(), strict=True):
                if not new.offered or (several and SAVING.intersection(new_entries) != {"_save"}):
                    continue
                with undone(self.ann, self.ben):
                    self.watch.held = self.unchanged
                    self.pair((old.address, old_entries), (new.address, new_entries), deeper=deeper)

    def pair(self, old: tuple[str, Fields], new: tuple[str, Fields], *, deeper: bool) -> None:
        written = LogEntry.objects.count()
        answer = self.ben.post(*new)
        if self.watch.changes():
            is_audited = not (freezes(new[1]) or any(part in new[0] for part in UNAUDITED))
            if LogEntry.objects.count() == written and is_audited:
                self.wrong.append(f"{new[0]}: the audit does not say what changed")
            self.refused(*old)
        elif deeper and (questions := forms_of(new[0], answer)):
            # Nothing was changed yet: it asks for a confirmation.
            self.pairs(forms_of(old[0], self.ann.post(*old)), questions, deeper=False)

    def refused(self, address: str, entries: Fields) -> None:
        """Send the older form, and note what is wrong with the answer."""
        answer = self.ann.post(address, entries, follow=True)
        changes = self.watch.changes()
        if any(name.rpartition("-")[2] == FIELD for name in entries):
            self.versioned.add(address)
            # Where nothing is left to decide about, the list says so.
            refused = answer.status_code == 409 or answer.redirect_chain
            if not refused or not any(words in answer.content.decode() for words in REFUSALS):
                self.wrong.append(f"{address}: {answer.status_code} without a word about the change")
            self.wrong += [f"{address}: {change}" for change in changes]
            return
        self.others.add(address)
        if freezes(entries):
            return
        if not any(part in address for part in (*GUARDED, *ADDING)):
            self.wrong.append(f"{address}: no version, and nothing in its place")
        if not any(part in address for part in ADDING):
            # Dead letters are worked on by the cluster, which is asked to look in any case.
            self.wrong += [f"{address}: {change}" for change in changes if "django_q_ormq" not in change]


def freezes(entries: Fields) -> bool:
    """Tell whether a form asks for all rows that match: this freezes a preview, which carries a version of its own."""
    return "1" in entries.get("select_across", [])


@contextmanager
def undone(*clients: Client) -> Iterator[None]:
    """Roll back what happens inside, also to the sessions of these people."""
    sessions = [client.cookies.copy() for client in clients]
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
    for client, cookies in zip(clients, sessions, strict=True):
        client.cookies = SimpleCookie(cookies)


@pytest.fixture
def walk(settings: Any) -> Walk:
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:9/services/secret-word"
    settings.OPSCONSOLE_EDIT_DEAD_LETTERS = True
    everything.build()
    ann, ben = _signed_in("ann"), _signed_in("ben")
    watch = Watch()
    return Walk(ann, ben, watch, watch.held)


def _signed_in(name: str) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(people.operator(name))
    return client


def test_older_form_is_refused_and_the_newer_change_stands(walk: Walk) -> None:
    for address in everything.addresses():
        if (
            address.startswith("/admin/")
            and not address.startswith(OWN + BEGINS)
            and not address.endswith(WITHOUT)
        ):
            walk.page(address)

    assert walk.wrong == [], chr(10).join(walk.wrong)
    for part in (
        "/auth/user/", "/auth/group/", "/password/", "/delete/", "/ratelimits/policy/", "/limitercontrol/", "/apikey/",
        "/alerts/rule/", "/alerts/alert/decide/", "/alerts/monitor/", "/jobs/recoverycontrol/", "/opsconsole/pause/",
        "/failuregroup/", "/edit/", "/schedule/", "/accessattempt/",
    ):  # fmt: skip
        assert any(part in address for address in walk.versioned), f"no form at {part} was tried"
    for part in GUARDED:
        assert any(part in address for address in walk.others), f"no form at {part} was tried"
