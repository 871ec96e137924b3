"""Arrays in, arrays out: paths, samplers, MCMC, transport, derivatives, f-divergences."""
