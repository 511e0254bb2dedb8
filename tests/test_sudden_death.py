"""Three web processes behind a load balancer, PostgreSQL and Redis: one dies while requests write.

The heavier half of factors VI, VIII and IX: in the generated project their tests run on SQLite.
"""

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlencode

import pytest
from deploys import build, migrate
from generation import PRODUCTION, Project, free_port, wait_until
from servers import PATH, PostgreSQL, Redis, find_program

WRITERS = 6
WRITES_BEFORE = 60
WRITES_AFTER = 120

SIGN_IN = """
import json
from django.contrib.auth import get_user_model
from django.test import Client
user = get_user_model().objects.create(username="ada", is_staff=True, is_superuser=True)
client = Client()
client.force_login(user)
print(json.dumps({name: morsel.value for name, morsel in client.cookies.items()}))
"""

NAMES = """
import json
from django.contrib.auth import get_user_model
print(json.dumps(list(get_user_model().objects.values_list("username", flat=True))))
"""

BALANCER = """
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    retries 0
frontend site
    bind 127.0.0.1:{port}
    http-request set-header X-Forwarded-Proto https
    default_backend web
backend web
    balance roundrobin
    option httpchk GET /readyz
    default-server check inter 200ms fall 1 rise 1
{servers}
"""


@contextmanager
def balancer(ports: list[int], directory: Path) -> Iterator[int]:
    """Run HAProxy in front of `ports`; yield its own."""
    program = find_program("haproxy", "haproxy")
    port = free_port()
    servers = "\n".join(f"    server web{number} 127.0.0.1:{each}" for number, each in enumerate(ports))
    (directory / "haproxy.cfg").write_text(BALANCER.format(port=port, servers=servers))
    process = subprocess.Popen(
        [program, "-db", "-q", "-f", "haproxy.cfg"],
        cwd=directory,
        env={"PATH": PATH, "HOME": str(directory)},
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


class Writer:
    """Somebody who adds users through the admin, and remembers which were acknowledged."""

    def __init__(self, port: int, cookies: dict[str, str], name: str) -> None:
        self.port, self.cookies, self.name = port, dict(cookies), name
        self.acknowledged: list[str] = []
        self.refused: list[int | str] = []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def send(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        """Send one request on a connection of its own; return the status and the body."""
        headers = {
            "Host": "www.example.com",
            "Referer": "https://www.example.com/",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
        }
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer.status, text

    def run(self) -> None:
        """Add users until stopped."""
        number = 0
        while not self.stopped.is_set():
            number += 1
            try:
                name = f"{self.name}-{number}"
                status, page = self.send("GET", "/admin/accounts/user/add/")
                token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
                if status != 200 or not token:
                    self.refused.append(status)
                    continue
                form = {
                    "csrfmiddlewaretoken": token[1],
                    "username": name,
                    "usable_password": "false",
                }
                status, _ = self.send("POST", "/admin/accounts/user/add/", urlencode(form))
                if status == 302:  # saved, says Django
                    self.acknowledged.append(name)
                else:
                    self.refused.append(status)
            except (OSError, HTTPException) as error:
                self.refused.append(type(error).__name__)


@pytest.mark.slow
def test_no_acknowledged_write_is_lost_with_its_process(
    generate: Callable[..., Project], postgresql: PostgreSQL, redis: Redis, tmp_path: Path
) -> None:
    project = build(generate(database="postgresql"))
    environment = PRODUCTION | {
        "DATABASE_URL": postgresql.create_database(),
        "CACHE_URL": redis.url("/0"),
        "SESSION_ENGINE": "cached_db",
    }
    migrate(project, **environment)
    signed_in = project.manage("shell", "--no-imports", "-c", SIGN_IN, **environment)
    cookies = json.loads(signed_in.stdout.splitlines()[-1])
    webs = [project.serve(**environment) for _ in range(3)]

    with balancer([web.port for web in webs], tmp_path) as port:
        writers: list[Writer] = []

        def written() -> int:
            return sum(len(writer.acknowledged) for writer in writers)

        def state() -> str:
            return f"{written()} writes, refused: {[writer.refused[-3:] for writer in writers]}"

        try:
            writers += [Writer(port, cookies, f"writer{number}") for number in range(WRITERS)]
            wait_until(lambda: written() >= WRITES_BEFORE, 60, state)
            victim = webs[1]
            os.killpg(victim.popen.pid, signal.SIGKILL)  # master and workers at once: nobody says goodbye
            victim.wait()
            before = written()
            wait_until(lambda: written() >= before + WRITES_AFTER, 60, state)
        finally:
            for writer in writers:
                writer.stopped.set()
            for writer in writers:
                writer.thread.join()

    listed = project.manage("shell", "--no-imports", "-c", NAMES, **environment)
    rows = json.loads(listed.stdout.splitlines()[-1])
    acknowledged = [name for writer in writers for name in writer.acknowledged]
    assert len(acknowledged) >= WRITES_BEFORE + WRITES_AFTER
    assert set(acknowledged) - set(rows) == set()
    assert len(rows) == len(set(rows))
    served = {web.port: sum('"path": "/admin/accounts/user/add/"' in line for line in web.stdout) for web in webs}
    assert all(served.values()), f"the balancer did not use all three: {served}"
    assert webs[0].get("/readyz").status == 200
    # Who was signed in stays so, whichever process answers.
    assert not any(302 in writer.refused for writer in writers)
