"""The signatures that every exam model promises, and the differences of a SavedModel from them.

Only this table defines each input and output. ExamEnsemble compares it with TensorFlow's export before it writes the
contract, so neither can change without the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from components.exam_model.contract import Signature, Tensor
from components.exam_model.heat_source import GRAD_CAM, HeatMapConfig
from components.texture.config import TELLING
from schema.features import DENSITY_CLASSES, VIEWS

_CLASSES: Final = len(DENSITY_CLASSES)
_OF_VIEW: Final = "of the image"
_OF_EXAM: Final = "of the exam: its views combined, then calibrated"

# Dtype, shape (None if requests choose) and optionality of each tensor by name.
Declared = tuple[str, tuple[int | None, ...], bool]


@dataclass(frozen=True)
class DeclaredSignature:
    """A signature as a SavedModel's signature definition declares it; an output is never optional."""

    inputs: Mapping[str, Declared]
    outputs: Mapping[str, Declared]


@dataclass(frozen=True)
class Difference:
    """A difference between a SavedModel and its contract.

    Attributes:
        kind: ``missing``: promised but absent; ``unknown``: present but not promised; otherwise what differs.
        where: ``SIGNATURE``, ``SIGNATURE.inputs.NAME`` or ``SIGNATURE.outputs.NAME``.
        promised: Value in the contract; empty if unknown.
        found: Value in the model; empty if missing.
    """

    kind: Literal["missing", "unknown", "dtype", "shape", "optional"]
    where: str
    promised: str = ""
    found: str = ""

    def __str__(self) -> str:
        """Describe the difference in a few words."""
        if self.kind in ("missing", "unknown"):
            return f"{self.where} is {self.kind}"
        return f"{self.where}: {self.kind} is {self.found}, promised {self.promised}"


def _text(rows: str, meaning: str, one_of: tuple[str, ...] | None = None, likeliest_of: str | None = None) -> Tensor:
    return Tensor(dtype="string", shape=(rows,), meaning=meaning, one_of=one_of, likeliest_of=likeliest_of)


def _probabilities(rows: str, meaning: str, zero_rows: bool = False) -> Tensor:
    return Tensor(
        dtype="float32",
        shape=(rows, _CLASSES),
        meaning=f"probability of each class {meaning}",
        minimum=0.0,
        maximum=1.0,
        row_sum=1.0,
        zero_rows=zero_rows,
    )


def _view_outputs(prefix: str = "") -> dict[str, Tensor]:
    name = f"{prefix}probabilities"
    return {
        name: _probabilities("images", _OF_VIEW),
        f"{prefix}density": _text("images", f"the likeliest class {_OF_VIEW}", DENSITY_CLASSES, name),
        f"{prefix}familiarity": _familiarity("images", _OF_VIEW),
    }


def _familiarity(rows: str, meaning: str) -> Tensor:
    return Tensor(
        dtype="float32",
        shape=(rows,),
        meaning=f"familiarity {meaning}: 1 or more is like the training exams, less is not, -1 is not available",
        minimum=-1.0,
        maximum=100.0,
    )


def _mixed_outputs() -> dict[str, Tensor]:
    def of_features(dtype: Literal["string", "float32"], meaning: str, maximum: float | None = None) -> Tensor:
        minimum = 0.0 if maximum else None
        return Tensor(dtype=dtype, shape=("exams", TELLING), meaning=meaning, minimum=minimum, maximum=maximum)

    return {
        "network_probabilities": _probabilities("exams", "by the networks only, before calibration", zero_rows=True),
        "texture_probabilities": _probabilities(
            "exams", "by the texture model only, before calibration", zero_rows=True
        ),
        "telling_features": of_features(
            "string", "the texture features that speak most for or against the grade; empty without a grade"
        ),
        "telling_percentiles": of_features("float32", "their place among the training exams, percent", 100.0),
        "telling_contributions": of_features(
            "float32",
            "their terms in the logit of the grade in the texture model's regression, less the mean over the classes:"
            " above 0 speaks for the grade",
        ),
    }


def _exam_outputs(mixed: bool) -> dict[str, Tensor]:
    grades = ("", *DENSITY_CLASSES)
    return {
        "exam_id": _text("exams", "the exams, in the order in which they first appear in the request"),
        "probabilities": _probabilities("exams", _OF_EXAM, zero_rows=True),
        "density": _text("exams", "the likeliest class; empty where there is no grade", grades, "probabilities"),
        "raw_probabilities": _probabilities("exams", "of the exam, before calibration", zero_rows=True),
        "right_probabilities": _probabilities("exams", "of the right breast, calibrated", zero_rows=True),
        "left_probabilities": _probabilities("exams", "of the left breast, calibrated", zero_rows=True),
        "view_count": Tensor(
            dtype="int32", shape=("exams",), meaning="views that are there", minimum=1, maximum=len(VIEWS)
        ),
        "missing_views": _text("exams", "views that are not there, with a space between"),
        "reason": _text("exams", "why there is no grade, in a sentence; empty where there is one"),
        "preprocessing": Tensor(
            dtype="string",
            shape=("exams",),
            meaning="the recipe by which the images must be made, see preprocessing.recipe",
            encoding="json",
        ),
        "training_systems": Tensor(
            dtype="string",
            shape=("exams",),
            meaning="the acquisition systems of the training exams, as in training_data",
            encoding="json",
        ),
        "familiarity": _familiarity("exams", "of the exam"),
        **(_mixed_outputs() if mixed else {}),
    }


