"""The Helm chart: renders, fits the schemas of every Kubernetes it claims, and says what the server understands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest
import yaml

from server.settings import Settings, load
from tests.support.go_tools import ToolMissing, helm
from tests.support.manifests import KUBERNETES, ChartRefused, Manifest, check, documents, render
from tests.support.servers import ROOT

CHART: Final = ROOT / "deploy" / "helm" / "trunkline"

NEEDED: Final = ("image.repository=registry.example/trunkline", "auth.secret=keys", "kafka.bootstrap=kafka:9092")
"""What has no default."""

SECURE: Final = (
    "kafka.tls.enabled=true",
    "kafka.tls.secret=kafka-tls",
    "kafka.tls.clientCertificate=true",
    "kafka.sasl.mechanism=SCRAM-SHA-512",
    "kafka.sasl.secret=kafka-login",
)
WATCHED: Final = (
    "monitoring.serviceMonitor=true",
    "monitoring.rules=true",
    "monitoring.dashboards=true",
    "monitoring.labels.release=prometheus",
    "monitoring.runbooks=https://wiki.example/",
)
PUBLIC: Final = (
    "gateway.ingress.enabled=true",
    "gateway.ingress.host=stt.example",
    "gateway.ingress.className=nginx",
    "gateway.ingress.tlsSecret=certificate",
    "page.enabled=true",
    "image.pullSecrets[0].name=registry",
)
GPU: Final = (
    "shard.devices={cuda:0}",
    "shard.image.tag=0.1-cuda",
    r"shard.resources.limits.nvidia\.com/gpu=1",
    "shard.nodeSelector.pool=gpu",
    "shard.tolerations[0].key=gpu",
    "shard.tolerations[0].operator=Exists",
)
SCALED: Final = ("autoscaling.enabled=true",)
BY_PROMETHEUS: Final = (*SCALED, "autoscaling.source=prometheus", "autoscaling.prometheus=http://prometheus:9090")

VARIANTS: Final = {
    "least": (),
    "secure": SECURE,
    "watched": WATCHED,
    "public": PUBLIC,
    "gpu": GPU,
    "scaled": SCALED,
    "by-prometheus": BY_PROMETHEUS,
    "all": (*SECURE, *WATCHED, *PUBLIC, *GPU, *SCALED),
}


@pytest.fixture(autouse=True, scope="module")
def with_helm() -> None:
    """Without Helm none of this can be said."""
    try:
        helm()
    except ToolMissing as missing:
        pytest.skip(str(missing))


def rendered(*settings: str) -> list[Manifest]:
    return documents(render(CHART, (*NEEDED, *settings)))


def one(kind: str, manifests: list[Manifest], name: str = "") -> Any:
    [found] = [
        each
        for each in manifests
        if each["kind"] == kind and name in str(cast("dict[str, object]", each["metadata"])["name"])
    ]
    return found


def container(manifest: Any) -> Any:
    [only] = manifest["spec"]["template"]["spec"]["containers"]
    return only


@pytest.mark.timeout(300)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_manifest_fits_its_schema_on_every_version(variant: str) -> None:
    """A misspelled field is dropped by Kubernetes without a word, and missed when it is needed."""
    for version in KUBERNETES:
        for manifest in documents(render(CHART, (*NEEDED, *VARIANTS[variant]), version=version)):
            check(manifest, version)


@pytest.mark.parametrize("missing", NEEDED)
def test_what_must_be_said_is_asked_for_by_name(missing: str) -> None:
    """The message names the value, so that nobody has to read templates."""
    with pytest.raises(ChartRefused, match=missing.partition("=")[0].replace(".", r"\.")):
        render(CHART, [each for each in NEEDED if each != missing])


@pytest.mark.parametrize("wrong", ["shards.replicas=3", "shard.replicas=0", "shard.devices={gpu}", "kafka.tls=true"])
def test_a_value_that_cannot_be_is_refused(wrong: str) -> None:
    """A typing error in a value would otherwise do nothing."""
    with pytest.raises(ChartRefused, match="schema"):
        render(CHART, (*NEEDED, wrong))


def test_an_older_kubernetes_is_refused() -> None:
    """What was not tested is not promised."""
    with pytest.raises(ChartRefused, match="kubeVersion"):
        render(CHART, NEEDED, version="1.27")


def test_the_environment_is_what_the_settings_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that nobody knows, or a value that cannot be, ends a process at its start."""
    manifests = rendered(*SECURE)
    for kind in ("Deployment", "StatefulSet"):
        with monkeypatch.context() as environment:
            for variable in container(one(kind, manifests))["env"]:
                secret = '{"acme": ["k"]}' if variable["name"].endswith("KEYS") else "from-a-secret"
                environment.setenv(variable["name"], variable.get("value", secret))
            settings = load()
        assert settings.kafka.bootstrap == "kafka:9092"
        assert settings.kafka.certificate_file == "/etc/trunkline/kafka-tls/tls.crt"
        assert settings.kafka.username == "from-a-secret"


def test_secrets_stay_in_secrets() -> None:
    """Whoever may read a Deployment must not read a key."""
    for kind in ("Deployment", "StatefulSet"):
        for variable in container(one(kind, rendered(*SECURE)))["env"]:
            if any(word in variable["name"] for word in ("KEYS", "PASSWORD", "USERNAME")):
                assert "secretKeyRef" in variable["valueFrom"], variable["name"]


