"""ONNX Runtime sessions, batching and the model repository. No torch."""
