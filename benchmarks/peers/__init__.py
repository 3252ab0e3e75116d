"""The tools that notebook pipelines are run with today: how each is installed, and how its users write one
pipeline."""
