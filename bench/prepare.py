"""``python -m bench.prepare``: a database ready for a benchmark; prints its users' access tokens."""

import argparse
import json
import os
import sys


def tokens(users: int, logins: int) -> list[str]:
    """Users and so many logins of each: one of every user, then the next of every user."""
    from django.contrib.auth.models import User

    from stocksblitz.identity.models import Login
    from stocksblitz.identity.tokens import issue

    made = User.objects.bulk_create([User(username=f"bench{at}", is_staff=at == 0) for at in range(users)])
    return [issue(Login.objects.create(user=user))["access"] for _ in range(logins) for user in made]


def instruments(symbols: list[str]) -> None:
    """Symbols that trade around the clock."""
    from stocksblitz.market.models import Instrument

    rows = [Instrument(symbol=each, exchange="24x7", kind="crypto", currency="USD") for each in symbols]
    Instrument.objects.bulk_create(rows, ignore_conflicts=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.prepare", description=__doc__)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--logins", type=int, default=1)
    parser.add_argument("--symbols", default="")
    asked = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stocksblitz.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    instruments([each for each in asked.symbols.split(",") if each])
    json.dump(tokens(asked.users, asked.logins), sys.stdout)


if __name__ == "__main__":
    main()
