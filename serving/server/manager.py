"""Which versions are served: finds, loads, labels and swaps them without dropping a request."""

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
from serving.server.model import LoadedModel
from serving.server.warmup import warm_up
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
    """State of one version, as ``ModelService.GetModelStatus`` tells it.

    Attributes:
        version: Version number.
        state: TensorFlow Serving's name of the state.
        code: OK, or what loading ended with.
        message: Empty, or why loading failed (without paths of the host).
    """

    version: int
    state: VersionState
    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""


class ModelManager:
    """Serves the versions of a model that its policy asks for, and watches the folder for others.

    A request takes the model object and keeps it until it is answered, so a swap never takes the model away
    from under it; an old version's memory is freed when its last request ends. As with TensorFlow Serving's
    AvailabilityPreservingPolicy, a version is unloaded only once another one that the policy asks for is served.

    Attributes:
        model_dir: Folder of version folders, or a SavedModel itself.
        name: Name the model is served under.
    """

    def __init__(self, model: ServedModel, poll_seconds: float = 1.0) -> None:
        """Prepares a manager; `start` loads.

        Args:
            model: What to serve.
            poll_seconds: Time between two looks at the folder, s (TensorFlow Serving's default is 1 s).
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
        """Loads the versions asked for and begins to watch the folder.

        Raises:
            ServerStartError: No version can be served.
        """
        self._refresh()
        if not self._served:
            raise ServerStartError(self._nothing_to_serve())
        self._poller.start()

    def stop(self) -> None:
        """Stops watching; requests that are under way keep their model."""
        self._stopping.set()
        if self._poller.ident is not None:
            self._poller.join()

    def model(self, name: str, version: int | None = None, label: str = "") -> LoadedModel:
        """Finds the model for a request.

        Args:
            name: Model's name.
            version: Version asked for, ``None`` for the greatest being served.
            label: Version label asked for instead of a version; empty for none.

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
        """Tells the state of every version seen, newest first, or of one.

        Raises:
            StatusError: NOT_FOUND for another name or a version never seen.
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
        """Follows another policy and other labels from now on, and returns when its versions are loaded.

        Args:
            policy: Versions to serve.
            labels: Version by label; the labels of before are forgotten. As in TensorFlow Serving a label that
                exists moves only to a version that is served already.

        Raises:
            StatusError: NOT_FOUND where a version is absent, FAILED_PRECONDITION where one does not load or a
                label cannot move; what was served stays.
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
            except Exception as error:  # a passing fault of the file system must not end the watch
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
            if self._failed.get(version) != seen:  # else nothing was written since it failed
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
        gc.collect()  # a loaded model is held by reference cycles: free its memory now, not some time

    def _set(self, status: VersionStatus) -> None:
        self._status = {**self._status, status.version: status}

    def _nothing_to_serve(self) -> str:
        if not self.model_dir.is_dir():
            return f"{self.model_dir} is no folder: give the folder the Pusher writes to, or a SavedModel."
        failed = [status.version for status in self._status.values() if status.state == "END"]
        if failed:
            return (
                f"Version {max(failed)} in {self.model_dir} cannot be loaded (reason in the log): "
                "push the model again or remove that version."
            )
        if present := sorted(find_versions(self.model_dir)):
            return (
                f"{self.model_dir} holds version {present[-1]} but none of those asked for "
                f"({', '.join(map(str, self._policy.versions))}): correct the version policy."
            )
        return (
            f"{self.model_dir} holds no model (no saved_model.pb in it or in a folder named by a number): "
            "run the pipeline until its Pusher has blessed and pushed one."
        )
