"""``contract.json``: what a SavedModel promises to who calls it, where it comes from and what it must not be used for.

The file lies in ``assets.extra`` and travels with the model. ExamEnsemble writes it, InfraCheck holds the model to it
in a process of its own, and the Pusher adds the figures of the evaluation to the copy that is served. Its bytes depend
on nothing but the model: no time, no path, no identity.

How the version changes (``contract_version``, MAJOR.MINOR):

* MAJOR, where who relied on the old contract may fail or be misled: a signature, an input, an output or a field of this
  file is removed or renamed; a dtype, a shape, a range or an order changes; an optional input becomes required; a field
  gets another meaning.
* MINOR, where something is added: a signature, an output, an optional input, a field of this file.

A reader takes its own MAJOR and any MINOR up to its own, and refuses others, see :func:`read_contract`. The version is
raised together with what it describes, :func:`components.exam_model.contract_signatures.promised_signatures`; a test
holds the two together.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from components.statistics.intervals import Figure

# In the SavedModel's folder; ``assets.extra`` is where TensorFlow Serving leaves what is not its own.
CONTRACT_FILE: Final = "assets.extra/contract.json"
CONTRACT_VERSION: Final = "1.0"

Sha256 = Field(pattern="^[0-9a-f]{64}$")


class ContractError(ValueError):
    """A contract that is missing, that cannot be read, or that its model does not keep."""


class Part(BaseModel):
    """A part of the contract."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Tensor(Part):
    """An input or an output.

    Attributes:
        dtype: TensorFlow's name of the type: ``string``, ``float32``, ``int32``.
        shape: Sizes. A name stands for a number that requests choose and that is the same wherever the name is:
            ``images``, ``exams``. ``images_or_one`` is one for each image, or one for all.
        meaning: What it is, in a sentence.
        optional: A request may leave it out.
        encoding: What a string holds: ``png``, ``tf.Example`` or ``json``; absent for plain text.
        one_of: Values that a string may have.
        minimum: Least value.
        maximum: Largest value.
        row_sum: What the last axis sums to.
        zero_rows: A row may also be zeros: there is no grade, or no view of that breast.
        likeliest_of: The string names the class, by the contract's order, of the largest value in that output's row.
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


class Signature(Part):
    """A signature, with its inputs and outputs by name."""

    meaning: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


class DensityClass(Part):
    """A class of BI-RADS, 5th edition."""

    name: str
    meaning: str


class ImageFormat(Part):
    """The picture of a view that signatures take, as MammogramPreprocessor writes it.

    Attributes:
        encoding: Always PNG.
        bits: A sample.
        channels: Always one, grey.
        height: Pixels.
        width: Pixels.
        minimum: Least grey value; background.
        maximum: Largest grey value.
        other_sizes: What happens to pictures of another size.
    """

    encoding: Literal["png"] = "png"
    bits: Literal[8] = 8
    channels: Literal[1] = 1
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    minimum: int = 0
    maximum: int = 255
    other_sizes: str = "resized to this one by area averaging, which stretches what is not square"


class Normalisation(Part):
    """What the graph does to a decoded picture.

    Attributes:
        method: See :class:`components.transform.config.ImageConfig`.
        channels: Of the networks' input: the grey one, repeated.
        right_views_flipped: The networks know left breasts: pictures of right ones are flipped inside of the model.
    """

    method: Literal["norm_1", "norm_2"]
    channels: Literal[1, 3]
    right_views_flipped: bool


class Preprocessing(Part):
    """How a picture comes to be from a DICOM file.

    Attributes:
        recipe: :class:`components.exam_model.recipe.PreprocessingRecipe`, as ``predict_exam`` hands it out.
        recipe_sha256: Of the very text that ``predict_exam`` hands out.
        code: Fingerprint of the code that follows it, its version: equal ones give equal pictures.
    """

    recipe: dict[str, JsonValue]
    recipe_sha256: str = Sha256
    code: str = Field(pattern="^[0-9a-f]{16}$")


class ExamRule(Part):
    """How views become an exam's grade.

    Attributes:
        combination: In a sentence.
        minimum_views: Exams of fewer get no grade.
    """

    combination: str = (
        "the mean of the views that are there, several images of one view counting as one, then softmax(log(p) /"
        " temperature)"
    )
    minimum_views: int = Field(ge=1)


class CalibrationFacts(Part):
    """The temperature, and the exams that it was fitted to. The figures before and after are in ``file``."""

    method: Literal["temperature", "none"]
    temperature: float = Field(gt=0)
    split: str
    exams: int = Field(ge=0)
    by_class: dict[str, int]
    file: str
    file_sha256: str = Sha256


class SplitCounts(Part):
    """What a split holds; exams also by density class and by acquisition system."""

    exams: int = Field(ge=0)
    views: int = Field(ge=0)
    by_class: dict[str, int]
    by_acquisition_system: dict[str, int]


class TrainingData(Part):
    """What the model learnt from.

    Attributes:
        origin: What the exams are, where they are no patients' exams.
        splits: ``train`` fits the networks, ``eval`` chooses among their states and fits the temperature.
    """

    origin: str = ""
    splits: dict[str, SplitCounts]


class SliceMetrics(Part):
    """Figures of the exams of a slice.

    Attributes:
        slice: What these exams have in common, by feature; empty for all.
        exams: Graded ones.
        ungraded: Exams without a grade.
        small: Too few to judge.
        metrics: By name.
    """

    slice: dict[str, str]
    exams: int
    ungraded: int
    small: bool
    metrics: dict[str, Figure]


class Evaluation(Part):
    """The Evaluator's figures.

    Attributes:
        split: Exams of this split, of patients that the model never saw.
        model_sha256: The model judged, as in ``Contract.model_sha256``.
        metrics_sha256: Of the Evaluator's ``exam_metrics.json``, which holds many more figures.
        slices: All exams first.
    """

    split: Literal["test"] = "test"
    model_sha256: str = Sha256
    metrics_sha256: str = Sha256
    slices: tuple[SliceMetrics, ...] = Field(min_length=1)


class Contract(Part):
    """What ``contract.json`` holds.

    Attributes:
        contract_version: See above.
        model: Name of the model.
        notice: What everybody has to know.
        intended_use: Sentences.
        not_for: What it must not be used for.
        limits: Sentences.
        refuses: Images and exams that get no grade, by the reason's name in every answer of the client and the gateway.
        classes: In the order of every probability.
        views: Names that an input ``view`` may have.
        image: Of inputs ``image_bytes``.
        signatures: By name.
        exam: From views to exams.
        normalisation: From pictures to the networks.
        preprocessing: From DICOM to pictures.
        calibration: Of an exam's probabilities.
        training_data: Counts.
        software: Versions, by distribution.
        model_sha256: Of the SavedModel's files, see :func:`components.exam_model.saved_model.model_digest`.
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
    software: dict[str, str]
    model_sha256: str = Sha256
    evaluation: Evaluation | None = None

    @model_validator(mode="after")
    def _evaluation_is_of_this_model(self) -> Contract:
        if self.evaluation is not None and self.evaluation.model_sha256 != self.model_sha256:
            raise ValueError("evaluation.model_sha256 is of another model than model_sha256: evaluate this one")
        return self


def sha256_of(data: bytes) -> str:
    """Gives the SHA-256 of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def write_contract(contract: Contract) -> bytes:
    """Gives the bytes of ``contract.json``: the same for the same contract."""
    content = contract.model_dump(mode="json")
    for signature in content["signatures"].values():
        for tensors in (signature["inputs"], signature["outputs"]):
            for name, tensor in tensors.items():  # most of a tensor's fields say nothing of it
                tensors[name] = {k: v for k, v in tensor.items() if v is not None and v is not False}
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def read_contract(data: bytes) -> Contract:
    """Reads ``contract.json``.

    Args:
        data: Its bytes, from anywhere.

    Returns:
        The contract.

    Raises:
        ContractError: The bytes are no contract, or one of a version that this code does not know.
    """
    try:
        content: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{CONTRACT_FILE} is no JSON ({type(error).__name__}): export the model again.") from None
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
