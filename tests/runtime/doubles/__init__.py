# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for CUDA and TensorRT, strict where a GPU would only misbehave.

`world`: device memory that is no host memory, streams that do nothing until somebody waits, events, graphs.
`cudart`, `driver`: NVIDIA's Python bindings over it: same names, same tuples, the real enumerations.
`trt`: TensorRT over it; its plans hold an ONNX graph, and its kernels are ONNX Runtime's.
"""
