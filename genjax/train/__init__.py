"""Step, loop, optimizers, initialisation: what changes parameters, and nothing else."""
