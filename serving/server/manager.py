"""Which version is served: finds versions, loads the newest, swaps without dropping a request."""

from __future__ import annotations

import gc
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import grpc

from serving.server.errors import (
    ModelLoadError,
    ServerStartError,
    StatusError,
    invalid_argument,
    not_found,
)
from serving.server.model import LoadedModel
from serving.server.versions import Fingerprint, find_versions, fingerprint
from serving.server.warmup import warm_up

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
    """Serves the newest version under a folder (or a pinned one) and watches the folder for others.

    A request takes the model object and keeps it until it is answered, so a swap never takes the model away
    from under it; the old version's memory is freed when its last request ends.

    Attributes:
        model_dir: Folder of version folders, or a SavedModel itself.
        name: Name the model is served under.
    """

    def __init__(self, model_dir: Path, name: str, poll_seconds: float = 1.0) -> None:
        """Prepares a manager; `start` loads.

        Args:
            model_dir: Folder of version folders, or a SavedModel itself.
            name: Name the model is served under.
            poll_seconds: Time between two looks at the folder, s (TensorFlow Serving's default is 1 s).
        """
        self.model_dir = model_dir
        self.name = name
        self._poll_seconds = poll_seconds
        self._pinned: int | None = None
        self._served: LoadedModel | None = None
        self._status: dict[int, VersionStatus] = {}
        self._failed: dict[int, Fingerprint] = {}
        self._refresh_lock = threading.Lock()
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="model-versions", daemon=True)

    def start(self) -> None:
        """Loads the newest version and begins to watch the folder.

        Raises:
            ServerStartError: No version can be served.
        """
        self._refresh()
        if self._served is None:
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
            version: Version asked for, ``None`` for the one being served.
            label: Version label; this server has none.

        Raises:
            StatusError: NOT_FOUND for another name or version, INVALID_ARGUMENT for no name or a label.
        """
        if not name:
            raise invalid_argument("ModelSpec has no name specified.")
        if label:
            raise invalid_argument(f"Unrecognized servable version label: {label}")
        served = self._served
        if served is None or name != self.name or version not in (None, served.version):
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise not_found(f"Servable not found for request: {asked}")
        return served

    def status(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """Tells the state of every version seen, newest first, or of one.

        Raises:
            StatusError: NOT_FOUND for another name or a version never seen.
        """
        known = dict(self._status) if name == self.name else {}
        if version is None:
            if not known:
                raise not_found(f"Could not find any versions of model {name}")
            return [known[number] for number in sorted(known, reverse=True)]
        if version not in known:
            raise not_found(f"Could not find version {version} of model {name}")
        return [known[version]]

    def pin(self, version: int | None) -> None:
        """Serves one version from now on, or the newest again, and returns when it is loaded.

        Args:
            version: Version number, ``None`` for the newest.

        Raises:
            StatusError: NOT_FOUND where it is absent, FAILED_PRECONDITION where it does not load; what was
                served stays.
        """
        before, self._pinned = self._pinned, version
        self._refresh()
        if version is None or (self._served is not None and self._served.version == version):
            return
        self._pinned = before
        status = self._status.get(version)
        if status is None:
            raise not_found(f"Could not find version {version} of model {self.name}")
        raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, status.message)

    def _poll(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self._refresh()
            except Exception as error:  # a passing fault of the file system must not end the watch
                _log.warning("Looking for versions of %s failed: %s", self.name, type(error).__name__)

    def _refresh(self) -> None:
        with self._refresh_lock:
            folders = find_versions(self.model_dir)
            wanted = max(folders, default=None) if self._pinned is None else self._pinned
            served = self._served
            if wanted is None or wanted not in folders or (served is not None and served.version == wanted):
                return
            seen = fingerprint(folders[wanted])
            if self._failed.get(wanted) == seen:
                return  # nothing was written since it failed
            self._load(folders[wanted], wanted, seen)

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
        old, self._served = self._served, loaded
        self._set(VersionStatus(version, "AVAILABLE"))
        _log.info("Serving %s version %d", self.name, version)
        if old is not None:
            self._set(VersionStatus(old.version, "END"))
            del old
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
        return (
            f"{self.model_dir} holds no model (no saved_model.pb in it or in a folder named by a number): "
            "run the pipeline until its Pusher has blessed and pushed one."
        )
