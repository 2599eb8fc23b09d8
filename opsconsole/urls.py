from django.urls import include, path
from django.views.generic import RedirectView

from alerts.aws.webhook import from_sns
from alerts.slack_app.webhook import from_slack
from opsconsole import customers, search
from opsconsole.api import reference, routes
from opsconsole.kit import admin_pages
from opsconsole.sign_in import second_factor_pages
from opsconsole.sign_in.oidc import pages as oidc_pages

site = admin_pages.site()
handler400 = "opsconsole.refused_requests.bad_request"
handler500 = "opsconsole.unavailable.server_error"

# The probes /healthz and /readyz are answered before this: opsconsole.health.
urlpatterns = [
    # First, because programs ask the most. The redirect stands before the page that django-ninja has at the same address.
    path("api/", RedirectView.as_view(pattern_name="api-reference")),
    path("api/", routes.api.urls),
    path("api/docs", reference.reference_page, name="api-reference"),
    path("api/openapi.json", reference.document, name="api-document"),
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/second-factor/", include(second_factor_pages)),
    path("admin/customer/", site.admin_view(customers.view), name="customer"),
    path("admin/oidc/", include(oidc_pages)),
    path("admin/search/", site.admin_view(search.view), name="search"),
    path("admin/", site.urls),
    path("hooks/sns", from_sns, name="hooks-sns"),
    path("hooks/slack", from_slack, name="hooks-slack"),
]
