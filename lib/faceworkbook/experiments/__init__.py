"""What trains in order to measure: learning curves, corruptions, other data sets, mitigation, strategies."""
