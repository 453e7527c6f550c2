"""Training: optimizers, the compiled step, experiments, the run loop, checkpoints, sampling.

:mod:`graphspec.training.experiment` is the door; nothing is imported here, because specs need the optimizers' names long before.
"""
