"""Loads a SavedModel and answers requests, knowing nothing of this package or Keras.

Run as a script in a fresh, isolated interpreter: ``python -I probe.py MODEL_DIR REQUESTS.json RESULT.json``. It imports
the standard library, numpy and TensorFlow, as a stranger's server would.
"""

import base64
import json
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf

# name -> (inputs, outputs with dtype and rank): the serving contract.
Outputs = dict[str, tuple[str, int]]
_VIEWS: Outputs = {"probabilities": ("float32", 2), "density": ("string", 1)}
_EXAMS: Outputs = {
    "exam_id": ("string", 1),
    "probabilities": ("float32", 2),
    "density": ("string", 1),
    "raw_probabilities": ("float32", 2),
    "right_probabilities": ("float32", 2),
    "left_probabilities": ("float32", 2),
    "view_count": ("int32", 1),
    "missing_views": ("string", 1),
    "reason": ("string", 1),
    "preprocessing": ("string", 1),
}
_MAPS: Outputs = {"heatmap": ("float32", 3), "overlay_png_bytes": ("string", 1)}
CONTRACT: dict[str, tuple[set[str], Outputs]] = {
    "serving_default": ({"examples"}, _VIEWS),
    "predict_view": ({"image_bytes", "view"}, _VIEWS),
    "predict_exam": ({"image_bytes", "view", "exam_id"}, _EXAMS),
    "gradcam": ({"image_bytes", "view", "target_class"}, {**_VIEWS, **_MAPS}),
    "explain_exam": (
        {"image_bytes", "view", "exam_id", "target_class"},
        {**_EXAMS, **_MAPS, "view_probabilities": ("float32", 2), "view_density": ("string", 1)},
    ),
}


def check_signature(model: Any, name: str) -> str:
    """Compares a signature with the contract; returns what was found, raises AssertionError on a difference."""
    inputs, outputs = CONTRACT[name]
    assert name in model.signatures, f"signature {name} is missing"
    signature = model.signatures[name]
    given = set(signature.structured_input_signature[1])
    assert given == inputs, f"inputs are {sorted(given)}, expected {sorted(inputs)}"
    found = {key: (spec.dtype.name, spec.shape.rank) for key, spec in signature.structured_outputs.items()}
    assert found == outputs, f"outputs are {found}, expected {outputs}"
    return f"{len(inputs)} inputs, {len(outputs)} outputs as agreed"


def check_answer(model: Any, name: str, inputs: dict[str, list[str]]) -> str:
    """Sends a request; raises AssertionError unless every grade's probabilities sum to one and maps stay in 0..1.

    An exam without a grade must say why.
    """
    decoded = {key: tf.constant([base64.b64decode(value) for value in values]) for key, values in inputs.items()}
    answer = {key: value.numpy() for key, value in model.signatures[name](**decoded).items()}
    probabilities = answer["probabilities"]
    assert np.isfinite(probabilities).all(), "probabilities are not finite"
    ungraded = answer["density"] == b""
    assert np.allclose(probabilities.sum(axis=1), ~ungraded, atol=1e-4), "probabilities do not sum to 1"
    if "reason" in answer:
        assert ((answer["reason"] != b"") == ungraded).all(), "an exam has no grade and no reason, or both"
    else:
        assert not ungraded.any(), "a view has no grade"
    if "view_probabilities" in answer:
        assert np.allclose(answer["view_probabilities"].sum(axis=1), 1, atol=1e-4), "views do not sum to 1"
    if "heatmap" in answer:
        assert answer["heatmap"].min() >= 0, "heat map goes under 0"
        assert answer["heatmap"].max() <= 1, "heat map goes over 1"
        assert all(png.startswith(b"\x89PNG") for png in answer["overlay_png_bytes"]), "overlay is no PNG"
    return f"{len(probabilities)} answers"


def run(model_dir: str, requests: dict[str, dict[str, list[str]]]) -> list[dict[str, Any]]:
    """Runs every check and returns its name, outcome, seconds and detail."""
    results: list[dict[str, Any]] = []
    model: Any = None

    def attempt(name: str, action: Any) -> Any:
        start = time.perf_counter()
        try:
            value, passed = action(), True
        except Exception as error:  # the outcome is reported, whatever it is
            value, passed = f"{type(error).__name__}: {error}".splitlines()[0][:300], False
        detail = value if isinstance(value, str) else ""
        results.append(
            {"name": name, "passed": passed, "seconds": round(time.perf_counter() - start, 3), "detail": detail}
        )
        return value if passed else None

    model = attempt("load the SavedModel", lambda: tf.saved_model.load(model_dir))
    for name in CONTRACT if model is not None else ():
        attempt(f"contract of {name}", lambda name=name: check_signature(model, name))
    for name, inputs in requests.items() if model is not None else ():
        attempt(f"answer of {name}", lambda name=name, inputs=inputs: check_answer(model, name, inputs))
    foreign = sorted({module.split(".")[0] for module in sys.modules} & {"components", "serving", "schema", "pipeline"})
    attempt("no code of this package was loaded", lambda: "none" if not foreign else 1 / 0)
    return results


if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as request_file:
        outcome = run(sys.argv[1], json.load(request_file))
    with open(sys.argv[3], "w", encoding="utf-8") as result_file:
        json.dump(outcome, result_file)
