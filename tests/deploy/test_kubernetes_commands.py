"""Command lines, settings and hand-outs of ``deploy/kubernetes``, put before the programs that they are for."""

from __future__ import annotations

import configparser
import importlib
import ipaddress
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import click
import pytest
from click.testing import CliRunner

from evcharge.central.settings import Settings
from evcharge.central.site_file import read_site_file
from evcharge.cli.probes import HEALTH_PORT
from evcharge.cli.sidecar import cli as sidecar_cli
from evcharge.cli.sidecar_options import DEFAULT_PORT
from evcharge.sidecar.services import load_services
from tests.deploy.kustomize import FOLDERS, KUBERNETES, MAKE_S, ROOT, render
from tests.deploy.manifests import Container, containers, of_kind, ports, secrets

# Go may have to make kustomize first.
pytestmark = [pytest.mark.tool, pytest.mark.timeout(MAKE_S + 120)]

# Variables that are not options of ours: OpenSSL's.
FOREIGN = {"SSL_CERT_FILE"}
# Where commands are given for people to type.
TEXTS = (ROOT / "docs" / "kubernetes.md", ROOT / "README.md")

by_folder = pytest.mark.parametrize("folder", FOLDERS)


# --- command lines ----------------------------------------------------------------------------------------------------


@cache
def command_of(script: str) -> tuple[click.Command, str]:
    """What a console script runs, and what its variables begin with."""
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    lines = metadata["options.entry_points"]["console_scripts"].split("\n")
    entry = dict(line.replace(" ", "").split("=") for line in lines if line)[script]
    module = importlib.import_module(entry.partition(":")[0])
    command: click.Command = module.cli
    return command, script.upper().replace("-", "_")


def parsed(command: list[str]) -> click.Context:
    """The context of the verb that would run; raises click.UsageError. Nothing is run."""
    script, *words = command
    top, prefix = command_of(script)
    context = top.make_context(script, words, auto_envvar_prefix=prefix)
    while isinstance(context.command, click.Group):
        name, verb, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
        assert verb is not None, command
        context = verb.make_context(name, rest, parent=context)
    return context


