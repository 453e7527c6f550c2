"""Modules by the names that PyTorch and Keras give them: what an error says to whoever writes ``nn.Conv2d``."""

from __future__ import annotations

import re

from graphspec.graph.record import REGISTRY

ELSEWHERE = {
    # linear layers, tables, arithmetic
    "Dense": "Linear", "EmbeddingBag": "LookupTable, and nn.Sum(1, 2) over the rows of a bag",
    "Concatenate": "JoinTable", "Multiply": "CMulTable", "Subtract": "CSubTable", "Average": "CAveTable",
    "Maximum": "CMaxTable", "Minimum": "CMinTable", "Dot": "DotProduct", "CosineSimilarity": "CosineDistance",
    # shapes
    "Flatten": "View, as `nn.View(4)` for rows of 4 elements", "Unflatten": "View",
    "Permute": "Transpose, a pair of axes for each exchange",
    "RepeatVector": "Replicate", "Input": "Identity, as `nn.Identity{'B', 4}()`", "Model": "gModule, as `nn.gModule({x}, {y})`",
    # convolutions, poolings, borders
    "Conv1d": "TemporalConvolution, of [B, T, n]", "Conv1D": "TemporalConvolution, of [B, T, n]",
    "Conv2d": "SpatialConvolution, width before height", "Conv2D": "SpatialConvolution, width before height, of [B, planes, H, W]",
    "Conv3d": "VolumetricConvolution", "Conv3D": "VolumetricConvolution, of [B, planes, T, H, W]",
    "ConvTranspose2d": "SpatialFullConvolution, width before height", "Conv2DTranspose": "SpatialFullConvolution, width before height",
    "ConvTranspose3d": "VolumetricFullConvolution", "Conv3DTranspose": "VolumetricFullConvolution",
    "DepthwiseConv2D": "SpatialDepthWiseConvolution", "LocallyConnected2D": "SpatialConvolutionLocal",
    "MaxPool1d": "TemporalMaxPooling, of [B, T, n]", "MaxPooling1D": "TemporalMaxPooling, of [B, T, n]",
    "AvgPool1d": "SpatialAveragePooling, as `nn.SpatialAveragePooling(1, 2, 1, 2)` of [B, T, n]",
    "MaxPool2d": "SpatialMaxPooling, width before height", "MaxPooling2D": "SpatialMaxPooling, width before height",
    "AvgPool2d": "SpatialAveragePooling, by steps of 1 unless told", "AveragePooling2D": "SpatialAveragePooling, by steps of 1 unless told",
    "MaxPool3d": "VolumetricMaxPooling", "MaxPooling3D": "VolumetricMaxPooling",
    "AvgPool3d": "VolumetricAveragePooling", "AveragePooling3D": "VolumetricAveragePooling", "LPPool2d": "SpatialLPPooling",
    "AdaptiveMaxPool2d": "SpatialAdaptiveMaxPooling, width before height",
    "AdaptiveAvgPool2d": "SpatialAdaptiveAveragePooling, width before height",
    "GlobalAveragePooling1D": "Mean, as `nn.Mean(2)` of [B, T, n]", "GlobalMaxPooling1D": "Max, as `nn.Max(2)` of [B, T, n]",
    "GlobalAveragePooling2D": "SpatialAdaptiveAveragePooling, as `nn.SpatialAdaptiveAveragePooling(1, 1)`",
    "GlobalMaxPooling2D": "SpatialAdaptiveMaxPooling, as `nn.SpatialAdaptiveMaxPooling(1, 1)`",
    "ZeroPad2d": "SpatialZeroPadding", "ZeroPadding2D": "SpatialZeroPadding", "ReflectionPad2d": "SpatialReflectionPadding",
    "ReplicationPad2d": "SpatialReplicationPadding", "ReplicationPad3d": "VolumetricReplicationPadding",
    "ConstantPad1d": "Padding", "ConstantPad2d": "Padding", "ConstantPad3d": "Padding", "Upsample": "SpatialUpSamplingNearest",
    "UpSampling2D": "SpatialUpSamplingNearest", "UpsamplingNearest2d": "SpatialUpSamplingNearest",
    "UpsamplingBilinear2d": "SpatialUpSamplingBilinear",
    # transfer functions
    "Activation": "made of a module for each function: `nn.ReLU()`, `nn.Tanh()`, `nn.SoftMax()`", "GLU": "GatedLinearUnit",
    "Softmax2d": "SpatialSoftMax", "CELU": "written `nn.ELU()` for alpha = 1",
    "SELU": "written `nn.MulConstant(1.0507)(nn.ELU(1.67326)(x))`",
    "SiLU": "written `nn.CMulTable()({x, nn.Sigmoid()(x)})`", "Swish": "written `nn.CMulTable()({x, nn.Sigmoid()(x)})`",
    "Mish": "written `nn.CMulTable()({x, nn.Tanh()(nn.SoftPlus()(x))})`",
    "GELU": "written, nearly, `nn.CMulTable()({x, nn.Sigmoid()(nn.MulConstant(1.702)(x))})`",
    "Hardsigmoid": "written `nn.MulConstant(1 / 6)(nn.ReLU6()(nn.AddConstant(3)(x)))`",
    # normalisation, noise
    "BatchNorm1d": "BatchNormalization", "BatchNorm2d": "SpatialBatchNormalization", "BatchNorm3d": "VolumetricBatchNormalization",
    "LayerNorm": "LayerNormalization", "LocalResponseNorm": "SpatialCrossMapLRN", "UnitNormalization": "Normalize, as `nn.Normalize(2)`",
    "RMSNorm": "written `nn.CMul(4)(nn.MulConstant(math.sqrt(4))(nn.Normalize(2)(x)))` for rows of 4",
    "Dropout2d": "SpatialDropout", "SpatialDropout2D": "SpatialDropout", "Dropout3d": "VolumetricDropout",
    "SpatialDropout3D": "VolumetricDropout", "GaussianNoise": "WhiteNoise",
    # recurrent layers, attention
    "LSTMCell": "a cell of nn.Scan, which hands it its state: columns.lstm(inputSize, outputSize) of specs/columns.spec",
    "GRUCell": "a cell of nn.Scan, which hands it its state: columns.gru(inputSize, outputSize) of specs/columns.spec",
    "RNNCell": "a cell of nn.Scan, which hands it its state: columns.rnn(inputSize, outputSize) of specs/columns.spec",
    "RNN": "Recurrent, in nn.Sequencer",
    "SimpleRNN": "Recurrent, in nn.Sequencer",
    "TimeDistributed": "Bottle, or nn.Sequencer over the first axis",
    "Bidirectional": "BiSequencer, of steps; of whole sequences nn.SeqBRNN",
    "Masking": "MaskZero, around the module that reads zeros",
    "MultiheadAttention": "written with nn.Linear, nn.MM and nn.MaskedSoftMax or `nn.Bottle(nn.SoftMax())`",
    "MultiHeadAttention": "written with nn.Linear, nn.MM and nn.MaskedSoftMax or `nn.Bottle(nn.SoftMax())`",
    # losses
    "L1Loss": "AbsCriterion", "MSELoss": "MSECriterion", "HuberLoss": "SmoothL1Criterion", "SmoothL1Loss": "SmoothL1Criterion",
    "CrossEntropyLoss": "CrossEntropyCriterion, of classes from 1", "NLLLoss": "ClassNLLCriterion, of classes from 1",
    "BCELoss": "BCECriterion", "BCEWithLogitsLoss": "MultiLabelSoftMarginCriterion", "KLDivLoss": "DistKLDivCriterion",
    "CTCLoss": "CTCCriterion, of classes from 1, the blank among them", "GaussianNLLLoss": "GaussianCriterion, of the variance's logarithm",
    "TripletMarginLoss": "written `nn.Mean(1)(nn.ReLU()(nn.AddConstant(1)(nn.CSubTable()({near, far}))))` of nn.PairwiseDistance",
    # what is no module
    "ModuleList": "a Lua table of modules", "ModuleDict": "a Lua table of modules", "functional": "made of modules: `nn.ReLU()(x)`",
    "Parameter": "part of a module: a bias is `nn.Add(4)`, a factor for each element `nn.CMul(4)`, a matrix `nn.Linear(4, 4)`",
    "init": "told to parameters: `mod.weight:normal(0, 0.01)`, `mod.bias:zero()`", "utils": "told to the experiment: `clip_norm = 5`",
}  # fmt: skip
"""What each is here: a module's name, with what else there is to know, or how it is written."""


