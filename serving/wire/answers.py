"""``PredictResponse`` from arrays and to arrays, past protobuf's maps.

TensorFlow's messages are dynamic ones to Python's C++ protobuf: putting a TensorProto into a map, or taking it out,
copies it number by number, 20 ms each way for the four heat maps of 450 x 450 pixels. On the wire a map is a repeated
message of key and value (protobuf's language guide, "Backwards compatibility" of maps), so a message that keeps the
values as bytes writes and reads the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from google.protobuf import descriptor_pb2, text_format
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import model_pb2

from serving.wire.dynamic_messages import message_class
from serving.wire.tensors import to_array, to_proto

_DECLARATION = """
name: "breast_density/answers.proto" package: "breast_density" syntax: "proto3"
message_type {
  name: "Output"
  field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_BYTES }
}
message_type {
  name: "Answer"
  field { name: "outputs" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".breast_density.Output" }
  field { name: "model_spec" number: 2 label: LABEL_OPTIONAL type: TYPE_BYTES }
}
"""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model answered.

    Attributes:
        outputs: Array by output name; strings are object arrays of bytes.
        version: Version of the model.
    """

    outputs: dict[str, np.ndarray]
    version: int


class AnswerCodec:
    """Writes and reads answers. Threads may share it."""

    def __init__(self) -> None:
        file = text_format.Parse(_DECLARATION, descriptor_pb2.FileDescriptorProto())
        self._message = message_class(file, "breast_density.Answer")

    def write(self, outputs: Mapping[str, np.ndarray], spec: model_pb2.ModelSpec) -> bytes:
        """Makes a serialized ``PredictResponse``; ``spec`` says which model and signature gave the outputs."""
        message = self._message(model_spec=spec.SerializeToString())
        for name, array in outputs.items():
            message.outputs.add(key=name, value=to_proto(array).SerializeToString())
        return bytes(message.SerializeToString())

    def read(self, data: bytes) -> Answer:
        """Reads a serialized ``PredictResponse``.

        Raises:
            StatusError: A tensor is damaged.
            google.protobuf.message.DecodeError: These are no bytes of such a message.
        """
        message = self._message.FromString(data)
        outputs = {
            output.key: to_array(output.key, tensor_pb2.TensorProto.FromString(output.value))
            for output in message.outputs
        }
        return Answer(outputs, model_pb2.ModelSpec.FromString(message.model_spec).version.value)
