"""How `scenarios.triplets` reads a table: columns, cells, domains, splits, galleries."""
