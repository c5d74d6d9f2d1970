from django.urls import path

from stocksblitz.market import api
from stocksblitz.market.quotes_api import QuoteStatsView

urlpatterns = [
    path("symbols", api.SymbolsView.as_view()),
    path("quotes/stats", QuoteStatsView.as_view()),
    path("<str:symbol>/quote", api.QuoteView.as_view()),
    path("<str:symbol>/bars", api.BarsView.as_view()),
    path("<str:symbol>/chain", api.ChainView.as_view()),
    path("<str:symbol>/gaps", api.GapsView.as_view()),
]
