"""VII. Port binding: the app is a service on a port, with nothing in front of it: https://12factor.net/port-binding.

Tested: the web process binds the port that the environment names, where other machines reach it, and nothing else; it
serves its static files there; no answer asks a web server in front to do something.
Not testable here: that the platform's router reaches the port.
"""

from tests.factors.deploy import Factor

FACTOR = Factor("VII Port binding")
HEADERS = ("X-Accel-Redirect", "X-Sendfile", "X-LIGHTTPD-send-file")  # of nginx, Apache and lighttpd


def test_the_web_process_listens_on_its_port_for_everyone_and_nowhere_else(day):
    hosts = {address.ip for address in day.listeners if address.port == day.web.port}
    what = f"PORT is bound on {', '.join(hosts)}, where no router reaches it"
    FACTOR.demand(hosts & {"0.0.0.0", "::"}, what, "bind 0.0.0.0 unless DEBUG is on")
    others = {str(address.port): f"port {address.port}" for address in day.listeners if address.port != day.web.port}
    others |= {path: path for path in day.sockets}
    FACTOR.allow_only("ports", others, "the web process listens elsewhere too", "bind PORT and nothing else")


def test_nothing_is_left_to_a_web_server_in_front(day):
    left = [f"{path}, which answers {status}" for path, status in day.static.items() if status != 200]
    left += [f"{path}, which answers {name}" for path, sent in day.answers.items() for name in HEADERS if name in sent]
    instead = "let WhiteNoise serve static files, send others, or redirect to where they are stored"
    FACTOR.demand(not left, f"a web server in front would have to serve {'; '.join(left)}", instead)
