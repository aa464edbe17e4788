"""The configuration of the Kubeflow runner."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from schema.software import installed_version

_KUBERNETES_NAME: Final = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"  # RFC 1123 subdomain
SCAN: Final = "ArchiveScan"
ROOT: Final = re.compile(r"(minio|s3|gs)://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/[^\s?#]*[^\s?#/])?")


class NodeSettings(BaseModel):
    """What one node requests from the cluster.

    Attributes:
        cpu: Cores, as request and limit; Beam's DirectRunner starts one worker per core.
        memory: Memory, as request and limit, GB (10^9 bytes).
        gpus: Number of accelerators.
        gpu_resource: Kubernetes' name of the accelerator.
        node_selector: Labels that a machine must have to run the node.
        retries: Number of retries after a failure.
        backoff_seconds: Wait before the first retry, s; it doubles each time.
        cache: Reuse the outputs of an earlier run with the same inputs and parameters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: float = Field(1.0, gt=0, le=256)
    memory: float = Field(4.0, gt=0, le=4096)
    gpus: int = Field(0, ge=0, le=16)
    gpu_resource: str = Field("nvidia.com/gpu", pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")
    node_selector: Mapping[str, str] = {}
    retries: int = Field(2, ge=0, le=10)
    backoff_seconds: int = Field(60, ge=1, le=3600)
    cache: bool = True


class NodeOverrides(BaseModel):
    """What a node requests instead of :class:`NodeSettings` of all nodes; null keeps the value of all nodes.

    Attributes:
        cpu: As for all nodes.
        memory: As for all nodes.
        gpus: As for all nodes.
        gpu_resource: As for all nodes.
        node_selector: As for all nodes.
        retries: As for all nodes.
        backoff_seconds: As for all nodes.
        cache: As for all nodes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: float | None = Field(None, gt=0, le=256)
    memory: float | None = Field(None, gt=0, le=4096)
    gpus: int | None = Field(None, ge=0, le=16)
    gpu_resource: str | None = Field(None, pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")
    node_selector: Mapping[str, str] | None = None
    retries: int | None = Field(None, ge=0, le=10)
    backoff_seconds: int | None = Field(None, ge=1, le=3600)
    cache: bool | None = None


class Volume(BaseModel):
    """A PersistentVolumeClaim in the namespace of the runs.

    Attributes:
        claim: Name of the claim.
        path: Mount point in the pods.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: str = Field(pattern=_KUBERNETES_NAME)
    path: str = Field(pattern=r"^/[^\s:]*[^\s:/]$")


class Secret(BaseModel):
    """A key of a Kubernetes Secret.

    Attributes:
        name: Name of the Secret.
        key: Key in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=_KUBERNETES_NAME)
    key: str = Field(pattern=r"^[-._a-zA-Z0-9]+$")


# Image nodes hold decoded mammograms in memory, Trainers hold batches of them.
_DEFAULT_NODES: Final = {
    "DicomExampleGen": NodeOverrides(cpu=4, memory=16),
    "MammogramPreprocessor": NodeOverrides(cpu=4, memory=16),
    "Transform": NodeOverrides(cpu=2, memory=16),
    "Trainer": NodeOverrides(cpu=4, memory=16),
    "Tuner": NodeOverrides(cpu=4, memory=16),
    "Evaluator": NodeOverrides(cpu=2, memory=16),
    "GradCamExplainer": NodeOverrides(cpu=2, memory=8),
}


class KubeflowConfig(BaseModel):
    """How the pipeline runs on Kubeflow Pipelines v2.

    Attributes:
        image: Container image of the nodes; give a version or digest, so that a run can be repeated.
        image_gpu: Image of nodes with accelerators; empty to use ``image``.
        pipeline_root: Root of the artifacts: ``minio://``, ``s3://`` or ``gs://`` with bucket and folder.
        span: ``latest``, or the number of the newest span to ingest, if the archive's path has ``{SPAN}``.
        spans: Number of spans per run: the newest one and those before it.
        all_nodes: What each node requests.
        nodes: What nodes request instead, by kind (``Trainer``) or by id of a node (``Trainer.CC_R``). The id takes
            precedence. Image nodes and Trainers have higher defaults.
        data: Volume of the archive; null if it is in an object store.
        serving: Volume that the Pusher pushes to and TensorFlow Serving reads.
        artifacts_claim: ReadWriteMany volume as pipeline root: nodes store artifacts there, under ``/artifacts``, and
            not in the object store. Beam's remote workers and the machines of a training need it. Empty to use the
            object store.
        training_workers: Number of machines per network with ``pipeline.trainer.strategy: multi_worker``. The node's
            own pod only waits for them: it asks for a tenth of a core, 1 GB and no accelerator, and has the node
            selector of ``all_nodes``.
        training_start_minutes: How long machines of a training may be missing, min: before it starts, or after one was
            lost. Then the node fails, and the other machines are released.
        training_hours: How long a training on several machines may take, hours.
        hash_key: Secret with the key of the patient and exam hashes; without it, identifiers are not protected.
        task_key: Secret with the key that nodes share with the workers of ``beam.runner: flink``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = Field(f"breast-density:{installed_version()}", pattern=r"^[^\s]+[:@][^\s/]+$")
    image_gpu: str = Field("", pattern=r"^([^\s]+[:@][^\s/]+)?$")
    pipeline_root: str = "minio://mlpipeline/v2/artifacts/breast-density"
    span: str = Field("latest", pattern=r"^(latest|[0-9]{1,9})$")
    spans: int = Field(1, ge=1, le=64)
    all_nodes: NodeSettings = NodeSettings()
    nodes: Mapping[str, NodeOverrides] = {}
    data: Volume | None = Volume(claim="breast-density-data", path="/data")
    serving: Volume = Volume(claim="breast-density-models", path="/models")
    artifacts_claim: str = Field("", pattern=rf"^$|{_KUBERNETES_NAME}")
    training_workers: int = Field(2, ge=2, le=64)
    training_start_minutes: int = Field(60, ge=1, le=10080)
    training_hours: float = Field(72.0, gt=0, le=720)
    hash_key: Secret | None = Secret(name="breast-density-hash-key", key="key")
    task_key: Secret = Secret(name="breast-density-task-key", key="key")

    @field_validator("pipeline_root")
    @classmethod
    def _in_an_object_store(cls, root: str) -> str:
        if not ROOT.fullmatch(root):
            raise ValueError(
                "pipeline_root must be minio://, s3:// or gs:// with a bucket and optionally a folder, without a slash"
                " at the end"
            )
        return root

    def with_waiting(self, nodes: Iterable[str]) -> KubeflowConfig:
        """Return this configuration for pods that only wait for other machines.

        Args:
            nodes: Ids of the nodes.
        """
        overrides = dict(self.nodes)
        for node in nodes:
            waiting = self.settings_of(node).model_dump(include={"retries", "backoff_seconds", "cache"})
            overrides[node] = NodeOverrides(
                cpu=0.1, memory=1, gpus=0, node_selector=self.all_nodes.node_selector, **waiting
            )
        return self.model_copy(update={"nodes": overrides})

    def settings_of(self, node: str) -> NodeSettings:
        """Return what a node requests: the settings of all nodes, overridden by its kind, overridden by its id.

        Args:
            node: Id, such as ``Trainer.CC_R``.
        """
        kind = node.partition(".")[0]
        values = self.all_nodes.model_dump()
        for key in dict.fromkeys((kind, node)):
            for defaults in (_DEFAULT_NODES.get(key), self.nodes.get(key)):
                values |= defaults.model_dump(exclude_none=True) if defaults else {}
        if kind == SCAN:
            values["cache"] = False  # it must look for changes in each run
        return NodeSettings.model_validate(values)
