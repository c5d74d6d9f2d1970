"""The files of a production installation fit each other and the code."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from stocksblitz.devserver.supervisor import read_procfile
from stocksblitz.observability import metrics
from tests.e2e.stack import ROOT

DEPLOY = ROOT / "deploy"
PROGRAMS = {
    each.name: each.command[-1].removeprefix("exec ")
    for each in read_procfile((ROOT / "Procfile").read_text())
}


def known_series() -> set[str]:
    """The names under which Prometheus knows our metrics."""
    found = set()
    for each in metrics.REGISTRY.collect():
        parts = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(each.type, [""])
        found |= {f"{each.name}{part}" for part in parts}
    return found


def series_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:indicator|stocksblitz)_\w+", expression))


def dashboard_expressions() -> list[str]:
    dashboard = json.loads((DEPLOY / "monitoring/grafana/dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def test_the_dashboard_asks_only_for_metrics_that_exist_and_misses_none():
    asked = set().union(*map(series_in, dashboard_expressions()))
    assert asked - known_series() == set()
    counted = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in known_series()} == counted


def test_the_alerts_ask_only_for_metrics_that_exist():
    (group,) = yaml.safe_load((DEPLOY / "monitoring/alerts.yml").read_text())["groups"]
    assert set().union(*(series_in(rule["expr"]) for rule in group["rules"])) <= known_series()


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda path: path.name)
def test_yaml_is_well_formed(path):
    assert yaml.safe_load(path.read_text())


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_process_has_its_unit_with_the_procfile_s_command(name):
    (unit,) = (DEPLOY / "systemd").glob(f"stocksblitz-{name}*.service")
    (start,) = re.findall(r"^ExecStart=/opt/stocksblitz/\.venv/bin/(.*)$", unit.read_text(), re.MULTILINE)
    assert start.replace("%i", "$PORT") == PROGRAMS[name]


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_process_is_a_service_of_the_containers(name):
    services = yaml.safe_load((DEPLOY / "docker/compose.yaml").read_text())["services"]
    assert name == "web" or services[name]["command"] == PROGRAMS[name]


def test_the_image_starts_the_web_process_as_the_procfile_does():
    text = (DEPLOY / "docker/Dockerfile").read_text().replace("\\\n", " ")
    (command,) = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    words = " ".join(json.loads(command))
    expected = PROGRAMS["web"].replace("127.0.0.1", "0.0.0.0").replace("$PORT", "8000")
    assert words.startswith(expected)


def test_the_web_process_reads_requests_within_our_bounds_and_believes_no_proxy_by_itself():
    command = PROGRAMS["web"].split()
    assert command[command.index("--http") + 1] == "stocksblitz.server.http_protocol:BoundedProtocol"
    assert "--no-proxy-headers" in command
    assert "--forwarded-allow-ips" not in command


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not there")
def test_nginx_takes_the_configuration(tmp_path):
    certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1"]
    files = ["-keyout", str(tmp_path / "privkey.pem"), "-out", str(tmp_path / "fullchain.pem")]
    subprocess.run([*certificate, *files], check=True, capture_output=True)
    site = (DEPLOY / "nginx/stocksblitz.conf").read_text()
    site = site.replace("/etc/ssl/stocksblitz", str(tmp_path)).replace("/var/log/nginx", str(tmp_path))
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"pid {tmp_path}/nginx.pid;\nerror_log {tmp_path}/error.log;\nevents {{}}\nhttp {{\n{site}\n}}\n"
    )
    done = subprocess.run(["nginx", "-t", "-c", str(config)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
