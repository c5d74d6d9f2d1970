"""Prepare a database for a benchmark: ``python -m bench.prepare`` prints the access tokens of its users."""

import argparse
import json
import os
import sys


def tokens(users: int, logins: int) -> list[str]:
    """Create users and logins; return the tokens of every user's first login, then of every second login, and so on."""
    from django.contrib.auth.models import User

    from stocksblitz.identity.models import Login
    from stocksblitz.identity.tokens import issue

    rows = [User(username=f"bench{number}", is_staff=number == 0) for number in range(users)]
    created = User.objects.bulk_create(rows)
    return [issue(Login.objects.create(user=user))["access"] for _ in range(logins) for user in created]


def instruments(symbols: list[str]) -> None:
    """Create an instrument for each symbol; it trades around the clock."""
    from stocksblitz.market.models import Instrument

    rows = [Instrument(symbol=symbol, exchange="24x7", kind="crypto", currency="USD") for symbol in symbols]
    Instrument.objects.bulk_create(rows, ignore_conflicts=True)


def main() -> None:
    """Migrate the database, fill it and print the tokens as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.prepare", description=__doc__)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--logins", type=int, default=1)
    parser.add_argument("--symbols", default="")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stocksblitz.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    instruments([symbol for symbol in options.symbols.split(",") if symbol])
    json.dump(tokens(options.users, options.logins), sys.stdout)


if __name__ == "__main__":
    main()
