"""What is learned on descriptors: targets out of the face table, dense nets, the logistic reference."""
