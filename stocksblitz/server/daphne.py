"""Run Daphne on uvloop: ``python -m stocksblitz.server.daphne stocksblitz.asgi:application``.

Daphne registers each socket again for each message, which costs more than the rest on asyncio's own event loop.
"""

import uvloop

if __name__ == "__main__":
    uvloop.install()  # before Twisted's reactor, which comes with Daphne, makes its loop
    from daphne.cli import CommandLineInterface

    CommandLineInterface.entrypoint()  # type: ignore[no-untyped-call]  # Daphne has no types
