"""Read a SavedModel's signatures and digest from its files, without loading it, and check its contract."""

from __future__ import annotations

import hashlib
import os
from typing import Final

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from components.common.shards import read_bytes
from components.exam_model.contract import CONTRACT_FILE, Contract, ContractError, read_contract
from components.exam_model.contract_signatures import Declared, DeclaredSignature, find_differences

_SERVE_TAG: Final = "serve"
_EXTRA: Final = "assets.extra"
_INIT: Final = "__saved_model_init_op"  # an internal signature of TensorFlow, in every SavedModel


def _declared(info: meta_graph_pb2.TensorInfo, optional: bool) -> Declared:
    shape = info.tensor_shape
    sizes = () if shape.unknown_rank else tuple(dim.size if dim.size >= 0 else None for dim in shape.dim)
    return tf.as_dtype(info.dtype).name, sizes, optional


def declared_signatures(model_dir: str) -> dict[str, DeclaredSignature]:
    """Read the signatures that a SavedModel declares.

    Args:
        model_dir: Folder of ``saved_model.pb``, on any filesystem that TensorFlow knows.

    Returns:
        Signature by name.

    Raises:
        ContractError: There is no SavedModel that can be served.
    """
    try:
        saved = saved_model_pb2.SavedModel.FromString(read_bytes(os.path.join(model_dir, "saved_model.pb")))
    except Exception as error:  # protobuf and TensorFlow raise their own types for a damaged or absent file
        raise ContractError(
            f"saved_model.pb cannot be read ({type(error).__name__}): export the model again."
        ) from None
    graph = next((graph for graph in saved.meta_graphs if _SERVE_TAG in graph.meta_info_def.tags), None)
    if graph is None:
        raise ContractError(f"The SavedModel has no graph tagged {_SERVE_TAG!r}: export the model again.")
    return {
        name: DeclaredSignature(
            {key: _declared(info, key in signature.defaults) for key, info in signature.inputs.items()},
            {key: _declared(info, False) for key, info in signature.outputs.items()},
        )
        for name, signature in graph.signature_def.items()
        if name != _INIT
    }


def model_digest(model_dir: str) -> str:
    """Return a digest of a SavedModel's content: graph, weights and assets, without ``assets.extra``, which cites it.

    Args:
        model_dir: Folder of ``saved_model.pb``.

    Returns:
        SHA-256 over the name, a zero byte and the SHA-256 of each file, sorted by name; 64 hexadecimal digits.
    """
    files = {}
    for folder, _, names in tf.io.gfile.walk(model_dir):
        for name in names:
            path = os.path.join(folder, name)
            files[os.path.relpath(path, model_dir).replace(os.sep, "/")] = path
    digest = hashlib.sha256()
    for name in sorted(name for name in files if not name.startswith(f"{_EXTRA}/")):
        digest.update(name.encode() + b"\0" + hashlib.sha256(read_bytes(files[name])).digest())
    return digest.hexdigest()


def load_contract(model_dir: str) -> Contract:
    """Read the contract of a SavedModel.

    Args:
        model_dir: Folder of ``saved_model.pb``.

    Raises:
        ContractError: The contract is missing or cannot be read.
    """
    path = os.path.join(model_dir, CONTRACT_FILE)
    if not tf.io.gfile.exists(path):
        raise ContractError(f"The SavedModel carries no {CONTRACT_FILE}: export it again with this version.")
    return read_contract(read_bytes(path))


def check_contract(contract: Contract, model_dir: str) -> None:
    """Check the files of a SavedModel against a contract. InfraCheck checks its responses.

    Args:
        contract: The contract.
        model_dir: Folder of ``saved_model.pb``.

    Raises:
        ContractError: The contract is of another model, or the signatures differ from it; the message names the first
            three differences.
    """
    if differences := find_differences(contract.signatures, declared_signatures(model_dir)):
        more = f", and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ContractError(
            f"The SavedModel is not what its contract says: {'; '.join(map(str, differences[:3]))}{more}."
        )
    if contract.model_sha256 != model_digest(model_dir):
        raise ContractError("The contract is of another model: its model_sha256 is not that of these files.")
