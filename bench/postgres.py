"""A PostgreSQL of our own, on a unix socket in the rig's folder, run by nobody because it refuses root."""

import os
import shutil
import subprocess
from pathlib import Path

from bench.harness import Rig

PLACES = Path("/usr/lib/postgresql")


def binaries() -> Path | None:
    """The folder of the newest version installed, or None."""
    found = sorted(PLACES.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found and shutil.which("runuser") and os.getuid() == 0 else None


def start(rig: Rig) -> str:
    """Start it and return its address as DATABASE_URL has it."""
    home, folder = binaries(), rig.folder / "postgres"
    assert home is not None
    folder.mkdir()
    rig.folder.chmod(0o755)
    shutil.chown(folder, "nobody")
    data = folder / "data"
    initdb = [home / "initdb", "-D", data, "-U", "nobody", "-A", "trust", "--no-sync", "-E", "UTF8"]
    subprocess.run(
        ["runuser", "-u", "nobody", "--", *map(str, initdb), "--locale=C.UTF-8"],
        check=True,
        capture_output=True,
    )
    options = {"listen_addresses": "", "unix_socket_directories": folder, "max_connections": 200}
    set_all = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    server = ["runuser", "-u", "nobody", "--", str(home / "postgres"), "-D", str(data), *set_all]
    process = rig.start("postgres", server)
    process.wait_until((folder / ".s.PGSQL.5432").exists)
    return f"postgres://nobody@{str(folder).replace('/', '%2F')}/postgres"