def lay_out(container: Container, folder: str, root: Path) -> dict[str, Path]:
    """The files that a container sees below ``root``: those of Secrets empty, of ConfigMaps as they are. By mount."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(render(folder), "ConfigMap")}
    volumes = {volume["name"]: volume for volume in container.pod.spec["volumes"]}
    laid = {}
    for mount in container.spec["volumeMounts"]:
        place = root / mount["mountPath"].lstrip("/")
        place.mkdir(parents=True)
        laid[mount["mountPath"]] = place
        volume = volumes.get(mount["name"], {})
        for name, content in maps.get(volume.get("configMap", {}).get("name"), {}).items():
            (place / name).write_text(content, encoding="utf-8")
        if "secret" in volume:
            secret = volume["secret"]
            handed_out = files_of(secret["secretName"])
            wanted = {item["key"]: item["path"] for item in secret.get("items", ())} or {key: key for key in handed_out}
            assert wanted.keys() <= handed_out, f"{secret['secretName']} has no {wanted.keys() - handed_out}"
            for path in wanted.values():
                (place / path).touch()
    return laid


CONTAINERS = [
    pytest.param(folder, name, id=f"{folder}-{name}")
    for folder, names in {
        "base": ("central/central", "sidecar/provision", "sidecar/sidecar"),
        "overlays/small": ("charge-point/engine", "charge-point/monitor", "driver/driver"),
        "overlays/kafka": ("events/events",),
    }.items()
    for name in names
]


def test_no_container_is_left_out() -> None:
    listed = {parameter.values[1] for parameter in CONTAINERS}
    assert {container.name for folder in FOLDERS for container in containers(render(folder))} == listed


@pytest.mark.parametrize(("folder", "name"), CONTAINERS)
def test_a_command_line_is_one_that_its_program_takes(folder: str, name: str, tmp_path: Path) -> None:
    (container,) = [one for one in containers(render(folder)) if one.name == name]
    assert "args" not in container.spec
    laid = lay_out(container, folder, tmp_path)
    # What provisioning makes on the sidecar's own volume.
    servers = tmp_path / "var/lib/evcharge/handout/servers/sidecar"
    if container.name == "sidecar/sidecar":
        servers.mkdir(parents=True)
        (servers / "tls.crt").touch()
        (servers / "tls.key").touch()
    command = []
    for word in container.spec["command"]:
        option, equals, value = word.rpartition("=")
        if value.startswith("/"):
            assert any(value == mount or value.startswith(f"{mount}/") for mount in laid), f"{value} is on no volume"
            value = str(tmp_path / value.lstrip("/"))
        command.append(f"{option}{equals}{value}")
    context = parsed(command)
    known = {f"{command_of(command[0])[1]}_{name.upper()}" for name in context.params} | FOREIGN
    assert {variable["name"] for variable in container.spec.get("env", ())} <= known
    for variable in container.spec.get("env", ()):
        if variable["value"].startswith("/"):
            assert (tmp_path / variable["value"].lstrip("/")).is_file(), variable


def test_a_wrong_option_is_found() -> None:
    with pytest.raises(click.NoSuchOption):
        parsed(["evcharge-central", "--credentials=central.json", "--capacity=3"])


def test_ports_are_those_that_the_programs_have_by_default() -> None:
    wire = Settings(data_dir=Path(), registry_url="").port
    usual = {"wire": wire, "https": DEFAULT_PORT, "health": HEALTH_PORT, "monitor-health": HEALTH_PORT + 1}
    for folder in FOLDERS:
        for container in containers(render(folder)):
            for port in container.spec.get("ports", ()):
                expected = usual.get(port["name"]) or metrics_port(container.spec["command"])
                assert port["containerPort"] == expected, (container.name, port)


def metrics_port(command: list[str]) -> int:
    """Port of the default of ``--metrics``."""
    found, _ = command_of(command[0])
    verbs = [word for word in command[1:] if not word.startswith("-")]
    for verb in verbs[:1]:
        assert isinstance(found, click.Group)
        verb_of = found.get_command(click.Context(found), verb)
        assert verb_of is not None
        found = verb_of
    (option,) = [parameter for parameter in found.params if parameter.name == "metrics"]
    return int(str(option.default).rpartition(":")[2])


def test_addresses_are_ports_and_services_that_are_declared() -> None:
    for folder in FOLDERS:
        manifests = render(folder)
        services = {
            f"{one['metadata']['name']}:{port['port']}"
            for one in of_kind(manifests, "Service")
            for port in one["spec"]["ports"]
        }
        for container in containers(manifests):
            for option, _, value in (word.partition("=") for word in container.spec["command"]):
                if option in ("--metrics", "--health"):
                    host, _, port = value.rpartition(":")
                    assert (host, int(port) in ports(container.pod)) == ("0.0.0.0", True), container.name
                if option == "--central":
                    assert value in services, container.name


# --- settings ---------------------------------------------------------------------------------------------------------


def settings_file(name: str) -> list[Path]:
    return sorted(KUBERNETES.rglob(name))


@pytest.mark.parametrize("path", settings_file("site.toml"), ids=str)
def test_site_files_can_be_read(path: Path) -> None:
    assert list(read_site_file(path).doubts()) == []


@pytest.mark.parametrize("path", settings_file("services.toml"), ids=str)
def test_settings_of_services_can_be_read(path: Path) -> None:
    load_services(path)


def test_who_comes_through_an_ingress_is_told_apart(tmp_path: Path) -> None:
    """Otherwise six wrong secrets of one stranger shut the log-in for all."""
    folders = [folder for folder in FOLDERS if of_kind(render(folder), "Ingress")]
    assert folders
    for folder in folders:
        data = [one["data"] for one in of_kind(render(folder), "ConfigMap")]
        (text,) = [one["services.toml"] for one in data if "services.toml" in one]
        (tmp_path / "services.toml").write_text(text)
        trusted = [ipaddress.ip_network(one) for one in load_services(tmp_path / "services.toml").proxy.trusted]
        assert trusted and all(network.is_private for network in trusted), folder


def test_settings_of_the_publisher_are_options_of_it() -> None:
    command, _ = command_of("evcharge-events")
    assert isinstance(command, click.Group)
    known = {parameter.name for parameter in command.commands["run"].params}
    for path in settings_file("events.toml"):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        assert table.keys() == {"run"}
        assert table["run"].keys() <= known


# --- secrets ----------------------------------------------------------------------------------------------------------


def hand_outs() -> Iterator[tuple[str, str, list[str]]]:
    """Every `hand-out.sh FOLDER SECRET [KEY=FILE…]` that the texts say, from code only."""
    for text in TEXTS:
        for said in re.findall(r"hand-out\.sh ([a-z][^\n`]*)", text.read_text(encoding="utf-8")):
            folder, secret, *pairs = said.partition("#")[0].split()
            yield folder, secret, pairs


def files_of(secret: str) -> set[str]:
    """Keys of a Secret that is made as the texts say."""
    keys: set[str] = set()
    for folder, name, pairs in hand_outs():
        if name == secret:
            keys |= {pair.partition("=")[0] for pair in pairs} or names_in(folder)
    return keys


@cache
def names_in(folder: str) -> frozenset[str]:
    """Files of a folder of the hand-out; of the plan that has the folder."""
    for made in map(provisioned, settings_file("plan.toml")):
        if (made / folder).is_dir():
            return frozenset(path.name for path in (made / folder).iterdir())
    pytest.fail(f"no plan makes {folder}")


@pytest.fixture(scope="module", autouse=True)
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where plans are carried out."""
    PLACES.append(tmp_path_factory.mktemp("provisioned"))
    yield
    PLACES.clear()
    provisioned.cache_clear()
    names_in.cache_clear()


