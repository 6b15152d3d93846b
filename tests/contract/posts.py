"""Posts as the tests need them."""

import time  # new: jobs
from typing import Any

from support.service import Account


def draft_of(account: Account, title: str = "Hello") -> dict[str, Any]:
    post: dict[str, Any] = account.client.post("/posts", json={"title": title, "body": "A post."}).json()
    return post


# new: if jobs
def finished(account: Account, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = account.client.get(f"/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        assert set(job) == {"id", "name", "status", "attempts", "error", "queued_at", "finished_at"}
        if job["finished_at"] is not None:
            return job
        time.sleep(0.05)
    raise AssertionError(f"the job did not end: {job}")


# new: end if
def published(account: Account, title: str = "Hello") -> dict[str, Any]:
    post = draft_of(account, title)
    answer = account.client.post(f"/posts/{post['id']}/publish")
    assert answer.is_success, answer.text
    # new: if jobs
    assert finished(account, answer.json()["job_id"])["status"] == "succeeded"
    # new: end if
    return post
