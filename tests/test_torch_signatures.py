"""Arguments, their order and their defaults, as a second reader found them in the pages and the code of Torch's nn, rnn and dpnn.

Sixty modules, drawn at random.  ``nil`` stands for what follows from other arguments, or for "none".
"""

from __future__ import annotations

import pytest

from graphspec.nn import registry

SIGNATURES = """
Abs()
BiSequencer(forward, [backward=nil], [merge=nil])
Bilinear(inputSize1, inputSize2, outputSize, [bias=true])
Bottle(module, [nInputDim=2], [nOutputDim=nil])
CSubTable()
Clamp([min_value=-1], [max_value=1])
Clip(minval, maxval)
ConcatTable()
Constant(value, [nInputDim=nil])
CosineDistance()
CriterionTable(criterion)
FlattenTable()
GRU(inputSize, [outputSize=nil], [rho=nil], [p=0], [mono=false])
Identity([type=nil])
JoinTable(dimension, [nInputDims=nil])
LSTM(inputSize, [outputSize=nil], [rho=nil], [cell2gate=true], [p=0], [mono=false])
Linear(inputSize, outputSize, [bias=true])
Log()
LogSoftMax()
LookupTable(nIndex, nOutput, [paddingValue=0], [maxNorm=nil], [normType=2])
MaskZero(module, nInputDim, [silent=false])
MaskZeroCriterion(criterion, nInputDim)
MulConstant(constant_scalar, [inplace=false])
MultiLabelSoftMarginCriterion([weights=nil], [sizeAverage=true])
MultiMarginCriterion([p=1], [weights=nil], [margin=1], [sizeAverage=true])
NCECriterion([sizeAverage=true])
NarrowTable(offset, [length=1])
PReLU([nOutputPlane=0])
Padding(dim, pad, [nInputDim=nil], [value=0], [index=1])
PairwiseDistance([p=2])
PixelShuffle(upscaleFactor)
Power(p)
ReLU([inplace=false])
ReLU6([inplace=false])
Recurrent(start, input, feedback, [transfer=nil], [rho=nil], [merge=nil])
Replicate(nFeature, [dim=1], [ndim=nil])
Reshape(size..., [batchMode=nil])
Select(dimension, index)
SeqBRNN(inputDim, hiddenDim, [batchFirst=false], [merge=nil])
SeqLSTM(inputsize, outputsize, [batchfirst=false], [maskzero=false])
SeqLSTMP(inputsize, hiddensize, outputsize, [batchfirst=false], [maskzero=false])
SequencerCriterion(criterion, [sizeAverage=false])
SoftMax()
SpatialAutoCropMSECriterion([sizeAverage=true])
SpatialClassNLLCriterion([weights=nil], [sizeAverage=true])
SpatialConvolutionLocal(nInputPlane, nOutputPlane, iW, iH, kW, kH, [dW=1], [dH=1], [padW=0], [padH=nil])
SpatialCrossMapLRN(size, [alpha=0.0001], [beta=0.75], [k=1])
SpatialDilatedConvolution(nInputPlane, nOutputPlane, kW, kH, [dW=1], [dH=1], [padW=0], [padH=nil], [dilationW=1], [dilationH=1])
SpatialDropout([p=0.5], [stochasticInference=false])
SpatialFullConvolution(nInputPlane, nOutputPlane, kW, kH, [dW=1], [dH=1], [padW=0], [padH=0], [adjW=0], [adjH=0])
SpatialSubSampling(nInputPlane, kW, kH, [dW=1], [dH=1])
Sqrt([b=0])
Square()
Squeeze([dim=nil], [numInputDims=nil])
Tanh()
TemporalMaxPooling(kW, [dW=nil])
TemporalRowConvolution(inputFrameSize, kW, [dW=1], [featFirst=false])
Transpose(pairs...)
VolumetricConvolution(nInputPlane, nOutputPlane, kT, kW, kH, [dT=1], [dW=1], [dH=1], [padT=0], [padW=nil], [padH=nil])
VolumetricDilatedMaxPooling(kT, kW, kH, [dT=nil], [dW=nil], [dH=nil], [padT=0], [padW=0], [padH=0], [dilationT=1], [dilationW=1], [dilationH=1])
"""  # noqa: E501


@pytest.mark.parametrize("signature", SIGNATURES.split("\n")[1:-1])
def test_a_signature_is_torchs(signature: str) -> None:
    assert registry[signature.partition("(")[0]].signature == f"nn.{signature}"
