"""The console's URLs plus the same tables under a stock admin, and the admin pages of other job queues."""

from __future__ import annotations

from typing import Any

import django_q.admin
import procrastinate.contrib.django.admin as procrastinate_admin
from django.contrib import admin
from django.urls import path
from django_q.models import Success
from procrastinate.contrib.django.models import ProcrastinateJob

from jobs.models import Job
from opsconsole.urls import urlpatterns as console

stock = admin.AdminSite(name="stock")


@admin.register(Job, site=stock)
class StockJobAdmin(admin.ModelAdmin[Job]):
    """A typical first version of an admin: columns, filters and a search; everything else is Django's default."""

    list_display = ("id", "customer_id", "status", "priority_level", "queue", "created_at", "worker_id")
    list_filter = ("status", "queue", "priority_level")
    search_fields = ("id", "customer_id")


stock.register(Success, django_q.admin.TaskAdmin)
stock.register(ProcrastinateJob, procrastinate_admin.ProcrastinateJobAdmin)

urlpatterns: list[Any] = [path("stock/", stock.urls), *console]
