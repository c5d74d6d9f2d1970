"""The ASGI application with a slow database: sign-ins wait for 0.2 s, those of the user ``SLOW_USER`` for 15 s."""

import os
import time

from django.db.backends.signals import connection_created

from stocksblitz.asgi import application

__all__ = ["application"]

SLOW_USER = int(os.environ["SLOW_USER"])


def wait(execute, sql, params, many, context):
    """Delay the query by which an access token is checked."""
    if "JOIN identity_login" in sql:
        time.sleep(15.0 if SLOW_USER in params else 0.2)
    return execute(sql, params, many, context)


def install(connection, **_):
    connection.execute_wrappers.append(wait)


connection_created.connect(install)
