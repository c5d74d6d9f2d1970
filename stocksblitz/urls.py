"""Every route. None ends in a slash, but for Django's admin."""

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path, re_path
from django.views.decorators.csrf import csrf_exempt

from stocksblitz.api import error_views, health

admin.site.site_header = admin.site.site_title = "StocksBlitz"
admin.site.index_title = "Operations"

urlpatterns = [
    path("", health.PageView.as_view(template_name="dashboard.html"), name="dashboard"),
    path("portfolio", health.PageView.as_view(template_name="portfolio.html"), name="portfolio"),
    path(
        "login",
        LoginView.as_view(
            template_name="login.html",
            redirect_authenticated_user=True,
            extra_context={"debug": settings.DEBUG},  # the development users are named there
        ),
        name="login",
    ),
    path("logout", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    path("auth/", include("stocksblitz.identity.urls")),
    path("indicators/", include("indicators.api.urls")),
    path("api/market/portfolio/", include("portfolio.api.market_urls")),
    path("api/market/", include("stocksblitz.market.api.urls")),
    path("api/portfolio/", include("portfolio.api.urls")),
    path("api/schema", health.SchemaView.as_view(), name="schema"),
    path("api/docs", health.DocsView.as_view(url_name="schema"), name="docs"),
    path("metrics", health.metrics),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    re_path("", csrf_exempt(error_views.not_found)),  # what is not there needs no token to say so
]

handler400 = "stocksblitz.api.error_views.bad_request"
handler403 = "stocksblitz.api.error_views.forbidden"
handler404 = "stocksblitz.api.error_views.not_found"
handler500 = "stocksblitz.api.error_views.server_error"
