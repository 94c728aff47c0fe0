"""Models of one architecture in one ONNX Runtime session, with weights as inputs."""
