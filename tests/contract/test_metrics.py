"""What Prometheus gets of the service, and who else does not."""

from collections.abc import Iterator

import httpx2
import pytest

from support.service import Account, Service, check_envelope


@pytest.fixture(scope="module")
def prometheus(service: Service, admin: Account) -> Iterator[httpx2.Client]:
    made = admin.client.post("/api-keys", json={"name": "prometheus", "scopes": ["metrics"]})
    with service.client(headers={"X-API-Key": made.json()["key"]}) as client:
        yield client


def test_metrics_are_for_keys_with_their_scope_alone(admin: Account, anyone: httpx2.Client) -> None:
    check_envelope(anyone.get("/internal/metrics"), 401, "INVALID_API_KEY")
    check_envelope(admin.client.get("/internal/metrics"), 401, "INVALID_API_KEY")
    key = admin.client.post("/api-keys", json={"name": "other", "scopes": ["other"]}).json()["key"]
    check_envelope(anyone.get("/internal/metrics", headers={"X-API-Key": key}), 403, "FORBIDDEN")


def test_every_part_of_the_service_is_told(prometheus: httpx2.Client, user: Account) -> None:
    user.client.get("/posts/1")
    answer = prometheus.get("/internal/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "ratelimit" not in answer.headers
    lines = answer.text.splitlines()
    assert any(line.startswith('hardpoint_http_requests_total{method="GET",route="/posts/{post_id}"') for line in lines)
    names = {line.partition("{")[0].partition(" ")[0] for line in lines if not line.startswith("#")}
    assert names >= {
        "hardpoint_info",
        "hardpoint_http_request_duration_seconds_bucket",
        "hardpoint_http_requests_in_flight",
        "hardpoint_limit_decisions_total",
        "hardpoint_database_connections",
        "hardpoint_tasks_total",
        "hardpoint_mails_waiting",
        "process_resident_memory_bytes",
    }
    up = {line for line in lines if line.startswith("hardpoint_source_up")}
    assert up
    assert all(line.endswith(" 1.0") for line in up), up
