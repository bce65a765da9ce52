"""From the pattern of a mismatch to its probable cause: one module per kind of pattern, and the order of tensors."""
