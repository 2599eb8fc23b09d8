from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from opsconsole import api

# The probes /healthz and /readyz are answered before this: opsconsole.health.
urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/", RedirectView.as_view(pattern_name="api-reference")),
    path("api/docs", api.reference, name="api-reference"),
    path("api/", api.api.urls),
]
