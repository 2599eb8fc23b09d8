"""Users and roles: Django's own pages, without the actions that would leave gaps in the audit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypedDict, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django_otp.plugins.otp_static import admin as _  # noqa: F401 - registers pages that are unregistered below
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp import admin as __  # noqa: F401 - likewise
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_stubs_ext import WithAnnotations

from opsconsole.admin.people_forms import PERMISSIONS, NewPersonForm, PasswordForm, PersonForm, RoleForm
from opsconsole.kit import audit, form_values
from opsconsole.kit.audit import AuditParts
from opsconsole.kit.counting import exactly
from opsconsole.kit.display import NOTHING
from opsconsole.kit.form_versions import Value, Version, VersionedForm
from opsconsole.kit.row_locks import locked
from opsconsole.kit.titled_admin import Question
from opsconsole.kit.versioned_admin import VersionedAdmin
from opsconsole.sign_in import handing_out, offered_permissions, role_words, second_factor
from opsconsole.sign_in.offered_permissions import AreaBoxes, PermissionsField, by_area, label

# The device pages show secrets.
admin.site.unregister([User, Group, TOTPDevice, StaticDevice])

IN_WORDS = "permissions_in_words"


class SecondFactor(TypedDict):
    has_second_factor: bool


class Ticked(VersionedAdmin):
    """Checkboxes for roles and permissions, because Django's pair of lists is not accessible to everybody."""

    filter_horizontal = ()

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        """Offer only what this person may give."""
        boxes: dict[str, Any] = {
            "widget": forms.CheckboxSelectMultiple,
            "queryset": handing_out.roles_to_give(request.user),
        }
        if db_field.related_model is Permission:
            mine = handing_out.permissions_to_give(request.user)
            boxes = {
                "widget": AreaBoxes,
                "queryset": offered_permissions.offered(mine),
                "form_class": PermissionsField,
            }
        return super().formfield_for_manytomany(db_field, request, **kwargs | boxes)

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        """Offer no window that adds a role: Django's script would choose the new one in a list, and not among checkboxes."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(widget := getattr(field, "widget", None), RelatedFieldWidgetWrapper):
            widget.can_add_related = False
        return field

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show permissions in words to those who may not change them."""
        found = super().get_fieldsets(request, obj)
        if obj is None or self.may_tick(request, obj):
            return found
        return [(heading, {**options, "fields": _in_words(options["fields"])}) for heading, options in found]

    def may_tick(self, request: HttpRequest, row: Any) -> bool:
        """Tell whether this person may change the permissions of the row."""
        return self.has_change_permission(request, row)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if obj is None or self.may_tick(request, obj) else (*fields, IN_WORDS)

    @admin.display(description="permissions")
    def permissions_in_words(self, row: Any) -> str:
        held = (row.permissions if isinstance(row, Group) else row.user_permissions).all()
        areas = ((name, ", ".join(map(label, rows))) for name, rows in by_area(held))
        return format_html_join(SafeString("<br>"), "{}: {}", areas) or "none"


def _in_words(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(IN_WORDS if name in PERMISSIONS else name for name in names))


