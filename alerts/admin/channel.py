"""The list of channels, and the page of a channel with its state, its latest messages and a test."""

from __future__ import annotations

from typing import Any, TypeAlias

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django_stubs_ext import WithAnnotations

from alerts import channel_settings
from alerts.admin import channel_pages, labels
from alerts.admin.channel_pages import muted
from alerts.channels.targets import target_of
from alerts.models import Channel, Delivery
from alerts.sending import addressing, banner, channel_state, channel_test, routing
from alerts.sending.channel_test import UnknownChannel
from opsconsole.kit import audit
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.display import age
from opsconsole.kit.read_only_admin import PageAdmin

DELIVERIES_SHOWN = 30


class ChannelColumns(DbNow):
    """``waiting_count``: the number of deliveries that wait for the channel."""

    waiting_count: int


ListedChannel: TypeAlias = "WithAnnotations[Channel, ChannelColumns]"


@admin.register(Channel)
class ChannelAdmin(PageAdmin[ListedChannel]):
    missing = "There is no channel with this name."
    list_display = (
        "name",
        "kind",
        "condition",
        "is_told",
        "waiting",
        "last_delivered",
        "last_attempt",
        "last_answer",
    )
    sortable_by = ()
    live_on = ("alerts.Channel", "alerts.Delivery", "alerts.Attempt", "alerts.Notification")
    actions = ("test_selected",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ListedChannel]:
        return _with_columns(super().get_queryset(request))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        addressing.create_missing_channels()
        may_add = {"may_add": self.may_configure(request)}
        return super().changelist_view(request, may_add | (extra_context or {}))

    @admin.display(description="kind")
    def kind(self, channel: Channel) -> str:
        return channel_state.kind(target_of(channel))

    @admin.display(description="state")
    def condition(self, channel: ListedChannel) -> SafeString:
        return labels.channel(channel, target_of(channel)) + muted(channel, channel.db_now)

    @admin.display(description="is told")
    def is_told(self, channel: Channel) -> str:
        return routing.in_words(channel)

    @admin.display(description="waiting")
    def waiting(self, channel: ListedChannel) -> int:
        return channel.waiting_count

    @admin.display(description="last delivered")
    def last_delivered(self, channel: ListedChannel) -> SafeString:
        return age(channel.last_ok_at, channel.db_now, suffix=" ago")

    @admin.display(description="last attempt")
    def last_attempt(self, channel: ListedChannel) -> SafeString:
        return age(channel.last_attempt_at, channel.db_now, suffix=" ago")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("add/", wrap(self.add_channel_view), name="alerts_channel_make"),
            path("<str:name>/test/", wrap(self.test_view), name="alerts_channel_test"),
            path("<str:name>/settings/", wrap(self.settings_view), name="alerts_channel_settings"),
            path("<str:name>/mute/", wrap(self.mute_view), name="alerts_channel_mute"),
            path("<str:name>/remove/", wrap(self.remove_view), name="alerts_channel_remove"),
            *super().get_urls(),
        ]

    def may_configure(self, request: HttpRequest) -> bool:
        return request.user.has_perm("alerts.configure_channel") and self.has_view_permission(request)

    def add_channel_view(self, request: HttpRequest) -> HttpResponse:
        self._require(request)
        return channel_pages.add(self, request)

    def settings_view(self, request: HttpRequest, name: str) -> HttpResponse:
        self._require(request)
        return channel_pages.change(self, request, name)

    def mute_view(self, request: HttpRequest, name: str) -> HttpResponse:
        self._require(request)
        return channel_pages.mute(self, request, name)

    def remove_view(self, request: HttpRequest, name: str) -> HttpResponse:
        self._require(request)
        return channel_pages.remove(self, request, name)

    def _require(self, request: HttpRequest) -> None:
        if not self.may_configure(request):
            raise PermissionDenied

    def has_test_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("alerts.test_channel") and self.has_view_permission(request)

    def load(self, key: str) -> ListedChannel | None:
        return _with_columns(Channel.objects.all()).filter(pk=key).first()

    def page(self, request: HttpRequest, row: ListedChannel) -> HttpResponse:
        target = target_of(row)
        context = {
            "title": f"Channel {row.pk}",
            "channel": row,
            "kind": channel_state.kind(target),
            "state": labels.channel(row, target),
            "broken": target is not None and row.is_broken(target.digest),
            "told": routing.in_words(row),
            "muted": routing.is_muted(row, row.db_now),
            "fixed": channel_settings.is_fixed(row.pk),
            "may_configure": self.may_configure(request),
            "may_test": target is not None and self.has_test_permission(request),
            "deliveries": _deliveries(row),
        }
        return self.render(request, "admin/alerts/channel.html", context)

    @admin.action(description="Send test message", permissions=["test"])
    def test_selected(self, request: HttpRequest, queryset: QuerySet[Channel]) -> None:
        for channel in queryset:
            self._test(request, channel.pk)

    def test_view(self, request: HttpRequest, name: str) -> HttpResponse:
        if not self.has_test_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self._test(request, name)
        return redirect("admin:alerts_channel_change", name)

    def _test(self, request: HttpRequest, name: str) -> None:
        try:
            channel_test.send(name, request.user.get_username())
        except UnknownChannel as error:
            messages.error(request, str(error))
            return
        banner.memory.delete("banner")
        audit.log(request.user, Channel.objects.filter(pk=name), "Test sent.", why=audit.NOT_ASKED)
        messages.success(
            request,
            f"A test message is being sent to {name}. The answer appears on this page in a few seconds.",
        )


def _with_columns(channels: QuerySet[Channel]) -> QuerySet[ListedChannel]:
    waiting = Delivery.objects.waiting().filter(channel=OuterRef("pk")).order_by().values("channel")
    count = Subquery(waiting.annotate(n=Count("pk")).values("n"), output_field=IntegerField())
    return channels.annotate(db_now=Now(), waiting_count=Coalesce(count, 0))


def _deliveries(channel: Channel) -> list[tuple[Delivery, SafeString, SafeString]]:
    rows = Delivery.objects.filter(channel=channel.pk).select_related("notification__alert")
    latest = rows.prefetch_related("attempts").order_by("-pk")[:DELIVERIES_SHOWN]
    return [(row, labels.kind(row.notification), labels.delivery(row)) for row in latest]
