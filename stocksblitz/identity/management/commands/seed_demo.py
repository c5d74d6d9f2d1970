from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = (
        "Make the development users demo/demo and admin/admin, where they are not there; only with DEBUG=1."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "DEBUG=0: development users have passwords that everybody knows; use createsuperuser"
            )
        for name, staff in (("demo", False), ("admin", True)):
            user, made = User.objects.get_or_create(
                username=name, defaults={"is_staff": staff, "is_superuser": staff}
            )
            if made:
                user.set_password(name)
                user.save()
                self.stdout.write(f"made the user {name}, password {name}")
