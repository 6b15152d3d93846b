"""Everything that runs: two instances and two workers behind nginx, on PostgreSQL and Valkey, each way a link."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from chaos.account import Account
from chaos.parts import Part
from chaos.postgres import Postgres
from support.mailbox import Mailbox
from support.network import Network
from support.nginx import Nginx
from support.servers import ValkeyServer, lasting_port
from support.service import PASSWORD, run_cli

INSTANCES = ("instance-1", "instance-2")
WORKERS = ("worker-1", "worker-2")
STORES = ("postgres", "valkey")
ADMIN = "admin@example.com"
RATE_PER_MINUTE = 120

# What the database itself saw, in the transaction in which it happened: how often a post was published, which mails
# were queued for whom. The service knows nothing of it.
_WITNESS = """
CREATE TABLE witnessed_publications (post_id bigint NOT NULL);
CREATE TABLE witnessed_mails (recipient text NOT NULL, subject text NOT NULL, body text NOT NULL, due timestamptz);
CREATE FUNCTION witness_publication() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO witnessed_publications VALUES (NEW.id); RETURN NEW; END $$;
CREATE FUNCTION witness_mail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO witnessed_mails VALUES (NEW.recipient, NEW.subject, NEW.text, now()); RETURN NEW; END $$;
CREATE TRIGGER witness_publication AFTER UPDATE OF status ON posts FOR EACH ROW
  WHEN (NEW.status = 'published') EXECUTE FUNCTION witness_publication();
CREATE TRIGGER witness_mail AFTER INSERT ON queued_mails FOR EACH ROW EXECUTE FUNCTION witness_mail();
"""


class Installation:
    """What runs, by name. `links["instance-1>postgres"]` is the way from one part to another."""

    def __init__(
        self,
        account: Account,
        postgres: Postgres,
        valkey: ValkeyServer,
        valkey_folder: Path,
        network: Network,
        mailbox: Mailbox,
    ) -> None:
        self.account = account
        self.postgres = postgres
        self.valkey = valkey
        self.links = network.links
        self.mailbox = mailbox
        self.parts: dict[str, Part] = {}
        self.instance_urls: dict[str, str] = {}
        self.url = ""
        self._valkey_folder = valkey_folder
        self._network = network

    @classmethod
    @contextmanager
    def started(cls, account: Account, folder: Path) -> Iterator["Installation"]:
        """Start everything, with logs in `folder`; everything is stopped at the end."""
        with ExitStack() as stack:
            valkey_folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hp-valkey-")))
            persistent = ("--dir", str(valkey_folder), "--appendonly", "yes", "--appendfsync", "always")
            here = cls(
                account,
                stack.enter_context(Postgres.started()),
                stack.enter_context(ValkeyServer.started(*persistent)),
                valkey_folder,
                stack.enter_context(Network.started()),
                stack.enter_context(Mailbox.started()),
            )
            nginx_port = lasting_port()
            settings = {
                "environment": "production",
                "secret_key": "a secret of every part, 0123456789 abcdef",
                "public_url": f"http://127.0.0.1:{nginx_port}",
                "trusted_proxies": "127.0.0.1",
                "rate_limit": f"{RATE_PER_MINUTE}/minute",
                "smtp_url": here.mailbox.url,
                "log_format": "json",
            }
            here._make_database(folder, settings)
            for part in here._declare(folder, settings):
                stack.callback(part.kill)
                part.start()
            # nginx reaches the instances by links as well.
            ports = [here.links[f"nginx>{name}"].port for name in INSTANCES]
            nginx = stack.enter_context(Nginx.started(*ports, port=nginx_port))
            here.url = nginx.url
            yield here

    def _make_database(self, folder: Path, settings: dict[str, str]) -> None:
        asyncio.run(self._execute("postgres", f"CREATE DATABASE {Postgres.DATABASE}"))
        direct = {**settings, "database_url": self.postgres.url}
        done = run_cli("db", "upgrade", cwd=folder, **direct)
        assert done.returncode == 0, done.stderr
        asyncio.run(self._execute(Postgres.DATABASE, _WITNESS))
        done = run_cli(
            "users", "create", "--email", ADMIN, "--role", "admin", cwd=folder, stdin=f"{PASSWORD}\n", **direct
        )
        assert done.returncode == 0, done.stderr

    async def _execute(self, database: str, statements: str) -> None:
        connection = await self.postgres.connect(database)
        await connection.execute(statements)
        await connection.close()

    def _declare(self, folder: Path, settings: dict[str, str]) -> Iterator[Part]:
        for name in (*INSTANCES, *WORKERS):
            postgres = self._network.link(f"{name}>postgres", self.postgres.socket)
            valkey = self._network.link(f"{name}>valkey", self.valkey.port)
            words, ready_at = ["worker"], None
            if name in INSTANCES:
                port = lasting_port()
                self._network.link(f"nginx>{name}", port)
                self.instance_urls[name] = f"http://127.0.0.1:{port}"
                words, ready_at = ["serve", "--port", str(port)], f"http://127.0.0.1:{port}/health/ready"
            own = {
                "instance": name,
                "database_url": self.postgres.url_of(postgres.port),
                "redis_url": f"valkey://127.0.0.1:{valkey.port}/0",
            }
            own = {**settings, **own}
            part = Part(name, *words, folder=folder / name, settings=own, account=self.account, ready_at=ready_at)
            self.parts[name] = part
            yield part

    def forget_valkey(self) -> None:
        """Remove what Valkey has on disk, while it is stopped."""
        for file in self._valkey_folder.rglob("*"):
            if file.is_file():
                file.unlink()
