"""The typed configuration of a run: frozen models, read from YAML, with overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from components.common.location import Location, location
from components.dicom_example_gen.config import IngestConfig
from components.drift_monitor.config import DriftConfig
from components.evaluator.config import EvaluatorConfig
from components.exam_ensemble.config import EnsembleConfig
from components.exam_model.recipe import PreprocessingRecipe
from components.exam_selector.selection import SelectionConfig
from components.grad_cam_explainer.config import ExplainerConfig
from components.preprocessing.config import PreprocessConfig, QualityConfig
from components.sources.archives import ArchiveKind
from components.sources.densities import read_density_values, split_density_values
from components.trainer.config import TrainConfig, with_hyperparameters
from components.tuner.config import TunerConfig
from pipeline.beam.config import BeamConfig, DirectBeam
from pipeline.kubeflow_config import KubeflowConfig
from pipeline.metadata_config import MetadataConfig
from schema.features import ClassDistribution

DATA_FILES: Final = ("configs/*.yaml",)
CONFIG_FOLDER: Final = Path(__file__).parent / "configs"


class ConfigError(ValueError):
    """A configuration cannot be used; the message contains the key, what is allowed and what was received."""


class PipelineConfig(BaseModel):
    """All values that determine a run's results, without paths.

    Attributes:
        name: Name of the pipeline in ML Metadata, and of the served model.
        ingest: DicomExampleGen.
        preprocess: MammogramPreprocessor.
        quality: Quality report of MammogramPreprocessor.
        drift: DriftMonitor (optional node).
        selection: ExamSelector (optional node).
        trainer: Trainers.
        tuner: Tuner (optional node).
        ensemble: ExamEnsemble.
        evaluator: Evaluator.
        explainer: GradCamExplainer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("breast_density", pattern=r"^[a-z][a-z0-9_]{0,62}$")
    ingest: IngestConfig = IngestConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    quality: QualityConfig = QualityConfig()
    drift: DriftConfig = DriftConfig()
    selection: SelectionConfig = SelectionConfig()
    trainer: TrainConfig = TrainConfig()
    tuner: TunerConfig = TunerConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
    evaluator: EvaluatorConfig = EvaluatorConfig()
    explainer: ExplainerConfig = ExplainerConfig()

    @model_validator(mode="after")
    def _one_image_size(self) -> PipelineConfig:
        if self.preprocess.output_size != self.trainer.image.size:
            raise ValueError(
                "pipeline.preprocess.output_size and pipeline.trainer.image.size must be equal, so that the network"
                f" sees what was preprocessed. Received: {self.preprocess.output_size} and {self.trainer.image.size}"
            )
        return self

    @model_validator(mode="after")
    def _known_hyperparameters(self) -> PipelineConfig:
        if "sides" in self.tuner.space:
            raise ValueError(
                "pipeline.tuner.space cannot have sides: they decide which Trainers the pipeline has. Compare two runs."
                f" Received: {sorted(self.tuner.space)}"
            )
        with_hyperparameters(self.trainer, {key: found.example for key, found in self.tuner.space.items()})
        return self

    @property
    def recipe(self) -> PreprocessingRecipe:
        """The preprocessing recipe that the model carries to its clients."""
        return PreprocessingRecipe(
            longest_side=self.ingest.longest_side,
            max_pixels=self.ingest.max_pixels,
            acceptance=self.ingest.acceptance,
            voi_index=self.ingest.voi_index,
            preprocess=self.preprocess,
        )


_Place = Annotated[Location | None, BeforeValidator(lambda value: location(value) if isinstance(value, str) else value)]


