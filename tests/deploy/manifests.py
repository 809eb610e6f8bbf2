"""What the tests ask of manifests: pods, containers, selectors, and the files that a container sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tests.deploy.kustomize import Manifest

# Kinds with a template of pods.
WORKLOADS = ("Deployment", "StatefulSet", "Job")


class Pod(NamedTuple):
    """A template of pods."""

    owner: str
    kind: str
    labels: dict[str, str]
    spec: dict[str, Any]
    claims: tuple[str, ...]
    """Volumes that a StatefulSet makes for each pod."""


class Container(NamedTuple):
    """A container, with the pod that it is in."""

    pod: Pod
    spec: dict[str, Any]
    initial: bool

    @property
    def name(self) -> str:
        """``pod/container``."""
        return f"{self.pod.owner}/{self.spec['name']}"

    @property
    def serves(self) -> bool:
        """Whether it runs until it is told to stop."""
        return not self.initial and self.pod.kind != "Job"


def pods(manifests: tuple[Manifest, ...]) -> list[Pod]:
    """Every template of pods."""
    return [
        Pod(
            manifest["metadata"]["name"],
            manifest["kind"],
            manifest["spec"]["template"]["metadata"]["labels"] | _given(manifest),
            manifest["spec"]["template"]["spec"],
            tuple(claim["metadata"]["name"] for claim in manifest["spec"].get("volumeClaimTemplates", ())),
        )
        for manifest in manifests
        if manifest["kind"] in WORKLOADS
    ]


def _given(manifest: Manifest) -> dict[str, str]:
    """The label that Kubernetes adds to the first pod of a StatefulSet."""
    stateful = manifest["kind"] == "StatefulSet"
    return {"statefulset.kubernetes.io/pod-name": f"{manifest['metadata']['name']}-0"} if stateful else {}


def containers(manifests: tuple[Manifest, ...]) -> list[Container]:
    """Every container of every pod, the initial ones too."""
    return [
        Container(pod, spec, initial)
        for pod in pods(manifests)
        for initial, key in ((True, "initContainers"), (False, "containers"))
        for spec in pod.spec.get(key, ())
    ]


def of_kind(manifests: tuple[Manifest, ...], *kinds: str) -> list[Manifest]:
    """The objects of these kinds."""
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector (of any form) takes these labels."""
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    for rule in selector.get("matchExpressions", ()):
        assert rule["operator"] == "In", rule
        wanted = wanted and labels.get(rule["key"]) in rule["values"]
    return bool(wanted)


def ports(pod: Pod) -> dict[int, str]:
    """Numbers and names of the ports that the containers of a pod say they listen on."""
    return {port["containerPort"]: port["name"] for spec in pod.spec["containers"] for port in spec.get("ports", ())}


def secrets(manifests: tuple[Manifest, ...]) -> Iterator[tuple[str, set[str], bool]]:
    """Each Secret that a pod mounts: its name, the keys that are asked for (empty: all), whether it has to be there."""
    for pod in pods(manifests):
        for volume in pod.spec["volumes"]:
            if "secret" in volume:
                secret = volume["secret"]
                keys = {item["key"] for item in secret.get("items", ())}
                yield secret["secretName"], keys, not secret.get("optional", False)
