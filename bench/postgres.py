"""A PostgreSQL of our own, on a unix socket in a folder, run by nobody because it refuses root."""

import os
import shutil
import subprocess
from pathlib import Path

from bench.harness import Rig

PLACES = Path("/usr/lib/postgresql")
AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]


def binaries() -> Path | None:
    """The folder of the newest version installed, or None."""
    found = sorted(PLACES.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found and shutil.which("setpriv") and os.getuid() == 0 else None


class Cluster:
    """The files of a server beneath a folder, which is opened to others; ``command`` runs it, ``url`` is where.

    The process that the command starts is the server itself.
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
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self.command = [*AS_NOBODY, str(home / "postgres"), "-D", str(data), *given]
        self.url = f"postgres://nobody@{str(self.folder).replace('/', '%2F')}/postgres"

    @property
    def socket(self) -> Path:
        return self.folder / ".s.PGSQL.5432"


def start(rig: Rig) -> str:
    """Start one and return its address as DATABASE_URL has it."""
    cluster = Cluster(rig.folder)
    rig.start("postgres", cluster.command).wait_until(cluster.socket.exists)
    return cluster.url
