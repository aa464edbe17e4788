"""What the Kubeflow runner may be told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from schema.version import installed_version

_KUBERNETES_NAME: Final = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"  # RFC 1123 subdomain
SCAN: Final = "ArchiveScan"
ROOT: Final = re.compile(r"(minio|s3|gs)://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/[^\s?#]*[^\s?#/])?")


class NodeSettings(BaseModel):
    """What one node asks of the cluster.

    Attributes:
        cpu: Cores requested, and the limit; Beam's DirectRunner starts as many workers.
        memory: GB (10^9 bytes) requested, and the limit.
        gpus: Accelerators.
        gpu_resource: Kubernetes' name of the accelerator.
        node_selector: Labels that a machine must have to run it.
        retries: Times that the node is tried again after a failure.
        backoff_seconds: Wait before the first further try; it doubles each time.
        cache: Whether outputs of an earlier run with the same inputs and parameters are taken.
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
    """What a node asks for other than :class:`NodeSettings` of all nodes; null leaves it as it is.

    Attributes:
        cpu: As of all nodes.
        memory: As of all nodes.
        gpus: As of all nodes.
        gpu_resource: As of all nodes.
        node_selector: As of all nodes.
        retries: As of all nodes.
        backoff_seconds: As of all nodes.
        cache: As of all nodes.
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
    """A PersistentVolumeClaim of the namespace that runs are in.

    Attributes:
        claim: Its name.
        path: Where the pods see it.
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


# The image nodes hold decoded mammograms, the Trainers batches of them.
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
        image: Container image of the nodes; name it by version or digest, so that a run can be repeated.
        image_gpu: Image of nodes with accelerators; ``image`` where empty.
        pipeline_root: Where artifacts are kept: ``minio://``, ``s3://`` or ``gs://`` with bucket and folder.
        span: ``latest``, or the number of the newest span to ingest, where the archive's path has ``{SPAN}``.
        spans: How many spans a run takes: that one, and those before it.
        all_nodes: What each node asks for.
        nodes: What nodes ask for instead, by kind (``Trainer``) or by one node's id
            (``Trainer.CC_R``), which wins; over defaults that give the image nodes and the Trainers more.
        data: Volume that the archive is on; none where it is in an object store.
        serving: Volume that the Pusher pushes to and TensorFlow Serving reads.
        artifacts_claim: ReadWriteMany volume as pipeline root: nodes keep artifacts there, under ``/artifacts``, and
            the object store gets none; Beam's remote workers and the machines of a training need it. Empty for the
            object store.
        training_workers: Machines of a training with ``pipeline.trainer.strategy: multi_worker``, for each network.
        hash_key: Secret with the key of the patient and exam hashes; without, identifiers are not protected.
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
    hash_key: Secret | None = Secret(name="breast-density-hash-key", key="key")
    task_key: Secret = Secret(name="breast-density-task-key", key="key")

    @field_validator("pipeline_root")
    @classmethod
    def _in_an_object_store(cls, root: str) -> str:
        if not ROOT.fullmatch(root):
            raise ValueError(
                "pipeline_root is minio://, s3:// or gs:// with a bucket and perhaps a folder, without a last slash"
            )
        return root

    def settings_of(self, node: str) -> NodeSettings:
        """Gives what a node asks for: everybody's, under its kind's, under its own.

        Args:
            node: Id, such as ``Trainer.CC_R``.
        """
        kind = node.partition(".")[0]
        values = self.all_nodes.model_dump()
        for key in dict.fromkeys((kind, node)):
            for defaults in (_DEFAULT_NODES.get(key), self.nodes.get(key)):
                values |= defaults.model_dump(exclude_none=True) if defaults else {}
        if kind == SCAN:
            values["cache"] = False  # it notices what changed
        return NodeSettings.model_validate(values)
