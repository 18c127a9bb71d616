"""What tests and benchmarks share: weights files with random weights, and faults planted in a face table."""
