"""Run a private PostgreSQL on a unix socket in a folder, as the user nobody because it refuses to run as root."""

import os
import shutil
import subprocess
from pathlib import Path

from bench.harness import Rig

INSTALLED = Path("/usr/lib/postgresql")
AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]


def binaries() -> Path | None:
    """Return the folder of the newest installed version; None without one, or when we cannot change the user."""
    found = sorted(INSTALLED.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found and shutil.which("setpriv") and os.getuid() == 0 else None


class Cluster:
    """Data folder of a PostgreSQL server, with the ``command`` that runs the server and its ``url``.

    The parent folder becomes readable for other users. ``command`` starts the server process itself, without a wrapper.
    """

    def __init__(self, folder: Path) -> None:
        home = binaries()
        assert home is not None
        self.folder = folder / "postgres"
        self.folder.mkdir()
        folder.chmod(0o755)
        shutil.chown(self.folder, "nobody")
        data = self.folder / "data"
        initdb = [
            str(home / "initdb"),
            "-D",
            str(data),
            "-U",
            "nobody",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        subprocess.run([*AS_NOBODY, *initdb, "--locale=C.UTF-8"], check=True, capture_output=True)
        options = {"listen_addresses": "", "unix_socket_directories": self.folder, "max_connections": 200}
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self.command = [*AS_NOBODY, str(home / "postgres"), "-D", str(data), *flags]
        self.url = f"postgres://nobody@{str(self.folder).replace('/', '%2F')}/postgres"

    @property
    def socket(self) -> Path:
        """Return the path of the unix socket, which exists once the server listens."""
        return self.folder / ".s.PGSQL.5432"


def start(rig: Rig) -> str:
    """Start a server and return its address in the form of DATABASE_URL."""
    cluster = Cluster(rig.folder)
    rig.start("postgres", cluster.command).wait_until(cluster.socket.exists)
    return cluster.url
