"""Topologies and compiled programs: what can be known of a pod before there is one."""
