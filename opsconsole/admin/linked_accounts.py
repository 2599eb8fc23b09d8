"""People of another system who are linked to accounts: their list, and the account that a form names, looked at again under a lock."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.safestring import SafeString

from opsconsole.kit.display import age, badge
from opsconsole.kit.read_only_admin import ReadOnlyAdmin
from opsconsole.kit.reasons import ReasonPageForm
from opsconsole.kit.row_locks import locked
from opsconsole.sign_in import handing_out


def account_field(help_text: str) -> forms.CharField:
    return forms.CharField(label="User name of the account", max_length=150, help_text=help_text)


class LinkForm(ReasonPageForm):
    """The account to link to, and why. A subclass says which accounts can be linked, and what it answers of others."""

    linkable: ClassVar[QuerySet[User]]
    no_account: ClassVar[str]

    account: forms.CharField

    def clean_account(self) -> str:
        name: str = self.cleaned_data["account"]
        if not self.linkable.filter(username=name).exists():
            raise forms.ValidationError(self.no_account)
        return name


class LinkedAdmin(ReadOnlyAdmin):
    """The list of those who are linked to an account, or wait for it."""

    list_display_links = ("name",)
    list_select_related = ("user",)
    sortable_by = ()
    actions = ("link", "unlink")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).annotate(db_now=Now())
        return rows

    def applies(self, action: str, row: Any) -> bool:
        return (action == "link") == (row.user is None)

    @admin.display(description="account")
    def account(self, linked: Any) -> SafeString | str:
        return linked.user.get_username() if linked.user else badge("Waits to be linked", "warning")

    @admin.display(description="first seen")
    def noticed(self, linked: Any) -> SafeString:
        return age(linked.noticed_at, linked.db_now, suffix=" ago")


def seen(linked: Any) -> dict[str, Any]:
    """Return what a question shows of somebody, so that an answer to another one is refused."""
    return {"account": linked.user.get_username() if linked.user else "none"}


def chosen(request: HttpRequest, linkable: QuerySet[User]) -> User | None:
    """Return the account that the form named, locked; or None, and a message that says why it can't be linked."""
    named = locked(User.objects.filter(username=request.POST["account"].strip())).first()
    # Read again, because somebody else may have linked it while this one waited for the lock.
    account = linkable.filter(pk=named.pk).first() if named else None
    if account is None or not handing_out.may_manage_user(request.user, account):
        messages.error(
            request,
            "This account can’t be linked: it has more than you have, or was linked a moment ago. Nothing was changed.",
        )
        return None
    return account
