from django.urls import path

from stocksblitz.market.api import views
from stocksblitz.market.api.quotes import QuoteStatsView

urlpatterns = [
    path("symbols", views.SymbolsView.as_view()),
    path("quotes/stats", QuoteStatsView.as_view()),
    path("<str:symbol>/quote", views.QuoteView.as_view()),
    path("<str:symbol>/bars", views.BarsView.as_view()),
    path("<str:symbol>/chain", views.ChainView.as_view()),
    path("<str:symbol>/gaps", views.GapsView.as_view()),
]
