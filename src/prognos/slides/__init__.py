"""From a slide file to patches: pixels, resolution, tissue, grid, encoders and the feature file."""
