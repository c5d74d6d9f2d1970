"""Routes of the project, and a Django REST framework view that only sends an empty response."""

from django.urls import include, path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class Empty(APIView):
    """View with an empty response and the project's default authentication, permission and throttle."""

    def get(self, request: Request) -> Response:
        """Return an empty object."""
        return Response({})


urlpatterns = [path("bench/empty", Empty.as_view()), path("", include("stocksblitz.urls"))]
