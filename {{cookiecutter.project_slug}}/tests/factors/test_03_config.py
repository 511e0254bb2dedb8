"""III. Config: what differs between deploys is in the environment, and nowhere else: https://12factor.net/config.

Tested: without its variables the project does not start and names each; each of .env.example changes a setting; nothing
but the settings reads one; no file is read that git does not hold; the settings ask for neither arguments nor machine.
Not testable here: a constant that should have been a variable, a committed file used as configuration, a secret.
"""

from tests.factors.day import strangers
from tests.factors.deploy import Factor, documented

FACTOR = Factor("III Config")
USUAL = {"DJANGO_SETTINGS_MODULE", "PATH", "HOME", "TMPDIR", "USER", "LANG", "PWD", "SHELL", "TERM", "TZ", "NO_COLOR"}
OTHERS = {"DATABASE_URL", "CACHE_URL", "EMAIL_URL", "STORAGE_URL", "TASKS", "PORT", "WEB_CONCURRENCY", "WEB_THREADS"}


def test_an_empty_environment_is_told_every_required_variable(deploy, variants):
    place = deploy()
    place.environment = {name: place.environment[name] for name in ("PATH", "HOME", "TMPDIR")}
    check = place.run("python manage.py check", PORT="")
    required = {"SECRET_KEY", "ALLOWED_HOSTS"} | ({"DATABASE_URL"} if variants.moved["DATABASES"] else set())
    said = check.printed() + check.printed("err")
    unnamed = sorted(name for name in required & documented().keys() if name not in said)
    what = f"with an empty environment it {'does not name' if check.popen.returncode else 'starts, without'} {unnamed}"
    instead = "give a required variable no default in the code: name at start what is missing"
    FACTOR.demand(check.popen.returncode and not unnamed, what, instead, check.tail)
    FACTOR.demand(variants.base.get("DEBUG") == "False", "DEBUG is on by default", "let the environment turn it on")


def test_each_variable_is_read_in_the_settings_and_changes_one(variants, day):
    events = [each for each in variants.events + day.events() + day.release.events() if each["event"] == "variable"]
    found = {name: f"{name} is read and changes nothing" for name in variants.unused if name not in OTHERS}
    for name in documented().keys() - {event["target"] for event in events} - OTHERS:
        found |= {} if "Read by " in documented()[name][2] else {name: f"{name} of .env.example is read by nothing"}
    for name, event in ((event["target"], event) for event in events if not event["manage"]):
        usual = name in USUAL or name.startswith(("LC_", "XDG_", "PYTHON", "PYTEST"))
        if not usual and (name not in documented() or not event["settings"]):
            where = "past the settings" if name in documented() else "without a line in .env.example"
            found[name] = f"{event['by']} reads {name} {where}"
    instead = "read and use each variable in the settings, and describe it in .env.example, or write `Read by …` there"
    FACTOR.allow_only("variables", found, "the environment does not decide", instead)


def test_no_file_is_read_that_git_does_not_hold(day, variants):
    found = strangers(variants.events + day.events(), day.place, FACTOR)
    what, instead = "configuration comes from a file that git does not hold", "read it from a variable"
    FACTOR.allow_only("files", found, what, instead)


def test_the_settings_depend_on_no_process_and_no_machine(variants, day):
    asked = {"argv": "looks at sys.argv", "hostname": "asks for the name of the machine"}
    events = [each for each in variants.events + day.events() if each["settings"] and each["event"] in asked]
    found = sorted({f"{event['by']} {asked[event['event']]}" for event in events})
    FACTOR.demand(not found, f"the settings differ by process or machine: {'; '.join(found)}", "let a variable decide")
