"""Create demo accounts for development."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from portfolio.services.demo_accounts import create_demo_accounts
from portfolio.worker import equity_history


class Command(BaseCommand):
    help = "Make demo accounts of the user demo, with positions at the prices of now; only with DEBUG=1."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("DEBUG=0: demo accounts are for development; make accounts in the admin")
        owner = User.objects.filter(username="demo").first()
        if owner is None:
            raise CommandError("there is no user demo: run seed_demo first")
        for key, missing in create_demo_accounts(owner):
            if missing:
                self.stdout.write(f"{key} waits for prices of {', '.join(missing)}")
            else:
                equity_history.request(key)
                self.stdout.write(f"made {key}")