class DataConfig(BaseModel):
    """Where the archive is: a folder with labels, a manifest, or a public archive as downloaded.

    Each is a path, relative to the working folder, or a URI of any filesystem that Beam reads, such as
    ``gs://bucket/folder``. Labels and manifest are CSV or Parquet. ``{SPAN}`` and ``{VERSION}`` (or ``{YYYY}``,
    ``{MM}``, ``{DD}``) in folder, labels or manifest stand for numbers: each span is ingested separately, in its latest
    version.

    Attributes:
        folder: Folder of DICOM files, searched with its subfolders, or folder of the public archive.
        labels: Table with columns exam_id, density (or density_reader1, density_reader2 and so on) and optionally
            reader, patient_id, age, split, acquisition_system.
        manifest: Table with columns exam_id, view, file, density and optionally patient_id, split, acquisition_system,
            age; its files are DICOM, PNG, JPEG or TIFF.
        archive: Public archive that ``folder`` contains (docs/archives.md).
        density_values: Meaning of the texts in the column density, such as ``{0: A, 1: B, 2: C, 3: D}`` or
            ``0=A,1=B,2=C,3=D``; an empty class means no density. By default, A to D and 1 to 4 are known
            (docs/archives.md). Only for labels and manifest; the coding of a public archive is known.
        reviews: Folder of reviewers' masks and polygons, which replace the automatic segmentation (docs/review.md).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: _Place = None
    labels: _Place = None
    manifest: _Place = None
    archive: ArchiveKind | None = None
    density_values: dict[str, str] = {}
    reviews: Path | None = None

    @field_validator("density_values", mode="before")
    @classmethod
    def _understood(cls, value: Any) -> dict[str, str]:
        if isinstance(value, str):
            value = split_density_values(value)
        if not isinstance(value, Mapping):
            raise ValueError("map each text to a class, such as 0=A,1=B,2=C,3=D")
        return read_density_values({str(text): str(density or "") for text, density in value.items()}) if value else {}

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        labelled = self.labels is not None or self.archive is not None
        if (
            (self.manifest is None) == (self.folder is None)
            or (self.folder is None) == labelled
            or (self.labels is not None and self.archive is not None)
        ):
            raise ValueError(
                "give either data.folder and data.labels, or data.manifest, or data.folder and data.archive."
                f" Received: folder={self.folder}, labels={self.labels}, manifest={self.manifest},"
                f" archive={self.archive.value if self.archive else None}"
            )
        if self.archive is not None and self.density_values:
            raise ValueError(
                f"data.density_values is for labels and manifest: {self.archive.value} has its own coding."
            )
        return self

    @property
    def densities(self) -> tuple[tuple[str, str], ...]:
        """``density_values`` as sources store them."""
        return tuple(self.density_values.items())

    def absent(self) -> list[str]:
        """Return the local files and folders that do not exist; patterns and URIs are checked when the run begins."""
        named = (self.folder, self.labels, self.manifest, self.reviews)
        return [str(path) for path in named if isinstance(path, Path) and "{" not in str(path) and not path.exists()]


class RunnerConfig(BaseModel):
    """How the local runner works.

    Attributes:
        workers: Number of worker threads of Beam's DirectRunner in the nodes that work on pixels; 0 means one per core.
        trainings: Number of trainings at once, each in a process of its own; 0 means as many as cores and memory allow
            (4 GiB each), and one where there is a GPU or ``TF_CONFIG`` names other machines. The networks are the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(0, ge=0, le=256)
    trainings: int = Field(0, ge=0, le=64)


class PhantomDataConfig(BaseModel):
    """Phantom exams that the demo generates.

    Attributes:
        exams: Number of exams.
        seed: Seed of the generator.
        distribution: Class distribution.
        reduction: Factor by which the systems' matrices are reduced.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    exams: int = Field(200, ge=8)
    seed: int = 7
    distribution: ClassDistribution = "uniform"
    reduction: int = Field(6, ge=1, le=16)


class RunConfig(BaseModel):
    """A YAML file of ``pipeline/configs``: the pipeline, its data, and where it runs.

    Attributes:
        pipeline: The values that determine the results.
        data: The archive; the command line can name it instead.
        output: Output folder of the run.
        runner: The local runner.
        beam: The runner of Beam pipelines (docs/scaling.md).
        metadata: Where the local runner stores ML Metadata (docs/kubeflow.md).
        phantoms: Phantom exams of the demo.
        kubeflow: The Kubeflow runner (docs/kubeflow.md).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pipeline: PipelineConfig = PipelineConfig()
    data: DataConfig | None = None
    output: Path = Path("runs/breast_density")
    runner: RunnerConfig = RunnerConfig()
    beam: BeamConfig = DirectBeam()
    metadata: MetadataConfig = MetadataConfig()
    phantoms: PhantomDataConfig | None = None
    kubeflow: KubeflowConfig = KubeflowConfig()


