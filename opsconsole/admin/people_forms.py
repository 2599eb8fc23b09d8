"""The forms of people and roles: a password, permissions with a reason, a new person."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group, Permission, User
from django.db.models import QuerySet

from opsconsole.kit import form_versions
from opsconsole.kit.form_versions import VersionedForm
from opsconsole.kit.reasons import ReasonField
from opsconsole.sign_in import offered_permissions, role_words
from opsconsole.sign_in.offered_permissions import PermissionsField

PERMISSIONS = {"permissions", "user_permissions"}
BY_SINGLE_SIGN_ON = "Disabled: this person logs in by single sign-on only."


class PasswordForm(VersionedForm, AdminPasswordChangeForm):  # type: ignore[type-arg]  # generic in the stubs only
    """Sets a password, unless somebody has set one since the form was opened."""

    # Django's script shows the warning while "Disabled" is chosen.
    usable_password_help_text = (
        f'{BY_SINGLE_SIGN_ON}<ul id="id_unusable_warning" class="messagelist"><li class="warning">'
        "The present password will be lost.</li></ul>"
    )
    reason = ReasonField()

    def __init__(self, user: User, *args: Any, **options: Any) -> None:
        now = form_versions.of_row(user, ["password", "is_active"], secret=["password"])
        super().__init__(user, *args, version=now, **options)


class WithPermissions(forms.BaseModelForm[Any]):
    """A form with a field of permissions, in which those stay that the row has and the form does not offer."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name in PERMISSIONS & self.fields.keys():
            number = self._kept(name).count()
            self.fields[name].help_text = offered_permissions.help_of(number)

    def clean(self) -> Any:
        cleaned = super().clean() or self.cleaned_data
        for name in PERMISSIONS & cleaned.keys():
            both = [row.pk for found in (cleaned[name], self._kept(name)) for row in found]
            cleaned[name] = Permission.objects.filter(pk__in=both)
        return cleaned

    def _kept(self, name: str) -> QuerySet[Permission]:
        if self.instance._state.adding:  # noqa: SLF001 - Django documents it
            return Permission.objects.none()
        offered = cast(PermissionsField, self.fields[name])
        return offered_permissions.kept(getattr(self.instance, name).all(), offered)


class RoleForm(WithPermissions, forms.ModelForm[Group]):
    reason = ReasonField()


class PersonForm(WithPermissions, UserChangeForm[User]):
    reason = ReasonField()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if may_log_in := self.fields.get("is_staff"):
            may_log_in.label, may_log_in.help_text = role_words.MAY_LOG_IN, role_words.WHY_MAY_LOG_IN
        if given := cast("forms.ModelMultipleChoiceField[Group] | None", self.fields.get("groups")):
            offered = list(given.queryset.values_list("pk", "name")) if given.queryset is not None else []
            # The boxes, too, are made of what was read here.
            given.choices = offered
            given.help_text = role_words.explained(name for _, name in offered)


class NewPersonForm(AdminUserCreationForm[User]):
    """Creates a person who may log in."""

    is_staff = forms.BooleanField(
        label=role_words.MAY_LOG_IN,
        required=False,
        initial=True,
        help_text=f"{role_words.WHY_MAY_LOG_IN} Roles are given on the next page.",
    )
    reason = ReasonField()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["usable_password"].help_text = BY_SINGLE_SIGN_ON
