"""ONNX Runtime sessions, batching and the model repository. No torch."""

from contracts.quiet import keep_libraries_quiet

# Before any module here imports ONNX Runtime or MLflow.
keep_libraries_quiet()
