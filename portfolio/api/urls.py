"""Routes under /api/portfolio/."""

from django.urls import path

from portfolio.api import views

urlpatterns = [
    path("accounts", views.AccountList.as_view()),
    path("accounts/<str:key>", views.AccountView.as_view()),
    path("accounts/<str:key>/snapshot", views.SnapshotView.as_view()),
    path("accounts/<str:key>/equity", views.EquityView.as_view()),
    path("accounts/<str:key>/what-if", views.WhatIfView.as_view()),
    path("accounts/<str:key>/deposits", views.DepositView.as_view()),
    path("accounts/<str:key>/events", views.EventList.as_view()),
    path("accounts/<str:key>/journal", views.JournalList.as_view()),
    path("accounts/<str:key>/ledger", views.LedgerList.as_view()),
    path("positions", views.PositionList.as_view()),
    path("positions/<int:pk>", views.PositionView.as_view()),
    path("positions/<int:pk>/close", views.CloseView.as_view()),
    path("orders", views.OrderList.as_view()),
    path("orders/<int:pk>", views.OrderView.as_view()),
    path("fills", views.FillList.as_view()),
]
