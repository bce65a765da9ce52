"""Cases that tests and benchmarks share: gradients with one mistake, correct ones that fool checkers, known facts."""
