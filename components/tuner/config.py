"""Configuration of the Tuner node."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RangeConfig(BaseModel):
    """Allowed values of a hyperparameter: an interval, or a list.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Sample uniformly on the logarithmic scale.
        values: List of values, instead of an interval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float | None = None
    high: float | None = None
    log: bool = False
    values: tuple[int | float | str, ...] = ()

    @model_validator(mode="after")
    def _interval_or_list(self) -> RangeConfig:
        if self.values:
            if self.low is None and self.high is None and len({type(value) for value in self.values}) == 1:
                return self
        elif self.low is not None and self.high is not None and self.low < self.high and (self.low > 0 or not self.log):
            return self
        raise ValueError(
            "give low and high (low below high, and above 0 if log is on), or values of one type."
            f" Received: low={self.low}, high={self.high}, log={self.log}, values={self.values}"
        )

    @property
    def example(self) -> Any:
        """One value of the range."""
        return self.values[0] if self.values else self.low


_SPACE: Final = {
    "learning_rate": RangeConfig(low=3e-4, high=1e-2, log=True),
    "weight_decay": RangeConfig(low=1e-4, high=1e-1, log=True),
    "network.dropout": RangeConfig(low=0.0, high=0.5),
}


class TunerConfig(BaseModel):
    """Configuration of the search for hyperparameters.

    Each trial trains the first network. All networks use the hyperparameters of the trial with the lowest validation
    loss.

    Attributes:
        enabled: Run the node.
        trials: Number of trainings.
        epochs: Epochs per training.
        search: ``random``, or ``bayesian``: a Gaussian process proposes the next values.
        space: Ranges of keys below ``trainer``, such as ``learning_rate`` or ``network.dropout``.
        seed: Seed of the search.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = False
    trials: int = Field(10, ge=1, le=1000)
    epochs: int = Field(10, ge=1)
    search: str = Field("bayesian", pattern="^(random|bayesian)$")
    space: dict[str, RangeConfig] = Field(default=_SPACE, min_length=1)
    seed: int = 1
