"""What is learned on descriptors: MLPs, multi-task nets, the linear reference."""
