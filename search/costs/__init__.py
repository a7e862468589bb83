"""What networks cost: operators as functions of genes, compiled sums, exact extremes, memory."""
