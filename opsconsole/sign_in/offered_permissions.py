"""The permissions that forms offer: those that mean something in this console, by area and in plain words.

Django creates four for each table, of which most guard nothing here: no page changes sessions or adds sweeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db.models import QuerySet
from django.forms import CheckboxSelectMultiple, ModelMultipleChoiceField
from django.forms.models import ModelChoiceIterator
from django.template.loader import get_template
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from opsconsole.kit import admin_pages
from opsconsole.kit.counting import many
from opsconsole.kit.form_values import name_of
from opsconsole.sign_in import roles

# By the app that defines them, as pages call it, in the order of the navigation.
AREAS = {
    "alerts": "Alerts",
    "jobs": "Jobs, dead letters, workers and queues",
    "ratelimits": "Limits",
    "opsconsole": "Controls and settings",
    "django_q": "Scheduled tasks",
    "admin": "Audit",
    "auth": "Users and roles",
    "axes": "Failed logins",
}
# No built-in role has these: superusers give them.
EDIT_ROLES = {"auth.add_group", "auth.change_group", "auth.delete_group"}
OF_DJANGO = ("add", "change", "delete", "view")


def offered(permissions: QuerySet[Permission]) -> QuerySet[Permission]:
    """Return those of the permissions that a built-in role has, or that edit roles."""
    return permissions.filter(roles.held_by_administrators() | roles.named(EDIT_ROLES))


@name_of.register
def label(permission: Permission) -> str:
    """Return what the permission allows, such as "View dead letters" or "Requeue a job"."""
    action, _, _ = permission.codename.partition("_")
    kind = ContentType.objects.get_for_id(permission.content_type_id).model_class()
    if kind is None or action not in OF_DJANGO:
        return str(capfirst(permission.name.removeprefix("Can ")))
    page = admin_pages.site()._registry.get(kind)  # noqa: SLF001 - the pages by model
    rows = getattr(page, "many", None) or str(kind._meta.verbose_name_plural).lower()  # noqa: SLF001 - Django documents it
    return f"{capfirst(action)} {rows}"


def area(permission: Permission) -> str:
    """Return the area that a permission belongs to; permissions of other packages have that of their app."""
    app = ContentType.objects.get_for_id(permission.content_type_id).app_label
    return AREAS.get(app, app)


def by_area(permissions: Iterable[Permission]) -> Iterator[tuple[str, list[Permission]]]:
    """Return the permissions under the names of their areas, each area by name."""
    places = {name: place for place, name in enumerate(AREAS.values())}
    rows = sorted(permissions, key=lambda row: (places.get(area(row), len(places)), area(row), label(row)))
    for name, group in groupby(rows, area):
        yield name, list(group)


class ByArea(ModelChoiceIterator[Permission]):
    """The choices under the names of their areas."""

    def __iter__(self) -> Iterator[Any]:
        for name, rows in by_area(self.queryset):
            yield name, [self.choice(row) for row in rows]


class AreaBoxes(CheckboxSelectMultiple):
    """Checkboxes with a legend for each area."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        template = get_template("admin/auth/permission_boxes.html")
        return SafeString(template.render(self.get_context(name, value, attrs)))


class PermissionsField(ModelMultipleChoiceField[Permission]):
    """Offers permissions by area. Those that a row has and that are not offered stay, and are counted."""

    iterator = ByArea
    widget = AreaBoxes

    def label_from_instance(self, obj: Permission) -> str:
        return label(obj)


def kept(had: QuerySet[Permission], field: PermissionsField) -> QuerySet[Permission]:
    """Return what the row had and the form does not offer: it stays."""
    shown = Permission.objects.none() if field.queryset is None else field.queryset
    return had.exclude(pk__in=shown.values("pk"))


def help_of(number: int) -> str:
    """Say that there are more than the form shows."""
    more = many(number, "permission that guards nothing here", "permissions that guard nothing here")
    return f"It also has {more}." if number else ""
