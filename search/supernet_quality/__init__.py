"""What a supernet knows: how well it ranks its subnets, and what each dimension is worth."""
