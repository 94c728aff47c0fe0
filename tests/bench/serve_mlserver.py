"""A model for MLServer with ONNX Runtime, written as its documentation says. It runs in MLServer's environment."""

from __future__ import annotations

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri


class OnnxModel(MLModel):
    """One session for each model."""

    async def load(self) -> bool:
        """Open the graph named in the settings."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = await get_model_uri(self._settings)
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request."""
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype("float32", copy=False)
        names = ("log_return", "raw_log_return")
        results = self._session.run(names, {"features": rows})
        outputs = [NumpyCodec.encode_output(name, values) for name, values in zip(names, results, strict=True)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
