"""The pages of API keys. A key is shown once, on the page that follows its creation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import Permission, User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django_stubs_ext import WithAnnotations

from opsconsole.kit import audit
from opsconsole.kit.counting import exactly, plural
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.display import NOTHING, age, badge
from opsconsole.kit.form_values import name_of
from opsconsole.kit.page_permissions import may_see
from opsconsole.kit.read_only_admin import ReadOnlyAdmin
from opsconsole.kit.row_locks import locked
from opsconsole.kit.titled_admin import Question
from ratelimits.admin.key_forms import KeyForm, RevokeForm
from ratelimits.keys import api_keys
from ratelimits.models import ApiKey
from ratelimits.models.api_key import Scope

LIST = "admin:ratelimits_apikey_changelist"
# By the scope that may read it.
LISTS = {
    Scope.JOBS_READ: "api:list_jobs",
    Scope.LETTERS_READ: "api:list_letters",
    Scope.ALERTS_READ: "api:list_alerts",
    Scope.PAUSES_READ: "api:list_pauses",
    Scope.LIMITS_READ: "api:list_policies",
}


class KeyStateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> Iterable[tuple[str, str]]:
        return [("valid", "Valid"), ("expired", "Expired"), ("revoked", "Revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "valid":
                return queryset.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), revoked_at=None)
            case "expired":
                return queryset.filter(expires_at__lte=Now(), revoked_at=None)
            case "revoked":
                return queryset.exclude(revoked_at=None)
        return queryset


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    change_list_template = "admin/ratelimits/apikey/change_list.html"
    list_display = ("name", "state", "ends_with", "scope_names", "policy", "last_used", "expires", "created")
    list_filter = (KeyStateFilter,)
    search_fields = ("name__icontains", "hint")
    search_help_text = "Name or last four characters of a key"
    sortable_by = ()
    actions = ("revoke_selected",)
    fields = (
        "name",
        "state",
        "ends_with",
        "scopes_in_words",
        "acts_for",
        "allowed",
        "policy",
        "successor_of",
        "expires_at",
        "last_used_at",
        "created_at",
        "created_by",
        "reason",
        "revoked_at",
        "revoked_by",
        "revoke_reason",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).annotate(db_now=Now())
        return rows

    @admin.display(description="state")
    def state(self, key: WithAnnotations[ApiKey, DbNow]) -> SafeString:
        if key.revoked_at:
            return badge("Revoked", "bad")
        if key.expires_at and key.expires_at <= key.db_now:
            return badge("Expired", "warning")
        return badge("Valid", "good")

    @admin.display(description="ends with")
    def ends_with(self, key: ApiKey) -> str:
        return f"…{key.hint}"

    @admin.display(description="scopes")
    def scope_names(self, key: ApiKey) -> str:
        return ", ".join(key.scopes) or NOTHING

    @admin.display(description="allows")
    def scopes_in_words(self, key: ApiKey) -> SafeString:
        """Show what each scope allows, with the name that programs and the documentation use."""
        known = ((Scope(scope).words.capitalize(), scope) for scope in key.scopes if scope in Scope.values)
        return format_html_join("", "<div>{} <code>{}</code></div>", known) or NOTHING

    @admin.display(description="acts for")
    def acts_for(self, key: ApiKey) -> str | SafeString:
        """Return the account whose permissions bound those of the key, for a key of the operator's API."""
        return key.maker.get_username() if key.permissions and key.maker else NOTHING

    @admin.display(description="permissions")
    def allowed(self, key: ApiKey) -> str | SafeString:
        """Show what the account was allowed when the key was made, as the pages of people and roles call it."""
        codenames = {permission.partition(".")[2] for permission in key.permissions}
        named = Permission.objects.filter(codename__in=codenames).select_related("content_type")
        names = [
            name_of(each)
            for each in named
            if f"{each.content_type.app_label}.{each.codename}" in key.permissions
        ]
        return ", ".join(sorted(names)) or NOTHING

    @admin.display(description="successor of")
    def successor_of(self, key: ApiKey) -> str | SafeString:
        """Return the first of the keys that it succeeds."""
        first = ApiKey.objects.filter(pk=key.succeeds).first() if key.succeeds else None
        return str(first) if first else NOTHING

    @admin.display(description="last used")
    def last_used(self, key: WithAnnotations[ApiKey, DbNow]) -> SafeString:
        return age(key.last_used_at, key.db_now, suffix=" ago")

    @admin.display(description="expires")
    def expires(self, key: WithAnnotations[ApiKey, DbNow]) -> SafeString:
        return age(key.expires_at, key.db_now, suffix=" ago")

    @admin.display(description="created")
    def created(self, key: WithAnnotations[ApiKey, DbNow]) -> SafeString:
        return age(key.created_at, key.db_now, suffix=" ago")

    def get_urls(self) -> list[URLPattern]:
        create = never_cache(self.admin_site.admin_view(self.create_view))
        return [path("make/", create, name="ratelimits_apikey_make"), *super().get_urls()]

    def has_create_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("ratelimits.add_apikey") and self.has_view_permission(request)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("ratelimits.revoke_apikey") and self.has_view_permission(request)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"may_create": self.has_create_permission(request), "title": "API keys"}
        return super().changelist_view(request, context | (extra_context or {}))

    def applies(self, action: str, row: ApiKey) -> bool:
        return row.revoked_at is None

    def title_of(self, row: ApiKey) -> str:
        return f"API key {row.name}"

    def _revoking(self, request: HttpRequest) -> dict[str, Any]:
        return {"may_revoke": self.has_revoke_permission(request), "checkbox": ACTION_CHECKBOX_NAME}

    def create_view(self, request: HttpRequest) -> HttpResponse:
        """Show the form or, after it was submitted, the new key. No other response contains the key."""
        if not self.has_create_permission(request):
            raise PermissionDenied
        form = KeyForm(
            request.POST if request.method == "POST" else None,
            sees_policies=may_see(request.user, "ratelimits_policy"),
            may_free=request.user.has_perm("ratelimits.free_client"),
            maker=request.user,
        )
        if not form.is_valid():
            return self._render(request, "create", title="Create API key", form=form)
        by = request.user.get_username()
        fields = form.cleaned_data
        try:
            key, text = api_keys.create(
                key_id=fields["key_id"],
                name=fields["name"],
                scopes=fields["scopes"],
                policy=fields["policy"],
                expires_at=fields["expires_on"],
                succeeds=fields["succeeds"],
                by=by,
                reason=fields["reason"],
                maker=cast(User, request.user),
            )
        except api_keys.KeyRefused as error:
            messages.error(request, str(error))
            return self._render(request, "create", title="Create API key", form=form)
        audit.log(request.user, [key], "Created.", why=fields["reason"])
        return self._render(
            request,
            "created",
            title="API key created",
            key=key,
            text=text,
            trial=_trial(request, key),
            allows=self.scopes_in_words(key),
            **self._revoking(request),
        )

    @admin.action(description="Revoke", permissions=["revoke"])
    @transaction.atomic
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Ask for a reason, then revoke the selected keys that are not revoked yet."""
        keys = list(locked(queryset.filter(revoked_at=None), of=("self",)))
        if not keys:
            messages.warning(request, "Nothing was changed: the selected keys were revoked before.")
            return redirect(LIST)
        question = Question(
            action="revoke_selected",
            title="Revoke API keys?",
            button=f"Revoke {exactly(len(keys), 'key')}",
            seen=lambda key: {"name": key.name, "scopes": key.scopes, "expires": key.expires_at},
            consequence=f"Requests with {plural(len(keys), 'this key', 'these keys')} will be refused. Revoking cannot be undone.",
            takes_away=True,
            form=RevokeForm,
        )
        reason = self.ask_why(
            request, question, [(key, f"{key}, last used {_last_used(key)}") for key in keys]
        )
        if not isinstance(reason, str):
            return reason
        by = request.user.get_username()
        revoked_keys = [key for key in keys if api_keys.revoke(key.pk, by=by, reason=reason)]
        if not revoked_keys:
            messages.warning(request, "Nothing was changed: somebody else revoked these keys a moment ago.")
            return redirect(LIST)
        audit.log(request.user, revoked_keys, "Revoked.", why=reason)
        names = ", ".join(str(key) for key in revoked_keys)
        messages.success(
            request,
            f"Revoked: {names}. Requests with {plural(len(revoked_keys), 'it', 'them')} are refused now.",
        )
        return redirect(LIST)

    def _render(self, request: HttpRequest, page: str, **context: Any) -> HttpResponse:
        return self.render(request, f"admin/ratelimits/apikey/{page}.html", context)


def _last_used(key: ApiKey) -> str:
    return f"{key.last_used_at:%Y-%m-%d %H:%M} UTC" if key.last_used_at else "never"


def _trial(request: HttpRequest, key: ApiKey) -> str:
    """Return the address of a list that the key may read, which proves the key and changes nothing, or ''."""
    route = next((route for scope, route in LISTS.items() if scope in key.scopes), "")
    return request.build_absolute_uri(reverse(route)) if route else ""
