"""What becomes of ONNX operators: one rule an operator, one file a family."""
