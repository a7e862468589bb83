"""What ``litepose doctor`` looks at: checks that give findings, and import nothing that may be broken."""
