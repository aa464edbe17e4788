"""Small stand-ins for trained networks, and their export, that tests of several folders share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tests.sharing import once
from tests.waiting import PATIENCE

# The same tree gives the same verdict on every machine, however slow; `HYPOTHESIS_PROFILE=explore` draws new examples
# each time.
settings.register_profile("fixed", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", settings.get_profile("fixed"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

SIZE = 64
CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MADE_SLOWLY = frozenset({"small_data_set", "exam_networks", "chromium", "database", "running_pacs"})
PREPROCESSING = '{"longest_side": 512}'


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Scales pytest-timeout's limit as all others."""
    if config.option.timeout is None and "PYTEST_TIMEOUT" not in os.environ:
        config.option.timeout = float(config.getini("timeout")) * PATIENCE


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as slow what needs something that takes seconds to make, and puts the longest tests first.

    So no process is left alone with them at the end.
    """
    for item in items:
        if not MADE_SLOWLY.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.parent.name != "e2e", item.path not in slow))


@pytest.fixture(scope="session")
def texture_png() -> Callable[..., bytes]:
    """Makes an 8-bit PNG of smooth noise on the left three quarters and background on the right."""

    def make(seed: int, size: int = SIZE) -> bytes:
        noise = np.random.default_rng(seed).integers(1, 256, (size // 8, size // 8)).astype(np.uint8)
        image = np.maximum(cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR), 1)
        image[:, size * 3 // 4 :] = 0
        ok, encoded = cv2.imencode(".png", image)
        assert ok
        return encoded.tobytes()

    return make


@pytest.fixture
def here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``breast-density`` in this process: what a start costs is not paid for each."""
    from pipeline.cli import main

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["breast-density", *map(str, arguments)])
        monkeypatch.delenv("BREAST_DENSITY_DEBUG", raising=False)
        monkeypatch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, int(ended.value.code or 0), said.out, said.err)

    return call


@pytest.fixture(scope="session")
def exam_networks() -> dict[str, Any]:
    """Four networks built like the real one (features, then head), with two convolutions and random weights."""
    import keras

    from components.trainer.config import NetworkConfig
    from components.trainer.network import build_head
    from schema.features import VIEWS

    networks = {}
    for number, view in enumerate(VIEWS):
        keras.utils.set_random_seed(number)
        inputs = keras.Input((SIZE, SIZE, 1))
        x = keras.layers.Conv2D(6, 5, 4, padding="same")(inputs)
        # Two layers have the names of those behind the familiarity of a view.
        x = keras.layers.LeakyReLU(0.3, name="conv2_3_add")(keras.layers.BatchNormalization()(x))
        x = keras.layers.Conv2D(8, 3, 8, padding="same", use_bias=False, name="conv3_3_add")(x)
        x = keras.layers.BatchNormalization()(x)
        features = keras.Model(inputs, x, name="features")
        head = build_head(features, NetworkConfig(dropout=0.2), seed=number)
        outer = keras.Input((SIZE, SIZE, 1))
        network = keras.Model(outer, head(features(outer)))
        random = np.random.default_rng(number)
        # Moving variances must be positive; the rest may be anything, so that no two weights could be swapped unseen.
        network.set_weights(
            [
                random.uniform(0.5, 2.0, w.shape) if w.ndim == 1 else random.normal(0.0, 1.0, w.shape)
                for w in network.get_weights()
            ]
        )
        networks[view] = network
    return networks


@pytest.fixture(scope="session")
def exported_exam_model(exam_networks: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModel of the four networks with its contract, made as ExamEnsemble makes it: from ``.keras`` files."""
    return once(tmp_path_factory, "exam_model", lambda folder: _export_with_contract(exam_networks, folder))


def _export_with_contract(exam_networks: dict[str, Any], folder: Path) -> Path:
    from components.exam_ensemble.ensemble import load_exam_model
    from components.exam_ensemble.saving import count_exams, save_exam_model
    from components.exam_model.contract import TrainingData
    from components.exam_model.signatures import ExamSettings
    from components.statistics.calibration import fit_calibration
    from components.transform.config import ImageConfig

    files = {view: str(folder / f"{view}.keras") for view in exam_networks}
    for view, network in exam_networks.items():
        network.save(files[view])
    image = ImageConfig(size=SIZE)
    model = load_exam_model(files, image, ExamSettings(PREPROCESSING))
    uncalibrated = fit_calibration(np.zeros((0, 4)), np.zeros(0))
    counts = {split: count_exams([]) for split in ("train", "eval")}
    save_exam_model(model, str(folder / "model"), uncalibrated, TrainingData(origin="random", splits=counts))
    return folder / "model"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's Chromium without a screen, driven by playwright; tests are skipped where there is none.

    Not for the whole session: while playwright runs, nothing else in its thread can start an event loop.
    """
    sync_api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs the program chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Two stand-in SavedModels that answer differently, by bias."""
    from tests.serving.conftest import save_stand_in

    def save(folder: Path) -> dict[int, Path]:
        folders = {bias: folder / str(bias) for bias in (0, 1)}
        for bias, path in folders.items():
            save_stand_in(path, float(bias))
        return folders

    return once(tmp_path_factory, "stand_ins", save)
