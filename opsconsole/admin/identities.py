"""The page Sign-in identities: who signed in by single sign-on, to which account, and who waits to be linked to one."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.safestring import SafeString

from opsconsole.admin import linked_accounts
from opsconsole.kit import audit
from opsconsole.kit.display import age
from opsconsole.kit.identity_models import SignInIdentity
from opsconsole.kit.row_locks import locked
from opsconsole.kit.titled_admin import Question
from opsconsole.sign_in import handing_out
from opsconsole.sign_in.oidc import accounts

LIST = "admin:opsconsole_signinidentity_changelist"


class LinkForm(linked_accounts.LinkForm):
    account = linked_accounts.account_field(
        "An active account of this console that is no superuser’s and is not linked."
    )
    linkable = User.objects.filter(is_active=True, is_superuser=False, identity=None)
    no_account = (
        "There is no account of this name that an identity can be linked to: "
        "it must be active, no superuser’s and not linked."
    )


@admin.register(SignInIdentity)
class IdentityAdmin(linked_accounts.LinkedAdmin):
    shown_names = ("sign-in identity", "sign-in identities")
    list_display = ("name", "email", "account", "subject", "issuer", "noticed", "signed_in")
    search_fields = ("name__startswith", "email__startswith", "subject")
    search_help_text = "The beginning of a name or an address, or a whole subject"
    fields = ("name", "email", "user", "subject", "issuer", "noticed_at", "signed_in_at")

    def title_of(self, row: Any) -> str:
        return f"Sign-in identity {row.name or row.subject}"

    @admin.display(description="last sign-in")
    def signed_in(self, identity: Any) -> SafeString | str:
        if identity.signed_in_at is None:
            return "Never"
        return age(identity.signed_in_at, identity.db_now, suffix=" ago")

    def has_link_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("opsconsole.link_signinidentity") and self.has_view_permission(request)

    @admin.action(description="Link to an account", permissions=["link"])
    @transaction.atomic
    def link(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Ask for the account and a reason, then let the identity sign in to it."""
        chosen = list(locked(queryset.order_by("pk"), of=("self",)))
        if len(chosen) != 1 or chosen[0].user_id is not None:
            messages.error(request, "Choose one identity that waits to be linked. Nothing was changed.")
            return redirect(LIST)
        [identity] = chosen
        question = Question(
            action="link",
            title="Link an identity to an account",
            button="Link",
            seen=linked_accounts.seen,
            consequence="This person at the identity provider then signs in to the account. Its password ends, and its roles "
            "become those of the person’s groups. Compare the subject with the provider’s: a name can be anybody’s.",
            takes_away=True,
            form=LinkForm,
        )
        reason = self.ask_why(request, question, [(identity, str(identity))])
        if not isinstance(reason, str):
            return reason
        account = linked_accounts.chosen(request, LinkForm.linkable)
        if account is None:
            return redirect(LIST)
        accounts.link(identity, account)
        did = f"Linked to the identity {identity}. The password ended."
        audit.log(request.user, [account, identity], did, why=reason, result=f"The account is {account}.")
        messages.success(
            request, f"{identity.name or identity.subject} now signs in to the account {account}."
        )
        return redirect(LIST)

    @admin.action(description="Unlink from the account", permissions=["link"])
    @transaction.atomic
    def unlink(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Ask for a reason, then take the accounts away from these identities."""
        rows = locked(queryset.exclude(user=None).order_by("pk"), of=("self",))
        chosen = [each for each in rows if handing_out.may_manage_user(request.user, each.user)]
        if not chosen:
            messages.error(
                request, "Choose identities with accounts that you may change. Nothing was changed."
            )
            return redirect(LIST)
        question = Question(
            action="unlink",
            title="Unlink identities from their accounts",
            button="Unlink",
            seen=linked_accounts.seen,
            consequence="These people can’t sign in to the accounts by single sign-on any more, and their sessions end. The "
            "accounts stay, with their roles and without a password.",
            takes_away=True,
        )
        reason = self.ask_why(request, question, [(each, f"{each}: {each.user}") for each in chosen])
        if not isinstance(reason, str):
            return reason
        for each in chosen:
            audit.log(request.user, [each.user, each], f"Unlinked from the identity {each}.", why=reason)
            accounts.unlink(each)
        messages.success(request, f"Unlinked: {', '.join(each.name or each.subject for each in chosen)}.")
        return redirect(LIST)
