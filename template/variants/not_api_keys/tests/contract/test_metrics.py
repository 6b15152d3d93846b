"""What an admin learns of the service, and who else does not."""

import httpx2

from support.service import Account, check_envelope


def test_metrics_are_for_admins_alone(user: Account, editor: Account, anyone: httpx2.Client) -> None:
    check_envelope(anyone.get("/internal/metrics"), 401, "INVALID_TOKEN")
    check_envelope(user.client.get("/internal/metrics"), 403, "FORBIDDEN")
    check_envelope(editor.client.get("/internal/metrics"), 403, "FORBIDDEN")


def test_every_part_of_the_service_is_told(admin: Account, user: Account) -> None:
    user.client.get("/posts/1")
    answer = admin.client.get("/internal/metrics")
    assert answer.status_code == 200
    lines = answer.text.splitlines()
    assert any(line.startswith('hardpoint_http_requests_total{method="GET",route="/posts/{post_id}"') for line in lines)
    up = {line for line in lines if line.startswith("hardpoint_source_up")}
    assert up
    assert all(line.endswith(" 1.0") for line in up), up
