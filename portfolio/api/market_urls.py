"""Routes under /api/market/portfolio/ by the names that monitoring knows."""

from django.urls import path

from portfolio.api.monitoring import DirtyUsersView, StatusView

urlpatterns = [
    path("status", StatusView.as_view()),
    path("dirty-users/<str:user_type>", DirtyUsersView.as_view()),
]
