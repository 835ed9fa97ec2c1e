"""The stack of cells and the output layer.

    h^1_t = f(W_x x_t + W_h h^1_{t-1} + b)          layer 1 reads characters
    h^l_t = f(W_x h^{l-1}_t + W_h h^l_{t-1} + b)    layer l reads the layer below
    logits_t = W_y h^L_t + b_y

Shapes: T time, B batch, V vocabulary, D input (V in layer 1, H above), H hidden, L layers.
The state of all layers, (L, B, H), is an argument and a result; the model keeps none.
`forward.py` computes the same in NumPy.

The layers' states and products have the type of the state that they start from: bfloat16, if it is,
is faster. The logits have the weights' type.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from charrnn.config import ModelConfig, Nonlinearity
from charrnn.model.cell import rnn
from charrnn.model.forward import Forward

# standard deviation of layer 1's W_x at the start
CHARACTER_SCALE: dict[Nonlinearity, float] = {"tanh": 2.0, "relu": 1.0}


class Layer(nn.Module):
    """One layer's W_x (H, D), W_h (H, H) and b (H,).

    W_h starts orthogonal: it keeps the length of what it relays, so that the hidden state neither
    fades nor explodes at first. Source: Saxe et al. 2014.
    """

    def __init__(self, D: int, H: int, nonlinearity: Nonlinearity, scale: float) -> None:
        super().__init__()
        self.nonlinearity: Nonlinearity = nonlinearity
        # stored transposed: the look-up of a character's column then reads one contiguous row
        self.W_x = nn.Parameter(torch.empty(D, H).T)
        self.W_h = nn.Parameter(torch.empty(H, H))
        self.b = nn.Parameter(torch.zeros(H))
        nn.init.normal_(self.W_x, std=scale)
        nn.init.orthogonal_(self.W_h)

    def forward(self, x: Tensor, h_0: Tensor) -> Tensor:
        """Returns h_1 ... h_T, (T, B, H), for x, (T, B) ids or (T, B, D), and h_0, (B, H)."""
        # what is only looked up is in no product
        W_x = self.W_x if x.ndim == 2 else self.W_x.to(h_0.dtype)
        return rnn(x, h_0, W_x, self.W_h.to(h_0.dtype), self.b, self.nonlinearity)


class Output(nn.Module):
    """The output layer's W_y (V, H) and b_y (V,)."""

    def __init__(self, V: int, H: int) -> None:
        super().__init__()
        self.W_y = nn.Parameter(torch.empty(V, H))
        self.b_y = nn.Parameter(torch.zeros(V))
        # small: at the start all characters are about equally probable
        nn.init.normal_(self.W_y, std=0.3 * H**-0.5)

    def forward(self, h: Tensor) -> Tensor:
        """Returns logits, (..., V), for h, (..., H)."""
        if h.dtype == self.W_y.dtype:
            return nn.functional.linear(h, self.W_y, self.b_y)
        product = nn.functional.linear(h, self.W_y.to(h.dtype))
        return product.to(self.b_y.dtype) + self.b_y  # so the bias's gradient is not rounded


class CharRNN(nn.Module):
    """A character-level RNN language model; its weights are drawn from torch's generator."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        V, H, f = config.vocab_size, config.hidden_size, config.nonlinearity
        # a character's column is all that W_x x_t adds, so it may be large; an h has H numbers
        first = Layer(V, H, f, scale=CHARACTER_SCALE[f])
        upper = (Layer(H, H, f, scale=H**-0.5) for _ in range(config.num_layers - 1))
        self.layers = nn.ModuleList([first, *upper])
        self.output = Output(V, H)

    @classmethod
    def of(cls, network: Forward) -> "CharRNN":
        """Returns the same network in torch; draws no random numbers."""
        with torch.random.fork_rng(devices=[]):
            model = cls(network.config)
        model.load_state_dict({name: torch.tensor(w) for name, w in network.weights.items()})
        return model

    @classmethod
    def placed(cls, config: ModelConfig, weights: Mapping[str, Tensor]) -> "CharRNN":
        """Returns a network whose parameters are these tensors themselves, by their names."""
        with torch.random.fork_rng(devices=[]):  # torch's meta device would load its compiler
            model = cls(config)
        model.load_state_dict(weights, assign=True)
        return model

    def in_numpy(self) -> Forward:
        """Returns the same network in NumPy; on the CPU, it shares the weights' memory."""
        weights = {name: p.detach().cpu().numpy() for name, p in self.named_parameters()}
        return Forward(self.config, weights)

    def zero_state(self, batch_size: int) -> Tensor:
        """Returns the state of having read nothing, zeros of (L, B, H)."""
        shape = (self.config.num_layers, batch_size, self.config.hidden_size)
        return self.output.b_y.new_zeros(shape)

    def hidden(
        self, x: Tensor, state: Tensor, masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Runs the layers over ids x, (T, B) int64, from a state, (L, B, H).

        In training, dropout's ``masks``, (L, B, H), multiply what each layer's outputs tell the
        next one, at every time step; the state is left alone.

        Returns:
            The top layer's h_1 ... h_T, (T, B, H), and the state after the last step, (L, B, H).
        """
        h, last = x, []
        for i, (layer, h_0) in enumerate(zip(self.layers, state, strict=True)):
            h = layer(h, h_0)
            last.append(h[-1])
            if masks is not None:
                h = (h * masks[i]).to(state.dtype)
        return h, torch.stack(last)

    def forward(
        self, x: Tensor, state: Tensor, masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns logits, (T, B, V), and the state after the last step; arguments as `hidden`."""
        h, state = self.hidden(x, state, masks)
        return self.output(h), state
