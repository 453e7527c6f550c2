"""Shape inference: cells, constraints solved both ways, and the typed uses of modules that lowering walks."""
