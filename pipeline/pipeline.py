"""``create_pipeline``: every node and how they are wired, the same for every runner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ml_metadata.proto import metadata_store_pb2
from tensorflow_data_validation import StatsOptions
from tfx.components import StatisticsGen, Trainer, Transform
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration import pipeline
from tfx.proto import trainer_pb2, transform_pb2

from components.baseline_model.component import BaselineModel
from components.common.fingerprint import code_fingerprint
from components.dicom_example_gen.component import DicomExampleGen
from components.dicom_example_gen.manifest import Source
from components.evaluator.component import Evaluator
from components.exam_ensemble.component import ExamEnsemble
from components.example_validator.component import ExampleValidator
from components.grad_cam_explainer.component import GradCamExplainer
from components.import_schema_gen.component import ImportSchemaGen
from components.infra_check.component import InfraCheck
from components.mammogram_preprocessor.component import MammogramPreprocessor
from components.pusher.component import Pusher
from components.report_generator.component import ReportGenerator
from pipeline.config import PipelineConfig, recipe_of, to_yaml
from schema import features as f

# Statistics of the image bytes say nothing and cost much.
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
class Archive:
    """What is ingested.

    Attributes:
        source: Folder and labels, or manifest.
        fingerprint: ``archive_fingerprint`` of the source.
        key_id: ``HashKey.key_id`` of the key that replaces identifiers.
    """

    source: Source
    fingerprint: str
    key_id: str


@dataclass(frozen=True)
class Places:
    """Where a runner keeps things.

    Attributes:
        root: Folder of artifacts.
        serving: Folder of pushed versions.
        schema: The curated schema file.
    """

    root: str
    serving: str
    schema: str


def _trainers(config: PipelineConfig, examples: BaseNode, schema: BaseNode, transform: BaseNode) -> dict[str, Trainer]:
    code = code_fingerprint("components.trainer.run_fn")
    return {
        view: Trainer(
            run_fn="components.trainer.run_fn.run_fn",
            examples=examples.outputs["preprocessed_examples"],
            transform_graph=transform.outputs["transform_graph"],
            schema=schema.outputs["schema"],
            train_args=trainer_pb2.TrainArgs(splits=["train"]),
            eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
            custom_config={"view": view, "config": config.trainer.model_dump_json(), "code": code},
        ).with_id(f"Trainer.{view}")
        for view in f.VIEWS
    }


def create_pipeline(
    config: PipelineConfig,
    archive: Archive,
    places: Places,
    beam_args: Sequence[str] = (),
    image_beam_args: Sequence[str] = (),
    metadata: metadata_store_pb2.ConnectionConfig | None = None,
) -> pipeline.Pipeline:
    """Builds the pipeline.

    Args:
        config: What decides the results.
        archive: What is ingested.
        places: Where the runner keeps things.
        beam_args: Arguments of Beam's runner, for every node.
        image_beam_args: Further ones for the nodes that work on pixels and free the GIL.
        metadata: ML Metadata connection; the runner's own where None.

    Returns:
        The pipeline, for any TFX runner.
    """
    ingest = DicomExampleGen(archive.source, archive.fingerprint, config.ingest, archive.key_id)
    preprocessor = MammogramPreprocessor(ingest.outputs["examples"], config.preprocess)
    for node in (ingest, preprocessor):
        node.with_beam_pipeline_args([*beam_args, *image_beam_args])
    examples = preprocessor.outputs["preprocessed_examples"]
    statistics = StatisticsGen(examples, stats_options=StatsOptions(feature_allowlist=list(_WITH_STATISTICS)))
    schema = ImportSchemaGen(schema_file=places.schema)
    validator = ExampleValidator(statistics.outputs["statistics"], schema.outputs["schema"])
    transform = Transform(
        examples=examples,
        schema=schema.outputs["schema"],
        preprocessing_fn="components.transform.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"]),
        materialize=False,
        disable_statistics=True,
        custom_config={"code": code_fingerprint("components.transform.preprocessing")},
    )
    transform.add_upstream_node(validator)  # anomalies stop the run
    trainers = _trainers(config, preprocessor, schema, transform)
    networks = {view: trainer.outputs["model"] for view, trainer in trainers.items()}
    ensemble = ExamEnsemble(networks, config.trainer.image, recipe_of(config))
    model = ensemble.outputs["model"]
    baseline = BaselineModel(model, places.serving)
    evaluator = Evaluator(
        examples, model, baseline.outputs["baseline_model"], schema.outputs["schema"], config.evaluator
    )
    explainer = GradCamExplainer(examples, model, config.explainer)
    infra = InfraCheck(examples, model)
    pusher = Pusher(
        model,
        evaluator.outputs["blessing"],
        infra.outputs["blessing"],
        explainer.outputs["explanations"],
        places.serving,
    )
    report = ReportGenerator(
        ingest_report=ingest.outputs["ingest_report"],
        quality_report=preprocessor.outputs["quality_report"],
        networks=networks,
        evaluation=evaluator.outputs["evaluation"],
        explanations=explainer.outputs["explanations"],
        infra_blessing=infra.outputs["blessing"],
        pushed_model=pusher.outputs["pushed_model"],
        name=config.name,
        configuration=to_yaml(config),
    )
    nodes: list[BaseNode] = [ingest, preprocessor, statistics, schema, validator, transform, *trainers.values()]
    nodes += [ensemble, baseline, evaluator, explainer, infra, pusher, report]
    return pipeline.Pipeline(
        pipeline_name=config.name,
        pipeline_root=places.root,
        components=nodes,
        enable_cache=True,
        metadata_connection_config=metadata,
        beam_pipeline_args=list(beam_args),
    )
