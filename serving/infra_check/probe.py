"""Check a SavedModel against its contract, without this package and without Keras.

Run it as a script in a fresh, isolated interpreter: ``python -I probe.py MODEL_DIR REQUESTS.json RESULT.json``. It
imports the standard library, numpy, TensorFlow and TensorFlow Serving's messages, as any other client. It reads all
facts about the model from ``assets.extra/contract.json``; :mod:`components.exam_model.contract` explains the fields.
"""

import base64
import hashlib
import json
import os
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

MAJOR = "1"  # of the contract's version
CONTRACT_FILE = "assets.extra/contract.json"
WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
# Registered in TensorFlow, but only the process that created them can call them.
_PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
_OURS = {"components", "serving", "schema", "pipeline"}
_PNG = b"\x89PNG\r\n\x1a\n"
_ROUNDING = 1e-4

Contract = dict[str, Any]
Inputs = dict[str, list[str]]


class BrokenContractError(Exception):
    """The model does not keep its contract."""


def ensure(kept: Any, message: str) -> None:
    """Raise BrokenContractError unless a condition is true."""
    if not kept:
        raise BrokenContractError(message)


def read_checked_contract(model_dir: str) -> Contract:
    """Read the contract; refuse one that is missing or has another major version."""
    path = os.path.join(model_dir, CONTRACT_FILE)
    ensure(tf.io.gfile.exists(path), f"the SavedModel has no {CONTRACT_FILE}: export it again")
    contract = json.loads(_read(path))
    version = str(contract["contract_version"])
    ensure(version.split(".")[0] == MAJOR, f"contract_version is {version}, and this check knows {MAJOR}.x")
    ensure(contract["signatures"], "it promises no signature")
    return dict(contract)


def check_files(model_dir: str, contract: Contract) -> str:
    """Check that the contract belongs to these files: graph, weights and calibration."""
    digest = hashlib.sha256()
    names = [
        os.path.relpath(os.path.join(folder, name), model_dir).replace(os.sep, "/")
        for folder, _, found in tf.io.gfile.walk(model_dir)
        for name in found
    ]
    names = sorted(name for name in names if not name.startswith("assets.extra/"))
    for name in names:
        digest.update(name.encode() + b"\0" + hashlib.sha256(_read(os.path.join(model_dir, name))).digest())
    same = digest.hexdigest() == contract["model_sha256"]
    ensure(same, "the contract belongs to another model: model_sha256 differs")
    calibration = contract["calibration"]
    found_file = _read(os.path.join(model_dir, calibration["file"]))
    ensure(
        hashlib.sha256(found_file).hexdigest() == calibration["file_sha256"],
        f"{calibration['file']} is not the file that the contract describes",
    )
    return f"{len(names) + 1} files"


def _read(path: str) -> bytes:
    with tf.io.gfile.GFile(path, "rb") as file:
        return bytes(file.read())


def read_graph(model_dir: str) -> Any:
    """Read the graph that servers load, as TensorFlow's MetaGraphDef."""
    saved = saved_model_pb2.SavedModel.FromString(_read(os.path.join(model_dir, "saved_model.pb")))
    graphs = [graph for graph in saved.meta_graphs if "serve" in graph.meta_info_def.tags]
    ensure(graphs, "the SavedModel has no graph tagged serve")
    return graphs[0]


def check_operations(graph: Any) -> str:
    """Check that the graph holds only operations that TensorFlow has without extensions."""
    functions = graph.graph_def.library.function
    used = {node.op for node in graph.graph_def.node} | {node.op for f in functions for node in f.node_def}
    used -= {function.signature.name for function in functions}
    foreign = sorted(op for op in used if op in _PYTHON_OPS or not hasattr(tf.raw_ops, op))
    ensure(not foreign, f"these operations are not TensorFlow's own: {foreign[:5]}")
    return f"{len(used)} operations"


def check_signature(graph: Any, contract: Contract, name: str) -> str:
    """Compare a declared signature with the contract: names, dtypes, shapes and optional inputs."""
    promised, declared = contract["signatures"][name], graph.signature_def[name]
    for kind, found in (("inputs", declared.inputs), ("outputs", declared.outputs)):
        wanted = promised[kind]
        ensure(set(found) == set(wanted), f"{kind} are {sorted(found)}, promised {sorted(wanted)}")
        for key, tensor in wanted.items():
            shape = [size if isinstance(size, int) else None for size in tensor["shape"]]
            given = (tf.as_dtype(found[key].dtype).name, tf.TensorShape(found[key].tensor_shape).as_list())
            ensure(given == (tensor["dtype"], shape), f"{key} is {given}, promised {(tensor['dtype'], shape)}")
    optional = {key for key, tensor in promised["inputs"].items() if tensor.get("optional")}
    found_optional = set(declared.defaults)
    ensure(found_optional == optional, f"optional are {sorted(found_optional)}, promised {sorted(optional)}")
    return f"{len(promised['inputs'])} inputs, {len(promised['outputs'])} outputs as agreed"


