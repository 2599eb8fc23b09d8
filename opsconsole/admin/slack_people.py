"""The page People in Slack: who pressed a button there, in whose name that counts, and who waits to be linked."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.safestring import SafeString

from alerts.models import SlackPerson
from opsconsole.admin import linked_accounts
from opsconsole.kit import audit
from opsconsole.kit.display import age
from opsconsole.kit.row_locks import locked
from opsconsole.kit.titled_admin import Question

LIST = "admin:alerts_slackperson_changelist"


class LinkForm(linked_accounts.LinkForm):
    account = linked_accounts.account_field(
        "An active account of this console that is not linked to somebody else in Slack."
    )
    linkable = User.objects.filter(is_active=True, is_staff=True, slack_person=None)
    no_account = "There is no account of this name that can be linked: it must be active, of the console’s staff and not linked."


@admin.register(SlackPerson)
class SlackPersonAdmin(linked_accounts.LinkedAdmin):
    list_display = ("name", "member", "team", "account", "noticed", "clicked")
    search_fields = ("name__startswith", "member")
    search_help_text = "The beginning of a name, or a whole member id"
    fields = ("name", "member", "team", "user", "noticed_at", "clicked_at")

    def title_of(self, row: Any) -> str:
        return f"Person in Slack {row.name or row.member}"

    @admin.display(description="last click")
    def clicked(self, person: Any) -> SafeString:
        return age(person.clicked_at, person.db_now, suffix=" ago")

    def has_link_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("alerts.link_slackperson") and self.has_view_permission(request)

    @admin.action(description="Link to an account", permissions=["link"])
    @transaction.atomic
    def link(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Ask for the account and a reason, then let this person's clicks count as decisions of that account."""
        chosen = list(locked(queryset.order_by("pk"), of=("self",)))
        if len(chosen) != 1 or chosen[0].user_id is not None:
            messages.error(request, "Choose one person who waits to be linked. Nothing was changed.")
            return redirect(LIST)
        [person] = chosen
        question = Question(
            action="link",
            title="Link a person in Slack to an account",
            button="Link",
            seen=linked_accounts.seen,
            consequence="What this person presses in Slack then counts as a decision of the account, with its permissions. "
            "Compare the member id with the person’s profile in Slack: a name can be anybody’s.",
            takes_away=True,
            form=LinkForm,
        )
        reason = self.ask_why(request, question, [(person, str(person))])
        if not isinstance(reason, str):
            return reason
        account = linked_accounts.chosen(request, LinkForm.linkable)
        if account is None:
            return redirect(LIST)
        SlackPerson.objects.filter(pk=person.pk).update(user=account)
        did = f"Linked to {person} in Slack."
        audit.log(request.user, [account, person], did, why=reason, result=f"The account is {account}.")
        messages.success(request, f"What {person.name or person.member} presses now counts as {account}’s.")
        return redirect(LIST)

    @admin.action(description="Unlink from the account", permissions=["link"])
    @transaction.atomic
    def unlink(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Ask for a reason, then let nothing count that these people press. Who may link may always unlink."""
        chosen = list(locked(queryset.exclude(user=None).order_by("pk"), of=("self",)))
        if not chosen:
            messages.error(request, "Choose people who are linked to an account. Nothing was changed.")
            return redirect(LIST)
        question = Question(
            action="unlink",
            title="Unlink people in Slack from their accounts",
            button="Unlink",
            seen=linked_accounts.seen,
            consequence="What these people press in Slack then changes nothing. The accounts stay as they are.",
            takes_away=True,
        )
        reason = self.ask_why(request, question, [(each, f"{each}: {each.user}") for each in chosen])
        if not isinstance(reason, str):
            return reason
        for each in chosen:
            audit.log(request.user, [each.user, each], f"Unlinked from {each} in Slack.", why=reason)
        SlackPerson.objects.filter(pk__in=[each.pk for each in chosen]).update(user=None)
        messages.success(request, f"Unlinked: {', '.join(each.name or each.member for each in chosen)}.")
        return redirect(LIST)
