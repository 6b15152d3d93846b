"""The service sends its traces to a collector, the last ones when it stops."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.collector import Collector
from support.service import Service

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector.started() as running:
        yield running


def test_the_service_exports_the_request_and_its_job(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    with Service.started(tmp_path, instance="web-1") as service, closing(service.sign_up().client) as client:
        post = client.post("/posts", json={"title": "Traced", "body": "x"}).json()
        header = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        job_id = client.post(f"/posts/{post['id']}/publish", headers=header).json()["job_id"]
        while client.get(f"/jobs/{job_id}").json()["finished_at"] is None:
            pass
        client.get("/health/ready")
        client.post("/auth/verify-email?token=canary")
    names, resources = set(), []
    for body in collector.received:
        assert b"canary" not in body
        for batch in ExportTraceServiceRequest.FromString(body).resource_spans:
            resources.append({item.key: item.value.string_value for item in batch.resource.attributes})
            for span in (span for scope in batch.scope_spans for span in scope.spans):
                assert "/health" not in span.name
                if span.trace_id.hex() == TRACE:
                    names.add(span.name)
    assert names >= {"POST /posts/{post_id}/publish", "job publish_post"}
    assert {(resource["service.name"], resource["service.instance.id"]) for resource in resources} == {
        ("hardpoint", "web-1")
    }