def _allowed_keys(model: type[BaseModel], location: Sequence[Any]) -> str:
    """Return the allowed keys at the place of an unknown key."""
    options: list[Any] = [model]
    for part in location[:-1]:
        if len(options) > 1:  # one of several models, identified by its tag
            options = [one for one in options if get_args(one.model_fields["runner"].annotation) == (part,)]
            continue
        annotation = options[0].model_fields[part].annotation
        found = get_args(annotation) or (annotation,)
        options = [option for option in found if isinstance(option, type) and issubclass(option, BaseModel)]
    return ", ".join(options[0].model_fields)


def _explain(error: ValidationError, origin: str) -> ConfigError:
    lines = []
    for item in error.errors():
        loc = item["loc"][:1] + item["loc"][2:] if item["loc"][:1] == ("beam",) else item["loc"]  # without its tag
        key = ".".join(str(part) for part in loc) or "configuration"
        if item["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key; allowed: {_allowed_keys(RunConfig, item['loc'])}")
        else:
            received = "" if isinstance(item["input"], dict) else f" Received: {item['input']!r}"
            lines.append(f"{key}: {item['msg'].removeprefix('Value error, ').removesuffix('.')}.{received}")
    return ConfigError(f"{origin}: " + "; ".join(lines))


def _override(values: dict[str, Any], assignment: str) -> None:
    """Set a key from ``KEY=VALUE``; the value is YAML."""
    key, equals, text = assignment.partition("=")
    if not equals or not key:
        raise ConfigError(f"An override is KEY=VALUE, such as pipeline.trainer.epochs=3. Received: {assignment!r}")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{key}: this is not YAML: {' '.join(str(error).split())}") from error
    _set(values, key.strip(), value)


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, and create its parents."""
    *parents, last = key.split(".")
    node = values
    for parent in parents:
        child = node.setdefault(parent, {})
        if child is None:
            child = node[parent] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"{key}: {parent} is a value and has no keys inside.")
        node = child
    node[last] = value


def find_config(name: str) -> Path:
    """Return the file of a configuration, by its path, or by the name of one of the package.

    Raises:
        ConfigError: It does not exist; the message lists the configurations of the package.
    """
    given, packaged = Path(name), CONFIG_FOLDER / f"{name}.yaml"
    if given.is_file():
        return given
    if packaged.is_file():
        return packaged
    known = ", ".join(sorted(path.stem for path in CONFIG_FOLDER.glob("*.yaml")))
    raise ConfigError(f"The configuration {name} does not exist: give a YAML file, or one of {known}.")


def _merged(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Merge values into a base: mappings key by key, everything else as a whole."""
    both = {
        key: _merged(base[key], values[key])
        for key in base.keys() & values.keys()
        if isinstance(base[key], Mapping) and isinstance(values[key], Mapping)
    }
    return {**base, **values, **both}


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a YAML file, and the files that it is based on."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: it cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are not text, a date that does not exist
        raise ConfigError(f"{path}: this is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: a configuration is a YAML mapping. Received: {type(values).__name__}")
    values = dict(values)
    if "base" not in values:
        return values
    name = values.pop("base")
    beside = path.parent / f"{name}.yaml"
    base = beside if beside.is_file() else find_config(str(name))
    if base.resolve() in above or base.resolve() == path.resolve():
        raise ConfigError(f"{path}: base must be another configuration that is not based on this one. Received: {name}")
    return _merged(_read(base, (*above, path.resolve())), values)


def load_config(
    path: Path | None, overrides: Sequence[str] = (), values_by_key: Mapping[str, Any] | None = None
) -> RunConfig:
    """Read and validate a configuration.

    Args:
        path: YAML file; None to start from the defaults. Its key ``base`` names another configuration, in the same
            folder or in the package, that its keys override.
        overrides: ``KEY=VALUE`` with dotted keys and YAML values, such as ``pipeline.trainer.epochs=3``.
        values_by_key: Further values by dotted key. They are not parsed, because paths may look like YAML.

    Returns:
        The configuration.

    Raises:
        ConfigError: The file is not a YAML mapping, a key is unknown, or a value is not allowed.

    Examples:
        >>> load_config(find_config("small"), ["pipeline.trainer.epochs=3"]).pipeline.trainer.epochs
        3
    """
    values = _read(path) if path else {}
    for assignment in overrides:
        _override(values, assignment)
    for key, value in (values_by_key or {}).items():
        _set(values, key, value)
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise _explain(error, str(path) if path else "command line") from error


def to_yaml(config: PipelineConfig) -> str:
    """Return the pipeline's configuration as YAML; it contains no paths."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
