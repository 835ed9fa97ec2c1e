"""The stack of cells and the output layer.

    h^1_t = f(W_x x_t + W_h h^1_{t-1} + b)          layer 1 reads characters
    h^l_t = f(W_x h^{l-1}_t + W_h h^l_{t-1} + b)    layer l reads the layer below
    logits_t = W_y h^L_t + b_y

With gates, a layer computes h_t as `gated.py` says.

Shapes: T time, B batch, V vocabulary, D input (V in layer 1, H above), H hidden, L layers, G gates,
S of a layer's state: H, or of an LSTM 2 H, h then c.
The state of all layers, (L, B, S), is an argument and a result; the model keeps none.
`forward.py` computes the same in NumPy.

The layers' states and products have the type of the state that they start from: bfloat16, if it is,
is faster. The logits have the weights' type.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from charrnn.config import ModelConfig, Nonlinearity
from charrnn.model.cell import rnn
from charrnn.model.forward import Array, Forward
from charrnn.model.gated import GATED

# standard deviation of layer 1's W_x at the start
CHARACTER_SCALE: dict[Nonlinearity, float] = {"tanh": 2.0, "relu": 1.0}


def drawn(config: ModelConfig) -> dict[str, Tensor]:
    """Draws the weights at the start of a training from torch's generator, by their names.

    W_h is orthogonal: it keeps the length of what it relays, so that the hidden state neither fades
    nor explodes at first. Source: Saxe et al. 2014. An LSTM's forget gate begins more open than
    closed. Source: Gers et al. 2000.
    """
    H, weights = config.hidden_size, dict[str, Tensor]()
    for name, shape in config.parameter_shapes().items():
        weights[name] = w = _empty(name, shape)
        match name.split("."):
            case "layers", "0", "W_x":
                # a character's column is all that W_x x_t adds, so it may be large
                nn.init.normal_(w, std=CHARACTER_SCALE[config.nonlinearity])
            case _, _, "W_x":
                nn.init.normal_(w, std=H**-0.5)  # an h has H numbers
            case _, _, "W_h":
                for of_gate in w.view(-1, H, H):
                    nn.init.orthogonal_(of_gate)
            case _, "W_y":
                # small: at the start all characters are about equally probable
                nn.init.normal_(w, std=0.3 * H**-0.5)
            case _:
                nn.init.zeros_(w)
                if name.endswith(".b") and config.cell == "lstm":
                    w[H : 2 * H] = 1.0  # f stands second
    return weights


def _empty(name: str, shape: Sequence[int]) -> Tensor:
    """Returns room for a parameter.

    W_x is stored transposed: the look-up of a character's column then reads one contiguous row.
    """
    return torch.empty(*reversed(shape)).T if name.endswith("W_x") else torch.empty(*shape)


class Layer(nn.Module):
    """One layer's W_x (G H, D), W_h (G H, H) and b (G H,)."""

    def __init__(self, config: ModelConfig, W_x: Tensor, W_h: Tensor, b: Tensor) -> None:
        super().__init__()
        self.cell, self.nonlinearity = config.cell, config.nonlinearity
        self.W_x, self.W_h, self.b = nn.Parameter(W_x), nn.Parameter(W_h), nn.Parameter(b)

    def forward(self, x: Tensor, s_0: Tensor) -> tuple[Tensor, Tensor]:
        """Runs over x, (T, B) ids or (T, B, D), from a state, (B, S).

        Returns:
            h_1 ... h_T, (T, B, H), and the state after the last step, (B, S).
        """
        # what is only looked up is in no product
        W_x = self.W_x if x.ndim == 2 else self.W_x.to(s_0.dtype)
        weights = W_x, self.W_h.to(s_0.dtype), self.b
        if self.cell != "rnn":
            return GATED[self.cell](x, s_0, *weights)
        hs = rnn(x, s_0, *weights, self.nonlinearity)
        return hs, hs[-1]


class Output(nn.Module):
    """The output layer's W_y (V, H) and b_y (V,)."""

    def __init__(self, W_y: Tensor, b_y: Tensor) -> None:
        super().__init__()
        self.W_y, self.b_y = nn.Parameter(W_y), nn.Parameter(b_y)

    def forward(self, h: Tensor) -> Tensor:
        """Returns logits, (..., V), for h, (..., H)."""
        if h.dtype == self.W_y.dtype:
            return nn.functional.linear(h, self.W_y, self.b_y)
        product = nn.functional.linear(h, self.W_y.to(h.dtype))
        return product.to(self.b_y.dtype) + self.b_y  # so the bias's gradient is not rounded


class CharRNN(nn.Module):
    """A character-level RNN language model."""

    def __init__(self, config: ModelConfig, weights: Mapping[str, Tensor] | None = None) -> None:
        """Takes these tensors themselves as parameters, by their names, or draws them."""
        super().__init__()
        self.config = config
        w = drawn(config) if weights is None else weights
        of_layers = (
            {name: w[f"layers.{i}.{name}"] for name in ("W_x", "W_h", "b")}
            for i in range(config.num_layers)
        )
        self.layers = nn.ModuleList(Layer(config, **parameters) for parameters in of_layers)
        self.output = Output(w["output.W_y"], w["output.b_y"])

    @torch.no_grad()
    def expect(self, probabilities: Array) -> None:
        """Sets the output layer's bias so that an untrained model predicts these, (V,), none 0.

        How often each character occurs is then known from the start, and need not be learnt.
        """
        self.output.b_y.copy_(torch.from_numpy(np.log(probabilities)))

    @classmethod
    def of(cls, network: Forward) -> "CharRNN":
        """Returns the same network in torch."""
        weights = {name: _empty(name, w.shape) for name, w in network.weights.items()}
        for name, w in network.weights.items():
            weights[name].copy_(torch.from_numpy(w))
        return cls(network.config, weights)

    def in_numpy(self) -> Forward:
        """Returns the same network in NumPy; on the CPU, it shares the weights' memory."""
        weights = {name: p.detach().cpu().numpy() for name, p in self.named_parameters()}
        return Forward(self.config, weights)

    def zero_state(self, batch_size: int) -> Tensor:
        """Returns the state of having read nothing, zeros of (L, B, S)."""
        shape = (self.config.num_layers, batch_size, self.config.state_size)
        return self.output.b_y.new_zeros(shape)

    def hidden(
        self, x: Tensor, state: Tensor, masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Runs the layers over ids x, (T, B) int64, from a state, (L, B, S).

        In training, dropout's ``masks``, (L, B, H), multiply what each layer's outputs tell the
        next one, at every time step; the state is left alone.

        Returns:
            The top layer's h_1 ... h_T, (T, B, H), and the state after the last step, (L, B, S).
        """
        h, last = x, []
        for i, (layer, s_0) in enumerate(zip(self.layers, state, strict=True)):
            h, s_T = layer(h, s_0)
            last.append(s_T)
            if masks is not None:
                h = (h * masks[i]).to(state.dtype)
        return h, torch.stack(last)

    def top(self, state: Tensor) -> Tensor:
        """Returns the top layer's h, (B, H), of a state, (L, B, S)."""
        return state[-1, :, : self.config.hidden_size]

    def forward(
        self, x: Tensor, state: Tensor, masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns logits, (T, B, V), and the state after the last step; arguments as `hidden`."""
        h, state = self.hidden(x, state, masks)
        return self.output(h), state
