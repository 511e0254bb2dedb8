"""VII. Port binding: the app is a service on a port, with nothing in front of it: https://12factor.net/port-binding.

Tested: the web process of the Procfile binds the port that the environment names, where other machines reach it, and
serves pages and static files there by itself, with the headers that make browsers keep them.
Not testable here: that the platform's router reaches the port.
"""

import os
import re

from tests.factors.processes import in_session, listening

FACTOR = "VII Port binding"


def test_the_web_process_serves_everything_on_its_port(deploy):
    production = deploy()
    web = production.web()
    page = web.get("/")
    assert page.status == 200, f"{FACTOR}: the first page answers {page.status} on PORT\n{web.output}"
    linked = [
        path for path in re.findall(r'(?:href|src)="(/[^"]+\.\w+)"', page.text) if "/static" in path or "." in path
    ]
    assert linked, f"{FACTOR}: the first page links no static file"
    for path in linked:
        file = web.get(path)
        assert file.status == 200, (
            f"{FACTOR}: {path} answers {file.status}: a web server in front would have to serve it"
        )
        assert file.text, f"{FACTOR}: {path} is empty"
        hashed = re.search(r"\.[0-9a-f]{8,}\.", path)
        assert not hashed or "immutable" in file.headers.get("Cache-Control", ""), (
            f"{FACTOR}: {path} has no header that lets browsers keep it: a web server in front would have to add one"
        )
    places = listening(in_session(web.popen.pid))
    if places:  # Linux
        port = int(web.environment["PORT"])
        assert (False, port) in places, f"{FACTOR}: PORT is bound for this machine alone: no router reaches it"
        others = {number for _, number in places} - {port}
        assert not others, f"{FACTOR}: it listens on {others} too, which no environment names"


def test_a_port_is_all_that_is_bound(day):
    sockets = [
        path for path in (day.web.environment["HOME"], day.web.environment["TMPDIR"]) for path in find_sockets(path)
    ]
    assert not sockets, f"{FACTOR}: it binds {', '.join(sockets)}, and not only a port"


def find_sockets(directory: str) -> list[str]:
    """Return the Unix sockets below a directory."""
    return [entry.path for entry in os.scandir(directory) if not entry.is_file() and not entry.is_dir()]
