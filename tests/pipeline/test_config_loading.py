"""Configurations: what is loaded, what is refused, and what the message says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from components.common.location import Uri
from components.trainer.config import NetworkConfig
from pipeline.config import (
    CONFIG_FOLDER,
    ConfigError,
    DataConfig,
    PipelineConfig,
    find_config,
    load_config,
    to_yaml,
)


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text("pipeline: {name: mine}\n", encoding="utf-8")
    return path


PACKAGED = sorted(path.stem for path in CONFIG_FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_configurations_load(name: str) -> None:
    config = load_config(find_config(name))
    assert config.pipeline.preprocess.output_size == config.pipeline.trainer.image.size
    assert config.data is None


@pytest.mark.parametrize(
    ("name", "size", "channels", "dropout", "momentum"),
    [
        ("thesis_resnet1", 450, 1, 0.0, 0.0),
        ("thesis_resnet2", 450, 3, 0.0, 0.0),
        ("thesis_resnet3", 450, 1, 0.2, 0.0),
        ("thesis_script", 650, 3, 0.2, 0.0),
        ("thesis_script_defined_sgd", 650, 3, 0.2, 0.9),
    ],
)
def test_the_thesis_networks_are_as_published(
    name: str, size: int, channels: int, dropout: float, momentum: float
) -> None:
    trainer = load_config(find_config(name)).pipeline.trainer
    assert (trainer.image.size, trainer.image.channels, trainer.network.dropout) == (size, channels, dropout)
    assert (trainer.network.width, trainer.sides) == (1.0, "separate")
    assert (trainer.loss, trainer.class_weights, trainer.label_smoothing) == ("cross_entropy", "none", 0.0)
    assert (trainer.optimizer, trainer.momentum, trainer.weight_decay, trainer.ema_decay) == ("sgd", momentum, 0, 0)
    assert (trainer.schedule, trainer.plateau_factor, trainer.plateau_patience) == ("plateau", 0.1, 15)
    assert (trainer.minimum_learning_rate, trainer.batch_size, trainer.epochs) == (0.001, 4, 100)
    moved = trainer.augmentation
    assert (moved.zoom, moved.shift, moved.rotation_degrees, moved.horizontal_flip) == (0.2, 0.2, 10.0, False)


def test_the_optimiser_that_the_public_script_defines_and_the_one_it_uses() -> None:
    used, defined = (load_config(find_config(f"thesis_script{name}")).pipeline.trainer for name in ("", "_defined_sgd"))
    assert (used.learning_rate, used.decay, used.nesterov) == (0.01, 0.0, False)
    assert (defined.learning_rate, defined.decay, defined.nesterov) == (0.1, 0.1, True)


def test_a_configuration_lies_over_its_base(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("base: other\npipeline: {trainer: {network: {width: 0.5}}}\n", encoding="utf-8")
    (tmp_path / "other.yaml").write_text("base: thesis_resnet2\npipeline: {name: mine}\noutput: x\n", encoding="utf-8")
    config = load_config(tmp_path / "own.yaml", ["pipeline.trainer.epochs=3"])
    assert (config.pipeline.name, config.output) == ("mine", Path("x"))
    assert config.pipeline.trainer.network == NetworkConfig(width=0.5, dropout=0.0)
    assert (config.pipeline.trainer.image.channels, config.pipeline.trainer.epochs) == (3, 3)


@pytest.mark.parametrize(
    ("base", "says"),
    [
        ("own", "not based on this one"),
        ("loop", "not based on this one"),
        ("nowhere", "The configuration nowhere does not exist"),
    ],
)
def test_a_base_that_cannot_be_used_is_explained(tmp_path: Path, base: str, says: str) -> None:
    (tmp_path / "own.yaml").write_text(f"base: {base}\n", encoding="utf-8")
    (tmp_path / "loop.yaml").write_text("base: own\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        load_config(tmp_path / "own.yaml")


def test_a_configuration_is_found_by_path_or_by_name(minimal: Path) -> None:
    assert find_config(str(minimal)) == minimal
    assert find_config("demo").name == "demo.yaml"


def test_an_absent_configuration_lists_those_there_are() -> None:
    with pytest.raises(ConfigError) as raised:
        find_config("demmo")
    text = str(raised.value)
    assert text.startswith("The configuration demmo does not exist: give a YAML file, or one of demo, ")
    assert text.endswith(f"{PACKAGED[-1]}.")


def test_overrides_have_yaml_values(minimal: Path) -> None:
    config = load_config(
        minimal,
        [
            "pipeline.trainer.epochs=3",
            "pipeline.ingest.splits={train: 0.5, eval: 0.2, test: 0.3}",
            "pipeline.evaluator.minimum_exam_accuracy=null",
            "data.manifest=some/manifest.csv",
            "pipeline.name=other",
        ],
    )
    assert config.pipeline.trainer.epochs == 3
    assert config.pipeline.ingest.splits.test == 0.3
    assert config.pipeline.evaluator.minimum_exam_accuracy is None
    assert config.data is not None
    assert config.data.manifest == Path("some/manifest.csv")
    assert config.pipeline.name == "other"


def test_a_later_override_wins(minimal: Path) -> None:
    config = load_config(minimal, ["pipeline.trainer.epochs=3", "pipeline.trainer.epochs=4"])
    assert config.pipeline.trainer.epochs == 4


# Override, key that the message must name, what else it must say.
REFUSED = [
    ("pipeline.trainer.epoch=3", "pipeline.trainer.epoch", "unknown key; allowed: image, network, augmentation"),
    ("pipline.name=x", "pipline", "unknown key; allowed: pipeline, data, output, runner, "),
    ("phantoms.exam=9", "phantoms.exam", "allowed: exams, seed, distribution, reduction"),
    ("runner.workers=-1", "runner.workers", "greater than or equal to 0. Received: -1"),
    ("runner.workers=many", "runner.workers", "Received: 'many'"),
    ("pipeline.trainer.optimizer=lion", "pipeline.trainer.optimizer", "'sgd' or 'adam'. Received: 'lion'"),
    ("pipeline.trainer.epochs=2.5", "pipeline.trainer.epochs", "Received: 2.5"),
    ("pipeline.trainer.learning_rate=0", "pipeline.trainer.learning_rate", "greater than 0. Received: 0"),
    ("pipeline.preprocess.method=magic", "pipeline.preprocess.method", "'auto', 'thesis' or 'none'. Received: 'magic'"),
    ("pipeline.preprocess.output_size=31", "pipeline.preprocess.output_size", "greater than or equal to 32"),
    ("pipeline.preprocess.output_size=96", "pipeline", "must be equal"),
    ("pipeline.ingest.splits={train: 0.9}", "pipeline.ingest.splits", "must sum to 1. Received: train=0.9"),
    ("pipeline.tuner.space={depth: {low: 1, high: 2}}", "pipeline", "there is no trainer.depth; known are image"),
    ("pipeline.tuner.space={sides: {values: [one]}}", "pipeline", "cannot have sides: they decide which Trainers"),
    ("pipeline.trainer={head: cumulative, loss: squared_emd}", "pipeline.trainer", "needs loss cross_entropy"),
    ("pipeline.name=Two Words", "pipeline.name", "Received: 'Two Words'"),
    ("phantoms.distribution=normal", "phantoms.distribution", "'AOUP', 'BIRADS' or 'uniform'. Received: 'normal'"),
    ("data={folder: here}", "data", "give either data.folder and data.labels, or data.manifest"),
    ("data={folder: here, labels: l.csv, manifest: m.csv}", "data", "give either"),
]


@pytest.mark.parametrize(("override", "key", "says"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_refusal_names_the_key_and_what_is_allowed(minimal: Path, override: str, key: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(minimal, [override])
    text = str(raised.value)
    assert text.startswith(f"{minimal}: {key}: ")
    assert says in text
    assert "\n" not in text
    assert ".." not in text.replace(str(minimal), "")
    assert "pydantic" not in text


def test_every_fault_is_named_at_once(minimal: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(minimal, ["runner.workers=-1", "pipeline.trainer.epochs=0"])
    assert "runner.workers: " in str(raised.value)
    assert "pipeline.trainer.epochs: " in str(raised.value)
    assert str(raised.value).count("Received") == 2


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("pipeline.trainer.epochs", "An override is KEY=VALUE"),
        ("=3", "An override is KEY=VALUE"),
        ("pipeline.name.first=x", "name is a value and has no keys inside"),
        ("pipeline.trainer=[", "this is not YAML"),
    ],
)
def test_a_malformed_override_is_explained(minimal: Path, override: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config(minimal, [override])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n- b\n", "a configuration is a YAML mapping. Received: list"),
        ("", "a configuration is a YAML mapping. Received: NoneType"),
        ("a: [1,\n", "this is not YAML"),
    ],
)
def test_a_file_that_is_no_configuration_is_explained(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    assert says in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: it cannot be read: No such file"):
        load_config(tmp_path / "gone.yaml")


def test_a_file_that_is_no_text_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01pipeline")
    with pytest.raises(ConfigError, match=r"binary\.yaml"):
        load_config(path)


@given(st.text(max_size=40) | st.text(max_size=40).map("pipeline.name={}".format))
@example("a=2020-13-45")
@example("output=\0")
def test_any_override_gives_a_configuration_or_a_configuration_error(text: str) -> None:
    message = ""
    try:
        load_config(find_config("demo"), [text])
    except ConfigError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1


def test_the_recipe_is_of_the_same_numbers() -> None:
    config = load_config(find_config("demo")).pipeline
    recipe = config.recipe
    assert (recipe.longest_side, recipe.preprocess) == (640, config.preprocess)


def test_the_yaml_of_a_configuration_reads_back_equal_and_has_no_path() -> None:
    config = load_config(find_config("demo"), ["output=/somewhere/else"]).pipeline
    text = to_yaml(config)
    assert PipelineConfig.model_validate(yaml.safe_load(text)) == config
    assert "/somewhere" not in text


def test_absent_places_are_named_but_for_patterns_and_uris(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").touch()
    data = DataConfig(folder=tmp_path / "images", labels=tmp_path / "labels.csv")
    assert data.absent() == [str(tmp_path / "images")]
    assert DataConfig(folder=tmp_path / "{SPAN}", labels=Uri("gs://bucket/labels.csv")).absent() == []
