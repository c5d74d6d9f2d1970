"""The unchanged examples of the README against the running server."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from tests.e2e.stack import ROOT

README = (ROOT / "README.md").read_text()
pytestmark = pytest.mark.process


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.process
def test_the_client_of_the_readme_works(live_stack, tmp_path):
    (client,) = blocks("python")
    script = tmp_path / "client.py"
    script.write_text(client.replace("127.0.0.1:8000", f"127.0.0.1:{live_stack.port}"))
    with subprocess.Popen([sys.executable, "-u", str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            messages = [json.loads(process.stdout.readline()) for _ in range(4)]
        finally:
            process.kill()
    assert [each["type"] for each in messages] == ["connected", "subscribed", "snapshot", "market_update"]
    assert set(messages[-1]["indicators"]) == {"RSI_14"}


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not there")
def test_the_curl_commands_of_the_readme_work(live_stack):
    script = next(block for block in blocks("sh") if "curl" in block)
    script = script.replace("127.0.0.1:8000", f"127.0.0.1:{live_stack.port}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert '"RSI_14"' in done.stdout
    assert '"complete"' in done.stdout
