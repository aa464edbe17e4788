"""Name the extra of the package that contains a missing library."""

from __future__ import annotations

from typing import Final

_SERVE: Final = (
    "absl",
    "anyio",
    "google",
    "grpc",
    "grpc_health",
    "h11",
    "highdicom",
    "starlette",
    "tensorflow",
    "tensorflow_serving",
    "uvicorn",
)
_GATEWAY: Final = (
    "dicomweb_client",
    "fastapi",
    "prometheus_client",
    "pynetdicom",
    "python_multipart",
    "requests",
)
_PIPELINE: Final = (
    "apache_beam",
    "cryptography",
    "jinja2",
    "keras_tuner",
    "kfp",
    "kfp_server_api",
    "kubernetes",
    "matplotlib",
    "ml_metadata",
    "sklearn",
    "tensorflow_data_validation",
    "tensorflow_metadata",
    "tensorflow_model_analysis",
    "tensorflow_transform",
    "tfx",
    "tfx_bsl",
)
EXTRA_OF: Final = {
    **dict.fromkeys(_SERVE, "serve"),
    **dict.fromkeys(_GATEWAY, "gateway"),
    **dict.fromkeys(_PIPELINE, "pipeline"),
}


def missing_extra(error: BaseException) -> str:
    """Return how to install a missing library; empty if the error has another cause.

    Args:
        error: The error that ended a command.

    Returns:
        One sentence, such as that the command needs ``breast-density[serve]``.
    """
    name = (error.name or "").split(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if name not in EXTRA_OF:
        return ""
    return f"This command needs {name}, which is not installed: pip install 'breast-density[{EXTRA_OF[name]}]'."
