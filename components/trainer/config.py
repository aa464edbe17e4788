"""Configuration of the network and of its training."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from components.transform.config import ImageConfig


class NetworkConfig(BaseModel):
    """The residual network of Lizzi et al., Applied Sciences 12(1):148, 2022.

    Attributes:
        width: Factor on every number of filters; 1 is the published network (64 filters in the first layer).
        dropout: Rate of the dropout before global pooling; 0.2 in "ResNet3", 0 in "ResNet1" and "ResNet2".
        batch_norm_momentum: Momentum of the moving statistics; short trainings need less than Keras' 0.99.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: float = Field(1.0, gt=0, le=4)
    dropout: float = Field(0.2, ge=0, lt=1)
    batch_norm_momentum: float = Field(0.99, gt=0, lt=1)


class AugmentationConfig(BaseModel):
    """Random geometry, drawn anew for every image of every epoch.

    Attributes:
        zoom: Largest relative change of scale.
        shift: Largest shift in each axis, as a fraction of the side.
        rotation_degrees: Largest rotation, degrees.
        horizontal_flip: Mirror half of the images. Off: a flip makes another projection.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    zoom: float = Field(0.2, ge=0, lt=1)
    shift: float = Field(0.2, ge=0, lt=1)
    rotation_degrees: float = Field(10.0, ge=0, le=180)
    horizontal_flip: bool = False


class TrainConfig(BaseModel):
    """How the network of one view is trained.

    Attributes:
        image: The network's input.
        network: The network.
        augmentation: Random geometry.
        optimizer: ``sgd`` as published, or ``adam``.
        learning_rate: First learning rate.
        momentum: Momentum of ``sgd``; the published script ran without.
        schedule: ``plateau`` as published, ``cosine`` (to zero over the epochs, after one epoch of warm-up), or
            ``constant``.
        plateau_factor: Factor on the learning rate when the validation loss stands still.
        plateau_patience: Epochs to wait before that.
        minimum_learning_rate: The plateau schedule's floor.
        label_smoothing: Share of the label given to the other classes.
        batch_size: Images a step, over all workers.
        epochs: Passes over the training split.
        class_weights: ``balanced`` weighs each class by the inverse of its frequency, ``none`` does not.
        cache_images: Keep decoded images in memory between epochs; for small sets only.
        strategy: ``default`` (one device) or ``mirrored`` (all GPUs of the machine).
        seed: Seed of weights, shuffling and augmentation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: ImageConfig = ImageConfig()
    network: NetworkConfig = NetworkConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = Field(0.01, gt=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    schedule: Literal["plateau", "cosine", "constant"] = "plateau"
    plateau_factor: float = Field(0.1, gt=0, lt=1)
    plateau_patience: int = Field(15, ge=1)
    minimum_learning_rate: float = Field(0.001, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    batch_size: int = Field(4, ge=1)
    epochs: int = Field(100, ge=1)
    class_weights: Literal["none", "balanced"] = "none"
    cache_images: bool = False
    strategy: Literal["default", "mirrored"] = "default"
    seed: int = 1
