"""The search: genomes, their costs and accuracies, evolution, the study, budgets."""
