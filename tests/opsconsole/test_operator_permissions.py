"""A walk through every form and action as an operator: only what the role allows changes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import reverse
from django_q.models import Schedule

from jobs.models import ReplayAttempt
from opsconsole.sign_in import roles
from tests import people
from tests.journeys import letters
from tests.opsconsole import everything
from tests.opsconsole.forms import Form
from tests.opsconsole.sign_in.test_roles import member
from tests.opsconsole.walking import OWN, Watch, forms_at, posts, refusing_links, send

pytestmark = pytest.mark.django_db

# Tables that change through the permissions in roles.OPERATORS.
WITHIN_REACH = everything.tables_of(
    "jobs.Job",
    "jobs.JobEvent",
    "jobs.Outbox",
    "jobs.IdempotencyKey",
    "jobs.BulkOperation",
    "jobs.BulkMember",
    "jobs.BulkEvent",
    "jobs.DeadLetter",
    "jobs.ReplayAttempt",
    "jobs.FailureGroup",
    "alerts.Alert",
    "alerts.Notification",
    "alerts.Delivery",
    "opsconsole.Pause",
    "admin.LogEntry",
    "django_q.OrmQ",
)
# Operators may run a schedule now, but change nothing else about it.
SCHEDULES = everything.tables_of("django_q.Schedule")
# Pages where a permission is used, if these are not the pages of its own model.
PAGES = {
    "auth.add_user": "/admin/auth/user/add/",
    "opsconsole.pause_schedule": "/admin/django_q/schedule/",
}
# Django requires the permission to change users for adding them.
WITH = {"auth.add_user": "auth.change_user"}


@pytest.fixture(autouse=True)
def _scenery(settings: Any) -> None:
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:9/services/secret-word"
    settings.OPSCONSOLE_EDIT_DEAD_LETTERS = True
    settings.QUEUES = letters.queues()
    everything.build()


@pytest.fixture
def root() -> Client:
    client = Client()
    client.force_login(people.operator("root"))
    return client


@pytest.fixture
def olga(root: Client) -> User:
    """Create the operator last, so that the URLs of users refer to this one."""
    return member(roles.OPERATOR, "olga")


@pytest.fixture
def client(olga: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(olga)
    return client


class Guard:
    """Names the changes that an operator may not make."""

    def __init__(self) -> None:
        self.watch = Watch(everything.BOOKKEEPING | WITHIN_REACH | SCHEDULES)
        self.beside = _beside()

    def changes(self) -> list[str]:
        """Compare all tables, which takes longer than a request."""
        return self.watch.changes()

    def changes_beside(self) -> list[str]:
        before, self.beside = self.beside, _beside()
        return [f"{name} changed" for name in before if before[name] != self.beside[name]]


def _beside() -> dict[str, Any]:
    fields = [field.attname for field in Schedule._meta.fields if field.name != "next_run"]
    return {
        "schedules": list(Schedule.objects.order_by("pk").values_list(*fields)),
        "edited letters": ReplayAttempt.objects.exclude(edited_body=None).count(),
    }


def walk(client: Client, root: Client, addresses: list[str]) -> Iterator[str]:
    """Send all forms offered to a superuser, to this user, or to nobody; yield violations."""
    guard = Guard()
    for address in addresses:
        if address.startswith(OWN):
            continue
        for how, answer, offered in _sent(client, root, address):
            if answer.status_code >= 500:
                yield f"{how}: {answer.status_code}"
            if offered and answer.status_code in {403, 404}:
                yield f"{how} is offered, and refused"
            yield from (f"{how}: {what}" for what in guard.changes_beside())
        yield from (f"a form at {address}: {what}" for what in guard.changes())


def _sent(client: Client, root: Client, address: str) -> Iterator[tuple[str, Any, bool]]:
    """Yield how each form was sent, the response, and whether this user was offered the form."""
    own = forms_at(client, address)
    alike = [_asked_by(form) for form in own]
    for form in forms_at(root, address):
        # What both are offered is sent as this user is offered it.
        if _asked_by(form) not in alike:
            yield from ((how, answer, False) for how, answer in send(client, form))
    for form in own:
        yield from ((how, answer, form.offered) for how, answer in send(client, form))
    for data in posts(address):
        answer = client.post(address, data)
        yield f"POST {address}", answer, False
        if answer.status_code == 405:  # whatever is sent
            return


def _asked_by(form: Form) -> tuple[Any, ...]:
    return form.address, sorted(form.fields), form.buttons


@pytest.mark.parametrize(
    ("part", "tables"),
    [
        (lambda address: "/jobs/" in address, ("jobs.Job", "jobs.DeadLetter")),
        (lambda address: "/jobs/" not in address, ("alerts.Alert", "opsconsole.Pause")),
    ],
    ids=["jobs", "others"],
)
def test_operator_changes_only_what_their_role_allows(
    client: Client, root: Client, part: Callable[[str], bool], tables: tuple[str, ...]
) -> None:
    client.get(reverse("admin:index"))
    watch = Watch()

    wrong = list(walk(client, root, list(filter(part, everything.addresses()))))
    assert wrong == [], chr(10).join(wrong)
    changed = {line.partition(" ")[0] for line in watch.changes()}
    assert changed > everything.tables_of(*tables)


def test_operator_sees_no_forbidden_link(client: Client) -> None:
    assert refusing_links(client) == []


# One administrator permission per app: the first by name that is not for viewing.
OUT_OF_REACH = {
    name.partition(".")[0]: name
    for name in sorted(roles.ADMINISTRATORS, reverse=True)
    if ".view_" not in name
}


@pytest.mark.parametrize("name", OUT_OF_REACH.values())
def test_walk_detects_administrator_permission(client: Client, root: Client, olga: User, name: str) -> None:
    kind = _give(olga, name)
    if name in WITH:
        _give(olga, WITH[name])
    page = PAGES.get(name, f"/admin/{kind.app_label}/{kind.model}/")

    addresses = [address for address in everything.addresses() if address.startswith(page)]
    assert any(line.endswith("changed") for line in walk(client, root, addresses))


def _give(user: User, name: str) -> ContentType:
    """Grant the permission and the view permission of its model; return the latter."""
    app, _, codename = name.partition(".")
    permission = Permission.objects.get(content_type__app_label=app, codename=codename)
    kind: ContentType = permission.content_type
    user.user_permissions.add(
        permission, *Permission.objects.filter(content_type=kind, codename__startswith="view_")
    )
    return kind