PLACES: list[Path] = []


@cache
def provisioned(plan: Path) -> Path:
    """The hand-out of a plan, made as the init container makes it."""
    place = PLACES[0] / plan.parent.name
    words = [f"--data-dir={place / 'registry'}", f"--plan={plan}", f"--out={place / 'handout'}"]
    done = CliRunner().invoke(sidecar_cli, ["provision", *words])
    assert done.exit_code == 0, done.output
    return place / "handout"


@pytest.mark.parametrize("plan", settings_file("plan.toml"), ids=str)
def test_a_plan_makes_what_the_sidecar_serves_with(plan: Path) -> None:
    made = provisioned(plan)
    assert {"tls.crt", "tls.key"} <= {path.name for path in (made / "servers" / "sidecar").iterdir()}
    assert {"central.json", "ca.pem"} <= {path.name for path in (made / "central").iterdir()}


@by_folder
def test_every_secret_that_a_pod_needs_is_handed_out_of_its_own_plan(folder: str) -> None:
    own = KUBERNETES / folder / "plan.toml"
    made = provisioned(own if own.exists() else KUBERNETES / "base" / "plan.toml")
    folders = {secret: place for place, secret, _ in hand_outs()}
    for secret, keys, needed in secrets(render(folder)):
        if needed:
            there = {path.name for path in (made / folders[secret]).iterdir()}
            assert keys <= there, secret


@by_folder
def test_the_certificate_has_the_names_that_central_and_the_ingress_use(folder: str) -> None:
    (plan,) = [one["data"]["plan.toml"] for one in of_kind(render(folder), "ConfigMap") if "plan.toml" in one["data"]]
    table = tomllib.loads(plan)
    names = set(table["certificates"]["sidecar"]["names"])
    url = urlsplit(table["url"])
    assert (url.scheme, url.port) == ("https", 8080)
    asked = {url.hostname}
    for ingress in of_kind(render(folder), "Ingress"):
        asked.add(ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-ssl-name"])
    assert asked <= names


KUBECTL = """#!/bin/bash
# Stands for kubectl: `exec … -- ls|cat FILE` reads below $HANDOUT, `create secret` shows what it was given.
while [ $# -gt 0 ]; do
    case $1 in
    --) shift; exec "$1" "${2/#\\/var\\/lib\\/evcharge\\/handout/$HANDOUT}" ;;
    create) shift 3; echo "secret $1"; shift; for one in "$@"; do
        pair=${one#--from-file=}; echo "${pair%%=*} $(cat "${pair#*=}" | md5sum)"; done; exit ;;
    esac
    shift
done
"""


def handed(tmp_path: Path, made: Path, *words: str) -> subprocess.CompletedProcess[str]:
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "kubectl").write_text(KUBECTL)
    (programs / "kubectl").chmod(0o755)
    bash = shutil.which("bash")
    assert bash is not None
    return subprocess.run(
        [bash, str(KUBERNETES / "hand-out.sh"), *words],
        env={"PATH": f"{programs}:/usr/bin:/bin", "HANDOUT": str(made)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def md5(path: Path) -> str:
    """As ``md5sum`` says it of its standard input."""
    with path.open("rb") as stream:
        return subprocess.run(["md5sum"], stdin=stream, capture_output=True, text=True, check=True).stdout.strip()


def test_a_folder_becomes_a_secret_byte_by_byte(tmp_path: Path) -> None:
    made = provisioned(KUBERNETES / "overlays/small/plan.toml")
    done = handed(tmp_path, made, "charge-points/CP-1", "cp-1")
    first, *keys = done.stdout.splitlines()
    assert (done.returncode, first) == (0, "secret cp-1"), done.stderr
    assert {line.split()[0] for line in keys} == {path.name for path in (made / "charge-points/CP-1").iterdir()}
    # With a newline at its end and without one.
    for folder in ("charge-points/CP-1", "central", "drivers/driver-1"):
        keys = handed(tmp_path, made, folder, "a-secret").stdout.splitlines()[1:]
        assert sorted(keys) == sorted(f"{path.name} {md5(path)}" for path in (made / folder).iterdir())
    done = handed(tmp_path, made, "central", "sidecar-ca", "ca.crt=ca.pem")
    assert done.stdout.splitlines()[1:] == [f"ca.crt {md5(made / 'central/ca.pem')}"]


@pytest.mark.parametrize("words", [("charge-points/CP-9", "cp-9"), ("central", "central", "central.json=nothing.json")])
def test_nothing_is_handed_out_of_what_is_not_there(words: tuple[str, ...], tmp_path: Path) -> None:
    done = handed(tmp_path, provisioned(KUBERNETES / "overlays/small/plan.toml"), *words)
    assert done.returncode != 0
    assert "secret" not in done.stdout
