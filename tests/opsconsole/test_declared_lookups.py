"""Lists accept the lookups that they declare, and no other: what is hidden can't be asked for (docs/security.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.test import Client, RequestFactory
from django.urls import reverse

from opsconsole.kit import declared_lookups
from opsconsole.kit.declared_lookups import DeclaredChangeList
from opsconsole.kit.read_only_admin import OnePageAdmin
from opsconsole.kit.titled_admin import TitledAdmin
from tests import factories, people

pytestmark = pytest.mark.django_db

LOOKUPS = (
    "", "exact", "iexact", "contains", "icontains", "startswith", "endswith", "regex", "iregex", "in", "gt", "gte", "lt",
    "lte", "range", "isnull", "search", "year", "has_key", "contained_by", "length",
)  # fmt: skip
# What each list declares. A new filter is a decision: what it counts must not be hidden from those who see the list.
DECLARED = {
    "admin_logentry": {"who", "object", "reason", "when"},
    "alerts_alert": {"rule", "state", "severity__exact", "severity__isnull"},
    "alerts_snsmessage": {"kind", "kind__isnull"},
    "auth_user": {"is_active__exact", "is_active__isnull", "groups__id__exact", "groups__isnull"},
    "jobs_bulkoperation": {"state"},
    "jobs_deadletter": {"sort", "state", "group", "left", "queue", "dlq", "customer", "worker", "since", "before"},
    "jobs_job": {
        "status", "stale", "lost", "message", "priority", "age", "queue", "group", "customer", "worker", "error",
        "sort", "since", "before", "finished_since", "finished_before",
    },
    "jobs_outbox": {"state"},
    "jobs_sweep": {"outcome", "when"},
    "jobs_workerheartbeat": {"state"},
    "ratelimits_apikey": {"state"},
}  # fmt: skip
SECRET = "anna@example.org"


def lists() -> list[tuple[str, TitledAdmin]]:
    """Return each list with its name in addresses."""
    return [
        (f"{model._meta.app_label}_{model._meta.model_name}", of_it)
        for model, of_it in admin.site._registry.items()
        if isinstance(of_it, TitledAdmin) and not isinstance(of_it, OnePageAdmin)
    ]


def paths(model: type[Model], *, through: bool = True) -> Iterator[str]:
    """Yield each field of a model, also those of the models that it is related to, in both directions."""
    for field in model._meta.get_fields():
        yield field.name
        if through and field.is_relation and isinstance(field.related_model, type):
            yield from (f"{field.name}__{path}" for path in paths(field.related_model, through=False))


def lookups(model: type[Model]) -> list[str]:
    """Return every lookup on every field of a model."""
    return ["__".join(filter(None, parts)) for parts in product(paths(model), LOOKUPS)]


@pytest.fixture
def vera(client: Client) -> User:
    user = people.viewer()
    client.force_login(user)
    return user


def asked(user: User, query: Mapping[str, str] | None = None) -> Any:
    request = RequestFactory().get("/", query or {})
    request.user = user
    return request


def test_every_page_is_of_the_kind_that_declares() -> None:
    assert [of_it for of_it in admin.site._registry.values() if not isinstance(of_it, TitledAdmin)] == []
    request = asked(User(is_superuser=True, is_active=True))
    kinds: dict[str, type[ChangeList]] = {name: of_it.get_changelist(request) for name, of_it in lists()}
    assert {name for name, kind in kinds.items() if not issubclass(kind, DeclaredChangeList)} == set()


def test_lists_declare_these_lookups(vera: User) -> None:
    found = {name: declared_lookups.declared(of_it, asked(vera)) for name, of_it in lists()}

    assert {name: names for name, names in found.items() if names} == DECLARED


def test_no_other_lookup_of_any_field_is_accepted(vera: User, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = None
    tried = 0
    for name, of_it in lists():
        declared = DECLARED.get(name, set())
        wanted = set(lookups(of_it.model)) - declared
        request = asked(vera, dict.fromkeys(wanted, "a"))

        assert set(declared_lookups.undeclared(of_it, request)) == wanted, name
        assert [lookup for lookup in wanted if of_it.lookup_allowed(lookup, "a", request)] == [], name
        with pytest.raises(DisallowedModelAdminLookup):
            of_it.get_changelist_instance(asked(vera, {min(wanted): "a"}))
        tried += len(wanted)

    assert tried > 14_000


def test_declared_lookups_are_accepted(vera: User, client: Client) -> None:
    Group.objects.create(name="night shift")
    wrong = [
        (name, lookup, answer.status_code)
        for name, declared in DECLARED.items()
        for lookup in declared
        if (answer := client.get(reverse(f"admin:{name}_changelist"), {lookup: "1"})).status_code != 200
    ]
    assert wrong == []


def test_undeclared_lookup_is_refused_alike_whether_it_matches_or_not(vera: User, client: Client) -> None:
    for name, of_it in lists():
        page = reverse(f"admin:{name}_changelist")
        field = of_it.model._meta.concrete_fields[-1].name
        matching, other = (client.get(page, {f"{field}__contains": value}) for value in ("", "zzzz"))

        assert (matching.status_code, other.status_code) == (400, 400)
        assert _content(matching) == _content(other)
        assert "Open the list without it" in _content(matching)


@pytest.mark.parametrize("name", ["no_such_field", "_popup", "_to_field", "_facets", "password__startswith"])
def test_parameters_of_nothing_are_refused_too(vera: User, client: Client, name: str) -> None:
    for page in ("jobs_job", "auth_user", "alerts_alert"):
        assert client.get(reverse(f"admin:{page}_changelist"), {name: "1"}).status_code == 400


def test_hidden_value_of_a_letter_is_revealed_by_no_count(vera: User, client: Client, settings: Any) -> None:
    """Read an e-mail address letter by letter, as by ``?body__contains=``: each answer is the same."""
    settings.OPSCONSOLE_REDACT_PATHS = ("$..email",)
    factories.dead_letter(body=json.dumps({"customer": {"email": SECRET}}))
    page = reverse("admin:jobs_deadletter_changelist")
    for lookup in ("body__contains", "attributes__icontains", "words", "attempts__edited_body__contains"):
        hit, miss = (client.get(page, {lookup: value}) for value in (SECRET[:4], "zzzz"))
        assert (hit.status_code, miss.status_code) == (400, 400)
        assert _content(hit) == _content(miss)


def _content(answer: Any) -> str:
    """Return the page below its heading; what is above has a token that is new each time."""
    return str(answer.content.decode().partition("content-main")[2].partition("</div>")[0])


def test_export_of_the_audit_refuses_what_its_list_refuses(vera: User, client: Client) -> None:
    for query in ({"user__password__startswith": "p"}, {"p": "99"}, {"no_such_field": "1"}):
        answer = client.get(reverse("admin:audit_export", args=["csv"]), query)
        assert answer.status_code in {200, 400}
        assert (answer.status_code == 200) == ("p" in query)


def test_lists_are_sorted_by_offered_columns_only(vera: User) -> None:
    for name, of_it in lists():
        usual = _order(of_it.get_changelist_instance(asked(vera)))
        columns = of_it.get_changelist_instance(asked(vera)).list_display
        for index, column in enumerate([*columns, "beyond"]):
            shown = of_it.get_changelist_instance(asked(vera, {"o": f"{index}"}))
            offered = column in (shown.sortable_by or ())
            assert offered or _order(shown) == usual, (name, column)


def _order(shown: ChangeList) -> list[str]:
    return list(dict.fromkeys(str(each) for each in shown.queryset.query.order_by))


def test_nothing_completes_what_is_typed(vera: User, client: Client) -> None:
    asked_for = urlencode({"term": "a", "app_label": "jobs", "model_name": "outbox", "field_name": "job"})
    assert client.get(f"/admin/autocomplete/?{asked_for}").status_code == 404


def test_rows_are_named_by_their_key_only(vera: User) -> None:
    for _, of_it in lists():
        fields = [field.name for field in of_it.model._meta.concrete_fields]
        allowed = [name for name in fields if of_it.to_field_allowed(asked(vera), name)]
        assert allowed == [of_it.model._meta.pk.name]


def test_empty_name_of_a_field_names_rows_by_their_key(admin_client: Client) -> None:
    for row in (Group.objects.create(name="night"), User.objects.create_user("nina"), factories.job()):
        page = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
        assert admin_client.get(page, {"_to_field": ""}).status_code == 200


@pytest.mark.parametrize("choice", ["fialed", "-1", "9" * 31, "\u200b", "None"])
def test_choice_that_a_filter_does_not_have_matches_nothing(client: Client, choice: str) -> None:
    """Ignored, a mistyped address would show every row, to be acted upon."""
    client.force_login(people.operator("root"))
    factories.job()
    factories.dead_letter()
    asked_filters = 0
    for name, _ in lists():
        address = reverse(f"admin:{name}_changelist")
        for spec in client.get(address).context["cl"].filter_specs:
            if not isinstance(spec, SimpleListFilter) or getattr(spec, "reads_any", False):
                continue
            page = client.get(address, {str(spec.parameter_name): choice})
            shown = page.context["cl"]
            assert (shown.result_count, list(shown.result_list)) == (0, []), (name, spec.title)
            # Queues and priorities may be others than those that are known.
            if spec.parameter_name not in {"queue", "priority"}:
                assert f"has no choice “{choice}”" in page.text, (name, spec.title)
                asked_filters += 1
    assert asked_filters > 9


def test_sorting_by_an_order_that_a_list_does_not_have_leaves_no_rows_out(client: Client) -> None:
    client.force_login(people.operator("root"))
    factories.job()
    assert client.get(reverse("admin:jobs_job_changelist"), {"sort": "x"}).context["cl"].result_count == 1
