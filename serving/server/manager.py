"""Versions of the model: find, load, label and replace them without dropping a request."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import grpc

from components.exam_model.versions import Fingerprint, find_versions, fingerprint
from serving.server.config import ServedModel, VersionPolicy
from serving.server.model import LoadedModel, warm_up
from serving.server.text_protos import read_model_config
from serving.wire.errors import (
    ModelLoadError,
    ServerStartError,
    StatusError,
    invalid_argument,
    not_found,
)

_log = logging.getLogger(__name__)

VersionState = Literal["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]


@dataclass(frozen=True)
class VersionStatus:
    """State of one version, as ``ModelService.GetModelStatus`` returns it.

    Attributes:
        version: Version number.
        state: TensorFlow Serving's name of the state.
        code: OK, or the status of a load that failed.
        message: Empty, or why loading failed (without paths of the host).
    """

    version: int
    state: VersionState
    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""


class ModelManager:
    """Serves the versions of a model that its policy selects, and watches the folder for new ones.

    A request holds the model object until its response, so a replacement never removes the model during a request. The
    memory of an old version is free after its last request. As with TensorFlow Serving's AvailabilityPreservingPolicy,
    a version is unloaded only after another selected version is loaded.

    Attributes:
        model_dir: Folder of version folders, or a SavedModel.
        name: Name of the model in requests.
    """

    def __init__(self, model: ServedModel, poll_seconds: float = 1.0) -> None:
        """Prepare a manager; `start` loads the versions.

        Args:
            model: The model to serve.
            poll_seconds: Time between two checks of the folder, s (TensorFlow Serving's default is 1 s).
        """
        self.model_dir = model.base_path
        self.name = model.name
        self._policy = model.policy
        self._labels: Mapping[str, int] = model.labels
        self._poll_seconds = poll_seconds
        self._served: Mapping[int, LoadedModel] = {}
        self._status: Mapping[int, VersionStatus] = {}
        self._failed: dict[int, Fingerprint] = {}
        self._refresh_lock = threading.Lock()
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="model-versions", daemon=True)

    def start(self) -> None:
        """Load the selected versions and start to watch the folder.

        Raises:
            ServerStartError: No version can be served.
        """
        self._refresh()
        if not self._served:
            raise ServerStartError(self._nothing_to_serve())
        self._poller.start()

    def stop(self) -> None:
        """Stop watching. Requests that are running keep their model."""
        self._stopping.set()
        if self._poller.ident is not None:
            self._poller.join()

    def model(self, name: str, version: int | None = None, label: str = "") -> LoadedModel:
        """Return the model for a request.

        Args:
            name: Name of the model.
            version: Requested version; ``None`` is the largest one that is served.
            label: Requested version label, instead of a version; empty is no label.

        Raises:
            StatusError: NOT_FOUND for another name or version, INVALID_ARGUMENT for no name or an unknown label.
        """
        if not name:
            raise invalid_argument("ModelSpec has no name specified.")
        if label:
            version = self._labels.get(label) if name == self.name else None
            if version is None:
                raise invalid_argument(f"Unrecognized servable version label: {label}")
        served = self._served if name == self.name else {}
        found = served.get(max(served, default=0) if version is None else version)
        if found is None:
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise not_found(f"Servable not found for request: {asked}")
        return found

    def status(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """Return the state of one version, or of all known versions, newest first.

        Raises:
            StatusError: NOT_FOUND for another name or an unknown version.
        """
        known = self._status if name == self.name else {}
        if version is None:
            if not known:
                raise not_found(f"Could not find any versions of model {name}")
            return [known[number] for number in sorted(known, reverse=True)]
        if version not in known:
            raise not_found(f"Could not find version {version} of model {name}")
        return [known[version]]

    def reload(self, policy: VersionPolicy, labels: Mapping[str, int]) -> None:
        """Replace policy and labels, and return when the selected versions are loaded.

        Args:
            policy: Versions to serve.
            labels: Version by label; they replace the old labels. As in TensorFlow Serving, an existing label can only
                move to a version that is already served.

        Raises:
            StatusError: NOT_FOUND if a version is absent, FAILED_PRECONDITION if a version does not load or a label
                cannot move. The served versions stay.
        """
        with self._refresh_lock:
            for label, version in labels.items():
                if self._labels.get(label, version) != version and version not in self._served:
                    raise StatusError(
                        grpc.StatusCode.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {self.name}, which is not "
                        "currently available for inference",
                    )
            folders = find_versions(self.model_dir)
            wanted = policy.choose(set(folders))
            for version in sorted(set(policy.versions) - wanted):
                raise not_found(f"Could not find version {version} of model {self.name}")
            self._load_missing(wanted, folders)
            for version in sorted(wanted - set(self._served)):
                raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, self._status[version].message)
            self._policy, self._labels = policy, dict(labels)
            self._unload_others(wanted)

    def _poll(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self._refresh()
            except Exception as error:  # a temporary fault of the file system must not end the watch
                _log.warning("Looking for versions of %s failed: %s", self.name, type(error).__name__)

    def _refresh(self) -> None:
        with self._refresh_lock:
            folders = find_versions(self.model_dir)
            wanted = self._policy.choose(set(folders))
            self._load_missing(wanted, folders)
            self._unload_others(wanted)

    def _load_missing(self, wanted: set[int], folders: Mapping[int, Path]) -> None:
        for version in sorted(wanted - set(self._served), reverse=True):
            seen = fingerprint(folders[version])
            if self._failed.get(version) != seen:  # else its files did not change since it failed
                self._load(folders[version], version, seen)

    def _load(self, folder: Path, version: int, seen: Fingerprint) -> None:
        self._set(VersionStatus(version, "LOADING"))
        try:
            loaded = LoadedModel(folder, version)
            warm_up(loaded, folder)
        except ModelLoadError as error:
            self._failed[version] = seen
            message = f"Version {version} of model {self.name} cannot be loaded: see the server's log"
            self._set(VersionStatus(version, "END", grpc.StatusCode.UNKNOWN, message))
            reason = str(error).replace(str(self.model_dir), "MODEL_DIR")
            _log.error("Version %d of %s cannot be loaded: %s", version, self.name, reason)
            return
        self._failed.pop(version, None)
        self._served = {**self._served, version: loaded}
        self._set(VersionStatus(version, "AVAILABLE"))
        _log.info("Serving %s version %d", self.name, version)

    def _unload_others(self, wanted: set[int]) -> None:
        unwanted = set(self._served) - wanted
        if not unwanted or not wanted & set(self._served):
            return
        self._served = {version: model for version, model in self._served.items() if version in wanted}
        for version in sorted(unwanted):
            self._set(VersionStatus(version, "END"))
            _log.info("Stopped serving %s version %d", self.name, version)
        gc.collect()  # reference cycles hold a loaded model: free its memory now

    def _set(self, status: VersionStatus) -> None:
        self._status = {**self._status, status.version: status}

    def _nothing_to_serve(self) -> str:
        if not self.model_dir.is_dir():
            return f"{self.model_dir} is not a folder: give the folder that the Pusher writes to, or a SavedModel."
        failed = [status.version for status in self._status.values() if status.state == "END"]
        if failed:
            return (
                f"Version {max(failed)} in {self.model_dir} cannot be loaded (reason in the log): "
                "push the model again or remove that version."
            )
        if present := sorted(find_versions(self.model_dir)):
            return (
                f"{self.model_dir} holds version {present[-1]} but none of the requested versions "
                f"({', '.join(map(str, self._policy.versions))}): correct the version policy."
            )
        return (
            f"{self.model_dir} holds no model (no saved_model.pb in it or in a folder named by a number): "
            "run the pipeline until its Pusher has blessed and pushed one."
        )


class ConfigWatch:
    """Checks a model config file for changes, as TensorFlow Serving's ``--model_config_file_poll_wait_seconds``."""

    def __init__(self, path: Path, manager: ModelManager, poll_seconds: float) -> None:
        """Start the watch.

        Args:
            path: ModelServerConfig text proto; changes of its base_path are ignored.
            manager: Manager that receives the changes.
            poll_seconds: Time between two checks, s.
        """
        self._path = path
        self._manager = manager
        self._poll_seconds = poll_seconds
        self._followed = read_model_config(path, manager.model_dir)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="model-config", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch."""
        self._stopping.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                model = read_model_config(self._path, self._manager.model_dir)
                if model == self._followed:
                    continue
                if model.name != self._manager.name:
                    raise ServerStartError("the model's name has changed: restart the server to follow")
                self._manager.reload(model.policy, model.labels)
                self._followed = model
                _log.info("Following the changed model config file")
            except (ServerStartError, StatusError) as error:
                # The next check tries again: a label may move after its version is loaded.
                _log.error("The model config file is not followed: %s", error)