def check_answer(model: Any, graph: Any, contract: Contract, name: str, inputs: Inputs) -> str:
    """Send a request and check every value of the response against the contract.

    Optional inputs are sent with their values, then with the defaults that servers fill in. The request asks for the
    defaults, so both responses must be equal.
    """
    promised = contract["signatures"][name]
    decoded = {key: tf.constant([base64.b64decode(value) for value in values]) for key, values in inputs.items()}
    answer = _ask(model, name, decoded)
    sizes = {"images": len(next(iter(inputs.values())))}
    for key, tensor in promised["outputs"].items():
        check_output(key, answer[key], tensor, sizes)
        if "likeliest_of" in tensor:
            _check_likeliest(key, answer[key], answer[tensor["likeliest_of"]], contract)
    if "reason" in answer:
        ungraded = answer["density"] == b""
        ensure(((answer["reason"] != b"") == ungraded).all(), "an exam has no grade and no reason, or both")
    if "preprocessing" in answer:
        _check_recipe(answer["preprocessing"], contract["preprocessing"])
    if "training_systems" in answer:
        _check_systems(answer["training_systems"], contract["training_data"])
    for key in (key for key in answer if key.endswith("familiarity")):
        _check_familiarity(key, answer[key], contract["familiarity"])
    defaults = {key: tf.constant(tf.make_ndarray(value)) for key, value in graph.signature_def[name].defaults.items()}
    if defaults:
        again = _ask(model, name, decoded | defaults)
        numbers = [key for key, value in answer.items() if value.dtype.kind == "f"]
        same = all(np.allclose(answer[key], again[key], atol=_ROUNDING) for key in numbers)
        ensure(same, f"the answer without {', '.join(defaults)} differs")
    return f"{len(answer['probabilities'])} answers"


def _check_systems(found: NDArray[Any], training: dict[str, Any]) -> None:
    """Check that clients are told the systems of the contract."""
    wanted = {"origin": training["origin"], "systems": training["systems"] or []}
    ensure(all(json.loads(value) == wanted for value in found), "training_systems is not what training_data says")


def _check_familiarity(name: str, found: NDArray[Any], facts: dict[str, Any]) -> None:
    """Check that the familiarity is a number exactly if the contract says that it is available."""
    right = (found >= 0).all() if facts["available"] else (found == -1).all()
    ensure(right, f"{name} is {'not available' if facts['available'] else 'a number'}, against the contract")


def _ask(model: Any, name: str, inputs: dict[str, Any]) -> dict[str, NDArray[Any]]:
    return {key: value.numpy() for key, value in model.signatures[name](**inputs).items()}


def check_output(name: str, found: NDArray[Any], tensor: dict[str, Any], sizes: dict[str, int]) -> None:
    """Check an output against the contract.

    Args:
        name: Name of the output.
        found: The output.
        tensor: Entry of the output in the contract.
        sizes: Size by name in shapes; new names are added.
    """
    ensure(len(found.shape) == len(tensor["shape"]), f"{name} has shape {found.shape}, promised {tensor['shape']}")
    for size, wanted in zip(found.shape, tensor["shape"], strict=True):
        expected = sizes.setdefault(wanted, size) if isinstance(wanted, str) else wanted
        ensure(size == expected, f"{name} has shape {found.shape}, promised {tensor['shape']} with {sizes}")
    if tensor["dtype"] == "string":
        _check_texts(name, found, tensor)
        return
    ensure(found.dtype.name == tensor["dtype"], f"{name} is {found.dtype.name}, promised {tensor['dtype']}")
    ensure(np.isfinite(found).all(), f"{name} is not finite")
    least, largest = tensor.get("minimum", -np.inf), tensor.get("maximum", np.inf)
    ensure(((found >= least) & (found <= largest)).all(), f"{name} leaves {least} to {largest}")
    if "row_sum" in tensor:
        sums = found.sum(axis=-1)
        right = np.isclose(sums, tensor["row_sum"], atol=_ROUNDING)
        if tensor.get("zero_rows"):
            right |= (found == 0).all(axis=-1)
        ensure(right.all(), f"{name} does not sum to {tensor['row_sum']:g}")


