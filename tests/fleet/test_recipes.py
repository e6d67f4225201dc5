"""The recipes of docs/fleet.md: options that exist, a script whose shell runs, a manifest of the right shape."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from vnlsdenoise.cli.main import commands

RECIPES = Path(__file__).resolve().parents[2] / "docs"
STAND_INS = {
    "srun": 'while case $1 in --*) true;; *) false;; esac; do shift; done; exec "$@"',
    "scontrol": 'case $1 in show) printf "one\\ntwo\\n";; *) echo "scontrol $*" >> calls;; esac',
    "hostname": "echo 127.0.0.1",
    "ray": 'echo "ray $*" >> calls',
    "sleep": "true",
    "vnlsdenoise": 'trap "exit 75" USR1; echo "vnlsdenoise $*" >> calls; for i in $(seq 100); do /bin/sleep 0.05; done',
}


def test_options_of_the_page_are_those_of_the_command() -> None:
    lines = re.findall(r"^    (vnlsdenoise .*?)(?:\s+#.*)?$", (RECIPES / "fleet.md").read_text(), re.M)
    assert len(lines) >= 7
    for line in lines:
        context = commands.commands["denoise"].make_context("denoise", shlex.split(line)[1:])
        assert context.params["ray"] or context.params["devices"]


@pytest.mark.parametrize("interrupted", [False, True])
def test_slurm_script_starts_ray_and_queues_itself_again(interrupted: bool, tmp_path: Path) -> None:
    script = RECIPES / "fleet" / "slurm.sh"
    subprocess.run(["bash", "-n", script], check=True)
    for name, text in STAND_INS.items():
        if name == "vnlsdenoise" and not interrupted:
            text = 'echo "vnlsdenoise $*" >> calls; exit 9'
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    told = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_GPUS_ON_NODE": "2"}
    path = f"{tmp_path}:{os.environ['PATH']}"
    run = subprocess.Popen(["bash", script, "in", "-o", "out"], cwd=tmp_path, env={**os.environ, **told, "PATH": path})
    calls = tmp_path / "calls"
    while interrupted and not (calls.exists() and "vnlsdenoise" in calls.read_text()):
        assert run.poll() is None
    if interrupted:
        run.send_signal(10)
    assert run.wait(timeout=30) == (75 if interrupted else 9)
    text = calls.read_text()
    assert "ray start --head --node-ip-address=127.0.0.1 --port=20007" in text and "--num-gpus=2" in text
    assert "ray start --address=127.0.0.1:20007" in text
    assert "vnlsdenoise in -o out --ray 127.0.0.1:20007 --progress lines" in text
    assert ("scontrol requeue 7" in text) is interrupted


def test_manifest_has_the_shape_of_a_rayjob() -> None:
    """What KubeRay's types RayJobSpec and RayClusterSpec (ray.io/v1) ask for, written out by hand."""
    jsonschema, yaml = pytest.importorskip("jsonschema"), pytest.importorskip("yaml")

    def group(*names: str) -> dict[str, object]:
        pod = {
            "type": "object",
            "required": ["containers"],
            "properties": {"containers": {"type": "array", "minItems": 1}},
        }
        params = {"type": "object", "additionalProperties": {"type": "string"}}
        template = {"type": "object", "required": ["spec"], "properties": {"spec": pod}}
        numbers = {name: {"type": "integer", "minimum": 0} for name in ("replicas", "minReplicas", "maxReplicas")}
        known = {"rayStartParams": params, "template": template, "groupName": {"type": "string"}, **numbers}
        required = ["template", "rayStartParams", *names]
        return {"type": "object", "required": required, "properties": known, "additionalProperties": False}

    cluster = {
        "type": "object",
        "required": ["headGroupSpec"],
        "properties": {
            "rayVersion": {"type": "string"},
            "headGroupSpec": group(),
            "workerGroupSpecs": {"type": "array", "items": group("groupName", "maxReplicas", "minReplicas")},
        },
        "additionalProperties": False,
    }
    known = {
        "entrypoint": {"type": "string"},
        "backoffLimit": {"type": "integer"},
        "shutdownAfterJobFinishes": {"type": "boolean"},
        "ttlSecondsAfterFinished": {"type": "integer"},
        "rayClusterSpec": cluster,
    }
    spec = {"type": "object", "required": ["entrypoint"], "properties": known, "additionalProperties": False}
    fixed = {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": "RayJob"}, "spec": spec}
    manifest = yaml.safe_load((RECIPES / "fleet" / "rayjob.yaml").read_text())
    jsonschema.validate(manifest, {"type": "object", "required": [*fixed, "metadata"], "properties": fixed})
    assert manifest["spec"]["rayClusterSpec"]["rayVersion"] in (RECIPES.parent / "requirements-dev.txt").read_text()


def test_pods_of_the_manifest_are_pods() -> None:
    """As Kubernetes' own schema has them; `pip install kubernetes-validate`, which is too large to be asked of all."""
    yaml, kubernetes = pytest.importorskip("yaml"), pytest.importorskip("kubernetes_validate")
    manifest = yaml.safe_load((RECIPES / "fleet" / "rayjob.yaml").read_text())
    cluster = manifest["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, **group["template"]}
        kubernetes.validate(pod, kubernetes.latest_version(), strict=True)
        pod["spec"]["containers"][0]["volumeMount"] = []
        with pytest.raises(kubernetes.ValidationError, match="volumeMount"):
            kubernetes.validate(pod, kubernetes.latest_version(), strict=True)


def test_container_has_the_versions_that_are_tested() -> None:
    text = (RECIPES / "fleet" / "Containerfile").read_text()
    asked = re.findall(r"[a-z]+==[\d.]+", text.replace("ray[default]", "ray"))
    tested = (RECIPES.parent / "requirements-dev.txt").read_text().split()
    assert len(asked) == 2 and set(asked) <= set(tested)
