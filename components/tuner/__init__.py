"""The optional Tuner node: KerasTuner searches hyperparameters, which the Trainers then use."""
