"""Tables of finished runs: their cells, running these, reducing seeds, rendering."""
