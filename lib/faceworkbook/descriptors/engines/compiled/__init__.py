"""What the engines of own kernels share: vector registers, matrix products, and the ends of an ONNX graph."""
