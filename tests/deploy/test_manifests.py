"""What can be known of `deploy/` without running containers: that it fits the service, and keeps to its own rules."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardpoint.cli.group import hardpoint_group
from hardpoint.settings import ENV_PREFIX, Settings

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KUBERNETES = yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text())["items"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
# preStop, the service's drain, and what uvicorn waits for after it.
LEAVING_SECONDS = 5 + 20 + 10


def pods() -> dict[str, Any]:
    deployments = [item for item in KUBERNETES if item["kind"] == "Deployment"]
    return {item["metadata"]["name"]: item["spec"]["template"]["spec"] for item in deployments}


def containers() -> dict[str, Any]:
    return {
        f"{name}/{container['name']}": container
        for name, pod in pods().items()
        for container in [*pod.get("initContainers", []), *pod["containers"]]
    }


def ours() -> dict[str, Any]:
    return {name: service for name, service in COMPOSE["services"].items() if service["image"] == "hardpoint"}


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml", "Dockerfile"])
def test_every_setting_exists(name: str) -> None:
    variables = set(re.findall(rf"\b{ENV_PREFIX}([A-Z_]+)", (DEPLOY / name).read_text()))
    assert variables
    assert {variable.lower() for variable in variables} <= set(Settings.model_fields)


def test_every_command_exists() -> None:
    commands = [service["command"] for service in ours().values() if "command" in service]
    commands += [container["command"] for container in containers().values()]
    commands.append(yaml.safe_load(re.findall(r"^CMD (\[.*\])", DOCKERFILE, re.MULTILINE)[-1]))
    assert len(commands) == 6
    for program, *arguments in commands:
        assert program == "hardpoint"
        group = hardpoint_group()
        with group.make_context("hardpoint", list(arguments)) as context:
            command = group.get_command(context, arguments[0])
            assert command is not None, arguments
            # Refuses what the command does not know.
            command.make_context(arguments[0], arguments[1:], parent=context).close()


@pytest.mark.parametrize("name", containers())
def test_every_container_runs_with_as_little_as_it_can(name: str) -> None:
    security = containers()[name]["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert security["capabilities"]["drop"] == ["ALL"]
    assert containers()[name]["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", pods())
def test_every_pod_has_the_time_to_leave_and_no_root(name: str) -> None:
    pod = pods()[name]
    assert pod["terminationGracePeriodSeconds"] > LEAVING_SECONDS
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False


def test_the_web_pods_are_probed_and_stopped_in_order() -> None:
    (web,) = pods()["hardpoint-web"]["containers"]
    probes = {name: web[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert probes == {"startup": "/health/live", "liveness": "/health/live", "readiness": "/health/ready"}
    assert web["lifecycle"]["preStop"]
    (service,) = (item for item in KUBERNETES if item["kind"] == "Service")
    deployment = next(item for item in KUBERNETES if item["metadata"]["name"] == "hardpoint-web")
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("name", ours())
def test_every_service_of_the_composition_is_confined_and_has_time_to_leave(name: str) -> None:
    service = ours()[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert int(service["stop_grace_period"].removesuffix("s")) > LEAVING_SECONDS


def test_the_composition_is_whole() -> None:
    assert set(COMPOSE["services"]) == {"postgres", "valkey", "migrate", "web-1", "web-2", "worker", "nginx"}
    upstream = (DEPLOY / "nginx" / "upstream.conf").read_text()
    assert set(re.findall(r"server (web-\d):8000", upstream)) == {"web-1", "web-2"}
    for service in COMPOSE["services"].values():
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"])


def test_the_image_runs_without_root_and_knows_whether_it_is_healthy() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001", last, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", last, re.MULTILINE)
    assert "/health/live" in last
    lines = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    copied = {name for line in lines for name in line.split()}
    allowed = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    assert copied == allowed
    assert all((DEPLOY.parent / name).exists() for name in copied)


def test_what_the_image_copies_is_enough_to_build_the_wheel(tmp_path: Path) -> None:
    for names in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        for source in (DEPLOY.parent / name for name in names.split()):
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copied = tmp_path / source.relative_to(DEPLOY.parent)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copy(source, copied)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
