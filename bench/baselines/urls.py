"""The project's routes, and a view of Django REST framework that does nothing but answer."""

from django.urls import include, path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class Empty(APIView):
    """Authentication, permission and throttle are the project's defaults, as every view of it has them."""

    def get(self, request: Request) -> Response:
        return Response({})


urlpatterns = [path("bench/empty", Empty.as_view()), path("", include("stocksblitz.urls"))]
