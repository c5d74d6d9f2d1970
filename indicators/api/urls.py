from django.urls import path

from indicators.api import views

urlpatterns = [
    path("subscribe", views.SubscribeView.as_view()),
    path("unsubscribe", views.UnsubscribeView.as_view()),
    path("heartbeat", views.HeartbeatView.as_view()),
    path("subscriptions", views.SubscriptionsView.as_view()),
    path("catalogue", views.CatalogueView.as_view()),
    path("metrics", views.MetricsView.as_view()),
    path("data/<str:symbol>", views.DataView.as_view()),
    path("<str:symbol>/current", views.CurrentView.as_view()),
    path("<str:symbol>/history", views.HistoryView.as_view()),
]