def _maps(height: int, width: int, method: str, mixed: bool) -> dict[str, Tensor]:
    def one(meaning: str) -> Tensor:
        shape = ("images", height, width)
        return Tensor(dtype="float32", shape=shape, meaning=meaning, minimum=0.0, maximum=1.0)

    maps = {"heatmap": one("where the networks' evidence for the class lies, of this image's largest value; 0 is none")}
    if mixed:
        maps["texture_map"] = one(
            "energy of the bands that the texture model measures, of this image's largest value: where it measured, not"
            " evidence for a class"
        )
    return maps | {
        "heatmap_method": _text("images", "the method of the heat map and the stages that it reads", (method,)),
        "overlay_png_bytes": Tensor(
            dtype="string", shape=("images",), meaning="the image in grey with its heat map in colour", encoding="png"
        ),
    }


def promised_signatures(
    height: int, width: int, mixed: bool = False, heat_map: HeatMapConfig = GRAD_CAM
) -> dict[str, Signature]:
    """Return the signatures of an exam model.

    Args:
        height: Height of the networks' input and of the heat maps, pixels.
        width: Width of these, pixels.
        mixed: The model contains a texture model.
        heat_map: Method and stages of the heat maps.

    Returns:
        Signature by name.
    """
    images = {
        "image_bytes": Tensor(
            dtype="string", shape=("images",), meaning="preprocessed views, see image", encoding="png"
        ),
        "view": _text("images", "the view that each image shows", VIEWS),
    }
    exams = {**images, "exam_id": _text("images", "the exam of each image; any text, which the answer repeats")}
    target = {
        "target_class": Tensor(
            dtype="string",
            shape=("images_or_one",),
            meaning="the class to explain; empty, and where it is left out: the class predicted for the image",
            one_of=("", *DENSITY_CLASSES),
            optional=True,
        )
    }
    examples = Tensor(
        dtype="string",
        shape=("images",),
        meaning="records with the features image/encoded, as image_bytes, and view",
        encoding="tf.Example",
    )
    maps = _maps(height, width, heat_map.name, mixed)
    return {
        "serving_default": Signature(
            meaning="Grades views given as records.", inputs={"examples": examples}, outputs=_view_outputs()
        ),
        "predict_view": Signature(meaning="Grades views.", inputs=images, outputs=_view_outputs()),
        "predict_exam": Signature(meaning="Grades exams.", inputs=exams, outputs=_exam_outputs(mixed)),
        "gradcam": Signature(
            meaning="Grades views and explains them.", inputs=images | target, outputs=_view_outputs() | maps
        ),
        "explain_exam": Signature(
            meaning="Grades exams and explains their views, in one forward pass.",
            inputs=exams | target,
            outputs=_exam_outputs(mixed) | _view_outputs("view_") | maps,
        ),
    }


def find_differences(
    promised: Mapping[str, Signature], declared: Mapping[str, DeclaredSignature]
) -> tuple[Difference, ...]:
    """Compare the signatures of a contract with those that a SavedModel declares.

    Args:
        promised: ``Contract.signatures``.
        declared: See :func:`components.exam_model.saved_model.declared_signatures`.

    Returns:
        All differences; empty if the model matches the contract.
    """
    return tuple(_differences(promised, declared))


def _differences(promised: Mapping[str, Signature], declared: Mapping[str, DeclaredSignature]) -> Iterator[Difference]:
    yield from (Difference("missing", name) for name in promised if name not in declared)
    yield from (Difference("unknown", name) for name in sorted(declared) if name not in promised)
    for name in (name for name in promised if name in declared):
        yield from _of_tensors(f"{name}.inputs", promised[name].inputs, declared[name].inputs)
        yield from _of_tensors(f"{name}.outputs", promised[name].outputs, declared[name].outputs)


def _of_tensors(where: str, promised: Mapping[str, Tensor], declared: Mapping[str, Declared]) -> Iterator[Difference]:
    yield from (Difference("missing", f"{where}.{name}") for name in promised if name not in declared)
    yield from (Difference("unknown", f"{where}.{name}") for name in sorted(declared) if name not in promised)
    for name in (name for name in promised if name in declared):
        tensor, (dtype, shape, optional) = promised[name], declared[name]
        wanted = tuple(size if isinstance(size, int) else None for size in tensor.shape)
        if dtype != tensor.dtype:
            yield Difference("dtype", f"{where}.{name}", tensor.dtype, dtype)
        if shape != wanted:
            yield Difference("shape", f"{where}.{name}", str(list(wanted)), str(list(shape)))
        if optional != tensor.optional:
            yield Difference("optional", f"{where}.{name}", str(tensor.optional), str(optional))
