"""Single mistakes in backward passes written by hand: which tensor they start at, and why, where the pattern tells.

The tensors that become wrong are not listed: they are those that differ from the right gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from . import (
    networks_attention as at,
)
from . import (
    networks_conv as cv,
)
from . import (
    networks_dense as de,
)
from . import (
    networks_linear as li,
)
from . import (
    networks_losses as lo,
)
from . import (
    networks_more as mo,
)
from . import (
    networks_norm as no,
)
from . import (
    networks_recurrent as re,
)
from .mistakes_of_blocks import TABLE as BLOCKS
from .slip import Maker, Network, Parameters, Slip


class Mistake(NamedTuple):
    """`origins` are the tensors of the layer it is in; `causes` are all names that fit, none if it cannot be told."""

    network: str
    slip: str
    origins: tuple[str, ...]
    causes: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.network}: {self.slip}"

    @property
    def wrong(self) -> tuple[str, ...]:
        """Names of the tensors whose gradient is wrong by more than rounding."""
        net = network(self.network)
        right, wrong = net.right_gradient(net.params), net.wrong_gradient(self.slip)(net.params)
        scale = max(float(np.abs(value).max()) for value in right.values())
        return tuple(name for name in net.params if np.abs(wrong[name] - right[name]).max() > 1e-9 * scale)

    @property
    def loss(self) -> Callable[[Parameters], float]:
        return network(self.network).loss

    @property
    def gradient(self) -> Callable[[Parameters], Parameters]:
        return network(self.network).wrong_gradient(self.slip)

    @property
    def params(self) -> Parameters:
        return network(self.network).params


# Network -> lines of: mistake, tensors of the layer it is in, causes that fit ("" where the pattern does not tell).
TABLE: dict[Maker, list[tuple[str, str, str]]] = {
    de.mlp: [
        ("mean forgotten", "W3 b3", "scale"),
        ("loss gradient negated", "W3 b3", "sign"),
        ("divided by m and by n", "W3 b3", "scale"),
        ("one-hot forgotten", "W3 b3", ""),
        ("labels shifted by one", "W3 b3", ""),
        ("backprop without W3", "W2 b2", ""),
        ("ReLU derivative left out", "W2 b2", "derivative mask"),
        ("ReLU derivative is the output", "W2 b2", "derivative mask"),
        ("ReLU mask negated", "W2 b2", "derivative mask"),
        ("tanh derivative is 1 - h", "W1 b1", "derivative"),
        ("tanh derivative squared twice", "W1 b1", "derivative"),
        ("tanh derivative is the sigmoid's", "W1 b1", "derivative"),
        ("tanh derivative of a tanh", "W1 b1", "derivative"),
        ("tanh derivative left out", "W1 b1", "derivative"),
        ("dW2 doubled", "W2", "scale"),
        ("dW1 negated", "W1", "sign"),
        ("dW3 without its first row", "W3", "missing-term indexing"),
        ("one entry of dW2 zero", "W2", "missing-term indexing"),
        ("dW2 from the input of tanh", "W2", ""),
        ("dW3 in the other order", "W3", "transpose"),
        ("rows of dW1 reversed", "W1", "indexing"),
        ("columns of dW1 rolled", "W1", "indexing"),
        ("last column of dW2 missing", "W2", "missing-term indexing"),
        ("dW2 clipped", "W2", "clipping"),
        ("dW1 in half precision", "W1", "precision"),
        ("last example dropped from dW3", "W3", ""),
        ("db1 times four", "b1", "scale"),
        ("db2 is a mean", "b2", "scale reduction"),
        ("db3 forgotten", "b3", "missing-term"),
        ("db1 summed over units", "b1", "reduction"),
        ("db2 of the last example only", "b2", ""),
        ("L2 not in dW1", "W1", "regularization"),
        ("L2 twice in dW2", "W2", "regularization"),
        ("L2 subtracted in dW3", "W3", "regularization"),
        ("L2 on the bias b1", "b1", "regularization"),
        ("L2 halved in dW2", "W2", "regularization"),
        ("L2 of dW3 not divided by m", "W3", "regularization"),
        ("L2 of dW1 with the sign of W1", "W1", "regularization"),
        ("dW2 and its penalty doubled", "W2", "scale"),
    ],
    de.dropout: [
        ("mask 2 not applied", "W2 b2", "mask derivative"),
        ("keep_prob 2 not divided", "W2 b2", "scale"),
        ("mask 2 rolled by one row", "W2 b2", ""),
        ("derivative from the dropped activation", "W2 b2", "derivative mask"),
        ("keep_prob 1 divided twice", "W1 b1", "scale"),
        ("mask 1 inverted", "W1 b1", "mask derivative"),
        ("mask 1 left out", "W1 b1", "mask derivative"),
        ("dW2 from the activation before dropout", "W2", ""),
        ("db2 divided by keep_prob", "b2", "scale"),
        ("dW3 not scaled", "W3", "scale"),
    ],
    de.maxout: [
        ("2 of the square forgotten", "V c", "scale"),
        ("mean over rows only", "V c", "scale"),
        ("every piece gets the gradient", "W b", "mask derivative reduction"),
        ("the smallest piece wins", "W b", "mask derivative"),
        ("winner of the first example for all", "W b", "mask derivative"),
        ("pieces rolled", "W b", "indexing mask"),
        ("units and pieces mixed up", "W", "transpose indexing"),
        ("db of the winner's mean", "b", "scale reduction"),
        ("dV from the mean of the pieces", "V", ""),
        ("dc negated", "c", "sign"),
    ],
    de.tied: [
        ("decoder's weight not transposed back", "W b", ""),
        ("decoder overwritten", "W", ""),
        ("encoder overwritten", "W", ""),
        ("encoder counted twice", "W", ""),
        ("mean of the two uses", "W", "scale"),
        ("decoder subtracted", "W", ""),
        ("db from dh", "b", ""),
        ("dc not divided by m", "c", "scale"),
    ],
    de.residual: [
        ("skip path of block 2 forgotten", "V1", ""),
        ("branch of block 2 forgotten", "V1", ""),
        ("skip path counted twice", "V1", ""),
        ("skip and branch averaged", "V1", "scale"),
        ("derivative of block 1 taken from block 2", "W1 b1", "derivative"),
        ("dW2 from the network's input", "W2", ""),
        ("dW1 and dW2 exchanged", "W1 W2", "swapped"),
        ("dV1 and dV2 exchanged", "V1 V2", "swapped"),
        ("db1 from block 2", "b1", "swapped"),
        ("dV2 halved", "V2", "scale"),
    ],
    de.embedding: [
        ("mean over the tokens forgotten", "E", "scale"),
        ("tokens off by one", "E", "indexing"),
        ("repeated tokens overwritten", "E", ""),
        ("repeats within a row count once", "E", ""),
        ("padding row cleared", "E", "missing-term indexing"),
        ("row divided by its frequency", "E", "accumulation"),
        ("dW from the sum of the tokens", "W", "scale"),
        ("db summed with the wrong sign", "b", "sign"),
    ],
    li.svm: [
        ("true class subtracted once", "W b", ""),
        ("true class forgotten", "W b", ""),
        ("true class added", "W b", ""),
        ("margins instead of their signs", "W b", ""),
        ("margin of 0 used", "W b", ""),
        ("rows not averaged", "W b", "scale regularization"),
        ("dW divided by m again", "W", "scale regularization"),
        ("columns of dW rolled", "W", ""),
        ("L2 with a half", "W", "regularization"),
        ("L2 forgotten", "W", "regularization"),
        ("L2 on b", "b", "regularization"),
        ("db summed over classes", "b", "reduction"),
    ],
    li.elastic: [
        ("L1 forgotten", "W", "regularization"),
        ("L2 forgotten", "W", "regularization"),
        ("L1 twice", "W", "regularization"),
        ("L1 with the wrong sign", "W", "regularization"),
        ("L1 without the sign", "W", ""),
        ("L2 not halved", "W", "regularization"),
        ("penalties exchanged", "W", "regularization"),
        ("L1 gradient is |W|", "W", ""),
        ("dW is transposed in memory", "W", "transpose"),
        ("L1 on b", "b", "regularization"),
    ],
    li.logistic: [
        ("class weight forgotten", "W2 b2", ""),
        ("targets subtracted the wrong way", "W2 b2", "sign"),
        ("averaged over rows only", "W2 b2", "scale"),
        ("sigmoid derivative applied twice", "W2 b2", ""),
        ("sigmoid derivative h", "W1 b1", "derivative"),
        ("sigmoid derivative 1 - h squared", "W1 b1", "derivative"),
        ("sigmoid derivative of h", "W1 b1", "derivative"),
        ("second layer's derivative missing", "W1 b1", "derivative"),
        ("dW1 is upside down", "W1", "indexing"),
        ("db1 of the first example", "b1", ""),
        ("dW2 keeps the last example's only", "W2", ""),
    ],
    li.factorization: [
        ("own products forgotten", "V", ""),
        ("half of the interaction kept", "V", "scale"),
        ("own products added", "V", ""),
        ("V of the first factor for all", "V", "reduction indexing"),
        ("dw0 is a mean", "w0", "scale reduction"),
        ("dw without the last feature", "w", "missing-term indexing"),
    ],
    cv.conv_max: [
        ("channels last in the flattening", "W", "indexing transpose"),
        ("second tanh without derivative", "K2 b2", "derivative"),
        ("kernel flipped on the way back", "K1 b1", ""),
        ("pooling spreads evenly", "K1 b1", ""),
        ("pooling gives all of it to all", "K1 b1", ""),
        ("pooling picks the first of the block", "K1 b1", ""),
        ("pooling block transposed", "K1 b1", ""),
        ("dz1 halved", "K1 b1", "scale"),
        ("dK1 flipped", "K1", "indexing"),
        ("dK1 transposed in space", "K1", "transpose indexing"),
        ("padding forgotten in dK1", "K1", ""),
        ("channels of dK2 rolled", "K2", "indexing"),
        ("one filter of dK2 zero", "K2", "missing-term indexing"),
        ("dK2 only of the last image", "K2", ""),
        ("db1 averaged over the image", "b1", "scale reduction"),
        ("db1 not summed over the width", "b1", ""),
        ("db2 averaged over the batch", "b2", "scale reduction"),
    ],
    cv.conv_average: [
        ("channel scale not applied", "K b", ""),
        ("average not divided by the area", "K b", "scale"),
        ("area of the input used", "K b", "scale"),
        ("gradient into the last pixel only", "K b", ""),
        ("stride forgotten in dK", "K", ""),
        ("input channels exchanged in dK", "K", "indexing"),
        ("dK halved", "K", "scale"),
        ("db forgotten", "b", "missing-term"),
        ("dscale with the scale in it", "scale", ""),
        ("dW before the scale", "W", ""),
    ],
    no.batch_norm: [
        ("ReLU before the normalization", "gamma beta", "derivative mask"),
        ("gamma forgotten in dx", "W1", ""),
        ("mean path forgotten", "W1", ""),
        ("variance path forgotten", "W1", ""),
        ("variance path halved", "W1", ""),
        ("unbiased variance in the backward pass", "W1", ""),
        ("variance path not divided by m", "W1", ""),
        ("standard deviation forgotten", "W1", ""),
        ("inverse deviation squared", "W1", ""),
        ("statistics taken as constants", "W1", ""),
        ("dgamma from z", "gamma", ""),
        ("dgamma is a mean", "gamma", "scale reduction"),
        ("dgamma summed over features", "gamma", "reduction"),
        ("dgamma and dbeta exchanged", "gamma beta", "swapped"),
        ("dbeta with gamma in it", "beta", ""),
        ("dW2 from before the ReLU", "W2", ""),
    ],
    no.layer_norm: [
        ("gamma forgotten in dx", "W1 b1", ""),
        ("mean path forgotten", "W1 b1", ""),
        ("mean taken over the batch", "W1 b1", ""),
        ("variance path forgotten", "W1 b1", ""),
        ("variance path with the wrong sign", "W1 b1", ""),
        ("inverse deviation of the first row", "W1 b1", ""),
        ("db1 taken before the normalization", "b1", ""),
        ("dgamma summed over features", "gamma", ""),
        ("dbeta doubled", "beta", "scale"),
    ],
    no.rms_norm: [
        ("swish derivative is the gate", "V", "derivative"),
        ("swish derivative is the sigmoid's", "V", "derivative"),
        ("gate's path forgotten", "A g", ""),
        ("linear path forgotten", "A g", ""),
        ("norm taken as constant", "A", ""),
        ("norm path summed, not averaged", "A", ""),
        ("dW and dV exchanged", "W V", "swapped"),
        ("dg without the inverse norm", "g", ""),
        ("dU without the gate", "U", ""),
    ],
    no.weight_norm: [
        ("projection of the unit vector forgotten", "v g b", ""),
        ("length of the vector forgotten", "v g b", ""),
        ("weight norm's projection forgotten", "v", ""),
        ("norm of v squared", "v", ""),
        ("dg from v", "g", ""),
        ("db negated", "b", "sign"),
    ],
    re.rnn: [
        ("first step left out", "h0 Wx Wh b Wy c", ""),
        ("averaged over the steps too", "Wy c", "scale"),
        ("dWy overwritten each step", "Wy", ""),
        ("dc overwritten each step", "c", ""),
        ("state gradient not carried", "h0 Wx Wh b", ""),
        ("derivative of the previous state", "Wx Wh b", "derivative"),
        ("dWx of the first step only", "Wx", ""),
        ("dWh with the new state", "Wh", ""),
        ("db negated", "b", "sign"),
        ("Wh not transposed", "h0 Wx Wh b", ""),
        ("truncated after two steps", "h0 Wx Wh b", ""),
        ("output gradient carried twice", "h0 Wx Wh b", ""),
        ("dh0 forgotten", "h0", "missing-term"),
        ("dh0 is a mean", "h0", "scale reduction"),
        ("dWh transposed", "Wh", "transpose"),
        ("dWh averaged over the steps", "Wh", "scale"),
    ],
    re.lstm: [
        ("dV from the cell", "V", ""),
        ("cell gradient not carried", "W U b", ""),
        ("tanh of the cell left out", "W U b", ""),
        ("output gate with the cell itself", "W U b", ""),
        ("forget gate with the new cell", "W U b", ""),
        ("candidate with the sigmoid's derivative", "W U b", ""),
        ("input and forget gate exchanged", "W U b", ""),
        ("output gate missing", "W U b", ""),
        ("db overwritten each step", "b", ""),
        ("state gradient not carried", "W U b", ""),
        ("forget gate forgotten", "W U b", ""),
        ("forget bias counted twice", "b", "scale indexing accumulation"),
    ],
    re.gru: [
        ("update gate with the wrong sign", "Wz Uz Wr Ur Wn Un b", ""),
        ("update gate forgets the new state", "Wz Uz Wr Ur Wn Un b", ""),
        ("gate not complemented", "Wz Uz Wr Ur Wn Un b", ""),
        ("reset gate without derivative", "Wz Uz Wr Ur Wn Un b", ""),
        ("dUr overwritten each step", "Ur", ""),
        ("dUn without the reset gate", "Un", ""),
        ("direct path forgotten", "Wz Uz Wr Ur Wn Un b", ""),
        ("path of the reset gate forgotten", "Wz Uz Wr Ur Wn Un b", ""),
        ("dWn and dWr exchanged", "Wn Wr", "swapped"),
        ("dUz transposed", "Uz", "transpose"),
    ],
    at.attention: [
        ("averaged over the batch only", "Wo b", "scale"),
        ("Wo not transposed", "Wv", ""),
        ("attention not transposed", "Wv", ""),
        ("softmax without its sum", "Wq Wk", ""),
        ("softmax derivative of a sigmoid", "Wq Wk", ""),
        ("softmax sum over queries", "Wq Wk", ""),
        ("softmax derivative left out", "Wq Wk", ""),
        ("scores divided by d", "Wq Wk", "scale"),
        ("square root of d forgotten", "Wq Wk", "scale"),
        ("scores not transposed", "Wk", ""),
        ("dq and dk exchanged", "Wq Wk", "swapped"),
        ("dWq transposed", "Wq", "transpose"),
        ("dWv of the first sequence only", "Wv", ""),
        ("dWo from the values", "Wo", ""),
        ("db summed over the batch only", "b", ""),
    ],
    at.feed_forward: [
        ("temperature of two", "W2 b2", "scale"),
        ("GELU's cubic forgotten", "W1 b1", "derivative"),
        ("GELU's product rule forgotten", "W1 b1", "derivative"),
        ("GELU treated as ReLU", "W1 b1", "derivative mask"),
        ("skip path forgotten", "P", ""),
        ("positions shifted by one", "P", "indexing"),
        ("positions in reverse", "P", "indexing"),
        ("last position never updated", "P", "missing-term indexing"),
        ("positions averaged over the batch", "P", "scale reduction"),
        ("dW1 without the positions", "W1", ""),
        ("dW2 from the pre-activation", "W2", ""),
        ("db2 averaged over time", "b2", "scale reduction"),
    ],
    lo.variational: [
        ("precision forgotten", "D", ""),
        ("KL of the mean forgotten", "M", ""),
        ("half of the log-variance forgotten", "S s", ""),
        ("noise forgotten", "S s", ""),
        ("sampling path forgotten", "S s", ""),
        ("log of KL forgotten", "S s", ""),
        ("log-determinant forgotten", "t", ""),
        ("KL twice in dM", "M", ""),
        ("dD from the mean", "D", ""),
        ("dt of the variance", "t", "scale"),
    ],
    lo.robust: [
        ("Huber loss never linear", "u", ""),
        ("Huber loss always linear", "u", ""),
        ("delta forgotten in the linear part", "u", ""),
        ("quantiles exchanged", "v c", ""),
        ("quantile loss negated", "v c", "sign"),
        ("first head forgotten", "W b", ""),
        ("second head forgotten", "W b", ""),
        ("leak forgotten", "W b", "derivative mask"),
        ("leak of one", "W b", "derivative mask"),
        ("du from the pre-activation", "u", ""),
        ("dv reversed", "v", "indexing"),
        ("dc not summed", "c", ""),
    ],
    lo.contrastive: [
        ("positives forgotten", "Wa Wb temperature", ""),
        ("temperature not applied", "Wa Wb", "scale"),
        ("similarities not transposed", "Wb", ""),
        ("second tower stopped", "Wb", "missing-term"),
        ("unit vector's projection forgotten", "Wa", ""),
        ("norm of the other tower", "Wb", ""),
        ("dWa negated", "Wa", "sign"),
        ("exponential forgotten in the temperature", "temperature", "scale"),
    ],
    mo.reset_after_gru: [
        ("candidate weighted by z", "W U b", "derivative mask"),
        ("reset gate left out of the product", "U", ""),
        ("dU with the new state", "U", ""),
        ("direct path through z forgotten", "W U b", "missing-term"),
    ],
    mo.group_norm: [
        ("gamma left out", "W", "scale derivative"),
        ("mean over all channels", "W", "reduction derivative"),
        ("variance path forgotten", "W", "derivative missing-term"),
        ("dgamma from y", "gamma", ""),
    ],
    mo.depthwise: [
        ("mean over positions not divided", "D d", "scale"),
        ("kernel flipped", "D", "indexing"),
        ("channels summed in the kernel", "D", "reduction"),
        ("bias of the first position only", "d", ""),
    ],
    mo.siamese: [
        ("margin's sign", "V", ""),
        ("pairs that differ forgotten", "V", "missing-term"),
        ("distance not divided out", "V", ""),
        ("second branch not added", "W b V", "missing-term"),
    ],
    mo.crf: [
        ("backward messages left out", "W b start", ""),
        ("repeated transitions counted once", "T", "accumulation indexing"),
        ("transitions read backwards", "T", ""),
        ("start from the last position", "start", ""),
    ],
    mo.masked_attention: [
        ("padding not masked in the loss", "O", "mask missing-term"),
        ("dV with the attention not transposed", "V", ""),
        ("softmax without its sum", "Q K", "derivative"),
        ("scale left out", "Q K", "scale"),
    ],
    mo.straight_through: [
        ("back through the weights before clipping", "W b", "derivative"),
        ("upper bound of the activation forgotten", "W b", "mask derivative"),
        ("clipped weights get a gradient", "W", "mask"),
        ("gradient divided by the grid", "W", "scale"),
    ],
    mo.normalized_weights: [
        ("back through the direction only", "v1 g1 b1", "derivative scale"),
        ("radial part not taken out", "v1 v2", ""),
        ("norm not divided out", "v1 v2", "scale"),
        ("dg1 from v instead of its direction", "g1", "scale"),
    ],
    mo.mixture_density: [
        ("shares not normalized", "V c", ""),
        ("weights' sign", "V c", "indexing sign"),
        ("mean's deviation squared", "V c", "indexing"),
        ("normalization of the density forgotten", "V c", "indexing missing-term"),
    ],
    mo.triplet: [
        ("temperature left out", "V", "scale"),
        ("projection of the norm left out", "V", ""),
        ("scores not transposed", "V", ""),
        ("second view detached", "W b V", "missing-term"),
    ],
}


def _listed(table: dict[Maker, list[tuple[str, str, str]]]) -> list[Mistake]:
    return [
        Mistake(maker.__name__, slip, tuple(origins.split()), tuple(causes.split()))
        for maker, lines in table.items()
        for slip, origins, causes in lines
    ]


MAKERS: dict[str, Maker] = {maker.__name__: maker for maker in TABLE}
MISTAKES = _listed(TABLE)
BLOCK_MAKERS: dict[str, Maker] = {maker.__name__: maker for maker in BLOCKS}
BLOCK_MISTAKES = _listed(BLOCKS)


@lru_cache(None)
def network(name: str) -> Network:
    """The network of this name at its one generic point."""
    return (MAKERS | BLOCK_MAKERS)[name](np.random.default_rng(7))


def places(name: str) -> set[str]:
    """All places for mistakes that the network has."""
    slip = Slip()
    net = network(name)
    net.backward(net.params, slip)
    return set(slip.places)
