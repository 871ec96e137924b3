"""Tables of finished runs: which cells there are, running them, reducing seeds, rendering."""
