"""Hosts, preemption, shards, checkpoints: what many machines and their faults ask for."""
