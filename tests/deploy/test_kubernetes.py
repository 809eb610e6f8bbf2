"""``deploy/kubernetes`` as rendered: valid for many versions, restricted, complete, open to nobody by accident."""

from __future__ import annotations

import configparser
import ipaddress
import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from evcharge.central.settings import Settings
from evcharge.net.writer import LINGER_S
from tests.deploy.kustomize import FOLDERS, KUBERNETES, MAKE_S, ROOT, Manifest, everything, render
from tests.deploy.manifests import Container, Pod, containers, of_kind, pods, ports, secrets, selects

# Go may have to make kustomize first.
pytestmark = [pytest.mark.tool, pytest.mark.timeout(MAKE_S + 120)]

# From the oldest whose kubectl renders this to the newest that kubernetes-validate knows.
OLDEST = (1, 27)
VERSIONS = [
    version
    for version in (f"1.{minor}" for minor in range(OLDEST[1], 100))
    if tuple(map(int, version.split("."))) <= tuple(map(int, kubernetes_validate.latest_version().split(".")[:2]))
]
# Custom resources, which a cluster knows by what is installed there.
CUSTOM = {"PodMonitor"}
# What a policy may reach that is not of this namespace, by its name, with the ports.
OUTSIDE = {"dns": {53}, "kafka": {9092, 9093}, "sidecar-outside": {443}}
# Secrets come from elsewhere: `hand-out.sh`, kubectl, cert-manager. docs/kubernetes.md names each.
DOCUMENTATION = ROOT / "docs" / "kubernetes.md"
# Bytes of a record of a busy site, and records that a replay reads in a second (README, "The audit log").
RECORD_BYTES = 230
RECORDS_PER_S = 1_000_000 / 14.3
UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}

by_folder = pytest.mark.parametrize("folder", FOLDERS)


