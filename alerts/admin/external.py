"""The lists of SNS messages and of dead-man's switches."""

from __future__ import annotations

from types import MappingProxyType

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django_stubs_ext import WithAnnotations

from alerts.models import DeadManPing, SnsMessage
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.display import age, badge
from opsconsole.kit.read_only_admin import ReadOnlyAdmin


@admin.register(SnsMessage)
class SnsMessageAdmin(ReadOnlyAdmin):
    list_display = ("received", "kind", "about", "effect", "message_id")
    list_filter = ("kind",)
    search_fields = ("message_id", "about")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SnsMessage]:
        rows: QuerySet[SnsMessage] = super().get_queryset(request).annotate(db_now=Now())
        return rows

    @admin.display(description="received", ordering="received_at")
    def received(self, message: WithAnnotations[SnsMessage, DbNow]) -> SafeString:
        return age(message.received_at, message.db_now, suffix=" ago")


@admin.register(DeadManPing)
class DeadManPingAdmin(ReadOnlyAdmin):
    list_display = ("name", "condition", "last_ping", "answer", "last_accepted", "failing")
    fields = ("name", "condition", "pinged_at", "answer", "ok_at", "failing_since", "reported")
    labels = MappingProxyType(
        {"pinged_at": "last ping", "ok_at": "last accepted", "reported": "last success"}
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadManPing]:
        rows: QuerySet[DeadManPing] = super().get_queryset(request).annotate(db_now=Now())
        return rows

    @admin.display(description="state")
    def condition(self, ping: DeadManPing) -> SafeString:
        if ping.failing_since:
            return badge("Not accepted", "bad")
        return badge("Accepted", "good") if ping.ok_at else badge("Not pinged yet")

    @admin.display(description="last ping", ordering="pinged_at")
    def last_ping(self, ping: WithAnnotations[DeadManPing, DbNow]) -> SafeString:
        return age(ping.pinged_at, ping.db_now, suffix=" ago")

    @admin.display(description="last accepted", ordering="ok_at")
    def last_accepted(self, ping: WithAnnotations[DeadManPing, DbNow]) -> SafeString:
        return age(ping.ok_at, ping.db_now, suffix=" ago")

    @admin.display(description="failing for", ordering="failing_since")
    def failing(self, ping: WithAnnotations[DeadManPing, DbNow]) -> SafeString:
        return age(ping.failing_since, ping.db_now)