def test_a_pod_has_longer_to_end_than_its_drain_takes() -> None:
    """One that is killed in the middle of it has its calls wait for the lease to lapse."""
    manifests = rendered()
    limits = Settings().limits
    shard, gateway = (one(kind, manifests)["spec"]["template"]["spec"] for kind in ("StatefulSet", "Deployment"))
    pause = float(gateway["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = next(
        float(each["value"]) for each in shard["containers"][0]["env"] if each["name"] == "TRUNKLINE_SHARD__DRAIN_S"
    )

    assert gateway["terminationGracePeriodSeconds"] > pause + limits.drain_s + limits.closing_s
    assert shard["terminationGracePeriodSeconds"] > drain + limits.closing_s


def test_what_scales_the_shards_leaves_their_number_alone() -> None:
    """A number in the chart would undo the autoscaler's with every upgrade."""
    assert "replicas" not in one("StatefulSet", rendered(*SCALED))["spec"]
    assert one("StatefulSet", rendered())["spec"]["replicas"] == 2


def test_the_autoscaler_asks_what_the_chart_installs() -> None:
    """Addresses are put together in several places, which must agree."""
    manifests = rendered(*SCALED)
    [trigger] = one("ScaledObject", manifests)["spec"]["triggers"]
    name, _, port = trigger["metadata"]["scalerAddress"].partition(":")
    service = one("Service", manifests, "autoscaling")
    [address] = [each for each in container(one("Deployment", manifests, "autoscaling"))["args"] if "://" in each]
    shards = one("Service", manifests, "shard")

    assert name == f"{service['metadata']['name']}.speech.svc"
    assert int(port) == service["spec"]["ports"][0]["port"]
    assert address == f"http://{shards['metadata']['name']}:{shards['spec']['ports'][0]['port']}/metrics"
    assert (
        one("ScaledObject", manifests)["spec"]["scaleTargetRef"]["name"]
        == one("StatefulSet", manifests)["metadata"]["name"]
    )


def test_losing_a_node_or_draining_one_takes_one_pod_at_a_time() -> None:
    """Two shards that go at once leave nobody to move to."""
    manifests = rendered()
    budgets = [each for each in manifests if each["kind"] == "PodDisruptionBudget"]

    assert len(budgets) == 2
    for budget in budgets:
        assert cast("Any", budget)["spec"]["maxUnavailable"] == 1
    for kind in ("Deployment", "StatefulSet"):
        spread = one(kind, manifests)["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert {each["topologyKey"] for each in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}


def test_no_process_may_do_more_than_it_needs() -> None:
    """The restricted profile of Kubernetes' pod security standards."""
    for manifest in rendered(*SCALED):
        if manifest["kind"] not in ("Deployment", "StatefulSet"):
            continue
        pod = cast("Any", manifest)["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert pod["automountServiceAccountToken"] is False
        for each in pod["containers"]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_the_rules_are_those_that_are_tested_and_name_their_pages() -> None:
    """The chart carries the same file, with the pages' address put before them."""
    rules = one("PrometheusRule", rendered(*WATCHED))["spec"]["groups"]
    file = yaml.safe_load((CHART / "watch" / "rules.yaml").read_text("utf-8"))["groups"]

    def pages(groups: Any) -> Iterator[str]:
        return (rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"] if "alert" in rule)

    assert [f"https://wiki.example/{page}" for page in pages(file)] == list(pages(rules))
    assert [group["name"] for group in rules] == [group["name"] for group in file]


def test_the_dashboards_arrive_as_they_are() -> None:
    """Helm's templates must not take Grafana's for their own."""
    files = {path.name: path.read_text("utf-8") for path in (CHART / "watch" / "dashboards").glob("*.json")}
    maps = [each for each in rendered(*WATCHED) if each["kind"] == "ConfigMap" and "dashboard" in str(each["metadata"])]

    assert {name: text for each in maps for name, text in cast("dict[str, str]", each["data"]).items()} == files
    assert all(json.loads(text)["panels"] for text in files.values())


def test_the_settings_are_a_file_the_server_reads(tmp_path: Path) -> None:
    """Python's own TOML reader, and the model that every process starts with."""
    text = one("ConfigMap", rendered())["data"]["trunkline.toml"]
    (tmp_path / "trunkline.toml").write_text(text, "utf-8")

    assert load(tmp_path / "trunkline.toml").models.final == "tiny.en"


def test_the_live_page_is_passed_only_where_it_is_wanted() -> None:
    """Calls come in either way; probes and metrics stay inside either way."""

    def paths(*settings: str) -> set[tuple[str, str]]:
        [rule] = one("Ingress", rendered(*PUBLIC, *settings))["spec"]["rules"]
        return {(path["path"], path["pathType"]) for path in rule["http"]["paths"]}

    calls = {(path, "Prefix") for path in ("/v1", "/v2", "/v3", "/bridges")}

    assert paths("page.enabled=false") == calls
    assert paths() == calls | {("/", "Exact"), ("/live", "Prefix")}