FUNCTIONS = {
    "add": "CAddTable", "sub": "CSubTable", "mul": "CMulTable", "cmul": "CMulTable", "div": "CDivTable", "cdiv": "CDivTable",
    "cat": "JoinTable", "concat": "JoinTable", "matmul": "MM", "bmm": "MM", "dot": "DotProduct", "pow": "Power", "t": "Transpose",
    "permute": "Transpose", "flatten": "View", "repeat": "Replicate", "expand": "Replicate", "chunk": "SplitTable",
    "cross_entropy": "CrossEntropyCriterion", "nll_loss": "ClassNLLCriterion", "mse_loss": "MSECriterion",
    "max_pool2d": "SpatialMaxPooling",
}  # fmt: skip
"""Functions and methods of tensors, and the modules that do the same to nodes, where these have another name."""

METHODS = {
    "append": "`add` does that", "train": "`training()` does that, and every run of it", "eval": "`evaluate()` does that",
    "to": "where it computes is told when it runs: `--device`", "parameters": "`getParameters()` gives all as one",
    "state_dict": "`graphspec weights` reads and writes them",
}  # fmt: skip
"""Methods of PyTorch's modules, and what to use instead."""


def module_for(word: str) -> str | None:
    """The signature of the module that does to nodes what a function of tensors is called by (``tanh``, ``view``, ``log_softmax``)."""
    plain = word.lower().replace("_", "")
    name = FUNCTIONS.get(word.lower()) or next((n for n in REGISTRY if n.lower() == plain), None)
    return REGISTRY[name].signature if name in REGISTRY else None


def named_elsewhere(name: str) -> str | None:
    """What to write for ``nn.<name>`` of PyTorch or Keras, where that is known."""
    said = ELSEWHERE.get(name)
    if said is None:
        return None
    record = REGISTRY.get(re.split(r"\W", said)[0])
    here = said if record is None else f"`{record.signature}`{said.removeprefix(record.name)}"
    return f"what {name} is in PyTorch or Keras is here {here}"
