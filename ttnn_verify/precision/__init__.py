"""What precision a model can afford: sensitivities, and a search, without touching its code."""
