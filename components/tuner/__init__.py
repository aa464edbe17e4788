"""The optional Tuner node: KerasTuner looks for hyperparameters, with which the Trainers then train."""
