"""``contract.json``: what a SavedModel promises to its callers, its origin, and what it must not be used for.

The file is in ``assets.extra`` of the model. ExamEnsemble writes it, InfraCheck checks the model against it in a
separate process, and the Pusher adds the metrics of the evaluation to the served copy. Its bytes depend only on the
model: they contain no time, path or identity.

How the version changes (``contract_version``, MAJOR.MINOR):

* MAJOR, if callers that rely on the old contract may fail or be misled: a signature, an input, an output or a field of
  this file is removed or renamed; a dtype, a shape, a range or an order changes; an optional input becomes required; a
  field changes its meaning.
* MINOR, if something is added: a signature, an output, an optional input, a field of this file.

A reader accepts its own MAJOR with any MINOR up to its own, and rejects other versions, see :func:`read_contract`. The
version describes :func:`components.exam_model.contract_signatures.promised_signatures`; a test fails if one of the two
changes without the other.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from components.statistics.intervals import Figure
from schema.training_systems import TrainedSystem, TrainingSystems

# In the SavedModel's folder. TensorFlow Serving ignores foreign files in ``assets.extra``.
CONTRACT_FILE: Final = "assets.extra/contract.json"
CONTRACT_VERSION: Final = "1.2"

Sha256 = Field(pattern="^[0-9a-f]{64}$")


class ContractError(ValueError):
    """A contract is missing or cannot be read, or its model does not keep it."""


class ContractPart(BaseModel):
    """A part of the contract."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Tensor(ContractPart):
    """An input or an output.

    Attributes:
        dtype: TensorFlow's name of the type: ``string``, ``float32``, ``int32``.
        shape: Sizes. A name is a number that the request chooses and that is the same for all uses of the name:
            ``images``, ``exams``. ``images_or_one`` is one per image, or one for all.
        meaning: What it is, in one sentence.
        optional: A gRPC request may omit it; REST requires every input.
        encoding: Content of a string: ``png``, ``tf.Example`` or ``json``; absent for plain text.
        one_of: Allowed values of a string.
        minimum: Smallest value.
        maximum: Largest value.
        row_sum: Sum over the last axis.
        zero_rows: A row may also be zeros, if there is no grade or no view of that breast.
        likeliest_of: The string is the class with the largest value in the row of that output, in the contract's order.
    """

    dtype: Literal["string", "float32", "int32"]
    shape: tuple[int | str, ...]
    meaning: str
    optional: bool = False
    encoding: Literal["png", "tf.Example", "json"] | None = None
    one_of: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    row_sum: float | None = None
    zero_rows: bool = False
    likeliest_of: str | None = None


class Signature(ContractPart):
    """A signature, with its inputs and outputs by name."""

    meaning: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


class DensityClass(ContractPart):
    """A class of BI-RADS, 5th edition."""

    name: str
    meaning: str


class ImageFormat(ContractPart):
    """The picture of a view that signatures accept, as MammogramPreprocessor writes it.

    Attributes:
        encoding: Always PNG.
        bits: Bits per sample.
        channels: Always one: grey.
        height: Height, pixels.
        width: Width, pixels.
        minimum: Smallest grey value: background.
        maximum: Largest grey value.
        other_sizes: Treatment of pictures of another size.
    """

    encoding: Literal["png"] = "png"
    bits: Literal[8] = 8
    channels: Literal[1] = 1
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    minimum: int = 0
    maximum: int = 255
    other_sizes: str = "resized to this one by area averaging, which stretches what is not square"


class Normalisation(ContractPart):
    """Normalisation of a decoded picture in the graph.

    Attributes:
        method: See :class:`components.transform.config.ImageConfig`.
        channels: Channels of the networks' input: the grey channel, repeated.
        right_views_flipped: The networks are trained on left breasts; the model flips pictures of right breasts.
    """

    method: Literal["norm_1", "norm_2"]
    channels: Literal[1, 3]
    right_views_flipped: bool


