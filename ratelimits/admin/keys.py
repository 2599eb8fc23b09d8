"""API keys: who may call the API. A key is shown once, on the page that answers its making."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django_stubs_ext import WithAnnotations

from opsconsole.kit import audit
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.display import NOTHING, age, badge
from opsconsole.kit.read_only_admin import ReadOnlyAdmin
from ratelimits.admin.key_forms import KeyForm, RevokeForm
from ratelimits.keys import api_keys
from ratelimits.models import ApiKey

LIST = "admin:ratelimits_apikey_changelist"


class ValidFilter(admin.SimpleListFilter):
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
    change_form_template = "admin/ratelimits/apikey/page.html"
    list_display = ("name", "state", "ends_with", "allows", "policy", "used", "expires", "made")
    list_filter = (ValidFilter,)
    search_fields = ("name__icontains", "hint")
    search_help_text = "Name, or the last four characters of a key"
    sortable_by = ()
    actions = ("revoke_selected",)
    fields = (
        "name",
        "state",
        "ends_with",
        "allows",
        "policy",
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

    @admin.display(description="may")
    def allows(self, key: ApiKey) -> str:
        return ", ".join(key.scopes) or NOTHING

    @admin.display(description="last used")
    def used(self, key: WithAnnotations[ApiKey, DbNow]) -> SafeString:
        return age(key.last_used_at, key.db_now, suffix=" ago")

    @admin.display(description="expires")
    def expires(self, key: WithAnnotations[ApiKey, DbNow]) -> SafeString:
        return age(key.expires_at, key.db_now, suffix=" ago")

    @admin.display(description="made")
    def made(self, key: WithAnnotations[ApiKey, DbNow]) -> SafeString:
        return age(key.created_at, key.db_now, suffix=" ago")

    def get_urls(self) -> list[URLPattern]:
        make = never_cache(self.admin_site.admin_view(self.make_view))
        return [path("make/", make, name="ratelimits_apikey_make"), *super().get_urls()]

    def may_make(self, request: HttpRequest) -> bool:
        return request.user.has_perm("ratelimits.add_apikey") and self.has_view_permission(request)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("ratelimits.revoke_apikey") and self.has_view_permission(request)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        may = {"may_make": self.may_make(request), "title": "API keys"}
        return super().changelist_view(request, may | (extra_context or {}))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["may_revoke"] = self.has_revoke_permission(request)
        context["checkbox"] = ACTION_CHECKBOX_NAME
        return super().render_change_form(request, context, *args, **kwargs)

    def make_view(self, request: HttpRequest) -> HttpResponse:
        """The form, and in answer to it the page that shows the key: it exists in that answer alone."""
        if not self.may_make(request):
            raise PermissionDenied
        form = KeyForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self._render(request, "make", title="Make an API key", form=form)
        by = request.user.get_username()
        said = form.cleaned_data
        try:
            key, text = api_keys.create(
                key_id=said["key_id"],
                name=said["name"],
                scopes=said["scopes"],
                policy=said["policy"],
                expires_at=said["expires_on"],
                by=by,
                reason=said["reason"],
            )
        except api_keys.KeyRefused as error:
            messages.error(request, str(error))
            return self._render(request, "make", title="Make an API key", form=form)
        audit.log(request.user, [key], f"Made: {said['reason']}")
        return self._render(request, "made", title="This is the key", key=key, text=text)

    @admin.action(description="Revoke", permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Ask for a reason, then revoke those that are not yet."""
        chosen = list(queryset.filter(revoked_at=None))
        if not chosen:
            messages.warning(request, "None of these keys can be revoked: they are already.")
            return redirect(LIST)
        form = RevokeForm(request.POST if "reason" in request.POST else None)
        if not form.is_valid():
            return self._render(
                request, "revoke", title="Revoke?", chosen=chosen, form=form, checkbox=ACTION_CHECKBOX_NAME
            )
        by, reason = request.user.get_username(), form.cleaned_data["reason"]
        revoked = [key for key in chosen if api_keys.revoke(key.pk, by=by, reason=reason)]
        audit.log(request.user, revoked, f"Revoked: {reason}")
        names = ", ".join(str(key) for key in revoked)
        messages.success(request, f"Revoked: {names or 'nothing, others did'}. Requests with it are refused.")
        return redirect(LIST)

    def _render(self, request: HttpRequest, page: str, **context: Any) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, f"admin/ratelimits/apikey/{page}.html", common | context)
