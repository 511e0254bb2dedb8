"""RabbitMQ, a server of its own as in tests/servers.py."""

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from servers import HOST, NOBODY, PASSWORD, PATH, Server, find_program

from tests.ports import free_port

# The program that Debian puts on PATH changes to a user of its own.
PROGRAMS = Path("/usr/lib/rabbitmq/bin")


class RabbitMQ(Server):
    """RabbitMQ, which keeps its durable queues when it stops, and epmd, which Erlang's programs find each other by."""

    scheme = "amqp"
    user = "app"
    password = PASSWORD
    registry: "subprocess.Popen[bytes] | None" = None

    def __init__(self) -> None:
        super().__init__()
        self.registry_port, self.node_port = free_port(), free_port()

    @property
    def variables(self) -> dict[str, str]:
        """The environment of the server and of rabbitmqctl."""
        return {
            "PATH": PATH,
            "HOME": str(self.directory),
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self.registry_port),
            "RABBITMQ_NODENAME": "test@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.node_port),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "data"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": str(self.directory),
            "ERL_CRASH_DUMP": str(self.directory / "crash"),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "no"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "no"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "plugins"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.directory / "advanced.config"),
        }

    def prepare(self) -> None:
        if not PROGRAMS.exists():
            find_program("rabbitmq-server", "rabbitmq-server")
        settings = (
            f'{{loopback_users, []}}, {{default_user, <<"{self.user}">>}}, {{default_pass, <<"{self.password}">>}}'
        )
        (self.directory / "advanced.config").write_text(
            f"[{{rabbit, [{settings}]}}, {{kernel, [{{inet_dist_use_interface, {{127, 0, 0, 1}}}}]}}].\n"
        )
        (self.directory / "plugins").write_text("[].\n")
        self.registry = super().spawn(["epmd", "-address", HOST, "-port", str(self.registry_port)])

    def command(self) -> list[str]:
        variables = [f"{name}={value}" for name, value in self.variables.items()]
        return ["env", *variables, "RABBITMQ_ALLOW_INPUT=1", str(PROGRAMS / "rabbitmq-server"), "-noinput"]

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl; return what it prints, or RuntimeError."""
        owner: dict[str, Any] = NOBODY if self.as_nobody else {}
        command = [str(PROGRAMS / "rabbitmqctl"), "--quiet", "--formatter=json", *arguments]
        result = subprocess.run(
            command, env=self.variables, capture_output=True, text=True, cwd=self.directory, **owner
        )
        if result.returncode:
            raise RuntimeError(result.stdout + result.stderr)
        return result.stdout

    def ping(self) -> None:
        with socket.create_connection((HOST, self.port), timeout=10) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            assert connection.recv(1), "it closed the connection"

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self.registry:
            self.registry.terminate()
            self.registry.wait()
        shutil.rmtree(self.directory)
