from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from alerts.hooks import from_sns

# The probes /healthz and /readyz are answered before this: opsconsole.health.
urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("hooks/sns", from_sns, name="hooks-sns"),
]