@admin.register(Group)
class RolesAdmin(Ticked, GroupAdmin):
    """The pages of roles. Each is deleted from its own page, which shows what it was."""

    actions = None
    list_display = ("name", "allows")
    form = RoleForm

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name the role alone: of what goes with it, its permissions and members, the form says what it was."""
        named, counts, *others = super().get_deleted_objects(objs, request)
        # Django's list has a list behind each object: what goes with it.
        rows = [each for each in cast(list[Any], named) if not isinstance(each, list)]
        return rows, {name: number for name, number in counts.items() if name == self.many}, *others

    @admin.display(description="what it allows")
    def allows(self, role: Group) -> str:
        return role_words.allows(role.name) or "what its page lists"

    def last_words(self, row: Any) -> str:
        had = form_values.shown(row.permissions.all())
        members = ", ".join(row.user_set.order_by("username").values_list("username", flat=True)) or "none"
        return f"Deleted. Members: {members}; permissions: {had}"

    def _whole(self, row: Any) -> Version:
        """Return also who has the role: those who were given it meanwhile would lose it unseen."""
        whole = super()._whole(row)
        members = list(row.user_set.order_by("username").values_list("username", flat=True))
        # Their number only: the page does not show who they are.
        shown = Value.of(members, exactly(len(members), "user"))
        return replace(whole, values={**whole.values, "members": shown})

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow only those who hold every permission of the role."""
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or handing_out.may_manage_role(request.user, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_delete_permission(request, obj)
        return allowed and (obj is None or handing_out.may_manage_role(request.user, obj))


@admin.register(User)
class PeopleAdmin(Ticked, UserAdmin[User]):
    """The pages of users. A user is deactivated, never deleted, because the audit refers to them."""

    list_display = ("username", "first_name", "last_name", "roles", "is_active", "last_login")
    list_filter = ("is_active", "groups")
    quotes = MappingProxyType({"roles": ("auth_group",), "groups": ("auth_group",)})
    actions = ("remove_second_factor",)
    change_password_form = PasswordForm
    form = PersonForm
    add_form = NewPersonForm
    fieldsets = (*(UserAdmin.fieldsets or ()), ("Reason", {"fields": ("reason",)}))
    add_fieldsets = (
        *UserAdmin.add_fieldsets,
        ("Access", {"fields": ("is_staff",)}),
        ("Reason", {"fields": ("reason",)}),
    )
    # The password has a form of its own, and every login changes the time of the last one.
    unversioned = frozenset({"password", "last_login"})

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow only those who hold all that the user has: anybody else could take over the account."""
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or handing_out.may_manage_user(request.user, obj))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Let administrators assign the roles that they may give; only superusers assign superuser status."""
        fields = (*super().get_readonly_fields(request, obj), "last_login", "date_joined")
        return fields if request.user.is_superuser else (*fields, "is_superuser")

    def may_tick(self, request: HttpRequest, row: Any) -> bool:
        """Let superusers alone give single permissions."""
        return super().may_tick(request, row) and request.user.is_superuser

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001 - Django's signature
        super().save_related(request, form, formsets, change)
        person = form.instance
        if not person.is_staff and (person.is_superuser or person.groups.exists()):
            messages.warning(
                request, f"The user {person} has a role but cannot log in: tick “{role_words.MAY_LOG_IN}”."
            )

    @transaction.atomic
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002 - Django's signature
        response = super().user_change_password(request, id, form_url)
        form = getattr(response, "context_data", {}).get("form")
        if isinstance(form, VersionedForm):
            response.status_code = form.status
        return response

    def construct_change_message(
        self,
        request: HttpRequest,
        form: Any,
        formsets: Any,
        add: bool = False,  # noqa: FBT001, FBT002 - Django's signature
    ) -> Any:
        if not isinstance(form, PasswordForm):
            return super().construct_change_message(request, form, formsets, add)
        taken = not form.cleaned_data["set_usable_password"]
        return AuditParts(
            "Took the password away." if taken else "Set a new password.", form.cleaned_data["reason"]
        )

    def applies(self, action: str, row: WithAnnotations[User, SecondFactor]) -> bool:
        return row.has_second_factor

    @admin.action(description="Remove second factor", permissions=["change"])
    @transaction.atomic
    def remove_second_factor(self, request: HttpRequest, queryset: QuerySet[User]) -> HttpResponse | None:
        """Ask for a reason, then delete the devices and backup codes of somebody who lost their phone."""
        people = [
            user for user in locked(queryset, of=("self",)) if self.has_change_permission(request, user)
        ]
        question = Question(
            action="remove_second_factor",
            title="Remove the second factor?",
            button="Remove the second factor",
            seen=lambda user: {"devices": second_factor.devices_of(user)},
            consequence="These users need only their password until they set up a new second factor.",
            takes_away=True,
        )
        reason = self.ask_why(request, question, [(user, user.username) for user in people])
        if not isinstance(reason, str):
            return reason
        removed = [user for user in people if second_factor.remove(user)]
        audit.log(request.user, removed, "Removed the second factor.", why=reason)
        names = ", ".join(user.username for user in removed)
        messages.success(request, f"Second factor removed: {names or 'nobody had one'}.")
        return None

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        people = super().get_queryset(request).exclude(username=audit.PROGRAM)
        shown: QuerySet[User] = people.prefetch_related("groups").annotate(
            has_second_factor=second_factor.owns_device()
        )
        return shown

    @admin.display(description="roles")
    def roles(self, user: User) -> str:
        if user.is_superuser:
            return "Everything (superuser)"
        return ", ".join(group.name for group in user.groups.all()) or NOTHING
