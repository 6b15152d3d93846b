"""The service as a process: what it says when it starts, how it leaves, what a kill costs."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from support.service import PASSWORD, Service, check_envelope


def test_a_start_in_development_says_where_to_go_next(tmp_path: Path) -> None:
    with Service.started(tmp_path) as service:
        assert f"{service.url}/docs" in service.output
        assert "hardpoint users create --email you@example.com --role admin" in service.output
        with service.client() as client:
            assert client.get("/docs").status_code == 200


def test_the_log_is_json_lines_off_a_terminal(tmp_path: Path) -> None:
    with Service.started(tmp_path, instance="web-1") as service, service.client() as client:
        client.get("/posts?token=canary", headers={"X-Request-ID": "from-the-test"})
    events = [json.loads(line) for line in service.log.splitlines()]
    assert any(event["event"] == "request" and event["request_id"] == "from-the-test" for event in events)
    assert {event["instance"] for event in events} == {"web-1"}
    assert "canary" not in service.log


def test_the_secret_is_made_once_and_is_the_owners_alone(tmp_path: Path) -> None:
    settings = {"public_url": "http://127.0.0.1:9"}
    with Service.started(tmp_path, **settings) as service:
        account = service.sign_up()
        account.client.close()
    with Service.started(tmp_path, **settings) as service, service.client() as client:
        header = {"Authorization": f"Bearer {account.access_token}"}
        assert client.get("/users/me", headers=header).status_code == 200
    (secret,) = (tmp_path / ".hardpoint").glob("secret*")
    assert secret.stat().st_mode & 0o077 == 0


def test_its_pages_have_its_origin_however_its_address_is_written(tmp_path: Path) -> None:
    with Service.started(tmp_path, public_url="https://Shop.example.com:443/app") as service:
        account = service.sign_up()
        account.client.close()
        form, page = {"username": account.email, "password": PASSWORD}, {"Origin": "https://shop.example.com"}
        with service.client() as client:
            assert client.post("/auth/login?session=cookie", data=form, headers=page).status_code == 204
            assert client.post("/posts", json={"title": "a", "body": "b"}, headers=page).status_code == 201
            assert client.delete("/auth/sessions", headers=page).status_code == 204


def test_sigterm_turns_readiness_off_and_waits_for_the_request_in_flight(tmp_path: Path) -> None:
    with Service.started(tmp_path) as service:
        account = service.sign_up()
        account.client.close()
        body = json.dumps({"title": "In flight", "body": "x" * 1000}).encode()
        address = urlsplit(service.url)
        with closing(socket.create_connection((address.hostname, address.port), 30)) as slow:
            head = (
                f"POST /posts HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
                f"Authorization: Bearer {account.access_token}\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            slow.sendall(head.encode() + body[:10])
            # Sent after it on another connection and answered: the server has the first one by now.
            httpx2.get(f"{service.url}/posts")
            service.process.terminate()
            with service.client() as client:
                answer = client.get("/health/ready")
                while answer.status_code == 200:
                    answer = client.get("/health/ready")
                assert answer.status_code == 503
                assert answer.json()["status"] == "draining"
                assert client.get("/health/live").status_code == 200
            assert service.process.poll() is None
            slow.sendall(body[10:])
            answered = b"".join(iter(lambda: slow.recv(65_536), b""))
        assert answered.startswith(b"HTTP/1.1 201 ")
        assert b"connection: close" in answered
        service.process.wait(30)
    assert '"event":"drained"' in service.log
    assert "Traceback" not in service.log


def test_several_workers_share_accounts_and_sessions(tmp_path: Path) -> None:
    with Service.started(tmp_path, "--workers", "2") as service:
        account = service.sign_up()
        header = {"Authorization": f"Bearer {account.access_token}"}
        with closing(account.client):
            # Each without keep-alive, so that the kernel spreads them over the workers.
            answers = [httpx2.get(f"{service.url}/users/me", headers=header, timeout=30) for _ in range(20)]
            assert {answer.status_code for answer in answers} == {200}
            assert account.client.post("/auth/logout").status_code == 204
            answers = [httpx2.get(f"{service.url}/users/me", headers=header, timeout=30) for _ in range(20)]
            assert {answer.status_code for answer in answers} == {401}
        admin = service.create("admin")
        with closing(admin.client):
            key = admin.client.post("/api-keys", json={"name": "k", "scopes": ["metrics"]}).json()["key"]
        # One of the workers answers, and tells the sum.
        metrics = httpx2.get(f"{service.url}/internal/metrics", headers={"X-API-Key": key}, timeout=30).text
        assert 'hardpoint_http_requests_total{method="GET",route="/users/me",status="401"} 20.0' in metrics
    assert '"event":"limits_are_per_process"' in service.log


def test_the_service_limit_and_the_login_limit_answer_429(tmp_path: Path) -> None:
    with Service.started(tmp_path, rate_limit="40/hour", login_rate_limit="3/hour") as service:
        with service.client() as client:
            form = {"username": "nobody@example.com", "password": PASSWORD}
            assert [client.post("/auth/login", data=form).status_code for _ in range(3)] == [401] * 3
            refused = client.post("/auth/login", data=form)
            check_envelope(refused, 429, "RATE_LIMITED")
            assert int(refused.headers["retry-after"]) >= 1
            answers = [client.get("/posts") for _ in range(40)]
        allowed = [answer for answer in answers if answer.status_code == 200]
        assert [int(answer.headers["x-ratelimit-remaining"]) for answer in allowed] == list(
            range(len(allowed) - 1, -1, -1)
        )
        check_envelope(answers[-1], 429, "RATE_LIMITED")
        assert int(answers[-1].headers["retry-after"]) >= 1
        with service.client() as client:
            assert {client.get("/health/live").status_code for _ in range(50)} == {200}


@pytest.fixture
def killed_rounds(tmp_path: Path) -> Iterator[tuple[Service, dict[int, str]]]:
    """A service whose process was killed three times in the middle of writes, and what it had acknowledged."""
    settings = {"public_url": "http://127.0.0.1:9", "rate_limit": "off", "login_rate_limit": "off"}
    acknowledged: dict[int, str] = {}
    address = "writer@example.com"
    for number in range(3):
        with Service.started(tmp_path, **settings) as service:
            writer = service.log_in(address) if number else service.sign_up(address)
            writer.client.close()
            threads = [
                threading.Thread(target=_write, args=(service, writer.access_token, number, acknowledged))
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            goal = len(acknowledged) + 40
            while len(acknowledged) < goal:
                time.sleep(0.001)
            service.process.kill()
            for thread in threads:
                thread.join()
    with Service.started(tmp_path, **settings) as service:
        yield service, acknowledged


def _write(service: Service, token: str, number: int, acknowledged: dict[int, str]) -> None:
    with suppress(httpx2.TransportError), service.client(headers={"Authorization": f"Bearer {token}"}) as client:
        for place in range(10_000):
            title = f"{number}-{threading.get_ident()}-{place}"
            answer = client.post("/posts", json={"title": title, "body": title * 500})
            assert answer.status_code == 201, answer.text
            acknowledged[answer.json()["id"]] = title


def test_a_kill_in_the_middle_of_writes_leaves_no_half_written_post(
    killed_rounds: tuple[Service, dict[int, str]],
) -> None:
    service, acknowledged = killed_rounds
    reader = service.log_in("writer@example.com")
    stored: dict[int, str] = {}
    with closing(reader.client) as client:
        cursor: str | None = None
        while True:
            page = client.get("/posts", params={"limit": 100, **({"cursor": cursor} if cursor else {})}).json()
            for post in page["items"]:
                assert post["body"] == post["title"] * 500
                stored[post["id"]] = post["title"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
    assert acknowledged.items() <= stored.items()


def test_an_account_and_its_mail_are_there_together(tmp_path: Path) -> None:
    settings = {"login_rate_limit": "off", "rate_limit": "off"}
    registered: list[str] = []
    with Service.started(tmp_path, **settings) as service:

        def register() -> None:
            with suppress(httpx2.TransportError), service.client() as client:
                for place in range(1_000):
                    address = f"new{place}@example.com"
                    body = {"email": address, "password": PASSWORD}
                    assert client.post("/auth/register", json=body).status_code == 202
                    registered.append(address)

        thread = threading.Thread(target=register)
        thread.start()
        while len(registered) < 10:
            time.sleep(0.001)
        service.process.kill()
        thread.join()
    with Service.started(tmp_path, **settings) as service, service.client() as client:
        for address in registered:
            token = service.token_in_mail(address)
            answer = client.post("/auth/verify-email", json={"token": token})
            assert answer.status_code == 204, answer.text
            assert re.fullmatch(r"[\w-]+", token)
