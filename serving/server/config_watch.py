"""Follows the model config file, as TensorFlow Serving does with ``--model_config_file_poll_wait_seconds``."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from serving.server.manager import ModelManager
from serving.server.text_protos import read_model_config
from serving.wire.errors import ServerStartError, StatusError

_log = logging.getLogger(__name__)


class ConfigWatch:
    """Reads a model config file again and again, and hands the manager what has changed."""

    def __init__(self, path: Path, manager: ModelManager, poll_seconds: float) -> None:
        """Starts the watch.

        Args:
            path: ModelServerConfig text proto; its base_path is not followed.
            manager: What serves the model.
            poll_seconds: Time between two looks, s.
        """
        self._path = path
        self._manager = manager
        self._poll_seconds = poll_seconds
        self._followed = read_model_config(path, manager.model_dir)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="model-config", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the watch."""
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
                # Tried again at the next look: a label may move once its version is loaded.
                _log.error("The model config file is not followed: %s", error)
