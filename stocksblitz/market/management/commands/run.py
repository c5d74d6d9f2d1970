"""``manage.py run``: everything, in one command."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from stocksblitz.devserver.launch import LaunchError, launch
from stocksblitz.devserver.supervisor import Console


class Command(BaseCommand):
    help = "Prepare the database and run every process of the Procfile, and Redis unless REDIS_URL is set."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--with-parent", action="store_true", help="stop when the process that started this one ends"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as out:
            console = Console(out)
            try:
                launch(console, with_parent=options["with_parent"])
            except LaunchError as error:
                raise CommandError(str(error)) from error
            finally:
                console.close()
