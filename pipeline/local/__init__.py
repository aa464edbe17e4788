"""Run the pipeline on this machine: the runner, the command ``run``, the demo."""
