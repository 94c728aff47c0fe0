"""Trained Ludwig modules as ONNX graphs."""