def _check_texts(name: str, found: NDArray[Any], tensor: dict[str, Any]) -> None:
    ensure(all(isinstance(value, bytes) for value in found.ravel()), f"{name} is not a string")
    if "one_of" in tensor:
        allowed = {value.encode() for value in tensor["one_of"]}
        ensure(set(found.ravel()) <= allowed, f"{name} is not one of {tensor['one_of']}")
    if tensor.get("encoding") == "png":
        ensure(all(value.startswith(_PNG) for value in found.ravel()), f"{name} is not a PNG")
    if tensor.get("encoding") == "json":
        for value in set(found.ravel()):
            json.loads(value)


def _check_likeliest(name: str, found: NDArray[Any], probabilities: NDArray[Any], contract: Contract) -> None:
    """Check that each name is the class with the largest value, and empty if the row is zeros."""
    classes = [entry["name"].encode() for entry in contract["classes"]]
    for text, row in zip(found, probabilities, strict=True):
        expected = classes[int(row.argmax())] if row.any() else b""
        ensure(text == expected, f"{name} is {text!r}, and by the order of the classes it must be {expected!r}")


def _check_recipe(found: NDArray[Any], promised: dict[str, Any]) -> None:
    for text in set(found):
        digest = hashlib.sha256(text).hexdigest()
        same = digest == promised["recipe_sha256"] and json.loads(text) == promised["recipe"]
        ensure(same, "the model returns another preprocessing recipe than the contract holds")


def check_names(model: Any, contract: Contract, requests: dict[str, Inputs]) -> str:
    """Check that the model has exactly the promised signatures, and that a request calls each."""
    promised = set(contract["signatures"])
    ensure(set(model.signatures) == promised, f"they are {sorted(model.signatures)}, promised {sorted(promised)}")
    unasked = sorted(promised - set(requests))
    ensure(not unasked, f"no request calls {unasked}")
    return f"{len(promised)} signatures"


def check_modules() -> str:
    """Check that this process did not import this package."""
    foreign = sorted({name.split(".")[0] for name, module in sys.modules.items() if module is not None} & _OURS)
    ensure(not foreign, f"found {foreign}")
    return "none"


def check_warm_up(model_dir: str, model: Any, contract: Contract) -> str:
    """Replay the warm-up requests. They must call every signature, and each must return a grade."""
    path = os.path.join(model_dir, WARMUP_FILE)
    ensure(tf.io.gfile.exists(path), f"the SavedModel has no {WARMUP_FILE}: export it again")
    asked = []
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        asked.append(request.model_spec.signature_name)
        ensure(len(_ask(model, asked[-1], inputs)["probabilities"]), f"{asked[-1]} answers nothing")
    ensure(set(asked) == set(contract["signatures"]), f"they call {asked}, promised {sorted(contract['signatures'])}")
    return f"{len(asked)} requests"


def run_checks(model_dir: str, requests: dict[str, Inputs]) -> list[dict[str, Any]]:
    """Run every check and return its name, outcome, seconds and detail."""
    results: list[dict[str, Any]] = []

    def attempt(name: str, action: Any) -> Any:
        start = time.perf_counter()
        try:
            value, passed = action(), True
        except Exception as error:  # every failure is reported
            value, passed = f"{type(error).__name__}: {error}".splitlines()[0][:300], False
        detail = value if isinstance(value, str) else ""
        results.append(
            {"name": name, "passed": passed, "seconds": round(time.perf_counter() - start, 3), "detail": detail}
        )
        return value if passed else None

    model = attempt("load the SavedModel", lambda: tf.saved_model.load(model_dir))
    contract = attempt("read the contract", lambda: read_checked_contract(model_dir)) if model is not None else None
    if contract is not None:
        attempt("files of the contract", lambda: check_files(model_dir, contract))
        graph = read_graph(model_dir)
        attempt("operations of TensorFlow only", lambda: check_operations(graph))
        attempt("signatures of the contract", lambda: check_names(model, contract, requests))
        for name in contract["signatures"]:
            attempt(f"contract of {name}", lambda name=name: check_signature(graph, contract, name))
            attempt(f"answer of {name}", lambda name=name: check_answer(model, graph, contract, name, requests[name]))
        attempt("warm-up requests", lambda: check_warm_up(model_dir, model, contract))
    attempt("no code of this package was loaded", check_modules)
    return results


if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as request_file:
        outcome = run_checks(sys.argv[1], json.load(request_file))
    with open(sys.argv[3], "w", encoding="utf-8") as result_file:
        json.dump(outcome, result_file)
