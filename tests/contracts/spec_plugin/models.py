"""Three models on PyTorch's own layers: an encoder-decoder, a sequence autoencoder, and one without time."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnnae_bench import BenchModule, EncoderDecoder, Optimization, SequenceAutoencoder, Static


class Translator(EncoderDecoder):
    """An LSTM reads the sequence, another writes the answer from its last state (Sutskever et al. 2014).

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state h of either; the cell c has as many again.
        optimization: How to train.
    """

    def __init__(self, spec, hidden_size: int = 32, optimization: Optimization = Optimization()):  # noqa: B008
        super().__init__(spec, hidden_size, optimization)
        self.encoder = nn.LSTM(self.embedding.features, hidden_size, batch_first=True)
        self.decoder = nn.LSTM(self.feedback.features, hidden_size, batch_first=True)

    def encode(self, inputs, lengths=None):
        if lengths is not None:
            inputs = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return self.encoder(inputs)[1]

    def decode(self, previous, state):
        return self.decoder(previous, state)


class LSTMAutoencoder(SequenceAutoencoder):
    """An LSTM's last state, mapped to a code; another LSTM that reads the code at every step (Srivastava et al. 2015).

    Args:
        spec: The task to serve.
        units: Numbers in the code.
        optimization: How to train.
    """

    def __init__(self, spec, units: int = 4, optimization: Optimization = Optimization()):  # noqa: B008
        super().__init__(spec, 24, optimization)
        self.encoder = nn.LSTM(self.embedding.features, 24, batch_first=True)
        self.to_code = nn.Linear(24, units)
        self.decoder = nn.LSTM(units, 24, batch_first=True)

    def encode(self, inputs, lengths=None):
        return self.to_code(self.encoder(inputs)[0][:, -1])

    def decode(self, code, steps):
        return self.decoder(code[:, None].expand(-1, steps, -1))[0]


class Bypassed(LSTMAutoencoder):
    """An autoencoder that adds its input to what it decodes."""

    def forward(self, inputs, lengths=None):
        return super().forward(inputs, lengths) + inputs


class Perceptron(BenchModule):
    """One hidden layer, for inputs without time.

    Args:
        spec: The task to serve.
        optimization: How to train.
    """

    def __init__(self, spec, optimization: Optimization = Optimization()):  # noqa: B008
        super().__init__(spec, optimization)
        size = spec.outputs.count
        self.layers = nn.Sequential(nn.Linear(spec.inputs.features, 16), nn.Tanh(), nn.Linear(16, size))

    @classmethod
    def supports(cls, spec, **hyperparameters):
        if not isinstance(spec.inputs, Static):
            return f"it reads inputs without time, and the task's are {spec.inputs}"
        return super().supports(spec, **hyperparameters)

    def forward(self, inputs, lengths=None):
        return self.layers(inputs)


class Forgetful(Translator):
    """A translator that begins anew at every step that it decodes by itself."""

    def decode(self, previous, state):
        return self.decoder(previous, state)[0], state


class Peeping(Translator):
    """A translator that is fed with the target of the very step."""

    def forward(self, inputs, lengths=None, targets=None):
        ahead = None if targets is None else torch.cat((targets[:, 1:], targets[:, :1]), dim=1)
        return super().forward(inputs, lengths, ahead)