def in_bytes(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def all_pods() -> list[Pod]:
    """Of all folders; the same pod of another folder counts again."""
    return [pod for folder in FOLDERS for pod in pods(render(folder))]


def everywhere() -> list[Container]:
    return [container for folder in FOLDERS for container in containers(render(folder))]


def container_named(folder: str, name: str) -> dict[str, Any]:
    (found,) = [container.spec for container in containers(render(folder)) if container.name == name]
    return found


# --- the files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(version: str) -> None:
    # Overlays repeat the base, and a schema takes its time.
    distinct = {json.dumps(manifest, sort_keys=True): manifest for _, manifest in everything()}
    unknown = set()
    for manifest in distinct.values():
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            unknown.add(manifest["kind"])
    assert unknown <= CUSTOM


def test_a_field_that_does_not_exist_is_found() -> None:
    (central,) = of_kind(render("base"), "StatefulSet")
    wrong = {**central, "spec": {**central["spec"], "replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_every_file_is_part_of_something() -> None:
    used = set()
    for kustomization in KUBERNETES.rglob("kustomization.yaml"):
        content = yaml.safe_load(kustomization.read_text(encoding="utf-8"))
        here = kustomization.parent
        used |= {here / name for name in [*content.get("resources", ()), *content.get("components", ())]}
        used |= {here / name for one in content.get("configMapGenerator", ()) for name in one["files"]}
        used |= {here / one["path"] for one in content.get("patches", ()) if "path" in one}
        used.add(kustomization)
    files = {path for path in KUBERNETES.rglob("*") if path.is_file() and path.suffix != ".sh"}
    assert {path.resolve() for path in files} <= {path.resolve() for path in used}
    folders = {str(path.parent.relative_to(KUBERNETES)) for path in KUBERNETES.glob("overlays/*/kustomization.yaml")}
    assert {*folders, "base"} == set(FOLDERS)


@by_folder
def test_nothing_secret_is_in_git(folder: str) -> None:
    assert not of_kind(render(folder), "Secret")


def test_the_image_is_that_of_this_version_everywhere() -> None:
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    version = metadata["metadata"]["version"]
    assert {container.spec["image"].rpartition(":")[2] for container in everywhere()} == {version}


@by_folder
def test_every_object_has_its_namespace_and_labels(folder: str) -> None:
    for manifest in render(folder):
        about = manifest["metadata"]
        assert about["labels"]["app.kubernetes.io/part-of"] == "evcharge"
        assert manifest["kind"] == "Namespace" or about["namespace"] == "evcharge", about
    for pod in pods(render(folder)):
        assert {"app.kubernetes.io/name", "app.kubernetes.io/component"} <= pod.labels.keys()


# --- pods -------------------------------------------------------------------------------------------------------------


@by_folder
def test_the_namespace_enforces_what_the_pods_keep(folder: str) -> None:
    (namespace,) = of_kind(render(folder), "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods(render(folder)):
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] and context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {context[key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {10001}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.spec.keys()
        assert {next(iter(volume.keys() - {"name"})) for volume in pod.spec["volumes"]} <= {
            "secret",
            "configMap",
            "emptyDir",
            "persistentVolumeClaim",
        }


@by_folder
def test_files_that_are_0600_stay_so_on_a_volume(folder: str) -> None:
    for pod in pods(render(folder)):
        keeps = pod.claims or any("persistentVolumeClaim" in volume for volume in pod.spec["volumes"])
        if keeps:
            assert pod.spec["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch", pod.owner


@by_folder
def test_no_pod_has_a_token_or_variables_of_services(folder: str) -> None:
    accounts = {one["metadata"]["name"]: one for one in of_kind(render(folder), "ServiceAccount")}
    for pod in pods(render(folder)):
        assert pod.spec["automountServiceAccountToken"] is False
        assert pod.spec["enableServiceLinks"] is False
        assert accounts[pod.spec["serviceAccountName"]]["automountServiceAccountToken"] is False


def test_every_container_is_bounded_and_shut() -> None:
    for container in everywhere():
        context = container.spec["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, container.name
        assert context["readOnlyRootFilesystem"] is True, container.name
        assert context["capabilities"] == {"drop": ["ALL"]}, container.name
        assert not {"privileged", "runAsUser"} & context.keys(), container.name
        requests, limits = container.spec["resources"]["requests"], container.spec["resources"]["limits"]
        assert {"cpu", "memory", "ephemeral-storage"} <= requests.keys(), container.name
        assert {"memory", "ephemeral-storage"} == limits.keys(), container.name
        assert "/tmp" in {mount["mountPath"] for mount in container.spec["volumeMounts"]}, container.name


def test_whoever_serves_has_its_three_probes_on_a_port_of_its_own() -> None:
    for container in everywhere():
        probes = {key for key in container.spec if key.endswith("Probe")}
        if not container.serves:
            assert not probes, container.name
            continue
        named = {port["name"] for port in container.spec["ports"]}
        asked = {key: container.spec[key]["httpGet"] for key in probes}
        assert {key: probe["path"] for key, probe in asked.items()} == {
            "startupProbe": "/healthz",
            "livenessProbe": "/healthz",
            "readinessProbe": "/readyz",
        }, container.name
        assert {probe["port"] for probe in asked.values()} <= named, container.name


def test_the_containers_of_a_pod_do_not_want_the_same_port() -> None:
    for pod in all_pods():
        numbers = [port["containerPort"] for spec in pod.spec["containers"] for port in spec.get("ports", ())]
        assert len(numbers) == len(set(numbers)), pod.owner


@by_folder
def test_a_start_has_the_time_to_replay_what_fits_on_the_volume(folder: str) -> None:
    (central,) = [one for one in of_kind(render(folder), "StatefulSet") if one["metadata"]["name"] == "central"]
    (claim,) = central["spec"]["volumeClaimTemplates"]
    probe = container_named(folder, "central/central")["startupProbe"]
    replay_s = in_bytes(claim["spec"]["resources"]["requests"]["storage"]) / RECORD_BYTES / RECORDS_PER_S
    assert probe["periodSeconds"] * probe["failureThreshold"] > 2 * replay_s


@by_folder
def test_central_has_the_time_to_drain(folder: str) -> None:
    (central,) = [pod for pod in pods(render(folder)) if pod.owner == "central"]
    drain_s = Settings(data_dir=Path(), registry_url="").drain_s
    assert central.spec["terminationGracePeriodSeconds"] >= 2 * (drain_s + LINGER_S)


@by_folder
def test_what_there_is_one_of_is_never_two_at_a_time(folder: str) -> None:
    for workload in of_kind(render(folder), "Deployment", "StatefulSet"):
        assert workload["spec"]["replicas"] == 1, workload["metadata"]["name"]
        if workload["kind"] == "Deployment":
            assert workload["spec"]["strategy"] == {"type": "Recreate"}
    # A budget of no disruption would stop every drain of a node.
    for budget in of_kind(render(folder), "PodDisruptionBudget"):
        assert budget["spec"]["maxUnavailable"] == 1 and "minAvailable" not in budget["spec"]


# --- what refers to something -----------------------------------------------------------------------------------------


@by_folder
def test_what_a_pod_mounts_is_there(folder: str) -> None:
    manifests = render(folder)
    maps = {one["metadata"]["name"] for one in of_kind(manifests, "ConfigMap")}
    claims = {one["metadata"]["name"] for one in of_kind(manifests, "PersistentVolumeClaim")}
    for pod in pods(manifests):
        volumes = {volume["name"] for volume in pod.spec["volumes"]} | set(pod.claims)
        for volume in pod.spec["volumes"]:
            assert volume.get("configMap", {"name": None})["name"] in {*maps, None}, volume
            assert volume.get("persistentVolumeClaim", {"claimName": None})["claimName"] in {*claims, None}, volume
        for container in [*pod.spec.get("initContainers", ()), *pod.spec["containers"]]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes, pod.owner
    used = {volume.get("configMap", {}).get("name") for pod in pods(manifests) for volume in pod.spec["volumes"]}
    assert maps <= used, "a ConfigMap that nobody mounts"


@by_folder
def test_every_secret_is_documented(folder: str) -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8")
    named = {name for name, _, _ in secrets(render(folder))}
    for ingress in of_kind(render(folder), "Ingress"):
        named |= {tls["secretName"] for tls in ingress["spec"]["tls"]}
        named.add(ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-ssl-secret"].partition("/")[2])
    assert {name for name in named if f"| `{name}` |" not in text} == set()


@by_folder
def test_services_lead_to_ports_that_somebody_listens_on(folder: str) -> None:
    manifests = render(folder)
    services = {one["metadata"]["name"]: one["spec"] for one in of_kind(manifests, "Service")}
    for name, service in services.items():
        behind = [pod for pod in pods(manifests) if service["selector"].items() <= pod.labels.items()]
        assert behind, name
        for port in service["ports"]:
            assert all(port["targetPort"] in ports(pod).values() for pod in behind), name
    for workload in of_kind(manifests, "StatefulSet"):
        assert services[workload["spec"]["serviceName"]]["clusterIP"] == "None"
    for ingress in of_kind(manifests, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                assert service["port"]["name"] in {port["name"] for port in services[service["name"]]["ports"]}
        assert {host for tls in ingress["spec"]["tls"] for host in tls["hosts"]} == {
            rule["host"] for rule in ingress["spec"]["rules"]
        }


@by_folder
def test_selectors_take_their_own_pods_and_no_others(folder: str) -> None:
    manifests = render(folder)
    for workload in of_kind(manifests, "Deployment", "StatefulSet"):
        selector = workload["spec"]["selector"]
        assert [pod.owner for pod in pods(manifests) if selects(selector, pod.labels)] == [workload["metadata"]["name"]]
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        taken = [pod.owner for pod in pods(manifests) if selects(budget["spec"]["selector"], pod.labels)]
        assert taken == [budget["metadata"]["name"]]


# --- who may reach whom -----------------------------------------------------------------------------------------------


def policies(folder: str) -> list[dict[str, Any]]:
    return [{"name": one["metadata"]["name"], **one["spec"]} for one in of_kind(render(folder), "NetworkPolicy")]


@by_folder
def test_nobody_reaches_anybody_unless_a_policy_says_so(folder: str) -> None:
    (closed,) = [policy for policy in policies(folder) if policy["name"] == "default-deny"]
    assert closed == {"name": "default-deny", "podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in policies(folder):
        for rule in [*policy.get("ingress", ()), *policy.get("egress", ())]:
            # Without `from`, `to` or `ports` a rule means all of them.
            assert rule["ports"] and (rule.get("from") or rule.get("to")), policy["name"]
        # A direction with rules that is not named would not be closed.
        assert {word.title() for word in ("ingress", "egress") if word in policy} <= set(policy["policyTypes"])


def test_every_port_of_a_policy_is_one_that_somebody_listens_on() -> None:
    known = all_pods()
    for folder in FOLDERS:
        for policy in policies(folder):
            mine = [pod for pod in known if selects(policy["podSelector"], pod.labels)]
            assert mine, policy["name"]
            for rule in policy.get("ingress", ()):
                for port in rule["ports"]:
                    assert all(port["port"] in ports(pod) for pod in mine), (policy["name"], port)
            for rule in policy.get("egress", ()):
                inside = [peer for peer in rule["to"] if peer.keys() == {"podSelector"}]
                theirs = [pod for peer in inside for pod in known if selects(peer["podSelector"], pod.labels)]
                numbers = {port["port"] for port in rule["ports"]}
                assert bool(theirs) == bool(inside), policy["name"]
                if inside:
                    assert all(numbers <= ports(pod).keys() for pod in theirs), policy["name"]
                else:
                    assert numbers == OUTSIDE[policy["name"]]


def reaches(folder: str, source: str, target: str, port: int) -> bool:
    """Whether the policies let one pod of the namespace connect to another one."""
    found = {pod.owner: pod.labels for pod in pods(render(folder))}

    def open_for(direction: str, other: str, mine: dict[str, str], theirs: dict[str, str]) -> bool:
        return any(
            selects(policy["podSelector"], mine)
            and any(
                peer.keys() == {"podSelector"} and selects(peer["podSelector"], theirs)
                for peer in rule[other]
                if port in {one["port"] for one in rule["ports"]}
            )
            for policy in policies(folder)
            for rule in policy.get(direction, ())
        )

    return open_for("egress", "to", found[source], found[target]) and open_for(
        "ingress", "from", found[target], found[source]
    )


@pytest.mark.parametrize(
    ("folder", "lines"),
    [
        (
            "overlays/small",
            {
                ("sidecar", "central", 7411),
                ("charge-point", "central", 7411),
                ("driver", "central", 7411),
                ("central", "sidecar", 8080),
            },
        ),
        ("overlays/site", {("sidecar", "central", 7411), ("events", "central", 7411), ("central", "sidecar", 8080)}),
    ],
)
def test_exactly_these_lines_are_open(folder: str, lines: set[tuple[str, str, int]]) -> None:
    here = pods(render(folder))
    found = {
        (source.owner, target.owner, port)
        for source in here
        for target in here
        for port in ports(target)
        if reaches(folder, source.owner, target.owner, port)
    }
    assert found == lines


def test_what_the_sidecar_may_call_outside_is_public() -> None:
    (policy,) = [policy for policy in policies("overlays/site") if policy["name"] == "sidecar-outside"]
    blocks = [peer["ipBlock"] for rule in policy["egress"] for peer in rule["to"]]
    for private in ("10.96.0.1", "172.20.3.4", "192.168.1.20", "169.254.169.254", "100.100.0.1", "fd00::1", "fe80::1"):
        address = ipaddress.ip_address(private)
        for block in blocks:
            network = ipaddress.ip_network(block["cidr"])
            excepted = any(address in ipaddress.ip_network(one) for one in block.get("except", ()))
            assert address.version != network.version or address not in network or excepted, private


@by_folder
def test_nobody_reaches_a_second_central(folder: str) -> None:
    for service in of_kind(render(folder), "Service"):
        selector = service["spec"]["selector"]
        if selector["app.kubernetes.io/name"] == "central":
            assert selector["statefulset.kubernetes.io/pod-name"] == "central-0", service["metadata"]["name"]


def test_strangers_keep_their_addresses() -> None:
    (wire,) = [one for one in of_kind(render("overlays/site"), "Service") if one["metadata"]["name"] == "wire"]
    assert wire["spec"]["externalTrafficPolicy"] == "Local"


def test_manifests_of_one_name_are_alike_in_all_folders() -> None:
    """An overlay adds and sets; it never weakens how a pod of the base is shut in."""
    shut: dict[str, Manifest] = {}
    for _folder, manifest in everything():
        if manifest["kind"] in ("Deployment", "StatefulSet", "Job"):
            name = manifest["metadata"]["name"]
            context = manifest["spec"]["template"]["spec"]["securityContext"]
            assert shut.setdefault(name, context) == context
