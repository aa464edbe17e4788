"""Configuration of the network and of its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from components.transform.config import Head, ImageConfig
from schema import features as f


class NetworkConfig(BaseModel):
    """The residual network of Lizzi et al., Applied Sciences 12(1):148, 2022.

    Attributes:
        width: Factor on every number of filters; 1 is the published network (64 filters in the first layer).
        blocks: Residual blocks per stage; 3 is the published network (41 layers).
        dropout: Rate of the dropout before global pooling; 0.2 in "ResNet3", 0 in "ResNet1" and "ResNet2".
        batch_norm_momentum: Momentum of the moving statistics; short trainings need less than Keras' 0.99.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: float = Field(1.0, gt=0, le=4)
    blocks: int = Field(3, ge=1, le=12)
    dropout: float = Field(0.2, ge=0, lt=1)
    batch_norm_momentum: float = Field(0.99, gt=0, lt=1)


class AugmentationConfig(BaseModel):
    """Random geometric changes, new for every image in every epoch.

    Attributes:
        zoom: Largest relative change of scale.
        shift: Largest shift in each axis, as a fraction of the side.
        rotation_degrees: Largest rotation, degrees.
        horizontal_flip: Mirror half of the images. Off by default, because a flip makes another projection.
        zoom_axes: ``together`` keeps the proportions of the breast; ``apart`` draws one zoom per axis, as published
            (``zoom_range`` of Keras).
        fill: Fill of pixels from outside the image: ``background`` (0), or the ``nearest`` pixel of the edge, as in
            Keras.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    zoom: float = Field(0.2, ge=0, lt=1)
    shift: float = Field(0.2, ge=0, lt=1)
    rotation_degrees: float = Field(10.0, ge=0, le=180)
    horizontal_flip: bool = False
    zoom_axes: Literal["together", "apart"] = "together"
    fill: Literal["background", "nearest"] = "background"


class TrainConfig(BaseModel):
    """Configuration of a training.

    Attributes:
        image: Input of the network.
        network: The network.
        augmentation: Random geometric changes.
        sides: ``separate`` trains one network per view, as published. ``mirrored`` trains one for CC and one for MLO:
            images of the right breast are mirrored, so that each network sees both sides. ``one`` trains one network
            for all four views, mirrored in the same way.
        head: ``softmax`` as published: one logit per class. ``cumulative`` is ordinal: three logits, of P(y > A),
            P(y > B) and P(y > C), trained with the sum of their binary cross-entropies; class probabilities are the
            differences. It needs ``loss: cross_entropy``.
        loss: ``cross_entropy`` as published; ``soft_ordinal``, which smooths labels only to the neighbouring classes;
            or ``squared_emd``, the squared earth mover's distance.
        optimizer: ``sgd`` as published, or ``adam``.
        learning_rate: Initial learning rate.
        momentum: Momentum of ``sgd``; the published script used none.
        nesterov: Use Nesterov momentum, for ``sgd``.
        decay: For ``sgd``: each step divides the learning rate by 1 + decay * steps, as ``decay`` of older Keras does.
        weight_decay: Decoupled weight decay of the kernels, times the learning rate; 0 for none.
        ema_decay: Evaluate and keep an exponential moving average of the weights, with this weight of the past; 0 for
            none.
        schedule: ``plateau`` as published, ``cosine`` (to zero over the epochs, after a warm-up), or ``constant``.
        warmup_epochs: Epochs in which ``cosine`` rises from a tenth of the learning rate.
        plateau_factor: Factor on the learning rate if the validation loss does not fall.
        plateau_patience: Number of epochs without a lower loss before this factor is applied.
        minimum_learning_rate: Lower limit of the learning rate of ``plateau``.
        label_smoothing: Share of the label that is moved to other classes. With a cumulative head, the share of each
            threshold's target that is replaced by 1/2.
        batch_size: Images per step, over all workers.
        epochs: Passes over the training split.
        keep: The epoch whose weights are kept. ``best`` has the highest accuracy on the eval split, then the lowest
            loss; on few exams that is mostly chance. ``last`` suits a schedule that ends low, such as ``cosine``.
        class_weights: ``balanced`` weights each class by the inverse of its frequency, ``none`` does not.
        cache_images: Keep decoded images in memory between epochs; only for small data sets.
        strategy: ``default`` (one device), ``mirrored`` (all GPUs of the machine) or ``multi_worker`` (the machines of
            TF_CONFIG).
        precision: ``mixed_float16`` and ``mixed_bfloat16`` compute in half precision and keep weights in single
            precision; ``auto`` is ``mixed_float16`` on GPUs with tensor cores, else ``float32``.
        xla: Compile the training step with XLA; ``auto`` does so on one GPU.
        warm_start: ``latest`` starts from the networks of the model that was pushed last, if there is one;
            ``reference`` from the network of the reference model that comes with the software.
        seed: Seed of weights, shuffling and augmentation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: ImageConfig = ImageConfig()
    network: NetworkConfig = NetworkConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    sides: Literal["separate", "mirrored", "one"] = "separate"
    head: Head = "softmax"
    loss: Literal["cross_entropy", "soft_ordinal", "squared_emd"] = "cross_entropy"
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = Field(0.01, gt=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    nesterov: bool = False
    decay: float = Field(0.0, ge=0)
    weight_decay: float = Field(0.0, ge=0, lt=1)
    ema_decay: float = Field(0.0, ge=0, lt=1)
    schedule: Literal["plateau", "cosine", "constant"] = "plateau"
    warmup_epochs: float = Field(1.0, ge=0)
    plateau_factor: float = Field(0.1, gt=0, lt=1)
    plateau_patience: int = Field(15, ge=1)
    minimum_learning_rate: float = Field(0.001, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    batch_size: int = Field(4, ge=1)
    epochs: int = Field(100, ge=1)
    keep: Literal["best", "last"] = "best"
    class_weights: Literal["none", "balanced"] = "none"
    cache_images: bool = False
    strategy: Literal["default", "mirrored", "multi_worker"] = "default"
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"
    xla: Literal["auto", "on", "off"] = "auto"
    warm_start: Literal["none", "latest", "reference"] = "none"
    seed: int = 1

    @model_validator(mode="after")
    def _one_replica_for_xla(self) -> TrainConfig:
        if self.xla == "on" and self.strategy != "default":
            raise ValueError(f"xla on needs strategy default, one device. Received: strategy={self.strategy}")
        return self

    @model_validator(mode="after")
    def _own_loss_of_the_head(self) -> TrainConfig:
        if self.head == "cumulative" and self.loss != "cross_entropy":
            raise ValueError(
                "head cumulative is trained with binary cross-entropies and needs loss cross_entropy. Received:"
                f" loss={self.loss}"
            )
        return self

    @property
    def mirrors_right(self) -> bool:
        """True if the networks see images of right breasts mirrored."""
        return self.sides != "separate"

    @property
    def views_by_network(self) -> dict[str, tuple[str, ...]]:
        """Views of each network, by its name.

        ``CC_R``, ... if sides are separate, ``CC`` and ``MLO`` if they are mirrored, ``ALL`` if there is one network.
        """
        if self.sides == "separate":
            return {view: (view,) for view in f.VIEWS}
        if self.sides == "one":
            return {"ALL": f.VIEWS}
        projections = dict.fromkeys(f.projection_of(view) for view in f.VIEWS)
        return {name: tuple(view for view in f.VIEWS if f.projection_of(view) == name) for name in projections}


def with_hyperparameters(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """Return a configuration with other hyperparameters.

    Args:
        config: The configuration.
        values: New values by dotted key, such as ``network.dropout``.

    Returns:
        The configuration with these values, validated.

    Raises:
        ValueError: A key does not exist, or its value is not allowed.
    """
    changed = config.model_dump()
    for key, value in values.items():
        node = changed
        model: type[BaseModel] = TrainConfig
        *parents, last = key.split(".")
        for parent in parents:
            inner = model.model_fields[parent].annotation if parent in model.model_fields else None
            if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
                raise ValueError(f"there is no trainer.{key}: {parent} has no keys inside")
            node, model = node[parent], inner
        if last not in model.model_fields:
            raise ValueError(f"there is no trainer.{key}; known are {', '.join(model.model_fields)}")
        node[last] = value
    try:
        return TrainConfig.model_validate(changed)
    except ValidationError as error:
        found = error.errors()[0]
        key = ".".join(map(str, found["loc"]))
        raise ValueError(f"trainer.{key} cannot be {found['input']!r}: {found['msg']}") from error
