"""A graph of ONNX in float16, with what overflows or loses too much there in float32."""

import onnx
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

_IN_FLOAT32 = ("Softmax", "LayerNormalization", "ReduceMean", "ReduceMax", "Pow", "Sqrt", "Exp")


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert weights and products; inputs, outputs, norms, softmax and the attention of groups stay in float32."""
    attention_of_groups = [node.name for node in model.graph.node if node.name.rpartition("/")[0].endswith("grouping")]
    half: onnx.ModelProto = convert_float_to_float16(
        model,
        keep_io_types=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_IN_FLOAT32],
        node_block_list=attention_of_groups,
    )
    del half.graph.value_info[:]  # types of before
    return half
