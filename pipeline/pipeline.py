"""Build the pipeline: all nodes and their connections, the same for every runner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tensorflow_data_validation import StatsOptions
from tfx.components import StatisticsGen, Trainer, Transform, Tuner
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration import pipeline
from tfx.proto import trainer_pb2, transform_pb2
from tfx.types.channel import BaseChannel, union

from components.archive_scan.component import ArchiveScan
from components.common.fingerprint import code_fingerprint
from components.dicom_example_gen.component import DicomExampleGen
from components.drift_monitor.component import DriftMonitor
from components.evaluator.component import Evaluator
from components.exam_ensemble.component import ExamEnsemble
from components.exam_selector.component import ExamSelector
from components.example_validator.component import ExampleValidator
from components.grad_cam_explainer.component import GradCamExplainer
from components.import_schema_gen.component import ImportSchemaGen
from components.mammogram_preprocessor.component import MammogramPreprocessor
from components.pushed_models.component import BaselineModel, WarmStart
from components.pusher.component import Pusher
from components.report_generator.component import NodeOutputs, ReportGenerator
from components.report_generator.executor import describe_nodes
from components.review.folder import ReviewSource
from components.sources.source import Source
from components.sources.spans import LATEST, Span
from components.texture_model.component import TextureModel
from pipeline.config import PipelineConfig, to_yaml
from pipeline.metadata import Connection
from schema import features as f
from serving.infra_check.component import InfraCheck

# Statistics of the image bytes are useless and expensive.
_WITH_STATISTICS: Final = (
    f.IMAGE_HEIGHT,
    f.IMAGE_WIDTH,
    f.PIXEL_SPACING_MM,
    f.VIEW,
    f.LATERALITY,
    f.EXAM_ID,
    f.PATIENT_ID,
    f.DENSITY,
    f.ACQUISITION_SYSTEM,
    f.MANUFACTURER,
    f.MODEL_NAME,
    f.SOFTWARE_VERSION,
    f.PATIENT_AGE,
    f.ACQUISITION_YEAR,
    f.PECTORAL_STATUS,
    f.PECTORAL_AREA_FRACTION,
    f.BREAST_AREA_FRACTION,
)


@dataclass(frozen=True)
class ArchivePart:
    """What one node ingests.

    Attributes:
        source: Folder and labels, manifest, or public archive.
        fingerprint: ``archive_fingerprint`` of the source.
        span: Span of the source; None for an archive without spans.
    """

    source: Source
    fingerprint: str
    span: Span | None = None


@dataclass(frozen=True)
class Archive:
    """The archive to ingest.

    Attributes:
        parts: The archive, or its spans.
        key_id: ``HashKey.key_id`` of the key that replaces identifiers.
        reviews: Reviewers' segmentations of its images, if any.
        origin: What the exams are, for the report, if they are not exams of patients.
    """

    parts: tuple[ArchivePart, ...]
    key_id: str
    reviews: ReviewSource | None = None
    origin: str = ""


@dataclass(frozen=True)
class UnseenArchive:
    """The archive to ingest, for a runner that cannot open it: ArchiveScan opens it when the pipeline runs.

    Attributes:
        source: The archive as the nodes see it; it may contain a pattern such as ``{SPAN}``.
        span: ``latest``, or the number of the newest span to ingest.
        reviews: Folder of reviewers' segmentations of its images; empty for none.
        origin: As in :class:`Archive`.
        spans: Number of spans: the newest one and those before it.
    """

    source: Source
    span: str = LATEST
    reviews: str = ""
    origin: str = ""
    spans: int = 1


@dataclass(frozen=True)
class RunPaths:
    """The paths of a runner.

    Attributes:
        root: Folder of artifacts.
        serving: Folder of pushed versions.
        schema: The curated schema file.
    """

    root: str
    serving: str
    schema: str


@dataclass(frozen=True)
class Machinery:
    """What a runner works with.

    Attributes:
        beam_args: Arguments of Beam's runner, for every node.
        image_beam_args: Additional arguments for the nodes that work on pixels and release the GIL.
        metadata: ML Metadata connection; None for the runner's own.
    """

    beam_args: Sequence[str] = ()
    image_beam_args: Sequence[str] = ()
    metadata: Connection | None = None


def _tuner(config: PipelineConfig, examples: BaseChannel, schema: BaseNode, transform: BaseNode) -> Tuner:
    return Tuner(
        tuner_fn="components.tuner.tuner_fn.tuner_fn",
        examples=examples,
        transform_graph=transform.outputs["transform_graph"],
        schema=schema.outputs["schema"],
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
        custom_config={
            "config": config.trainer.model_dump_json(),
            "tuner": config.tuner.model_dump_json(),
            "code": code_fingerprint("components.tuner.tuner_fn"),
        },
    )


def _trainers(
    config: PipelineConfig,
    examples: BaseChannel,
    schema: BaseNode,
    transform: BaseNode,
    tuner: Tuner | None,
    warm_start: WarmStart | None,
) -> dict[str, Trainer]:
    code = code_fingerprint("components.trainer.run_fn")
    return {
        network: Trainer(
            run_fn="components.trainer.run_fn.run_fn",
            examples=examples,
            transform_graph=transform.outputs["transform_graph"],
            schema=schema.outputs["schema"],
            base_model=warm_start.outputs["base_model"] if warm_start else None,
            train_args=trainer_pb2.TrainArgs(splits=["train"]),
            eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
            hyperparameters=tuner.outputs["best_hyperparameters"] if tuner else None,
            custom_config={"view": network, "config": config.trainer.model_dump_json(), "code": code},
        ).with_id(f"Trainer.{network}")
        for network in config.trainer.views_by_network
    }


def _ingest_nodes(config: PipelineConfig, archive: Archive) -> list[DicomExampleGen]:
    """Return one node per span, so that a new span keeps the cached outputs of the others."""
    nodes = []
    for part in archive.parts:
        node = DicomExampleGen(part.source, part.fingerprint, config.ingest, archive.key_id, part.span)
        nodes.append(node.with_id(f"{node.id}.span_{part.span.number}") if part.span else node)
    return nodes


def _data_nodes(
    config: PipelineConfig, archive: Archive | UnseenArchive
) -> tuple[Sequence[BaseNode], list[DicomExampleGen], MammogramPreprocessor]:
    """Return the nodes from the archive to preprocessed examples: scans, ingest nodes, and the preprocessor."""
    if isinstance(archive, Archive):
        ingest = _ingest_nodes(config, archive)
        examples = _all(ingest, "examples")
        return [], ingest, MammogramPreprocessor(examples, config.preprocess, config.quality, archive.reviews)
    scans, ingest = _unseen_ingest_nodes(config, archive)
    reviews = scans[0].found()["reviews"]
    return scans, ingest, MammogramPreprocessor(_all(ingest, "examples"), config.preprocess, config.quality, reviews)


def _unseen_ingest_nodes(
    config: PipelineConfig, archive: UnseenArchive
) -> tuple[list[ArchiveScan], list[DicomExampleGen]]:
    """Return two nodes per span, newest first: the scan and the ingest node."""
    scans: list[ArchiveScan] = []
    ingest = []
    for before in range(archive.spans):
        suffix = f".before_{before}" if before else ""
        newest = scans[0].found()["span"] if scans else None
        scan = ArchiveScan(archive.source, config.ingest, archive.span, archive.reviews, newest, before)
        scan.with_id(scan.id + suffix).add_upstream_nodes(scans[:1])
        found = scan.found()
        node = DicomExampleGen(found["source"], found["fingerprint"], config.ingest, found["key_id"], found["span"])
        node.with_id(node.id + suffix).add_upstream_node(scan)
        scans.append(scan)
        ingest.append(node)
    return scans, ingest


def _all(nodes: Sequence[BaseNode], output: str) -> BaseChannel:
    """Return an output of one node, or the union of the outputs of all nodes."""
    channels = [node.outputs[output] for node in nodes]
    return channels[0] if len(channels) == 1 else union(channels)


def _needed_for(last: str, nodes: Sequence[BaseNode], order: Sequence[tuple[BaseNode, BaseNode]]) -> list[BaseNode]:
    """Return a node and all nodes that it depends on, by data or by order, in the order of the nodes."""
    by_id = {node.id: node for node in nodes}
    needed, open_ids = set(), {last}
    while open_ids:
        node = by_id[open_ids.pop()]
        needed.add(node.id)
        data = {name for channel in node.inputs.values() for name in channel.get_data_dependent_node_ids()}
        before = {first.id for first, then in order if then is node}
        open_ids |= (data | before | {upstream.id for upstream in node.upstream_nodes}) - needed
    return [node for node in nodes if node.id in needed]


def create_pipeline(
    config: PipelineConfig,
    archive: Archive | UnseenArchive,
    paths: RunPaths,
    machinery: Machinery | None = None,
    last: str | None = None,
    name: str | None = None,
) -> pipeline.Pipeline:
    """Build the pipeline.

    Args:
        config: The values that determine the results.
        archive: The archive to ingest.
        paths: The paths of the runner.
        machinery: Beam and ML Metadata of the runner; None for the runner's own.
        last: Id of the last node: the pipeline has only this node and those that it depends on. None for all nodes.
        name: Name of the pipeline; None for the name in the configuration.

    Returns:
        The pipeline, for any TFX runner.
    """
    machinery = machinery or Machinery()
    scan, ingest, preprocessor = _data_nodes(config, archive)
    pixel_nodes: list[BaseBeamComponent] = [*ingest, preprocessor]
    for node in pixel_nodes:
        node.with_beam_pipeline_args([*machinery.beam_args, *machinery.image_beam_args])
    examples = preprocessor.outputs["preprocessed_examples"]
    statistics = StatisticsGen(examples, stats_options=StatsOptions(feature_allowlist=list(_WITH_STATISTICS)))
    schema = ImportSchemaGen(schema_file=paths.schema)
    validator = ExampleValidator(statistics.outputs["statistics"], schema.outputs["schema"])
    selector = ExamSelector(examples, config.selection) if config.selection.is_needed else None
    learnt = selector.outputs["selected_examples"] if selector else examples
    transform = Transform(
        examples=learnt,
        schema=schema.outputs["schema"],
        preprocessing_fn="components.transform.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"]),
        materialize=False,
        disable_statistics=True,
        custom_config={"code": code_fingerprint("components.transform.preprocessing")},
    )
    order: list[tuple[BaseNode, BaseNode]] = [(validator, transform)]  # anomalies stop the run
    drift = None
    if config.drift.enabled:
        selected = learnt if selector else None
        drift = DriftMonitor(examples, schema.outputs["schema"], paths.serving, config.drift, selected)
        order.append((validator, drift))  # it reads only valid data
        if config.drift.on_drift == "stop":
            order.append((drift, transform))
    tuner = _tuner(config, learnt, schema, transform) if config.tuner.enabled else None
    warm_start = None
    if config.trainer.warm_start != "none":
        warm_start = WarmStart(transform.outputs["transform_graph"], paths.serving, config.trainer)
    trainers = _trainers(config, learnt, schema, transform, tuner, warm_start)
    networks = {name: trainer.outputs["model"] for name, trainer in trainers.items()}
    by_view = {view: networks[name] for name, views in config.trainer.views_by_network.items() for view in views}
    texture = TextureModel(learnt, config.ensemble.texture) if config.ensemble.mixed else None
    ensemble = ExamEnsemble(
        by_view | ({"texture_model": texture.outputs["texture_model"]} if texture else {}),
        learnt,
        config.trainer.image,
        config.recipe,
        config.ensemble,
        mirrored=config.trainer.mirrors_right,
        origin=archive.origin,
    )
    model = ensemble.outputs["model"]
    baseline = BaselineModel(model, paths.serving)
    evaluator = Evaluator(
        examples,
        model,
        baseline.outputs["baseline_model"],
        schema.outputs["schema"],
        config.evaluator,
        config.ensemble.minimum_views,
        training_examples=learnt if selector else None,
    )
    explainer = GradCamExplainer(
        examples,
        model,
        by_view,
        config.trainer.image,
        config.explainer,
        heat_map=config.ensemble.heat_map,
        mirrored=config.trainer.mirrors_right,
    )
    infra = InfraCheck(examples, model)
    pusher = Pusher(
        model,
        evaluator.outputs["evaluation"],
        evaluator.outputs["blessing"],
        infra.outputs["blessing"],
        explainer.outputs["explanations"],
        paths.serving,
    )
    nodes: list[BaseNode] = [*scan, *ingest, preprocessor, statistics, schema, validator, transform]
    nodes += [*(node for node in (drift, selector, tuner, warm_start) if node), *trainers.values()]
    nodes += [texture] if texture else []
    nodes += [ensemble, baseline, evaluator, explainer, infra, pusher]
    report = ReportGenerator(
        NodeOutputs(
            ingest_report=_all(ingest, "ingest_report"),
            quality_report=preprocessor.outputs["quality_report"],
            networks=by_view,
            evaluation=evaluator.outputs["evaluation"],
            explanations=explainer.outputs["explanations"],
            infra_blessing=infra.outputs["blessing"],
            pushed_model=pusher.outputs["pushed_model"],
            exam_model=model,
            drift_report=drift.outputs["drift_report"] if drift else None,
        ),
        name=config.name,
        configuration=to_yaml(config),
        origin=archive.origin,
        nodes=describe_nodes(nodes),
    )
    nodes.append(report)
    chosen = nodes if last is None else _needed_for(last, nodes, order)
    for first, then in order:
        if first in chosen and then in chosen:
            then.add_upstream_node(first)
    return pipeline.Pipeline(
        pipeline_name=name or config.name,
        pipeline_root=paths.root,
        components=chosen,
        enable_cache=True,
        metadata_connection_config=machinery.metadata,
        beam_pipeline_args=list(machinery.beam_args),
    )