class Preprocessing(ContractPart):
    """How a DICOM file becomes a picture.

    Attributes:
        recipe: :class:`components.exam_model.recipe.PreprocessingRecipe`, as ``predict_exam`` returns it.
        recipe_sha256: SHA-256 of the exact text that ``predict_exam`` returns.
        code: Fingerprint of the code that applies the recipe; equal fingerprints give equal pictures.
    """

    recipe: dict[str, JsonValue]
    recipe_sha256: str = Sha256
    code: str = Field(pattern="^[0-9a-f]{16}$")


class ExamRule(ContractPart):
    """How views become the grade of an exam.

    Attributes:
        combination: The rule, in one sentence.
        minimum_views: Exams with fewer views get no grade.
        texture_weight: Weight of the texture model in the probabilities of a view, the networks have the rest; 0 if the
            model has none.
    """

    combination: str = (
        "the mean of the views that are there, several images of one view counting as one, then softmax(log(p) /"
        " temperature)"
    )
    minimum_views: int = Field(ge=1)
    texture_weight: float = Field(0.0, ge=0, lt=1)


class CalibrationFacts(ContractPart):
    """The temperature, why it is that one, and the exams that decided. ``file`` has the metrics before and after."""

    method: Literal["temperature", "none"]
    temperature: float = Field(gt=0)
    reason: str = ""  # since 1.1
    split: str
    exams: int = Field(ge=0)
    by_class: dict[str, int]
    file: str
    file_sha256: str = Sha256


class SplitCounts(ContractPart):
    """Size of a split; exams also per density class and acquisition system."""

    exams: int = Field(ge=0)
    views: int = Field(ge=0)
    by_class: dict[str, int]
    by_acquisition_system: dict[str, int]


class FamiliarityFacts(ContractPart):
    """What the familiarity of views and exams is, and how it was fitted.

    Attributes:
        available: False if every familiarity is -1.
        reason: Why it is not available; empty if it is.
        method: The rule, in one sentence.
        layers: Layers whose channel means and standard deviations are compared.
        train_exams: Exams of the train split behind mean and covariance.
        train_views: Their images for each network, in the order of its first view.
        shrinkage: Ledoit-Wolf shrinkage for each network, 0..1.
        eval_exams: Exams of the eval split, which no network was trained on, behind the thresholds.
        exam_thresholds: Largest distance of a familiar exam with one, two, three and four views.
        false_refusals: Expected share of exams like the training exams that are called unlike them; ``ci95`` is the
            uncertainty from the number of eval exams.
    """

    available: bool
    reason: str = ""
    method: str = (
        "threshold / Mahalanobis distance from the training views (standardised, Ledoit-Wolf covariance); of an exam,"
        " the mean distance of its views, several images of one view counting as one"
    )
    layers: tuple[str, ...] = ()
    train_exams: int = Field(0, ge=0)
    train_views: tuple[int, ...] = ()
    shrinkage: tuple[float, ...] = ()
    eval_exams: int = Field(0, ge=0)
    exam_thresholds: tuple[float, ...] = ()
    false_refusals: Figure | None = None


class TrainingData(ContractPart):
    """What the model was trained on.

    Attributes:
        origin: Where the exams come from, if they are not exams of patients.
        splits: ``train`` fits the networks; ``eval`` selects the best epoch and fits the temperature.
        systems: Acquisition systems of the train split, as ``predict_exam`` returns them; null in contracts 1.0.
    """

    origin: str = ""
    splits: dict[str, SplitCounts]
    systems: tuple[TrainedSystem, ...] | None = None

    @property
    def training_systems(self) -> TrainingSystems:
        """Origin and systems, as ``predict_exam`` returns them."""
        return TrainingSystems(origin=self.origin, systems=self.systems or ())


class SliceMetrics(ContractPart):
    """Metrics of the exams of a slice.

    Attributes:
        slice: The common value of these exams, by feature; empty for all.
        exams: Graded exams.
        ungraded: Exams without a grade.
        small: Too few to judge.
        metrics: Figures by name of the metric.
    """

    slice: dict[str, str]
    exams: int
    ungraded: int
    small: bool
    metrics: dict[str, Figure]


