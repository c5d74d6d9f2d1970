"""Run Daphne on uvloop: ``python -m stocksblitz.server.daphne stocksblitz.asgi:application``.

Daphne watches each socket anew for each message, and asyncio's own loop takes longer for that than for the rest.
"""

import uvloop

if __name__ == "__main__":
    uvloop.install()  # before Twisted's reactor, which comes with Daphne, makes its loop
    from daphne.cli import CommandLineInterface

    CommandLineInterface.entrypoint()  # type: ignore[no-untyped-call]  # Daphne has no types
