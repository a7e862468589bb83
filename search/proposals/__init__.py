"""What to evaluate next: variation and selection of genomes, surrogates, and the strategies built of them."""