class Evaluation(ContractPart):
    """The metrics of the Evaluator.

    Attributes:
        split: Split of these exams, whose patients the model never saw.
        model_sha256: The evaluated model, as in ``Contract.model_sha256``.
        metrics_sha256: SHA-256 of the Evaluator's ``exam_metrics.json``, which has many more metrics.
        slices: Slices; all exams first.
    """

    split: Literal["test"] = "test"
    model_sha256: str = Sha256
    metrics_sha256: str = Sha256
    slices: tuple[SliceMetrics, ...] = Field(min_length=1)


class Contract(ContractPart):
    """The content of ``contract.json``.

    Attributes:
        contract_version: See above.
        model: Name of the model.
        notice: What every user has to know.
        intended_use: Sentences.
        not_for: What it must not be used for.
        limits: Sentences.
        refuses: Reasons for no grade, with their names in every response of the client and the gateway.
        classes: Classes in the order of every probability.
        views: Allowed values of an input ``view``.
        image: Format of inputs ``image_bytes``.
        signatures: Signatures by name.
        exam: From views to exams.
        normalisation: From pictures to the networks.
        preprocessing: From DICOM to pictures.
        calibration: Calibration of the probabilities of exams.
        training_data: Counts of the splits.
        familiarity: Likeness to the training exams; null in contracts without it.
        software: Versions by distribution.
        model_sha256: SHA-256 of the SavedModel's files, see :func:`components.exam_model.saved_model.model_digest`.
        evaluation: Null until the model is pushed.
    """

    contract_version: str = Field(pattern=r"^[0-9]+\.[0-9]+$")
    model: str = "breast_density"
    notice: str
    intended_use: tuple[str, ...]
    not_for: str
    limits: tuple[str, ...]
    refuses: tuple[str, ...]
    classes: tuple[DensityClass, ...]
    views: tuple[str, ...]
    image: ImageFormat
    signatures: dict[str, Signature]
    exam: ExamRule
    normalisation: Normalisation
    preprocessing: Preprocessing
    calibration: CalibrationFacts
    training_data: TrainingData
    familiarity: FamiliarityFacts | None = None
    software: dict[str, str]
    model_sha256: str = Sha256
    evaluation: Evaluation | None = None

    @model_validator(mode="after")
    def _evaluation_is_of_this_model(self) -> Contract:
        if self.evaluation is not None and self.evaluation.model_sha256 != self.model_sha256:
            raise ValueError("evaluation.model_sha256 is of another model than model_sha256: evaluate this one")
        return self


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def write_contract(contract: Contract) -> bytes:
    """Return the bytes of ``contract.json``; equal contracts give equal bytes."""
    content = contract.model_dump(mode="json")
    for signature in content["signatures"].values():
        for tensors in (signature["inputs"], signature["outputs"]):
            for name, tensor in tensors.items():  # most fields of a tensor have no value
                tensors[name] = {k: v for k, v in tensor.items() if v is not None and v is not False}
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def read_contract(data: bytes) -> Contract:
    """Read ``contract.json``.

    Args:
        data: Its bytes, from any source.

    Returns:
        The contract.

    Raises:
        ContractError: The bytes are not a contract, or their version is unknown to this code.
    """
    try:
        content: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{CONTRACT_FILE} is not JSON ({type(error).__name__}): export the model again.") from None
    version = content.get("contract_version") if isinstance(content, dict) else None
    if not _is_known(version):
        raise ContractError(
            f"{CONTRACT_FILE} has a version that this software does not know: use software as new as the model, or"
            f" export the model again. Received: {str(version)[:20]!r}; known: up to {CONTRACT_VERSION}"
        )
    try:
        return Contract.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise ContractError(f"{CONTRACT_FILE} is wrong at {place}: {first['msg']}. Export the model again.") from None


def _is_known(version: object) -> bool:
    if not isinstance(version, str):
        return False
    major, _, minor = version.partition(".")
    known_major, _, known_minor = CONTRACT_VERSION.partition(".")
    return major == known_major and minor.isascii() and minor.isdecimal() and int(minor[:9]) <= int(known_minor)
