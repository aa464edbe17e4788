"""TFX interface of the ReportGenerator node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.common.artifacts import DriftReport, Explanations, IngestReport, QualityReport, Report
from components.common.fingerprint import code_fingerprint
from components.report_generator import executor
from schema.features import VIEWS


class ReportGeneratorSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of ReportGenerator."""

    PARAMETERS = {
        "name": component_spec.ExecutionParameter(type=str),
        "configuration": component_spec.ExecutionParameter(type=str),
        "origin": component_spec.ExecutionParameter(type=str),
        "nodes": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "ingest_report": component_spec.ChannelParameter(type=IngestReport),
        "quality_report": component_spec.ChannelParameter(type=QualityReport),
        "drift_report": component_spec.ChannelParameter(type=DriftReport, optional=True),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "explanations": component_spec.ChannelParameter(type=Explanations),
        "infra_blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        "pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
        "exam_model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        **{view: component_spec.ChannelParameter(type=standard_artifacts.Model) for view in VIEWS},
    }
    OUTPUTS = {"report": component_spec.ChannelParameter(type=Report)}


@dataclass(frozen=True)
class NodeOutputs:
    """The outputs of other nodes that the report shows.

    Attributes:
        ingest_report: Output of DicomExampleGen.
        quality_report: Output of MammogramPreprocessor.
        networks: The Trainer's model of each view, which contains its history.
        evaluation: Output of the Evaluator.
        explanations: Output of GradCamExplainer.
        infra_blessing: Output of InfraCheck.
        pushed_model: Output of the Pusher.
        exam_model: Output of ExamEnsemble, which contains its calibration.
        drift_report: Output of DriftMonitor; None if the pipeline does not have this node.
    """

    ingest_report: types.BaseChannel
    quality_report: types.BaseChannel
    networks: Mapping[str, types.BaseChannel]
    evaluation: types.BaseChannel
    explanations: types.BaseChannel
    infra_blessing: types.BaseChannel
    pushed_model: types.BaseChannel
    exam_model: types.BaseChannel
    drift_report: types.BaseChannel | None = None


class ReportGenerator(base_component.BaseComponent):
    """Shows a run on one HTML page that opens offline."""

    SPEC_CLASS = ReportGeneratorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, inputs: NodeOutputs, name: str, configuration: str, origin: str = "", nodes: str = "[]"):
        """Create the node.

        Args:
            inputs: Outputs of the other nodes.
            name: Name of the run.
            configuration: Configuration as YAML, without paths.
            origin: Kind of the exams if they are not exams of patients; else empty.
            nodes: Output of ``describe_nodes`` for the nodes before this one.
        """
        spec = ReportGeneratorSpec(
            ingest_report=inputs.ingest_report,
            quality_report=inputs.quality_report,
            drift_report=inputs.drift_report,
            evaluation=inputs.evaluation,
            explanations=inputs.explanations,
            infra_blessing=inputs.infra_blessing,
            pushed_model=inputs.pushed_model,
            exam_model=inputs.exam_model,
            **inputs.networks,
            name=name,
            configuration=configuration,
            origin=origin,
            nodes=nodes,
            code=code_fingerprint("components.report_generator.executor"),
            report=types.Channel(type=Report),
        )
        super().__init__(spec=spec)
