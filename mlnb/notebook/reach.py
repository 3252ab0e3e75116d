def scripts_of(stage): return []
