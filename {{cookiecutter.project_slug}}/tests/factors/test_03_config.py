"""III. Config: what differs between deploys is in the environment, and nowhere else: https://12factor.net/config.

Tested: without its variables the project does not start and names each; each variable of .env.example that it reads
changes a setting, and none is the name of a deploy that decides several; nothing else reads the environment; no line
of the project opens a file that git does not hold; the settings ask neither for the arguments of the process nor for
the name of the machine.
Not testable here: a constant that should have been a variable, a committed file used as configuration, a secret in the
code (the scanning of your platform finds known tokens, ruff's S105 some others).
"""

import sys
from pathlib import Path

from tests.factors.day import tops
from tests.factors.deploy import PROJECT, allow_only, demand, documented, held
from tests.factors.variants import described

FACTOR = "III Config"
# What any program may ask for.
USUAL = {
    "DJANGO_SETTINGS_MODULE",
    "PATH",
    "HOME",
    "TMPDIR",
    "TEMP",
    "TMP",
    "USER",
    "LANG",
    "PWD",
    "SHELL",
    "TERM",
    "TZ",
}
USUAL |= {"NO_COLOR", "COLUMNS", "LINES", "EDITOR", "VIRTUAL_ENV"}


def test_an_empty_environment_is_told_every_required_variable(deploy, variants):
    place = deploy()
    kept = ("PATH", "HOME", "TMPDIR", "FACTORS_SETTINGS")
    place.environment = {name: place.environment[name] for name in kept}
    check = place.run("python manage.py check", PORT="")
    said = check.stdout + check.stderr
    required = {"SECRET_KEY", "ALLOWED_HOSTS"} & documented()
    required |= {"DATABASE_URL"} & variants.found.keys() if variants.moves("DATABASES", "default") else set()
    unnamed = sorted(name for name in required if name not in said)
    starts = "starts in an empty environment" if not check.popen.returncode else "does not name"
    what = f"it {starts}, without {', '.join(unnamed or required)}"
    instead = "give it no default: a required variable that is missing is named at start"
    demand(check.popen.returncode and not unnamed, FACTOR, what, instead, check.tail)
    demand(variants.base.get("DEBUG") == "False", FACTOR, "DEBUG is on unless the environment says otherwise", instead)


def test_each_variable_changes_a_setting(variants, day):
    readers = variants.events + day.events("variable") + day.release.events("variable")
    read = {event["target"] for event in readers if event["event"] == "variable"}
    by_others = {name for name, (_, description) in described().items() if "Read by " in description}
    unread = documented() - read - by_others
    found = {name: f"{name} is read by nothing" for name in unread}
    found |= {name: f"{name} is read and changes nothing" for name in variants.unused}
    read_in_code = [event for event in readers if event["event"] == "variable" and event["direct"] and event["by"]]
    for event in read_in_code:
        if event["target"] not in documented() | USUAL and not event["target"].startswith(
            ("LC_", "PYTHON", "PYTEST", "XDG")
        ):
            found[event["target"]] = f"{event['by']} reads {event['target']}, which .env.example does not describe"
        elif not event["settings"] and not event["manage"] and event["target"] not in USUAL:
            found[event["target"]] = f"{event['by']} reads {event['target']} past the settings"
    instead = "read each variable in the settings, use it there, and describe it in .env.example"
    allow_only("variables", found, FACTOR, "the environment does not decide", instead)


def test_no_name_of_a_deploy_decides(variants):
    what = f"the name of a deploy decides several things: {variants.deploys}"
    demand(not variants.deploys, FACTOR, what, "write one variable for each thing that differs")


def test_no_file_is_read_that_git_does_not_hold(day, variants, built):
    found = {}
    for event in variants.events + day.events("read", "look", "import"):
        if event["direct"] and not event["manage"] and (name := unknown(event, day, built)):
            found[name] = f"{event['by']} asks for {name}"
    for event in day.absent():  # the matter of I
        found.pop(unknown(event, day, built), None)
    instead = "read it from a variable"
    allow_only("files", found, FACTOR, "configuration comes from a file that git does not hold", instead)


def unknown(event, day, built):
    """Return the name of a file or module of the project that the commit does not have, or nothing."""
    if event["event"] == "import":
        path = event["target"].replace(".", "/")
        modules = {f"{path}.py", f"{path}/__init__.py"} & held()
        ours = event["target"].partition(".")[0] in tops() or (PROJECT / f"{path}.py").exists()
        known = modules or any(name.startswith(f"{path}/") for name in held())
        return "" if known or not ours else f"{path}.py"
    if event["event"] not in ("read", "look"):
        return ""
    path, root = Path(event["target"]), day.place.root
    code = day.place.code if path.is_relative_to(day.place.code) else built
    if path.is_relative_to(code):
        here = str(path.relative_to(code))
        known = here.startswith(("staticfiles", "media", "mail")) or here in held() or path.is_dir()
        plain = event["event"] == "look" and not path.suffix and not path.name.startswith(".")
        return "" if known or plain else here
    usual = [root, *map(Path, ("/dev", "/proc", "/sys", "/usr", "/etc/localtime", sys.prefix, sys.base_prefix))]
    return "" if path.is_dir() or any(path.is_relative_to(each) for each in usual) else str(path)


def test_the_settings_depend_on_no_process_and_no_machine(variants, day):
    asked = {"argv": "looks at sys.argv", "hostname": "asks for the name of the machine"}
    events = [event for event in variants.events + day.events() if event["settings"] and event["event"] in asked]
    found = sorted({f"{event['by']} {asked[event['event']]}" for event in events})
    what = f"the settings differ by process or machine: {'; '.join(found)}"
    demand(not found, FACTOR, what, "let a variable decide")
