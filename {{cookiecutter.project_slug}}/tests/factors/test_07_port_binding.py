"""VII. Port binding: the app is a service on a port, with nothing in front of it: https://12factor.net/port-binding.

Tested: the web process binds the port that the environment names, where other machines reach it, and nothing else; it
serves its static files there; no answer asks a web server in front to do something.
Not testable here: that the platform's router reaches the port.
"""

from tests.factors.deploy import allow_only, demand

FACTOR = "VII Port binding"
# https://nginx.org/en/docs/http/ngx_http_proxy_module.html, mod_xsendfile
HEADERS = ("X-Accel-Redirect", "X-Sendfile", "X-LIGHTTPD-send-file", "X-Accel-Expires")


def test_the_web_process_listens_on_its_port_for_everyone_and_nowhere_else(day):
    addresses = {address for address, port in day.listeners if port == day.web.port}
    what = f"PORT is bound on {', '.join(sorted(addresses))}, which no router reaches"
    demand(addresses & {"0.0.0.0", "::"} or not day.listeners, FACTOR, what, "bind 0.0.0.0, unless DEBUG is on")
    ports = {str(port): f"port {port}" for _, port in day.listeners if port != day.web.port}
    allow_only(
        "ports", ports | {name: name for name in day.sockets}, FACTOR, "it listens elsewhere too", "bind PORT alone"
    )


def test_static_files_come_from_the_web_process(day):
    missing = {path: status for path, status in day.static.items() if status != 200}
    what = f"static files are left to a web server in front: {missing}"
    demand(not missing, FACTOR, what, "let WhiteNoise serve them, or another host by STATIC_URL")


def test_no_answer_asks_for_a_web_server_in_front(day):
    pairs = [(path, answer) for path, answers in day.answers.items() for answer in answers]
    asked = sorted({f"{path} has {name}" for path, answer in pairs for name in HEADERS if name in answer.headers})
    what = f"answers leave their work to a web server in front: {', '.join(asked)}"
    demand(not asked, FACTOR, what, "send the file, or redirect to where it is stored")
