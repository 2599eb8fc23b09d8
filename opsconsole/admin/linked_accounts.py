"""The account that somebody of another system is linked to: chosen in a form, and looked at again under a lock."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest

from opsconsole.kit.row_locks import locked
from opsconsole.sign_in import handing_out


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
